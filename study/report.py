"""A study's directory -> whether its runs may count, the choice of its rates, its tables and its plot."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.errors import UserError
from common.files import write_atomically
from common.plots import svg
from evaluations.bootstrap import f1_interval, micro_prf
from evaluations.few_shot.compare import check
from evaluations.few_shot.data import TYPES
from evaluations.few_shot.records import Run, read_run
from runs import read_metrics, read_record, read_summary
from study.design import ARMS, CHOSEN_ON, GATE
from study.statistics import f1_of_seeds, hierarchical_difference, holm, sign_flip_p, t_interval

NOTE = """\
F1 of an arm: the counts of its runs summed, and a bootstrap over episodes, which says nothing about other runs.
Contrasts: a paired bootstrap over pre-training seeds, few-shot seeds and episodes (10,000 samples); p of the exact
sign-flip test over pre-training seeds, adjusted after Holm in a family; "same" where the 90% interval lies within 1,
that of the bootstrap and Student's over the seeds.
"""
MARGIN = 1.0  # points of F1 that do not matter
FAMILIES = (
    ("C - B", "C - U"),
    ("U - B",),
    ("B - A",),
    ("C - C_types", "C - C_reconstruction", "C - C_neither"),
    ("C_neither - B",),  # the check
)
# Of a table, its head and the form of a row, see `table`.
F1 = (
    "| setting | episodes | arm | F1 | 95% interval | F1 of each seed |\n|---|---:|---|---:|---:|---|",
    "| {} | {episodes} | {} | {value:.2f} | {low:.2f} to {high:.2f} | {each} |",
)
CONTRASTS = (
    "| setting | contrast | seeds | F1 | 95% interval | p | adjusted | |\n|---|---|---:|---:|---:|---:|---:|---|",
    "| {} | {} | {seeds} | {value:+.2f} | {low:+.2f} to {high:+.2f} | {p:.4f} | {adjusted:.4f} | {same} |",
)
TRAINING = ("mlm_loss", "mlm_accuracy", "reconstruction_accuracy", "bleu", "share_typed", "type_perplexity")

Arms = dict[str, dict[tuple[str, str], Run]]  # the runs of each arm, by pre-training seed ("" for A) and few-shot seed
Rows = dict[str, dict[str, Any]]  # what was measured of an arm, or of two: `value`, `low` and `high` of F1, and more


def write(study: Path) -> str:
    """Write STUDY/tables.md and STUDY/plot.svg; returns the tables.

    Raises:
        UserError: no few-shot setting is finished, or a seed's arms began differently.
    """
    check_starts(study / "pretrain")
    settings = read_settings(study / "few-nerd")
    if not settings:
        raise UserError(f"{study / 'few-nerd'} holds no finished setting")
    f1, differences = scores(settings), contrasts(settings)
    parts = {"Contrasts": table(CONTRASTS, differences), "F1": table(F1, f1)}
    if dose := read_settings(study / "dose"):
        parts["Dose"] = table(F1, scores(dose))
    parts |= {f"Extraction, {kind.name}": scores_table(kind) for kind in sorted((study / "extraction").glob("*"))}
    for stage in ("stage0", "pretrain"):
        parts[f"Training, {stage}"] = training_table(study / stage)
    text = NOTE + "".join(f"\n## {title}\n\n{part}\n" for title, part in parts.items())
    write_atomically(study / "tables.md", text)
    write_atomically(study / "plot.svg", svg(plot(f1, differences)))
    return text


def check_starts(pretraining: Path) -> None:
    """See that the runs of a seed, or of a rate to choose from, started from one stage 0, and that all have one corpus.

    Raises:
        UserError: naming two that did not.
    """
    first: dict[str, tuple[str, Path]] = {}  # by what must be one, its value and the run that has it
    for run in sorted(path.parent for path in pretraining.glob("*-*/run.json")):
        inputs = read_record(run)["inputs"]
        parts = {"corpus": inputs["corpus"], f"stage 0 of {run.name.partition('-')[2]}": inputs["start"]}
        for what, value in parts.items():
            before, other = first.setdefault(what, (value, run))
            if value != before:
                raise UserError(f"{other} and {run} did not have the same {what}")


def check_gate(study: Path, seeds: Iterable[int]) -> str:
    """See that the stage 0 of each seed carries the sentence (`design.GATE`); returns their curves.

    Raises:
        UserError: one does not.
    """
    curves = training_table(study / "stage0")
    for seed in seeds:
        _, last = validations(study / "stage0" / str(seed))[-1]
        for name, least in GATE.items():
            if last[name] < least:
                raise UserError(f"stage 0 of seed {seed} ended with {name} {last[name]:.3f} < {least}\n{curves}")
    return curves


def choose_rates(study: Path, rates: Iterable[float]) -> str:
    """Write STUDY/rates, the encoder's rate of each arm that has the highest F1 on the episodes that serve choosing,
    and STUDY/choosing.md, the table of all of them, which is returned.

    Raises:
        UserError: an arm has no run of one of the rates.
    """
    f1: dict[str, dict[float, float]] = {}  # of each arm at each rate
    for arm, runs in read_settings(study / "choosing", choosing=True).get("intra 5-1", {}).items():
        for (rate, _), one in runs.items():
            arguments = read_record(study / "pretrain" / f"{arm}-{rate}")["arguments"]
            f1.setdefault(arm, {})[arguments["encoder_learning_rate"]] = micro_prf(one.counts("full").sum(0))[2]
    for arm in ARMS:
        if missing := sorted(set(rates) - f1.get(arm, {}).keys()):
            raise UserError(f"{study / 'choosing'} holds no finished run of {arm} at the rate {missing[0]:g}")
    lines = [f"| {arm} | {rate:g} | {row[rate]:.2f} |" for arm, row in f1.items() for rate in sorted(row)]
    text = "\n".join(["| arm | encoder's learning rate | F1 |\n|---|---:|---:|", *lines])
    write_atomically(study / "choosing.md", text + "\n")
    write_atomically(study / "rates", "".join(f"{arm} {max(row, key=row.__getitem__):g}\n" for arm, row in f1.items()))
    return text


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


def scores_table(extraction: Path) -> str:
    """F1 of every task on a corpus' test part, or dev where it has none, by encoder."""
    files = sorted(extraction.glob("*/scores-*.json"))
    rows = {file.parent.name: json.loads(file.read_text())["scores"] for file in files}
    tasks = list(dict.fromkeys(task for row in rows.values() for task in row))
    lines = [f"| encoder | {' | '.join(tasks)} |", "|---" + "|---:" * len(tasks) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[task]['f1']:.2f}" for task in tasks) + " |")
    return "\n".join(lines)


