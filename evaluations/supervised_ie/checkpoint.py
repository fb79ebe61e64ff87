"""The directory of a run; no file of it is a pickle.

run.json, summary.json         see `runs`
metrics.jsonl                  one line an epoch: losses, dev F1, seconds
labels.json                    label sets and valid patterns
encoder/                       the encoder's config.json and its tokenizer
epoch-<N>.safetensors          the whole model after the epochs that were the best of some task on dev
best.json                      {task: [epoch, dev F1]}
training_state.safetensors     what a killed run goes on from, until it is finished
README.md                      the model card
scores-<split>.json            what `evaluate` found, and predictions-<split>.oneie.jsonl of the `overall` epoch
"""

import json
from collections import defaultdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from transformers import AutoConfig, PreTrainedTokenizerBase

from common.errors import UserError, first_line
from common.files import write_atomically
from encoders import from_config, read_tokenizer
from evaluations.supervised_ie.labels import Labels
from evaluations.supervised_ie.model import Extractor
from evaluations.supervised_ie.scores import OVERALL
from evaluations.supervised_ie.token_classifier import TokenClassifier
from runs import BEGIN_ANEW, read_metrics, read_record
from runs.directory import present

OUTPUTS = Path(__file__).resolve().parent / "outputs"
STATE = "training_state.safetensors"
SETTINGS = "config.json"  # of runs before there was a run.json
METHODS = {"oneie": Extractor, "token_classifier": TokenClassifier}
Model = Extractor | TokenClassifier


def run_directory(name: str) -> Path:
    """Where the run of a name is kept: a folder of `outputs/`, or the path itself where the name is one."""
    return Path(name) if "/" in name else OUTPUTS / name


def save_epoch(directory: Path, epoch: int, model: Model) -> None:
    """Keep the model as it is after an epoch."""
    write_atomically(directory / f"epoch-{epoch}.safetensors", save(model.state_dict()))


def save_state(directory: Path, model: Model, optimizer: torch.optim.Optimizer, epoch: int, best: dict) -> None:
    """Keep all that training goes on from after an epoch, and publish the best epochs so far."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
    write_atomically(directory / STATE, save(tensors, {"epoch": str(epoch), "best": json.dumps(best)}))
    publish(directory, best)


def publish(directory: Path, best: dict) -> None:
    """Write the best epochs to be read; drop those that are no task's best any more."""
    write_atomically(directory / "best.json", json.dumps(best, indent=1) + "\n")
    wanted = {f"epoch-{epoch}.safetensors" for epoch, _ in best.values()}
    for path in directory.glob("epoch-*.safetensors"):
        if path.name not in wanted:
            path.unlink()


def load_state(directory: Path, model: Model, optimizer: torch.optim.Optimizer) -> tuple[int, dict]:
    """Go on from the saved state, if there is one: the last whole epoch and the best ones so far.

    Raises:
        UserError: the state is damaged, cannot be read just now, or is gone although there was one.
    """
    if not present(directory / STATE):
        if present(directory / "best.json") or len(read_metrics(directory, "epoch")) > 1:
            raise UserError(f"{directory} has no {STATE} any more, from which it could go on; {BEGIN_ANEW}")
        return 0, {}
    try:
        with safe_open(directory / STATE, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise UserError(f"{directory / STATE} cannot be read: {first_line(error)}; nothing was changed") from None
    except SafetensorError as error:
        raise UserError(f"{directory / STATE} is damaged: {error}; {BEGIN_ANEW}") from None
    weights, moments = {}, defaultdict(dict)
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            weights[rest] = tensor
        else:
            i, moment = rest.split(".")
            moments[int(i)][moment] = tensor
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    best = json.loads(metadata["best"])
    publish(directory, best)  # the run may have been killed before it had done so
    return int(metadata["epoch"]), best


def read_best(directory: Path) -> dict[str, tuple[int, float]]:
    """{task or `overall`: (best epoch, its dev F1)} of a run; a `UserError` if no training got that far."""
    if not (directory / "best.json").is_file():
        raise UserError(f"{directory} holds no trained model (no best.json)")
    return read_json(directory / "best.json")


def read_settings(directory: Path) -> dict:
    """The flags that a run was trained with; a `UserError` if they cannot be read."""
    old = directory / SETTINGS
    return read_json(old) if old.is_file() else read_record(directory)["arguments"]


def load_model(directory: Path, epoch: int | None = None) -> tuple[Model, PreTrainedTokenizerBase]:
    """A run's model as it was after an epoch, by default the best of all tasks together; a `UserError` if a file of the
    directory is missing or broken."""
    epoch, settings = epoch or read_best(directory)[OVERALL][0], read_settings(directory)
    try:
        labels = Labels.load(directory / "labels.json")
        encoder = from_config(AutoConfig.from_pretrained(directory / "encoder")).base_model
        model = METHODS[settings.get("method", "oneie")](encoder, labels, settings["mixed_precision"])
        model.load_state_dict(load_file(directory / f"epoch-{epoch}.safetensors"))
        return model, read_tokenizer(directory / "encoder")
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{directory} holds no whole model of epoch {epoch}: {error}") from None


def read_json(path: Path) -> dict:
    """A JSON file of a run; a `UserError` if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
