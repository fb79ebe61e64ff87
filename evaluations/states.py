"""How far encoders have moved from another, and how their states lie in space: what a score cannot tell.

    python -m evaluations.states --data wiki_sample minilm checkpoints/for_container

The first encoder is the one to compare with; the others are continuations of it. Over all tokens of the sentences:

weights moved    |w - w0| / |w0| of all weights taken as one vector
cosine           mean cosine of a token's last state with its last state in the first encoder
anisotropy       mean cosine of the states of two tokens, 0 in all directions (Ethayarajh, EMNLP 2019)
effective rank   exp of the entropy of the covariance's eigenvalues, summing to 1 (Roy and Vetterli, EUSIPCO 2007)
norm             mean length of a state
"""

import argparse

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from transformers import BertModel
from transformers.utils import logging

from common.device import add_device
from common.encoders import load_bert, load_tokenizer
from common.errors import UserError, run
from data.corpus import load_corpus


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluations.states", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("encoders", metavar="ENCODER", nargs="+", help="a plain BERT: directory, hub id or `minilm`")
    add("--data", required=True, help="a corpus, as for pretrain.py")
    add("--sentences", type=int, default=200, help="the first so many")
    add("--max_length", type=int, default=128, help="tokens of a sentence; longer ones are cut")
    add("--batch_size", type=int, default=32, help="sentences at a time")
    add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = load_tokenizer(args.encoders[0])
    corpus, _ = load_corpus(args.data, tokenizer, args.max_length)
    sentences = corpus.select(range(min(args.sentences, len(corpus))))
    print("| encoder | weights moved | cosine | anisotropy | effective rank | norm |\n|---|---:|---:|---:|---:|---:|")
    first = None
    for name in args.encoders:
        encoder = load_bert(name, BertModel).eval()
        weights = torch.cat(
            [weight.detach().flatten() for key, weight in encoder.named_parameters() if "pooler" not in key]
        )
        states = encode(encoder.to(args.device), sentences, args)
        first = first or (weights, states)
        if len(weights) != len(first[0]):
            raise UserError(f"{name} is not a continuation of {args.encoders[0]}: their weights differ in number")
        moved = (weights - first[0]).norm() / first[0].norm()
        cosine = cosine_similarity(states, first[1]).mean()
        shape = f"{anisotropy(states):.3f} | {effective_rank(states):.1f} | {states.norm(dim=1).mean():.2f}"
        print(f"| {name} | {moved:.3f} | {cosine:.3f} | {shape} |")


@torch.no_grad()
def encode(encoder: BertModel, sentences: Dataset, args: argparse.Namespace) -> Tensor:
    """(N, D) last states of all tokens, in order."""
    states = []
    for batch in sentences.iter(args.batch_size):
        ids = [torch.tensor(row) for row in batch["input_ids"]]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)  # (B, T)
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(args.device)  # (B, T)
        hidden = encoder(padded, attention_mask=mask.to(args.device)).last_hidden_state.cpu()  # (B, T, D)
        states.append(hidden[mask.bool()])
    return torch.cat(states)


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
