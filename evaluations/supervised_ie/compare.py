"""Whether run B scores other than run A on the same documents: paired bootstrap of the F1 difference."""

from dataclasses import dataclass

import numpy as np

from common.errors import UserError, run
from common.flags import argument, flag, parse
from evaluations.bootstrap import micro_prf, paired_difference
from evaluations.supervised_ie import checkpoint


@dataclass(frozen=True, kw_only=True)
class Recipe:
    a: str = argument("name of the evaluated run to compare with; several (seeds) joined by commas are summed", "A")
    b: str = argument("the same for the runs in question: the differences are B - A", "B")
    split: str = flag("test", "which evaluation to compare")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    paths = [
        [checkpoint.run_directory(name) / f"scores-{recipe.split}.json" for name in names.split(",")]
        for names in (recipe.a, recipe.b)
    ]
    sides = [{path: checkpoint.read_json(path)["documents"] for path in of_side} for of_side in paths]
    (first, tasks), *others = [*sides[0].items(), *sides[1].items()]
    for path, documents in others:
        if gold(documents) != gold(tasks):
            raise UserError(f"{first} and {path} are not of the same tasks, documents and annotation")
    print(f"{'':24}{'F1 A':>8}{'F1 B':>8}{'B - A':>8}   {'95% interval':18}p")
    for task, documents in tasks.items():
        of_a, of_b = (  # (documents, 3) each
            np.sum([[of_run[task][doc] for doc in documents] for of_run in side.values()], axis=0) for side in sides
        )
        f1 = [micro_prf(counts.sum(axis=0))[2] for counts in (of_a, of_b)]
        d = paired_difference(of_a, of_b)
        interval = f"{d['low']:+.2f} to {d['high']:+.2f}"
        print(f"{task:24}{f1[0]:8.2f}{f1[1]:8.2f}{d['difference']:+8.2f}   {interval:18}{d['p_value']:.4f}")


def gold(documents: dict[str, dict[str, list[int]]]) -> dict[str, dict[str, int]]:
    """Task -> document -> how much of it is annotated."""
    return {task: {doc: counts[2] for doc, counts in of_task.items()} for task, of_task in documents.items()}


if __name__ == "__main__":
    run(main)
