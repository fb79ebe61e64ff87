"""Extract entities, relations and events from text or JSON lines with a trained model."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from common.errors import UserError, run
from common.flags import Count, flag, parse
from common.hardware import pick_device
from common.text import read_lines
from data.sources import bare_suffix
from encoders import by_length, max_positions
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.batches import collate, make_examples
from evaluations.supervised_ie.data import Sentence, read_sentences, to_json, write_sentences
from evaluations.supervised_ie.documents import word_spans

POSITIONS = 1024  # word pieces and padding decoded together


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str = flag(help="name of the trained run")
    input: str = flag(help="text with a sentence a line, or .jsonl (.json) with `tokens`")
    output: str | None = flag(None, "file of JSON lines to write; none: standard output")
    positions: Count = flag(POSITIONS, "word pieces and padding decoded together")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


def extract(
    model: checkpoint.Model, tokenizer: PreTrainedTokenizerBase, sentences: list[Sentence], positions: int = POSITIONS
) -> list[Sentence]:
    """The sentences with what the model predicts in place of any annotation, in the given order."""
    model.eval()
    device, longest = model.encoder.device, max_positions(model.encoder.config)
    examples = make_examples(sentences, tokenizer)
    batches = list(by_length([example.length for example in examples], positions))
    predicted: dict[int, Sentence] = {}
    with torch.autocast(device.type, enabled=False):  # an outer context keeps weights cast to bfloat16 for all batches
        for batch in tqdm(batches, desc="extract", leave=False, disable=None):
            laid_out = collate([examples[i] for i in batch], tokenizer, longest).to(device)
            predicted.update(zip(batch, model.predict(laid_out), strict=True))
    return [predicted[i] for i in range(len(sentences))]


def read_text(path: str) -> list[Sentence]:
    """One sentence a line, split into words as `prepare` does, without blank lines; a `UserError` if none is left."""
    sentences = [
        Sentence(doc_id=path, sent_id=f"{path}:{number}", tokens=[line[a:b] for a, b in word_spans(line)])
        for number, line in enumerate(read_lines(path), start=1)
        if line.strip()
    ]
    if not sentences:
        raise UserError(f"{path} holds no text")
    return sentences


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device, output = pick_device(recipe.device), recipe.output
    if output and (Path(output).is_dir() or not Path(output).resolve().parent.is_dir()):
        raise UserError(f"no file {output} can be written: it is a directory, or its directory is not there")
    as_json = bare_suffix(Path(recipe.input)) in (".jsonl", ".json")
    sentences = read_sentences(recipe.input) if as_json else read_text(recipe.input)
    model, tokenizer = checkpoint.load_model(checkpoint.run_directory(recipe.name))
    predicted = extract(model.to(device), tokenizer, sentences, recipe.positions)
    if output:
        write_sentences(output, predicted)
        print(f"{len(predicted)} sentences in {output}", file=sys.stderr)
    else:
        for sentence in predicted:
            print(to_json(sentence))


if __name__ == "__main__":
    run(main)
