"""What study.sh makes of its runs: the learning rates, the tables and the plot.

rates: STUDY/rates, those of the lowest held-out MLM loss, and the grid in STUDY/grid.md;
report: STUDY/tables.md and STUDY/plot.svg, as far as the runs have come.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np

from common.bootstrap import f1_interval, micro_prf
from common.errors import UserError, run
from common.files import write_atomically
from container.compare import check, differences
from container.data import TYPES
from container.records import FINISHED, Run, read_run

matplotlib.use("Agg")
from matplotlib import pyplot

CHOSEN_ON = 100  # INTRA's first episodes serve choosing, the others reporting
COLORS = ["#999999", "#0072B2", "#D55E00"]  # Okabe and Ito (2008), for three arms and their differences
RATES = ("learning_rate", "encoder_lr_scale", "warmup_steps")

Side = dict[str, Run]  # the runs of one arm in one setting, by their seeds


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m container.study", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("step", choices=("rates", "report"))
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's directory")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    if args.step == "rates":
        losses = grid_losses(args.study / "grid")
        write_atomically(args.study / "grid.md", grid_table(losses))
        best = min(losses, key=lambda rates: np.mean(list(losses[rates].values())))
        write_atomically(args.study / "rates", ":".join(f"{value:g}" for value in best) + "\n")
        print(grid_table(losses))
    else:
        tables = report(args.study)
        write_atomically(args.study / "tables.md", tables)
        plot(read_settings([args.study / "few-nerd"]), args.study / "plot.svg")
        print(tables)


def report(study: Path) -> str:
    """All tables of a study, as far as its runs have come.

    Raises:
        UserError: no setting is finished.
    """
    folders = [study / "few-nerd", study / "variants"]
    settings = read_settings(folders)
    if not settings:
        raise UserError(f"{study / 'few-nerd'} holds no finished setting")
    parts = {"F1": scores_table(settings), "Differences": differences_table(settings)}
    parts["Pre-training"] = training_table(study / "pretrain")
    for path in sorted((study / "logs").glob("perplexity-*")):
        title = f"Masked language modelling, {path.name.removeprefix('perplexity-').replace('_', ' ')}"
        parts[title] = "\n".join(table_rows(path))
    states = dict.fromkeys(row for path in sorted((study / "logs").glob("states-*")) for row in table_rows(path))
    parts["States"] = "\n".join(states)  # the head and the encoder of all arms once
    for title, results in {"": folders, ", without source training": [study / "untrained"]}.items():
        chosen_on = read_settings(results, choosing=True)
        text = f"{scores_table(chosen_on)}\n\n{differences_table(chosen_on)}"
        parts[f"INTRA's first {CHOSEN_ON} episodes{title}"] = text
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts.items()) + "\n"


def table_rows(log: Path) -> list[str]:
    """The table that a command printed, without its progress bars; the study's paths are cut."""
    rows = [line.strip() for line in log.read_text().replace(f"{log.parents[1]}/", "").splitlines()]
    return [row for row in rows if row.startswith("|")]


def validations(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, figures on held-out sentences) of a run of pretrain.py, in order."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["validation"]) for line in lines if "validation" in line]


def grid_losses(grid: Path) -> dict[tuple[float, ...], dict[str, float]]:
    """Learning rates (see `RATES`) -> arm -> held-out MLM loss at the end of its run in `grid`.

    Raises:
        UserError: there is no run.
    """
    losses: dict[tuple[float, ...], dict[str, float]] = {}
    for record in sorted(grid.glob("*/run.json")):
        arguments = json.loads(record.read_text())["arguments"]
        rates = tuple(arguments[name] for name in RATES)
        arm = arguments["name"].split("-")[0]
        losses.setdefault(rates, {})[arm] = validations(record.parent)[-1][1]["mlm_loss"]
    if not losses:
        raise UserError(f"{grid} holds no run")
    return dict(sorted(losses.items()))


