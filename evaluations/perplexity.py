"""Masked-language-modelling perplexity of plain BERTs on held-out text.

    python -m evaluations.perplexity --data wiki_sample minilm checkpoints/for_container
    python -m evaluations.perplexity --held_out_by checkpoints/my_run checkpoints/for_container

All encoders see the same masked sentences: 15% of the tokens selected by BERT's scheme, the same at every call.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import Dataset
from tqdm import tqdm
from transformers import BertForMaskedLM, PreTrainedTokenizerBase
from transformers.utils import logging

from common.device import add_device
from common.encoders import load_bert, load_tokenizer
from common.errors import UserError, run
from data.batches import Batches
from data.corpus import hold_out, load_corpus


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluations.perplexity", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("encoders", metavar="ENCODER", nargs="+", help="a BERT with its MLM head: directory, hub id or `minilm`")
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--data", help="a corpus, as for pretrain.py")
    text.add_argument("--held_out_by", type=Path, metavar="RUN", help="the sentences a run of pretrain.py held out")
    add("--sentences", type=int, default=1000, help="the first so many")
    add("--max_length", type=int, default=128, help="tokens of a sentence; longer ones are cut")
    add("--batch_size", type=int, default=32, help="sentences at a time")
    add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    logging.set_verbosity_error()  # that an encoder's MLM head is new is said by its perplexity
    logging.disable_progress_bar()
    print("| encoder | selected tokens | MLM loss (nats) | perplexity | accuracy |\n|---|---:|---:|---:|---:|")
    for encoder in args.encoders:
        tokenizer = load_tokenizer(encoder)
        sentences = read_sentences(args, tokenizer)
        torch.manual_seed(0)  # an encoder without an MLM head gets a new one
        model = load_bert(encoder, BertForMaskedLM).eval().to(args.device)
        loss, accuracy, tokens = mlm_figures(model, tokenizer, sentences, args)
        print(f"| {encoder} | {tokens:,} | {loss:.4f} | {math.exp(loss):.2f} | {accuracy:.2%} |")


def read_sentences(args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """The tokenised sentences that were asked for.

    Raises:
        UserError: of `load_corpus`; there is no such run, or its corpus has changed since.
    """
    if args.held_out_by is None:
        corpus, _ = load_corpus(args.data, tokenizer, args.max_length)
    else:
        path = args.held_out_by / "run.json"
        if not path.is_file():
            raise UserError(f"{args.held_out_by} holds no run: it has no run.json")
        record = json.loads(path.read_text())
        arguments = record["arguments"]
        corpus, sha256 = load_corpus(arguments["data"], tokenizer, arguments["max_length"], arguments["text_column"])
        if sha256 != record["corpus_sha256"]:
            raise UserError(f"{arguments['data']} is not the corpus of {args.held_out_by} any more")
        _, corpus = hold_out(corpus, arguments["validation_fraction"], arguments["seed"])
    return corpus.select(range(min(args.sentences, len(corpus))))


@torch.no_grad()
def mlm_figures(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerBase, sentences: Dataset, args: argparse.Namespace
) -> tuple[float, float, int]:
    """Mean cross entropy of the selected tokens in nats, the share predicted exactly, and how many they are.

    Raises:
        UserError: no token was selected, as in text of which the tokenizer knows nothing.
    """
    batches = Batches(sentences, tokenizer, 1, args.max_length, seed=0, packed=False)
    rows = [batches[number] for number in range(len(sentences))]
    rows.sort(key=lambda row: row["input_ids"].shape[1])  # alike in length, so that there is little padding
    total, right, tokens = 0.0, 0, 0
    for start in tqdm(range(0, len(rows), args.batch_size), unit="batch", leave=False):
        batch = [
            {key: row[key][0] for key in ("masked_input_ids", "attention_mask", "mlm_labels")}
            for row in rows[start : start + args.batch_size]
        ]
        ids, mask, labels = (
            torch.nn.utils.rnn.pad_sequence([row[key] for row in batch], batch_first=True, padding_value=value)
            for key, value in (
                ("masked_input_ids", tokenizer.pad_token_id),
                ("attention_mask", 0),
                ("mlm_labels", -100),
            )
        )  # (B, T) each
        labels = labels.to(args.device)
        logits = model(ids.to(args.device), attention_mask=mask.to(args.device)).logits[labels != -100]  # (K, V)
        labels = labels[labels != -100]  # (K,)
        total += F.cross_entropy(logits.float(), labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
        tokens += len(labels)
    if not tokens:
        raise UserError("no token of these sentences can be masked: the tokenizer knows none, or they are too few")
    return total / tokens, right / tokens, tokens


if __name__ == "__main__":
    run(main)
