"""A study's directory -> the choice of its rates, its tables and its plot, as far as the runs have come."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.errors import UserError
from common.files import write_atomically
from common.plots import BLUE, GREY, VERMILION, svg
from evaluations.bootstrap import f1_interval, micro_prf
from evaluations.few_shot.compare import check, differences
from evaluations.few_shot.data import TYPES
from evaluations.few_shot.records import Run, read_run
from runs import read_metrics, read_record, read_summary
from study.design import CHOSEN_ON, RATES

NOTE = """\
Intervals and p-values: paired bootstrap over episodes (10,000 resamples), with the counts of an arm's runs summed.
They condition on the pre-training runs, {} an arm: they do not tell how another would come out.
"""
COLORS = (GREY, BLUE, VERMILION)
TRAINING = ("mlm_loss", "mlm_accuracy", "reconstruction_loss", "bleu", "share_typed", "type_perplexity")

Arms = dict[str, dict[tuple[str, str], Run]]  # the runs of each arm, by pre-training seed ("" for A) and few-shot seed
Rows = dict[str, dict[str, Any]]  # what was measured of an arm, or of two: `value`, `low` and `high` of F1, and more


def write(study: Path) -> str:
    """Write STUDY/tables.md and STUDY/plot.svg; returns the tables.

    Raises:
        UserError: no few-shot setting is finished.
    """
    folders = [study / "few-nerd", study / "variants"]
    settings = read_settings(folders)
    if not settings:
        raise UserError(f"{folders[0]} holds no finished setting")
    f1, gain = f1_tables(settings)
    parts = {"F1": f1, "Differences": gain, "Pre-training": training_table(study / "pretrain")}
    for log in sorted((study / "logs").glob("perplexity-*")):
        text = log.name.removeprefix("perplexity-").replace("-", ", seed ").replace("_", " ")
        parts[f"Masked language modelling, {text}"] = "\n".join(printed_table(log))
    rows = (row for log in sorted((study / "logs").glob("states-*")) for row in printed_table(log))
    parts["States"] = "\n".join(dict.fromkeys(rows))  # the head and the encoder of all arms once
    for title, results in {"": folders, ", without source training": [study / "untrained"]}.items():
        parts[f"INTRA's first {CHOSEN_ON} episodes{title}"] = "\n\n".join(f1_tables(read_settings(results, True)))
    seeds = max(len({seed for seed, _ in runs}) for arms in settings.values() for runs in arms.values())
    text = NOTE.format("one" if seeds == 1 else seeds)
    text += "".join(f"\n## {title}\n\n{table}\n" for title, table in parts.items())
    write_atomically(study / "tables.md", text)
    write_atomically(study / "plot.svg", svg(plot(read_settings(folders[:1]))))
    return text


def choose_rates(study: Path) -> str:
    """Write STUDY/rates, those of the lowest MLM loss (mean of the arms) at the end of the runs in STUDY/grid.

    Returns:
        the table of all of them, which is written to STUDY/grid.md.

    Raises:
        UserError: there is no run.
    """
    losses: dict[tuple[float, ...], dict[str, float]] = {}  # of each arm at each of the rates
    for record in (study / "grid").glob("*/run.json"):
        run = record.parent
        arguments = read_record(run)["arguments"]
        row = losses.setdefault(tuple(arguments[name] for name in RATES), {})
        row[run.name.split("-")[0]] = validations(run)[-1][1]["mlm_loss"]
    if not losses:
        raise UserError(f"{study / 'grid'} holds no run")
    best = min(losses, key=lambda rates: sum(losses[rates].values()))
    write_atomically(study / "rates", ":".join(f"{rate:g}" for rate in best) + "\n")
    table = (
        "| learning rate | encoder's learning rate | warm-up | B: MLM loss | C: MLM loss |\n|---:|---:|---:|---:|---:|"
    )
    for rates, row in sorted(losses.items()):
        table += f"\n| {' | '.join(f'{rate:g}' for rate in rates)} | {row['B']:.3f} | {row['C']:.3f} |"
    write_atomically(study / "grid.md", table + "\n")
    return table


def validations(run: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, metrics on held-out sentences) of a run of pretrain.py, in order."""
    return [(line["step"], line["validation"]) for line in read_metrics(run) if "validation" in line]


