"""Milliseconds a sentence of extraction, in batches and one sentence at a time, with the same trained model.

The encoder is told apart from the rest (word pieces, taggers, classifiers, graph), as on a CPU its arithmetic
bounds what batches can win. bf16 rounds a sentence differently in another batch, so a few may come out otherwise:
they are counted, and F1 of both ways against the input's annotation is shown.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

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
    """Calls a function and adds up the seconds it took, waiting for the GPU where there is one."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: Any) -> Any:
        started = now()
        result = self.function(*args)
        self.seconds += now() - started
        return result


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    sentences = read_sentences(recipe.input)
    directory = checkpoint.run_directory(recipe.name)
    epoch, _ = checkpoint.read_best(directory)[OVERALL]
    model, tokenizer = checkpoint.load_model(directory, epoch)
    if not isinstance(model, Extractor):
        raise UserError(f"{directory} holds a token classifier; its decoding is not measured here")
    model.to(device).eval()
    model.mixed_precision = recipe.mixed_precision or model.mixed_precision
    times: dict[int, list[tuple[float, ...]]] = {1: [], recipe.positions: []}  # (encoder, rest, all) of each round
    results = {}
    words = model.words
    for _ in range(1 + recipe.rounds):
        for size in times:
            model.words = watch = Stopwatch(words)  # pyright: ignore[reportAttributeAccessIssue]
            started = now()
            results[size] = extract(model, tokenizer, sentences, size)
            total = 1000 * (now() - started) / len(sentences)
            encoder = 1000 * watch.seconds / len(sentences)
            times[size].append((encoder, total - encoder, total))
    for rounds in times.values():
        del rounds[0]  # it warmed up
    print(
        f"{len(sentences)} sentences, {device}, {torch.get_num_threads()} threads, mixed precision: "
        f"{model.mixed_precision}, medians of {recipe.rounds} rounds"
    )
    print(f"{'ms a sentence':16}{'encoder':>10}{'rest':>10}{'all':>10}{'sentences/s':>14}")
    for size, rounds in times.items():
        parts = [statistics.median(part) for part in zip(*rounds, strict=True)]
        name = "one at a time" if size == 1 else "in batches"
        print(f"{name:16}" + "".join(f"{ms:10.2f}" for ms in parts) + f"{1000 / parts[-1]:14.1f}")
    # a round's two ways ran beside the same other work: the ratio is theirs, not that of the medians
    ratios = [[a / b for a, b in zip(one, many, strict=True)] for one, many in zip(*times.values(), strict=True)]
    print(f"{'ratio':16}" + "".join(f"{statistics.median(part):10.2f}" for part in zip(*ratios, strict=True)))
    differing = sum(a != b for a, b in zip(*results.values(), strict=True))
    if differing and model.mixed_precision == "no":
        raise UserError(f"{differing} of {len(sentences)} sentences come out differently in batches")
    f1 = [
        f1_of(count(sentences, said, model.labels.symmetric_relations), tasks_of(model.labels))[OVERALL]
        for said in results.values()
    ]
    print(
        f"{differing} sentences come out otherwise in batches; mean F1 {f1[0]:.2f} one at a time, {f1[1]:.2f} batched"
    )


if __name__ == "__main__":
    run(main)
