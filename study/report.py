"""A study's directory -> the choice of its rates, its tables and its plot, as far as the runs have come."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.errors import UserError
from common.files import write_atomically
from common.plots import BLUE, GREY, VERMILION, svg
from evaluations.bootstrap import f1_interval, micro_prf
from evaluations.few_shot.compare import check, differences
from evaluations.few_shot.data import TYPES
from evaluations.few_shot.records import Run, read_run
from runs import read_metrics, read_record, read_summary
from study.design import CHOSEN_ON, Rates

COLORS = (GREY, BLUE, VERMILION, "#009E73", "#E69F00", "#56B4E9", "#CC79A7")  # of arms, of their differences
NOTE = """\
Intervals and p-values: paired bootstrap over episodes (10,000 resamples), with the counts of an arm's runs summed.
They condition on the pre-training runs, {} an arm: they do not tell how another would come out.
"""

Side = dict[
    tuple[str, str], Run
]  # the runs of an arm in one setting, by pre-training seed ("" for arm A) and few-shot seed


def write(study: Path) -> str:
    """Write STUDY/tables.md and STUDY/plot.svg; returns the tables.

    Raises:
        UserError: no few-shot setting is finished.
    """
    tables = report(study)
    write_atomically(study / "tables.md", tables)
    write_atomically(study / "plot.svg", svg(plot(read_settings([study / "few-nerd"]))))
    return tables


def report(study: Path) -> str:
    """All tables.

    Raises:
        UserError: no few-shot setting is finished.
    """
    folders = [study / "few-nerd", study / "variants"]
    settings = read_settings(folders)
    if not settings:
        raise UserError(f"{study / 'few-nerd'} holds no finished setting")
    seeds = max(len({seed for seed, _ in side}) for arms in settings.values() for side in arms.values())
    parts = {"F1": scores_table(settings), "Differences": differences_table(settings)}
    parts["Pre-training"] = training_table(study / "pretrain")
    for log in sorted((study / "logs").glob("perplexity-*")):
        text = log.name.removeprefix("perplexity-").replace("-", ", seed ").replace("_", " ")
        parts[f"Masked language modelling, {text}"] = "\n".join(printed_table(log))
    rows = (row for log in sorted((study / "logs").glob("states-*")) for row in printed_table(log))
    parts["States"] = "\n".join(dict.fromkeys(rows))  # the head and the encoder of all arms once
    for title, results in {"": folders, ", without source training": [study / "untrained"]}.items():
        chosen_on = read_settings(results, choosing=True)
        text = f"{scores_table(chosen_on)}\n\n{differences_table(chosen_on)}"
        parts[f"INTRA's first {CHOSEN_ON} episodes{title}"] = text
    text = "\n\n".join(f"## {title}\n\n{table}" for title, table in parts.items())
    return f"{NOTE.format('one' if seeds == 1 else seeds)}\n{text}\n"


def markdown(columns: dict[str, str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; `columns` are its heads, each with its alignment, `left` or `right`."""
    rule = "|".join("---:" if side == "right" else "---" for side in columns.values())
    return "\n".join([f"| {' | '.join(columns)} |", f"|{rule}|", *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def printed_table(log: Path) -> list[str]:
    """The table that a command printed, without its progress bars; the study's paths are cut."""
    rows = (line.strip() for line in log.read_text().replace(f"{log.parents[1]}/", "").splitlines())
    return [row for row in rows if row.startswith("|")]


def read_settings(results: list[Path], choosing: bool = False) -> dict[str, dict[str, Side]]:
    """Setting ("intra 5-1") -> arm -> its finished runs, which lie in TYPE/ARM-PRETRAINING_SEED-SEED/SETTING.

    Args:
        choosing: read INTRA's first episodes, which serve choosing, alone; else everything but them.
    """
    settings: dict[str, dict[str, Side]] = {}
    for kind in TYPES[:1] if choosing else TYPES:
        skipped = CHOSEN_ON if kind == "intra" and not choosing else 0
        for run in (path.parent for folder in results for path in sorted(folder.glob(f"{kind}/*/*/summary.json"))):
            if skipped and read_summary(run)["episodes"] <= skipped:
                continue  # of a variant that was only looked at
            arm, *pretraining, seed = run.parent.name.split("-")
            side = settings.setdefault(f"{kind} {run.name}", {}).setdefault(arm, {})
            side["".join(pretraining), seed] = read_run(run, skipped, CHOSEN_ON if choosing else None)
    return settings


def summed(runs: Iterable[Run]) -> np.ndarray:
    """(episodes, 3) counts summed over runs."""
    return np.sum([one.counts("full") for one in runs], axis=0)


def scores_table(settings: dict[str, dict[str, Side]]) -> str:
    """F1 of every arm in every setting."""
    rows = []
    for setting, arms in settings.items():
        for arm, side in arms.items():
            counts = summed(side.values())
            low, high = f1_interval(counts)
            each = ", ".join(f"{micro_prf(one.counts('full').sum(0))[2]:.2f}" for one in side.values())
            f1 = micro_prf(counts.sum(0))[2]
            rows.append((setting, len(counts), arm, f"{f1:.2f}", f"{low:.2f} to {high:.2f}", each))
    columns = {"setting": "left", "episodes": "right", "arm": "left", "F1": "right", "95% interval": "right"}
    return markdown({**columns, "F1 of each seed": "left"}, rows)


def paired(arms: dict[str, Side]) -> dict[str, dict[str, float]]:
    """ "B - A" -> the paired difference of micro F1, for every two arms, over the seeds that both have.

    Arm A, which has no pre-training seed, is paired with every one of the other arm's.
    """
    rows = {}
    for a, b in combinations(arms, 2):
        pairs = [
            (one, other)
            for (pretraining, seed), one in arms[a].items()
            for (others, other_seed), other in arms[b].items()
            if seed == other_seed and (pretraining == others or not pretraining or not others)
        ]
        if pairs:
            check(
                {f"{arm}-{number}": pair[side] for side, arm in enumerate((a, b)) for number, pair in enumerate(pairs)}
            )
            ones, others = zip(*pairs, strict=True)
            rows[f"{b} - {a}"] = {**differences(summed(ones), summed(others)), "seeds": len(pairs)}
    return rows


def differences_table(settings: dict[str, dict[str, Side]]) -> str:
    """The paired difference of every two arms in every setting."""
    columns = ("seeds", "difference of F1", "95% interval", "p")
    return markdown(
        {"setting": "left", "arms": "left", **dict.fromkeys(columns, "right")},
        (
            (setting, name, row["seeds"], f"{row['difference']:+.2f}",
             f"{row['low']:+.2f} to {row['high']:+.2f}", f"{row['p_value']:.4f}")
            for setting, arms in settings.items()
            for name, row in paired(arms).items()
        ),
    )  # fmt: skip


def validations(run: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, metrics on held-out sentences) of a run of pretrain.py, in order."""
    return [(line["step"], line["validation"]) for line in read_metrics(run) if "validation" in line]


def choose_rates(study: Path) -> str:
    """Write STUDY/rates, those of the lowest MLM loss (mean of the arms) at the end of the runs in STUDY/grid.

    Returns:
        the table of all of them, which is written to STUDY/grid.md.

    Raises:
        UserError: there is no run.
    """
    losses: dict[Rates, dict[str, float]] = {}  # of each arm at each of the rates
    for run in sorted(path.parent for path in (study / "grid").glob("*/run.json")):
        arguments = read_record(run)["arguments"]
        rates = Rates(*(arguments[name] for name in Rates._fields))
        losses.setdefault(rates, {})[run.name.split("-")[0]] = validations(run)[-1][1]["mlm_loss"]
    if not losses:
        raise UserError(f"{study / 'grid'} holds no run")
    arms = sorted({arm for row in losses.values() for arm in row})
    columns = ["learning rate", "encoder's learning rate", "warm-up", *(f"{arm}: MLM loss" for arm in arms)]
    table = markdown(
        dict.fromkeys(columns, "right"),
        ((*(f"{x:g}" for x in rates), *(f"{row[arm]:.3f}" for arm in arms)) for rates, row in sorted(losses.items())),
    )
    write_atomically(study / "grid.md", table + "\n")
    write_atomically(study / "rates", f"{min(losses, key=lambda rates: np.mean(list(losses[rates].values())))}\n")
    return table


def training_table(pretraining: Path) -> str:
    """The held-out metrics of the arms that were trained, about five times over their run."""
    names = ("mlm_loss", "mlm_accuracy", "reconstruction_loss", "bleu", "share_typed", "type_perplexity")
    rows = []
    for run in sorted(path.parent for path in pretraining.glob("*/run.json")):
        steps = validations(run)
        for step, metrics in steps[:: -max(1, len(steps) // 5)][::-1]:  # the last one is among them
            rows.append((run.name, step, *(f"{metrics[name]:.3f}" if name in metrics else "" for name in names)))
    return markdown({"arm": "left", **dict.fromkeys(("step", *names), "right")}, rows)


def plot(settings: dict[str, dict[str, Side]]) -> Figure:
    """F1 of every arm and the paired differences, with 95% intervals, a row a setting."""
    figure = Figure(figsize=(9, 1 + 1.1 * len(settings)), layout="constrained")
    scores, gains = figure.subplots(1, 2, sharey=True)
    counts = [{arm: summed(side.values()) for arm, side in arms.items()} for arms in settings.values()]
    f1 = [{arm: (micro_prf(c.sum(0))[2], *f1_interval(c)) for arm, c in row.items()} for row in counts]
    gaps = [
        {name: (row["difference"], row["low"], row["high"]) for name, row in paired(arms).items()}
        for arms in settings.values()
    ]
    draw(scores, f1, "micro F1")
    draw(gains, gaps, "paired difference of micro F1")
    scores.set_yticks(range(len(settings)), settings)
    scores.invert_yaxis()
    gains.axvline(0, color="black", linewidth=0.8, linestyle="--")
    return figure


def draw(axes: Axes, rows: list[dict[str, tuple[float, float, float]]], measure: str) -> None:
    """A row of intervals (value, low, high) for each setting, each name in its own colour and at its own height."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    for number, name in enumerate(names):
        heights = [height + 0.7 * ((number + 0.5) / len(names) - 0.5) for height, row in enumerate(rows) if name in row]
        values, low, high = zip(*(row[name] for row in rows if name in row), strict=True)
        color = COLORS[number % len(COLORS)]
        axes.hlines(heights, low, high, color=color, linewidth=1.5)
        axes.plot(values, heights, "o", color=color, markersize=5, label=name)
    axes.set_xlabel(measure)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
