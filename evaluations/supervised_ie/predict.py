"""Extract entities, relations and events from text or JSON lines with a trained model."""

import argparse
import json
import sys
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from common.device import add_device
from common.errors import UserError, run
from common.text import read_lines
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.batches import collate, make_examples, sorted_batches
from evaluations.supervised_ie.data import Sentence, read_sentences, to_record, write_sentences
from evaluations.supervised_ie.decode import GraphDecoder
from evaluations.supervised_ie.documents import word_spans
from evaluations.supervised_ie.labels import Labels
from evaluations.supervised_ie.model import Extractor
from evaluations.supervised_ie.scores import OVERALL

POSITIONS = 1024  # word pieces and padding decoded together


def extract(
    model: Extractor,
    tokenizer: PreTrainedTokenizerBase,
    labels: Labels,
    sentences: list[Sentence],
    positions: int = POSITIONS,
) -> list[Sentence]:
    """The sentences with the model's best graphs in place of any annotation, in the given order."""
    model.eval()
    device = next(model.parameters()).device
    decoder = GraphDecoder(labels)
    predicted: dict[int, Sentence] = {}
    batches = list(sorted_batches(make_examples(sentences, tokenizer), positions))
    with torch.autocast(device.type, enabled=False):  # an outer context keeps weights cast to bfloat16 for all batches
        for examples in tqdm(batches, desc="extract", leave=False, disable=None):
            batch = collate(examples, tokenizer, model.encoder.config.max_position_embeddings).to(device)
            for sentence, scores in zip(batch.sentences, model.local_scores(batch), strict=True):
                predicted[id(sentence)] = decoder(sentence, scores)
    return [predicted[id(sentence)] for sentence in sentences]


def read_text(path: str) -> list[Sentence]:
    """One sentence a line, split into words as `prepare` does; blank lines are left out.

    Raises:
        UserError: the file cannot be read or holds no text.
    """
    sentences = [
        Sentence(doc_id=path, sent_id=f"{path}:{number}", tokens=[line[a:b] for a, b in word_spans(line)])
        for number, line in enumerate(read_lines(path), start=1)
        if line.strip()
    ]
    if not sentences:
        raise UserError(f"{path} holds no text")
    return sentences


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="of the trained run")
    add("--input", required=True, help="text with a sentence a line, or .jsonl (.json) with `tokens`")
    add("--output", help="file of JSON lines to write; standard output by default")
    add("--positions", type=int, default=POSITIONS, help="word pieces and padding decoded together")
    add_device(parser)
    args = parser.parse_args(argv)
    if args.output and (Path(args.output).is_dir() or not Path(args.output).resolve().parent.is_dir()):
        raise UserError(f"no file {args.output} can be written: it is a directory, or its directory is not there")
    as_json = args.input.removesuffix(".gz").endswith((".jsonl", ".json"))
    sentences = read_sentences(args.input) if as_json else read_text(args.input)
    directory = checkpoint.run_directory(args.name)
    epoch, _ = checkpoint.read_best(directory)[OVERALL]
    model, labels, tokenizer = checkpoint.load_model(directory, epoch)
    predicted = extract(model.to(args.device), tokenizer, labels, sentences, args.positions)
    if args.output:
        write_sentences(args.output, predicted)
        print(f"{len(predicted)} sentences in {args.output}", file=sys.stderr)
    else:
        for sentence in predicted:
            print(json.dumps(to_record(sentence), ensure_ascii=False))


if __name__ == "__main__":
    run(main)