def grid_table(losses: dict[tuple[float, ...], dict[str, float]]) -> str:
    arms = sorted({arm for row in losses.values() for arm in row})
    lines = ["| learning rate | encoder's share | warm-up | " + " | ".join(f"{arm}: MLM loss" for arm in arms) + " |"]
    lines.append("|" + "---:|" * (len(arms) + 3))
    for rates, row in losses.items():
        numbers = [*(f"{value:g}" for value in rates), *(f"{row[arm]:.3f}" for arm in arms)]
        lines.append(f"| {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def read_settings(results: list[Path], choosing: bool = False) -> dict[str, dict[str, Side]]:
    """Setting ("intra 5-1") -> arm -> its finished runs; the results of arm A with seed 0 lie in TYPE/A-0/SETTING.

    Args:
        choosing: read INTRA's first episodes, which serve choosing, alone; else everything but them.
    """
    settings: dict[str, dict[str, Side]] = {}
    for kind in TYPES[:1] if choosing else TYPES:
        selection = {"episodes": CHOSEN_ON} if choosing else {"skip_episodes": CHOSEN_ON if kind == "intra" else 0}
        for summary in sorted(path for folder in results for path in folder.glob(f"{kind}/*/*/{FINISHED}")):
            folder = summary.parent
            if not choosing and kind == "intra" and json.loads(summary.read_text())["episodes"] <= CHOSEN_ON:
                continue  # of a variant that was only looked at
            arm, _, seed = folder.parent.name.rpartition("-")
            side = settings.setdefault(f"{kind} {folder.name}", {}).setdefault(arm, {})
            side[seed] = read_run(folder, **selection)
    return settings


def counts(side: Side) -> np.ndarray:
    """(episodes, 3) counts summed over the seeds."""
    return sum(one.counts("full") for one in side.values())


def scores_table(settings: dict[str, dict[str, Side]]) -> str:
    lines = ["| setting | episodes | arm | F1 | 95% interval | F1 of each seed |", "|---|---:|---|---:|---:|---|"]
    for setting, arms in settings.items():
        for arm, side in arms.items():
            summed = counts(side)
            low, high = f1_interval(summed)
            seeds = ", ".join(f"{micro_prf(one.counts('full').sum(0))[2]:.2f}" for one in side.values())
            f1 = micro_prf(summed.sum(0))[2]
            lines.append(f"| {setting} | {len(summed)} | {arm} | {f1:.2f} | {low:.2f} to {high:.2f} | {seeds} |")
    return "\n".join(lines)


def paired(arms: dict[str, Side]) -> dict[str, dict[str, float]]:
    """ "B - A" -> the paired difference of micro F1, for every two arms, over the seeds that both have."""
    rows = {}
    for a, b in combinations(arms, 2):
        if seeds := sorted(arms[a].keys() & arms[b].keys()):
            check({f"{arm}-{seed}": arms[arm][seed] for arm in (a, b) for seed in seeds})
            sides = ({seed: arms[arm][seed] for seed in seeds} for arm in (a, b))
            rows[f"{b} - {a}"] = {**differences(*map(counts, sides)), "seeds": len(seeds)}
    return rows


def differences_table(settings: dict[str, dict[str, Side]]) -> str:
    lines = ["| setting | arms | seeds | difference of F1 | 95% interval | p |", "|---|---|---:|---:|---:|---:|"]
    for setting, arms in settings.items():
        for name, row in paired(arms).items():
            difference, interval = f"{row['difference']:+.2f}", f"{row['low']:+.2f} to {row['high']:+.2f}"
            lines.append(f"| {setting} | {name} | {row['seeds']} | {difference} | {interval} | {row['p_value']:.4f} |")
    return "\n".join(lines)


def training_table(pretraining: Path) -> str:
    """The held-out figures of the arms that were trained, about five times over their run."""
    names = ("mlm_loss", "mlm_accuracy", "reconstruction_loss", "bleu", "share_typed", "type_perplexity")
    lines = ["| arm | step | " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) + 1)]
    for record in sorted(pretraining.glob("*/run.json")):
        rows = validations(record.parent)
        for step, figures in rows[:: -max(1, len(rows) // 5)][::-1]:  # the last one is among them
            numbers = (f"{figures[name]:.3f}" if name in figures else "" for name in names)
            lines.append(f"| {record.parent.name} | {step} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def plot(settings: dict[str, dict[str, Side]], path: Path) -> None:
    """F1 of every arm and the paired differences, with 95% intervals, a row a setting."""
    figure, (scores, gains) = pyplot.subplots(1, 2, figsize=(9, 1 + 1.1 * len(settings)), sharey=True,
                                              layout="constrained")  # fmt: skip
    f1 = [
        {arm: (micro_prf(counts(side).sum(0))[2], *f1_interval(counts(side))) for arm, side in arms.items()}
        for arms in settings.values()
    ]
    gaps = [
        {name: (row["difference"], row["low"], row["high"]) for name, row in paired(arms).items()}
        for arms in settings.values()
    ]
    draw(scores, f1, "micro F1")
    draw(gains, gaps, "paired difference of micro F1")
    scores.set_yticks(range(len(settings)), settings)
    scores.invert_yaxis()
    gains.axvline(0, color="black", linewidth=0.8, linestyle="--")
    with matplotlib.rc_context({"svg.hashsalt": "study"}):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw(axes: pyplot.Axes, rows: list[dict[str, tuple[float, float, float]]], measure: str) -> None:
    """A row of intervals (value, low, high) for each setting, each name in its own colour and at its own height."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    for number, name in enumerate(names):
        heights = [height + 0.7 * ((number + 0.5) / len(names) - 0.5) for height, row in enumerate(rows) if name in row]
        values, low, high = zip(*(row[name] for row in rows if name in row), strict=True)
        axes.hlines(heights, low, high, color=COLORS[number], linewidth=1.5)
        axes.plot(values, heights, "o", color=COLORS[number], markersize=5, label=name)
    axes.set_xlabel(measure)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    run(main)
