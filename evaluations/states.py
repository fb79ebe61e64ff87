"""How far encoders have moved from another, and how their states lie in space: what a score cannot tell.

    python -m evaluations.states --data wiki_sample minilm checkpoints/for_container

The first encoder is the one to compare with; the others are continuations of it. Over all tokens of the sentences:

weights moved    |w - w0| / |w0| of all weights taken as one vector
cosine           mean cosine of a token's last state with its last state in the first encoder
anisotropy       mean cosine of the states of two tokens, 0 in all directions (Ethayarajh, EMNLP 2019)
effective rank   exp of the entropy of the covariance's eigenvalues, summing to 1 (Roy and Vetterli, EUSIPCO 2007)
norm             mean length of a state
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from transformers import PreTrainedModel

from common.errors import UserError, run
from common.flags import Count, Length, argument, flag, parse
from common.hardware import pick_device
from data.corpus import load_corpus
from encoders import Encoded, check_tokenizer, load_masked_lm, load_tokenizer, token_states


@dataclass(frozen=True, kw_only=True)
class Recipe:
    encoders: list[str] = argument("plain encoders: directories, hub ids or `minilm`", "ENCODER", nargs="+")
    data: str = flag(help="corpus, as for pretrain.py")
    sentences: Count = flag(200, "number of sentences, the first ones")
    max_length: Length = flag(128, "tokens of a sentence; longer ones are cut")
    batch_size: Count = flag(32, "sentences at a time")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    tokenizer = load_tokenizer(recipe.encoders[0])
    corpus, _ = load_corpus(recipe.data, tokenizer, recipe.max_length)
    rows = corpus.select(range(min(recipe.sentences, len(corpus))))["input_ids"]
    sentences = [Encoded(ids, list(range(len(ids)))) for ids in rows]
    print("| encoder | weights moved | cosine | anisotropy | effective rank | norm |\n|---|---:|---:|---:|---:|---:|")
    first = None
    for name in recipe.encoders:
        encoder = cast(PreTrainedModel, load_masked_lm(name).base_model).eval()
        encoder.to(device)  # pyright: ignore[reportArgumentType]
        check_tokenizer(encoder.config, tokenizer, max(map(len, rows)))
        weights = torch.cat([weight.detach().flatten() for weight in encoder.parameters()])
        states = token_states(encoder, sentences, recipe.batch_size)  # (N, D), of all tokens
        first = first or (weights, states)
        if len(weights) != len(first[0]):
            raise UserError(f"{name} is not a continuation of {recipe.encoders[0]}: their weights differ in number")
        moved = (weights - first[0]).norm() / first[0].norm()
        cosine = cosine_similarity(states, first[1]).mean()
        shape = f"{anisotropy(states):.3f} | {effective_rank(states):.1f} | {states.norm(dim=1).mean():.2f}"
        print(f"| {name} | {moved:.3f} | {cosine:.3f} | {shape} |")


def anisotropy(states: Tensor) -> float:
    """Mean cosine over all pairs of distinct rows of (N, D): sum_ij u_i . u_j = |sum_i u_i|^2, less the N of i = j."""
    units, count = normalize(states.double(), dim=1), len(states)
    return ((units.sum(0).square().sum() - count) / (count * (count - 1))).item()


def effective_rank(states: Tensor) -> float:
    """Between 1 (all rows of (N, D) on a line) and D (spread alike in all directions)."""
    spread = torch.linalg.svdvals((states - states.mean(0)).double()).square()  # (D,) eigenvalues times N
    return torch.special.entr(spread / spread.sum()).sum().exp().item()


if __name__ == "__main__":
    run(main)
