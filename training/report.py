"""The picture of a run's curves, made from its metrics."""

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.files import write_atomically
from common.plots import BLUE, STYLE, VERMILION, svg
from runs import read_metrics
from training.checkpoints import disk_errors

CURVES = {
    "loss": "total loss",
    "mlm_loss": "MLM loss",
    "reconstruction_loss": "reconstruction loss",
    "sparsity_loss": "sparsity loss",
    "kl_loss": "KL loss",
    "tau": "temperature",
    "share_typed": "share of tokens typed",
    "type_perplexity": "type perplexity",
    "mlm_accuracy": "MLM accuracy",
    "reconstruction_accuracy": "reconstruction accuracy",
    "bleu": "BLEU of reconstructions",
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
}
LARGEST = 1e300  # what is not below it (infinities, not-a-numbers) cannot be drawn
MOST_POINTS = 400  # of a curve; a longer one is drawn by the means of neighbouring steps

Curve = list[tuple[int, float]]  # (step, value), steps ascending


def curves(lines: list[dict[str, Any]]) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """The curves in a run's metrics, of training and of validation, by name, those of `CURVES` first.

    Of a step that was written twice the later line counts. Values that are no finite number are left out.
    """
    training: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    validation: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    for line in lines:
        for values, found in ((line, training), (line.get("validation"), validation)):
            for name, value in (values if isinstance(values, dict) else {}).items():
                if name != "step" and isinstance(value, int | float) and abs(value) < LARGEST:
                    found.setdefault(name, {})[line["step"]] = float(value)
    in_order = ({name: sorted(c.items()) for name, c in part.items() if c} for part in (training, validation))
    return next(in_order), next(in_order)


def thinned(curve: Curve) -> Curve:
    """At most `MOST_POINTS` points: the means of as many neighbours as that takes."""
    size = -(-len(curve) // MOST_POINTS)
    groups = [curve[i : i + size] for i in range(0, len(curve), size or 1)]
    return [(group[len(group) // 2][0], sum(value for _, value in group) / len(group)) for group in groups]


def draw_curve(axes: Axes, name: str, training: Curve, validation: Curve) -> None:
    """One measure over the steps: training as a line, validation as points on top."""
    axes.plot(*zip(*thinned(training), strict=True) if training else ([], []), color=BLUE, linewidth=1.3)
    axes.plot(*zip(*validation, strict=True) if validation else ([], []), "o", color=VERMILION, markersize=3)
    axes.set_title(CURVES.get(name, name), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.margins(x=0.02, y=0.08)
    axes.locator_params(nbins=5)
    last = max(1, *(step for step, _ in training[-1:] + validation[-1:]))
    axes.set_xlim(-0.02 * last, 1.02 * last)
    axes.ticklabel_format(axis="x", style="plain")
    axes.ticklabel_format(axis="y", style="scientific", scilimits=(-3, 6))


def curves_figure(training: dict[str, Curve], validation: dict[str, Curve]) -> Figure:
    """Small multiples of every curve there is, four a row."""
    names = list(training | validation)
    rows = max(1, -(-len(names) // 4))
    figure = Figure(figsize=(11.2, 2 * rows), layout="constrained")
    for i, name in enumerate(names, 1):
        draw_curve(figure.add_subplot(rows, 4, i), name, training.get(name, []), validation.get(name, []))
    if names:
        figure.supxlabel("step; blue line: training, orange points: validation", fontsize=8)
    else:
        figure.text(0.5, 0.5, "no metrics were recorded", ha="center")
    return figure


def write_curves(run_directory: Path) -> Path:
    """Draw RUN/metrics.jsonl as RUN/curves.svg; any metrics will do, none included.

    Raises:
        UserError: the disk is full or read-only.
    """
    path = run_directory / "curves.svg"
    with disk_errors(run_directory), rc_context(STYLE):
        write_atomically(path, svg(curves_figure(*curves(read_metrics(run_directory)))))
    return path
