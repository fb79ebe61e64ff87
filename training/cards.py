"""The model cards of a run and of the plain encoder made of it, from the files in the run's directory."""

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from common.errors import UserError
from common.files import ROOT
from common.hub import card_of, corpus_of, origin, push, write_card
from runs import read_metrics, read_record
from training.checkpoints import MANIFEST, disk_errors
from training.report import CURVES, curves

HERE = Path(__file__).parent


def card_fields(checkpoint: Path, measured: str = "") -> dict[str, Any]:
    """What both templates read: record (run.json) and its arguments; typed, whether typer and decoder were trained
    (plain MLM, the control, trains neither); step and validation_step, the last ones; measures, of the last validation.

    Args:
        measured: how the names of the measures begin.
    """
    record: dict[str, Any] = {"environment": {}, "arguments": {}}
    with suppress(UserError):  # it is no run, or not a whole one
        record |= read_record(checkpoint)
    training, validation = curves(read_metrics(checkpoint))
    steps, validation_steps = ([curve[-1][0] for curve in part.values()] for part in (training, validation))
    return {
        "record": record,
        "arguments": record["arguments"],
        "typed": bool(training.keys() & {"sparsity_loss", "kl_loss", "reconstruction_loss"}),
        "step": max(steps + validation_steps, default=None),
        "validation_step": max(validation_steps, default=None),
        "measures": {name: curve[-1][1] for name, curve in validation.items() if name.startswith(measured)},
    }


def metadata(name: str, arguments: dict[str, Any], measures: dict[str, float]) -> dict[str, Any]:
    """The card's metadata; `measures` are the last validation's."""
    corpus, hub_datasets = corpus_of(str(arguments.get("data", "")))
    results = [
        EvalResult(
            task_type="fill-mask" if measure.startswith("mlm") else "text2text-generation",
            dataset_type=corpus or "text",
            dataset_name=f"validation part of {corpus}",
            metric_type=measure,
            metric_name=CURVES.get(measure, measure),
            metric_value=value,
        )
        for measure, value in measures.items()
    ]
    return {
        "model_name": name,
        "library_name": "transformers",
        "tags": ["sparse-latent-typing", "continued-pre-training"],
        "datasets": hub_datasets,
        "eval_results": results or None,
        **origin(str(arguments.get("model", ""))),
    }


def conversion_of(run_directory: Path | str) -> str:
    """The command that makes a plain encoder of a run."""
    return f"python convert_checkpoint.py --checkpoint {shlex.quote(str(run_directory))}"


def write_model_card(run_directory: Path) -> Path:
    """Write RUN/README.md, the autoencoder's card: what it is, how to use it, its recipe, its data and the last
    validation, as far as RUN's run.json and metrics.jsonl tell.

    Raises:
        UserError: the disk is full or read-only.
    """
    run_directory = run_directory.absolute()
    fields = card_fields(run_directory)
    path = str(run_directory.relative_to(ROOT) if run_directory.is_relative_to(ROOT) else run_directory)
    fields |= {"name": run_directory.name, "path": path, "conversion": conversion_of(path), "titles": CURVES}
    with disk_errors(run_directory):
        fields["curves"] = (run_directory / "curves.svg").is_file()
        about = metadata(run_directory.name, fields["arguments"], fields["measures"])
        return write_card(run_directory, HERE / "autoencoder_card.md.jinja", about, **fields)


def write_encoder_card(directory: Path, name: str, checkpoint: Path) -> None:
    """Write DIRECTORY/README.md, the card of a checkpoint's plain encoder, with the run's last held-out MLM loss.

    Where the checkpoint has a card, its origin counts: paths may mean something else by now.
    """
    fields = card_fields(checkpoint, "mlm")
    about = metadata(name, fields["arguments"], fields["measures"])
    if (checkpoint / "README.md").is_file():
        names = ("base_model", "license", "language", "datasets")
        about = {key: value for key, value in about.items() if key not in names} | card_of(checkpoint, *names)
    write_card(directory, HERE / "encoder_card.md.jinja", about, name=name, titles=CURVES, **fields)


def push_run(run_directory: Path, repository: str | None) -> None:
    """Upload a finished run's model, card, curves and metrics where a repository is named; see `common.hub.push`."""
    model = json.loads((run_directory / MANIFEST).read_text())
    push(run_directory, repository, [*model, "README.md", "curves.svg", "metrics.jsonl"])