def training_table(pretraining: Path) -> str:
    """The held-out metrics of the arms that were trained, about five times over their run."""
    lines = [f"| arm | step | {' | '.join(TRAINING)} |", "|---" + "|---:" * (1 + len(TRAINING)) + "|"]
    for run in sorted(path.parent for path in pretraining.glob("*/run.json")):
        steps = validations(run)
        for step, metrics in steps[:: -max(1, len(steps) // 5)][::-1]:  # the last one is among them
            row = (f"{metrics[name]:.3f}" if name in metrics else "" for name in TRAINING)
            lines.append(f"| {run.name} | {step} | {' | '.join(row)} |")
    return "\n".join(lines)


def printed_table(log: Path) -> list[str]:
    """The table that a command printed, without its progress bars; the study's paths are cut."""
    rows = (line.strip() for line in log.read_text().replace(f"{log.parents[1]}/", "").splitlines())
    return [row for row in rows if row.startswith("|")]


def read_settings(results: list[Path], choosing: bool = False) -> dict[str, Arms]:
    """The finished runs of each setting ("intra 5-1"), which lie in TYPE/ARM-PRETRAINING_SEED-SEED/SETTING.

    Args:
        choosing: read INTRA's first episodes, which serve choosing, alone; else everything but them.
    """
    settings: dict[str, Arms] = {}
    for kind in TYPES[:1] if choosing else TYPES:
        skipped = CHOSEN_ON if kind == "intra" and not choosing else 0
        for run in (path.parent for folder in results for path in sorted(folder.glob(f"{kind}/*/*/summary.json"))):
            if skipped and read_summary(run)["episodes"] <= skipped:
                continue  # of a variant that was only looked at
            arm, *pretraining, seed = run.parent.name.split("-")
            runs = settings.setdefault(f"{kind} {run.name}", {}).setdefault(arm, {})
            runs["".join(pretraining), seed] = read_run(run, skipped, CHOSEN_ON if choosing else None)
    return settings


def summed(runs: Iterable[Run]) -> np.ndarray:
    """(episodes, 3) counts summed over runs."""
    return np.sum([one.counts("full") for one in runs], axis=0)


def scores(arms: Arms) -> Rows:
    """Micro F1 of every arm in a setting."""
    rows = {}
    for arm, runs in arms.items():
        counts = [summed(runs.values()), *(one.counts("full") for one in runs.values())]
        f1, *each = (micro_prf(table.sum(0))[2] for table in counts)
        low, high = f1_interval(counts[0])
        rows[arm] = {"value": f1, "low": low, "high": high, "episodes": len(counts[0])}
        rows[arm]["each"] = ", ".join(f"{value:.2f}" for value in each)
    return rows


def gains(arms: Arms) -> Rows:
    """ "B - A" -> the paired difference of micro F1, for every two arms in a setting, over the seeds that both have.

    Arm A, which has no pre-training seed, is paired with every one of the other arm's.
    """
    rows = {}
    for a, b in combinations(arms, 2):
        pairs = [
            (one, other)
            for (pretraining, seed), other in arms[b].items()
            if (one := arms[a].get((pretraining, seed)) or arms[a].get(("", seed)))
        ]
        if pairs:
            sides = dict(zip((a, b), zip(*pairs, strict=True), strict=True))
            check({f"{arm}-{number}": one for arm, runs in sides.items() for number, one in enumerate(runs)})
            found = differences(*map(summed, sides.values()))
            rows[f"{b} - {a}"] = found | {"value": found["difference"], "seeds": len(pairs)}
    return rows


def f1_tables(settings: dict[str, Arms]) -> tuple[str, str]:
    """F1 of every arm in every setting; the difference of every two."""
    f1 = ["| setting | episodes | arm | F1 | 95% interval | F1 of each seed |\n|---|---:|---|---:|---:|---|"]
    gain = ["| setting | arms | seeds | difference of F1 | 95% interval | p |\n|---|---|---:|---:|---:|---:|"]
    for setting, arms in settings.items():
        for arm, row in scores(arms).items():
            form = "| {} | {episodes} | {} | {value:.2f} | {low:.2f} to {high:.2f} | {each} |"
            f1.append(form.format(setting, arm, **row))
        for pair, row in gains(arms).items():
            form = "| {} | {} | {seeds} | {value:+.2f} | {low:+.2f} to {high:+.2f} | {p_value:.4f} |"
            gain.append(form.format(setting, pair, **row))
    return "\n".join(f1), "\n".join(gain)


def plot(settings: dict[str, Arms]) -> Figure:
    """F1 of A, B and C and their paired differences, with 95% intervals: a row a setting, a colour a name."""
    figure = Figure(figsize=(9, 1 + 1.1 * len(settings)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure, title in ((left, scores, "micro F1"), (right, gains, "paired difference of micro F1")):
        rows = [measure(arms) for arms in settings.values()]
        names = list(dict.fromkeys(name for row in rows for name in row))
        for number, name in enumerate(names):
            shift = 0.7 * ((number + 0.5) / len(names) - 0.5)
            found = {height + shift: row[name] for height, row in enumerate(rows) if name in row}
            values, low, high = ([row[key] for row in found.values()] for key in ("value", "low", "high"))
            axes.hlines(list(found), low, high, color=COLORS[number % len(COLORS)], linewidth=1.5)
            axes.plot(values, list(found), "o", color=COLORS[number % len(COLORS)], markersize=5, label=name)
        axes.set_xlabel(title)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(range(len(settings)), settings)
    left.invert_yaxis()
    right.axvline(0, color="black", linewidth=0.8, linestyle="--")
    return figure
