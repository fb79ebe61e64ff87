"""Compare two runs over the same episodes by a paired bootstrap: the difference of micro F1, in all and per type."""

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

from common.bootstrap import micro_prf, paired_difference
from common.errors import UserError, run
from common.files import write_atomically
from container.records import Run, add_selection, read_run

matplotlib.use("Agg")
from matplotlib import pyplot


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m container.compare", description=__doc__)
    runs = "directory of a setting, as outputs/few-nerd/intra/NAME/5-1; several (seeds) joined by commas are summed"
    parser.add_argument("run_a", metavar="RUN_A", help=runs)
    parser.add_argument("run_b", metavar="RUN_B", help="the same for the other side: the differences are B - A")
    parser.add_argument("--output", type=Path, default="comparison", help="writes OUTPUT.json and OUTPUT.svg")
    parser.add_argument("--plot_format", choices=("svg", "png"), default="svg", help="of the plot")
    add_selection(parser)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    sides = [
        {folder: read_run(Path(folder), args.skip_episodes, args.episodes) for folder in folders.split(",")}
        for folders in (args.run_a, args.run_b)
    ]
    check(sides[0] | sides[1])
    a, b = (sum(side_run.counts(args.scoring) for side_run in side.values()) for side in sides)
    types_a, types_b = (per_type(list(side.values()), args.scoring) for side in sides)
    result = {
        "a": args.run_a,
        "b": args.run_b,
        "episodes": len(a),
        "scoring": args.scoring,
        "all": differences(a, b),
        "types": {kind: differences(types_a[kind], types_b[kind]) for kind in sorted(types_a.keys() & types_b.keys())},
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output.with_suffix(".json"), json.dumps(result, indent=1))
    plot(result, args.output.with_suffix(f".{args.plot_format}"))
    print(f"A: {args.run_a}\nB: {args.run_b}\n{len(a)} episodes, {args.scoring} scoring\n")
    print("| | F1 A | F1 B | B - A | 95% interval | p |\n|---|---:|---:|---:|---:|---:|")
    for kind, row in {"all": result["all"], **result["types"]}.items():
        f1 = f"{row['f1_a']:.2f} | {row['f1_b']:.2f} | {row['difference']:+.2f}"
        print(f"| {kind} | {f1} | {row['low']:+.2f} to {row['high']:+.2f} | {row['p_value']:.4f} |")


def check(runs: dict[str, Run]) -> None:
    """Refuse runs that differ in more than the encoder and the seed.

    Raises:
        UserError: naming the first difference in the data, the recipe (of the episodes or of source training)
            or the episodes.
    """
    (first_folder, first), *others = runs.items()
    for folder, other in others:
        for part, mine, theirs in (
            ("data", first.made["data"], other.made["data"]),
            ("recipe", first.made["recipe"], other.made["recipe"]),
            ("source training data", first.made["training"]["data"], other.made["training"]["data"]),
            ("source training recipe", first.made["training"]["recipe"], other.made["training"]["recipe"]),
        ):
            for key in mine.keys() - {"seed"}:
                if mine[key] != theirs.get(key):
                    raise UserError(
                        f"{first_folder} and {folder} differ in {part} {key} ({mine[key]}, {theirs.get(key)}); "
                        "only runs that differ in the encoder can be compared"
                    )
        if first.records.keys() != other.records.keys():
            raise UserError(
                f"{first_folder} and {folder} have different episodes ({len(first.records)}, {len(other.records)}); "
                "finish both, or choose with --skip_episodes and --episodes"
            )


def per_type(runs: list[Run], scoring: str) -> dict[str, np.ndarray]:
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


def plot(result: dict, path: Path) -> None:
    """The differences with their intervals, all types and each."""
    rows = {**dict(sorted(result["types"].items(), key=lambda item: item[1]["difference"])), "all": result["all"]}
    figure, axes = pyplot.subplots(figsize=(7, 0.3 * len(rows) + 1.2), layout="constrained")
    for height, row in enumerate(rows.values()):
        axes.plot([row["low"], row["high"]], [height, height], color="gray")
        axes.plot(row["difference"], height, "o", color="black")
    axes.axvline(0, color="gray", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(f"micro F1, B - A, with 95% intervals over {result['episodes']} episodes")
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    run(main)