def read_settings(results: Path, choosing: bool = False) -> dict[str, Arms]:
    """The finished runs of each setting ("intra 5-1"), which lie in TYPE/ARM-PRETRAINING_SEED-SEED/SETTING: `choosing`
    has INTRA's first episodes alone, which serve that; else all but them are read."""
    settings: dict[str, Arms] = {}
    for kind in TYPES[:1] if choosing else TYPES:
        skipped = CHOSEN_ON if kind == "intra" and not choosing else 0
        for run in (path.parent for path in sorted(results.glob(f"{kind}/*/*/summary.json"))):
            if skipped and read_summary(run)["episodes"] <= skipped:
                continue
            arm, *pretraining, seed = run.parent.name.split("-")
            runs = settings.setdefault(f"{kind} {run.name}", {}).setdefault(arm, {})
            runs["".join(pretraining), seed] = read_run(run, skipped, CHOSEN_ON if choosing else None)
    return settings


def scores(settings: dict[str, Arms]) -> dict[str, Rows]:
    """Micro F1 of every arm in every setting."""
    rows: dict[str, Rows] = {setting: {} for setting in settings}
    for setting, arms in settings.items():
        for arm, runs in arms.items():
            counts = np.array([one.counts("full") for one in runs.values()])  # (runs, E, 3)
            low, high = f1_interval(counts.sum(0))
            row = {"value": micro_prf(counts.sum((0, 1)))[2], "low": low, "high": high, "episodes": counts.shape[1]}
            rows[setting][arm] = row | {"each": ", ".join(f"{f1:.2f}" for f1 in micro_prf(counts.sum(1))[:, 2])}
    return rows


