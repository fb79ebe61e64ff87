"""The model cards of a run and of the plain encoder made of it, from the files in the run's directory."""

import json
import shlex
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from common.errors import UserError
from common.files import ROOT
from common.hub import card_of, corpus_of, origin, push, write_card
from runs import read_metrics, read_record
from training.checkpoints import MANIFEST, disk_errors
from training.report import CURVES, Curve, curves

HERE = Path(__file__).parent


def record_of(directory: Path) -> dict[str, Any]:
    """What a checkpoint was made with; of one that is no run, nothing."""
    try:
        return read_record(directory)
    except UserError:
        return {"arguments": {}, "inputs": {}}


def last_step(*parts: dict[str, Curve]) -> int | None:
    """The last step that any of the curves reaches."""
    return max((curve[-1][0] for part in parts for curve in part.values()), default=None)


def is_typed(training: dict[str, Curve]) -> bool:
    """Whether typer and decoder were trained; plain MLM, the control, trains neither."""
    return bool(training.keys() & {"sparsity_loss", "kl_loss", "reconstruction_loss"})


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
    """Write RUN/README.md, the autoencoder's card, from RUN's run.json and metrics.jsonl.

    It holds what the model is, how to use it, its recipe, its data and the last validation. What the files do not
    tell is left out.

    Raises:
        UserError: the disk is full or read-only.
    """
    run_directory = Path(run_directory).absolute()
    record = record_of(run_directory)
    training, validation = curves(read_metrics(run_directory))
    measures = {name: curve[-1][1] for name, curve in validation.items()}
    path = str(run_directory.relative_to(ROOT) if run_directory.is_relative_to(ROOT) else run_directory)
    with disk_errors(run_directory):
        return write_card(
            run_directory,
            HERE / "autoencoder_card.md.jinja",
            metadata(run_directory.name, record["arguments"], measures),
            name=run_directory.name,
            path=path,
            conversion=conversion_of(path),
            record={"environment": {}} | record,
            arguments=record["arguments"],
            typed=is_typed(training),
            step=last_step(training, validation),
            validation_step=last_step(validation),
            measures=[(CURVES.get(name, name), value) for name, value in measures.items()],
            curves=(run_directory / "curves.svg").is_file(),
        )


def write_encoder_card(directory: Path, name: str, checkpoint: Path) -> Path:
    """Write DIRECTORY/README.md, the card of a checkpoint's plain encoder, with the run's last held-out MLM loss.

    Where the checkpoint has a card, its origin counts: paths may mean something else by now.
    """
    arguments = record_of(checkpoint)["arguments"]
    training, validation = curves(read_metrics(checkpoint))
    measures = {name: curve[-1][1] for name, curve in validation.items() if name.startswith("mlm")}
    about = metadata(name, arguments, measures)
    if (checkpoint / "README.md").is_file():
        names = ("base_model", "license", "language", "datasets")
        about = {key: value for key, value in about.items() if key not in names} | card_of(checkpoint, *names)
    return write_card(
        directory,
        HERE / "encoder_card.md.jinja",
        about,
        name=name,
        arguments=arguments,
        typed=is_typed(training),
        step=last_step(training, validation),
        measures=[(CURVES.get(name, name), value) for name, value in measures.items()],
    )


def push_run(run_directory: Path, repository: str | None) -> None:
    """Upload a finished run's model, card, curves and metrics where a repository is named; see `common.hub.push`."""
    model = json.loads((run_directory / MANIFEST).read_text())
    push(run_directory, repository, [*model, "README.md", "curves.svg", "metrics.jsonl"])
