"""What a run leaves for people: a picture of its curves and a model card, both made from the files in its directory."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.errors import UserError
from common.files import ROOT, write_atomically
from common.plots import BLUE, STYLE, VERMILION, svg
from runs import read_metrics, read_record

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

HUB_NAMES = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}

Curve = list[tuple[int, float]]  # (step, value), steps ascending


def curves(lines: list[dict[str, Any]]) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """The curves in a run's metrics, of training and of validation, by name, those of `CURVES` first.

    A run that went on from a checkpoint may have written a step twice; the later line counts. Values that are no finite
    number are left out.
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


def curves_figure(training: dict[str, Curve], validation: dict[str, Curve], columns: int = 4) -> Figure:
    """Small multiples of every curve there is."""
    names = list(dict.fromkeys([*training, *validation]))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(2.8 * columns, 2 * rows), layout="constrained")
    for i, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, columns, i)
        draw_curve(axes, name, training.get(name, []), validation.get(name, []))
    if names:
        figure.supxlabel("step; blue line: training, orange points: validation", fontsize=8)
    else:
        figure.text(0.5, 0.5, "no metrics were recorded", ha="center")
    return figure


def write_curves(run_directory: Path) -> Path:
    """Draw RUN/metrics.jsonl as RUN/curves.svg. Any metrics will do, none included."""
    path = Path(run_directory) / "curves.svg"
    with rc_context(STYLE):
        figure = curves_figure(*curves(read_metrics(path.parent)))
    write_atomically(path, svg(figure))
    return path


def last_step(*parts: dict[str, Curve]) -> int | None:
    """The last step that any of the curves reaches."""
    return max((curve[-1][0] for part in parts for curve in part.values()), default=None)


def front_matter(name: str, arguments: dict, measures: dict[str, float]) -> str:
    """The card's metadata as the hub reads it (YAML)."""
    encoder = arguments.get("model", "")
    encoder = HUB_NAMES.get(encoder, encoder)
    data = arguments.get("data")
    results = [
        EvalResult(
            task_type="fill-mask" if measure.startswith("mlm") else "text2text-generation",
            dataset_type=Path(str(data)).stem or "text",
            dataset_name=f"validation part of {data}",
            metric_type=measure,
            metric_name=CURVES.get(measure, measure),
            metric_value=value,
        )
        for measure, value in measures.items()
    ]
    card = ModelCardData(
        model_name=name,
        library_name="transformers",
        tags=["sparse-latent-typing", "bert", "continued-pre-training"],
        base_model=encoder if encoder and not Path(encoder).exists() else None,  # a directory is none to the hub
        eval_results=results or None,
    )
    return card.to_yaml()


def cell(value: Any) -> str:
    """A value inside a Markdown table."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def write_model_card(run_directory: Path) -> Path:
    """Write RUN/README.md, the model card as the hub reads it, from RUN's run.json and metrics.jsonl.

    It holds what the model is, how to use it, its recipe, its data and the last validation. What the files do not
    tell is left out.
    """
    run_directory = Path(run_directory).absolute()
    try:
        record = read_record(run_directory)
    except UserError:
        record = {"arguments": {}, "inputs": {}}
    arguments = record["arguments"]
    training, validation = curves(read_metrics(run_directory))
    measures = {name: curve[-1][1] for name, curve in validation.items()}
    environment = Environment(
        loader=PackageLoader("training", ""), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = cell
    text = environment.get_template("model_card.md.jinja").render(
        front_matter=front_matter(run_directory.name, arguments, measures),
        name=run_directory.name,
        path=run_directory.relative_to(ROOT) if run_directory.is_relative_to(ROOT) else run_directory,
        record=record,
        arguments=arguments,
        # Plain MLM, the control, trains neither typer nor decoder.
        typed=bool(training.keys() & {"sparsity_loss", "kl_loss", "reconstruction_loss"}),
        step=last_step(training, validation),
        validation_step=last_step(validation),
        measures=[(CURVES.get(name, name), value) for name, value in measures.items()],
        curves=(run_directory / "curves.svg").is_file(),
    )
    path = run_directory / "README.md"
    write_atomically(path, text)
    return path
