"""Milliseconds a sentence of extraction, in batches and one sentence at a time, with the same trained model.

The encoder is told apart from the rest (word pieces, taggers, classifiers, graph), as on a CPU its arithmetic
bounds what batches can win. bf16 rounds a sentence differently in another batch, so a few may come out otherwise:
they are counted, and F1 of both ways against the input's annotation is shown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.measuring import now
from common.errors import UserError, run
from common.flags import Count, flag, parse
from common.hardware import pick_device
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.data import read_sentences
from evaluations.supervised_ie.model import Extractor
from evaluations.supervised_ie.predict import POSITIONS, extract
from evaluations.supervised_ie.scores import OVERALL, count, f1_of, tasks_of


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str = flag(help="name of the trained run")
    input: str = flag(help="JSON lines with `tokens`")
    positions: Count = flag(POSITIONS, "word pieces and padding decoded together")
    mixed_precision: Literal["no", "bf16"] | None = flag(None, "of the encoder; none: as the run was trained")
    rounds: Count = flag(9, "times each way is measured, in turn, after one that does not count")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


class Stopwatch:
    """Calls a function and adds up the milliseconds it took."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.total = function, 0.0

    def __call__(self, *args: Any) -> Any:
        started = now()
        result = self.function(*args)
        self.total += 1000 * (now() - started)
        return result


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    sentences = read_sentences(recipe.input)
    directory = checkpoint.run_directory(recipe.name)
    model, tokenizer = checkpoint.load_model(directory)
    if not isinstance(model, Extractor):
        raise UserError(f"{directory} holds a token classifier; its decoding is not measured here")
    model.to(device).eval()
    model.mixed_precision = recipe.mixed_precision or model.mixed_precision
    words, number, results = model.words, len(sentences), {}
    ways = {"one at a time": 1, "in batches": recipe.positions}
    times = np.empty((1 + recipe.rounds, len(ways), 3))  # milliseconds of the encoder, the rest, all
    for of_round in times:
        for of_way, (way, size) in zip(of_round, ways.items(), strict=True):
            model.words = encoder = Stopwatch(words)  # pyright: ignore[reportAttributeAccessIssue]
            everything = Stopwatch(extract)
            results[way] = everything(model, tokenizer, sentences, size)
            of_way[:] = encoder.total, everything.total - encoder.total, everything.total
    times = times[1:] / number  # the first warmed up
    rows = dict(zip(ways, np.median(times, axis=0), strict=True))
    # a round's two ways ran beside the same other work: the ratio is theirs, not that of the medians
    rows["ratio"] = np.median(times[:, 0] / times[:, 1], axis=0)
    print(f"{number} sentences, {device}, {torch.get_num_threads()} threads, ", end="")
    print(f"mixed precision: {model.mixed_precision}, medians of {recipe.rounds} rounds")
    print(f"{'ms a sentence':16}{'encoder':>10}{'rest':>10}{'all':>10}{'sentences/s':>14}")
    for name, medians in rows.items():
        rate = "" if name == "ratio" else f"{1000 / medians[-1]:14.1f}"
        print(f"{name:16}" + "".join(f"{median:10.2f}" for median in medians) + rate)
    differing = sum(a != b for a, b in zip(*results.values(), strict=True))
    if differing and model.mixed_precision == "no":
        raise UserError(f"{differing} of {number} sentences come out differently in batches")
    symmetric, tasks = model.labels.symmetric_relations, tasks_of(model.labels)
    f1 = [f1_of(count(sentences, said, symmetric), tasks)[OVERALL] for said in results.values()]
    print(f"{differing} sentences come out otherwise in batches; ", end="")
    print(f"mean F1 {f1[0]:.2f} one at a time, {f1[1]:.2f} batched")


if __name__ == "__main__":
    run(main)
