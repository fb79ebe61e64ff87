"""Masked-language-modelling perplexity of plain encoders on held-out text.

    python -m evaluations.perplexity --data wiki_sample bert-base-uncased checkpoints/for_container
    python -m evaluations.perplexity --held_out_by checkpoints/my_run checkpoints/for_container

All encoders see the same masked sentences: 15% of the tokens selected by BERT's scheme, the same at every call. An
encoder without an MLM head, as `minilm`, predicts nothing, and its row says so.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError, run
from common.flags import Count, Length, argument, flag, parse
from common.hardware import pick_device
from data.batches import Batches
from data.corpus import hold_out, load_corpus
from encoders import Encoded, check_tokenizer, load_masked_lm, load_tokenizer, mlm_transform, token_states
from runs import read_record

LOGITS_AT_ONCE = 1024  # tokens


@dataclass(frozen=True, kw_only=True)
class Recipe:
    encoders: list[str] = argument("encoders with their MLM heads: directories or hub ids", "ENCODER", nargs="+")
    data: str | None = flag(None, "corpus, as for pretrain.py")
    held_out_by: Path | None = flag(None, "instead: directory of a run of pretrain.py, for the sentences it held out")
    sentences: Count = flag(1000, "number of sentences, the first ones")
    max_length: Length = flag(128, "tokens of a sentence; longer ones are cut")
    batch_size: Count = flag(32, "sentences at a time")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    if (recipe.data is None) == (recipe.held_out_by is None):
        raise UserError("which text? Give --data or --held_out_by, one of the two")
    print("| encoder | selected tokens | MLM loss (nats) | perplexity | accuracy |\n|---|---:|---:|---:|---:|")
    for name in recipe.encoders:
        tokenizer = load_tokenizer(name)
        sentences = read_sentences(recipe, tokenizer)
        model = load_masked_lm(name).eval().to(device)  # pyright: ignore[reportArgumentType]
        check_tokenizer(model.config, tokenizer, max(map(len, sentences["input_ids"])))
        if model.new_head:  # its numbers would be those of the random head
            print(f"| {name} | - | no MLM head | - | - |")
            continue
        loss, accuracy, tokens = mlm_metrics(model, tokenizer, sentences, recipe.batch_size)
        print(f"| {name} | {tokens:,} | {loss:.4f} | {math.exp(loss):.2f} | {accuracy:.2%} |")


def read_sentences(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """The tokenised sentences that the recipe names; a `UserError` if there is no such run or corpus, or if the run's
    has changed since."""
    if recipe.held_out_by is None:
        corpus, _ = load_corpus(str(recipe.data), tokenizer, recipe.max_length)
    else:
        record = read_record(recipe.held_out_by)
        made = {"long_lines": "cut"} | record["arguments"]  # older runs had no choice
        try:
            data, *how = (made[name] for name in ("data", "max_length", "text_column", "long_lines"))
            fraction, seed = made["validation_fraction"], made["seed"]
        except KeyError as error:
            raise UserError(f"{recipe.held_out_by} is no run of pretrain.py: it has no {error}") from None
        corpus, summary = load_corpus(data, tokenizer, *how)
        before = record["inputs"].get("corpus") or record.get("corpus_sha256")  # the latter in older runs
        if summary.identity != before:
            raise UserError(f"{data} is not the corpus of {recipe.held_out_by} any more")
        _, corpus = hold_out(corpus, fraction, seed)
    return corpus.select(range(min(recipe.sentences, len(corpus))))


@torch.no_grad()
def mlm_metrics(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Dataset, batch_size: int
) -> tuple[float, float, int]:
    """Mean cross entropy of the selected tokens in nats, the share predicted exactly, and how many they are; a
    `UserError` if none was selected."""
    batches = Batches(sentences, tokenizer, 1, tokenizer.model_max_length, seed=0, packing="none")
    rows = [batches[number] for number in range(len(sentences))]
    labels = torch.cat([row["mlm_labels"].flatten()[row["mlm_positions"]] for row in rows])  # (K,)
    if not len(labels):
        raise UserError("no token of these sentences can be masked: the tokenizer knows none, or they are too few")
    masked = [Encoded(row["masked_input_ids"][0].tolist(), row["mlm_positions"].tolist()) for row in rows]
    states = token_states(cast(PreTrainedModel, model.base_model), masked, batch_size)  # (K, D)
    output = cast(nn.Linear, model.get_output_embeddings())
    loss, right = 0.0, 0
    for some, gold in zip(states.split(LOGITS_AT_ONCE), labels.split(LOGITS_AT_ONCE), strict=True):
        logits = output(mlm_transform(model, some.to(model.device))).cpu()  # (K', V)
        loss += F.cross_entropy(logits, gold, reduction="sum").item()
        right += (logits.argmax(1) == gold).sum().item()
    return loss / len(labels), right / len(labels), len(labels)


if __name__ == "__main__":
    run(main)
