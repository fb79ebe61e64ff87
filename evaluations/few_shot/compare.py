"""Compare two runs over the same episodes by a paired bootstrap: the difference of micro F1, in all and per type."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.errors import UserError, run
from common.files import write_atomically
from common.flags import argument, flag, parse
from common.plots import svg
from evaluations.bootstrap import micro_prf, paired_difference
from evaluations.few_shot.records import Run, Selection, read_run
from runs.directory import disk_errors


@dataclass(frozen=True, kw_only=True)
class Recipe(Selection):
    run_a: str = argument("a setting, as outputs/few-nerd/intra/NAME/5-1; seeds joined by commas are summed", "RUN_A")
    run_b: str = argument("the same for the other side: the differences are B - A", "RUN_B")
    output: Path = flag(Path("comparison"), "writes OUTPUT.json and OUTPUT.svg")
    plot_format: str = flag("svg", "of the plot", choices=("svg", "png"))


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    names = (recipe.run_a, recipe.run_b)
    sides = [
        {folder: read_run(Path(folder), recipe.skip_episodes, recipe.episodes) for folder in name.split(",")}
        for name in names
    ]
    for name, side in zip(names, sides, strict=True):
        if len({one.method for one in side.values()}) > 1:
            raise UserError(f"{name}: runs of different methods cannot be summed")
        check(side)  # here the method's own flags count, even if the other side is of another method
    check(sides[0] | sides[1])
    first = [next(iter(side.values())) for side in sides]
    reads = [one.reads_label_names for one in first]
    a, b = (np.sum([one.counts(recipe.scoring) for one in side.values()], axis=0) for side in sides)
    types_a, types_b = (per_type(side.values(), recipe.scoring) for side in sides)
    result = {
        "a": recipe.run_a,
        "b": recipe.run_b,
        "methods": [one.method for one in first],
        "label_names": reads,
        "episodes": len(a),
        "scoring": recipe.scoring,
        "all": differences(a, b),
        "types": {kind: differences(types_a[kind], types_b[kind]) for kind in sorted(types_a.keys() & types_b.keys())},
    }
    output = recipe.output.with_suffix("") if recipe.output.suffix in (".json", ".svg", ".png") else recipe.output
    figure = plot(result)
    with disk_errors(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        if recipe.plot_format == "svg":
            write_atomically(Path(f"{output}.svg"), svg(figure))
        else:
            figure.savefig(f"{output}.png")
        write_atomically(Path(f"{output}.json"), json.dumps(result, indent=1))
    for side, name, one in zip("AB", names, first, strict=True):
        print(f"{side}: {name} ({one.method}, {'reads' if one.reads_label_names else 'does not read'} label names)")
    if reads[0] != reads[1]:
        print("Only one of them reads label names: the settings differ, and the difference is not the method's alone.")
    print(f"{len(a)} episodes, {recipe.scoring} scoring\n")
    print("| | F1 A | F1 B | B - A | 95% interval | p |\n|---|---:|---:|---:|---:|---:|")
    for kind, row in [("all", result["all"]), *result["types"].items()]:
        f1 = f"{row['f1_a']:.2f} | {row['f1_b']:.2f} | {row['difference']:+.2f}"
        print(f"| {kind} | {f1} | {row['low']:+.2f} to {row['high']:+.2f} | {row['p_value']:.4f} |")


SHARED = ("--type", "--way", "--shot", "--max_length")  # arguments that runs of any two methods must have in common


def conditions(made: dict[str, Any], one_method: bool) -> dict[str, Any]:
    """What runs must have in common, by name: all but the seed and, where they are of one method, the encoder; where of
    several, all but the flags and the source training that each method has of its own."""
    inputs, training = made["inputs"], made["inputs"]["training"]
    named = {f"--{name}": value for name, value in made["arguments"].items()}
    named |= {f"source training --{name}": value for name, value in training["arguments"].items()}
    if not one_method:
        named = {name: value for name, value in named.items() if name in SHARED}
        named["encoder"] = training["inputs"].get("encoder")
    named |= {f"data {name}": inputs.get(name) for name in ("episodes", "labels", "version")}
    named |= {f"source training data {name}": training["inputs"].get(name) for name in ("train", "labels", "version")}
    if "label_names" in inputs:
        named["label_names"] = inputs["label_names"]
    return {name: value for name, value in named.items() if not name.endswith("--seed")}


def check(runs: dict[str, Run], own_flags: bool = True) -> None:
    """Refuse (UserError) runs that differ in more than the seed and either the encoder or the method, naming the first
    difference in the arguments or data, of the episodes or of source training, or in the episodes. Without `own_flags`
    runs of one method may differ in its flags, too, and not in the encoder."""
    (first_folder, first), *others = runs.items()
    one_method = own_flags and len({one.method for one in runs.values()}) == 1
    mine = conditions(first.made, one_method)
    for folder, other in others:
        theirs = conditions(other.made, one_method)
        if name := next((name for name in mine if name in theirs and theirs[name] != mine[name]), None):
            advice = f"only runs that differ in the {'encoder' if one_method else 'method'} can be compared"
            raise UserError(f"{first_folder} and {folder} differ in {name} ({mine[name]}, {theirs[name]}); {advice}")
        if first.records.keys() != other.records.keys():
            raise UserError(
                f"{first_folder} and {folder} have different episodes ({len(first.records)}, {len(other.records)}); "
                "finish both, or choose with --skip_episodes and --episodes"
            )


def per_type(runs: Iterable[Run], scoring: str) -> dict[str, np.ndarray]:
    """Type to its counts (episodes, 3), summed over the runs."""
    sums: dict[str, np.ndarray] = {}
    for one in runs:
        for kind, counts in one.type_counts(scoring).items():
            sums[kind] = sums.get(kind, 0) + counts
    return sums


def differences(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """F1 of both and their paired difference; `a` and `b` are counts (episodes, 3)."""
    f1_a, f1_b = (float(micro_prf(counts.sum(0))[2]) for counts in (a, b))
    return {"f1_a": f1_a, "f1_b": f1_b, **paired_difference(a, b)}


def plot(result: dict[str, Any]) -> Figure:
    """The differences with their intervals, each type's by size and that of all at the top."""
    rows = [*sorted(result["types"].items(), key=lambda item: item[1]["difference"]), ("all", result["all"])]
    figure = Figure(figsize=(7, 0.3 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for height, (_, row) in enumerate(rows):
        axes.plot([row["low"], row["high"]], [height, height], color="gray")
        axes.plot(row["difference"], height, "o", color="black")
    axes.axvline(0, color="gray", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [kind.replace("$", r"\$") for kind, _ in rows])  # no formula
    axes.set_xlabel(f"micro F1, B - A, with 95% intervals over {result['episodes']} episodes")
    return figure


if __name__ == "__main__":
    run(main)