def contrast(arms: Arms, pair: str) -> dict[str, Any] | None:
    """The difference of micro F1 of two arms, "C - B", over the seeds that both have; None where runs are missing.

    Arm A, which has no pre-training seed, is paired with every one of the other arm's.
    """
    b, a = (arms.get(arm, {}) for arm in pair.split(" - "))
    a = {(seed, few_shot): run for seed, few_shot in b if (run := a.get((seed, few_shot)) or a.get(("", few_shot)))}
    seeds, few_shot_seeds = (sorted({key[i] for key in a}) for i in (0, 1))
    keys = [[(seed, few_shot) for few_shot in few_shot_seeds] for seed in seeds]  # (S, K)
    if not keys or len(a) < len(seeds) * len(few_shot_seeds):
        return None
    check({f"{name} {key}": side[key] for name, side in (("a", a), ("b", b)) for row in keys for key in row})
    before, after = (np.array([[side[key].counts("full") for key in row] for row in keys]) for side in (a, b))
    found = hierarchical_difference(before, after)  # of (S, K, E, 3)
    low, high = found.interval()
    of_seeds = (f1_of_seeds(after) - f1_of_seeds(before)).tolist()
    same = "same" if found.equivalent(MARGIN) and max(map(abs, t_interval(of_seeds))) < MARGIN else ""
    row = {"value": found.observed, "low": low, "high": high, "seeds": len(seeds)}
    return row | {"p": sign_flip_p(of_seeds), "same": same}


def contrasts(settings: dict[str, Arms]) -> dict[str, Rows]:
    """The contrasts of each setting, whose p is adjusted in `adjusted`: a family is of one method and both splits."""
    rows: dict[str, Rows] = {setting: {} for setting in settings}
    for method in dict.fromkeys(setting.partition(" ")[2] for setting in settings):
        for family in FAMILIES:
            found = {
                (setting, pair): row
                for setting, arms in settings.items()
                for pair in family
                if setting.partition(" ")[2] == method and (row := contrast(arms, pair))
            }
            adjusted = holm({key: row["p"] for key, row in found.items()})
            for (setting, pair), row in found.items():
                rows[setting][pair] = row | {"adjusted": adjusted[setting, pair]}
    return rows


def table(kind: tuple[str, str], settings: dict[str, Rows]) -> str:
    """A row for each arm, or each two, in every setting; `kind` is `F1` or `CONTRASTS`."""
    head, form = kind
    rows = [form.format(setting, name, **row) for setting, found in settings.items() for name, row in found.items()]
    return "\n".join([head, *rows])


def plot(f1: dict[str, Rows], differences: dict[str, Rows]) -> Figure:
    """F1 of the arms and the contrasts, with 95% intervals: a row a setting, a colour a name."""
    figure = Figure(figsize=(9, 1 + 1.1 * len(f1)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, settings, title in ((left, f1, "micro F1"), (right, differences, "difference of micro F1")):
        rows = list(settings.values())
        names = list(dict.fromkeys(name for row in rows for name in row))
        for number, name in enumerate(names):
            shift = 0.7 * ((number + 0.5) / len(names) - 0.5)
            found = {height + shift: row[name] for height, row in enumerate(rows) if name in row}
            values, low, high = ([row[key] for row in found.values()] for key in ("value", "low", "high"))
            axes.hlines(list(found), low, high, color=f"C{number}", linewidth=1.5)
            axes.plot(values, list(found), "o", color=f"C{number}", markersize=5, label=name)
        axes.set_xlabel(title)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(range(len(f1)), f1)
    left.invert_yaxis()
    right.axvline(0, color="black", linewidth=0.8, linestyle="--")
    return figure
