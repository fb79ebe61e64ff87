"""Milliseconds a sentence of extraction, in batches and one sentence at a time, with the same trained model.

The encoder is told apart from the rest (word pieces, taggers, classifiers, graph), as on a CPU its arithmetic
bounds what batches can win. bf16 rounds a sentence differently in another batch, so a few may come out otherwise:
they are counted, and F1 of both ways against the input's annotation is shown.
"""

import argparse
import statistics
import time

import torch

from common.errors import UserError, run
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.data import read_sentences
from evaluations.supervised_ie.predict import POSITIONS, extract
from evaluations.supervised_ie.scores import OVERALL, count, f1_of, tasks_of


class Stopwatch:
    """Calls a function and adds up the seconds it took, waiting for the GPU where there is one."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args):
        started = now()
        result = self.function(*args)
        self.seconds += now() - started
        return result


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="of the trained run")
    add("--input", required=True, help="JSON lines with `tokens`")
    add("--positions", type=int, default=POSITIONS, help="word pieces and padding decoded together")
    add("--mixed_precision", choices=("no", "bf16"), help="of the encoder; by default as the run was trained")
    add("--rounds", type=int, default=3, help="times each way is measured, in turn")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to run")
    args = parser.parse_args(argv)
    sentences = read_sentences(args.input)
    directory = checkpoint.run_directory(args.name)
    epoch, _ = checkpoint.read_best(directory)[OVERALL]
    model, labels, tokenizer = checkpoint.load_model(directory, epoch)
    model.to(args.device).eval()
    model.mixed_precision = args.mixed_precision or model.mixed_precision
    times: dict[int, list[tuple[float, float]]] = {1: [], args.positions: []}  # (encoder, rest) of each round
    results = {}
    words = model.words
    for _ in range(args.rounds):
        for size in times:
            model.words = Stopwatch(words)
            started = now()
            results[size] = extract(model, tokenizer, labels, sentences, size)
            total = now() - started
            times[size].append((model.words.seconds, total - model.words.seconds))
    print(
        f"{len(sentences)} sentences, {args.device}, {torch.get_num_threads()} threads, mixed precision: "
        f"{model.mixed_precision}, median of {args.rounds} rounds"
    )
    print(f"{'ms a sentence':16}{'encoder':>10}{'rest':>10}{'all':>10}{'sentences/s':>14}")
    rows = []
    for size, rounds in times.items():
        parts = [1000 * statistics.median(part) / len(sentences) for part in zip(*rounds, strict=True)]
        rows.append([*parts, 1000 * statistics.median(map(sum, rounds)) / len(sentences)])
        print(
            f"{'one at a time' if size == 1 else 'in batches':16}"
            + "".join(f"{ms:10.2f}" for ms in rows[-1])
            + f"{1000 / rows[-1][2]:14.1f}"
        )
    print(f"{'ratio':16}" + "".join(f"{one / many:10.2f}" for one, many in zip(*rows, strict=True)))
    differing = sum(a != b for a, b in zip(*results.values(), strict=True))
    if differing and model.mixed_precision == "no":
        raise UserError(f"{differing} of {len(sentences)} sentences come out differently in batches")
    f1 = [
        f1_of(count(sentences, said, labels.symmetric_relations), tasks_of(labels))[OVERALL]
        for said in results.values()
    ]
    print(
        f"{differing} sentences come out otherwise in batches; mean F1 {f1[0]:.2f} one at a time, {f1[1]:.2f} batched"
    )


if __name__ == "__main__":
    run(main)
