"""The directory of a run: settings, label sets, tokenizer and weights; no file of it is a pickle.

config.json                    the flags of `train`
labels.json                    label sets and valid patterns
encoder/                       the BERT's config.json and its tokenizer
epoch-<N>.safetensors          the whole model after the epochs that were the best of some task on dev
metrics.jsonl                  one line an epoch: losses, dev F1, seconds
best.json                      {task: [epoch, dev F1]}
training_state.safetensors     what a killed run goes on from
finished.json                  epochs, seconds, versions; replaces the state when the training is complete
scores-<split>.json            what `evaluate` found, and predictions-<split>.oneie.jsonl of the `overall` epoch
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerBase
from transformers.utils import logging

from common import cpu
from common.encoders import encoder_path, load_tokenizer
from common.errors import UserError
from common.files import write_atomically
from evaluations.supervised_ie.labels import Labels
from evaluations.supervised_ie.model import Extractor

OUTPUTS = Path(__file__).resolve().parent / "outputs"
STATE = "training_state.safetensors"


def run_directory(name: str) -> Path:
    """Where the run of a name is kept: a folder of `outputs/`, or the path itself where the name is one.

    Raises:
        UserError: a file is there.
    """
    directory = Path(name) if "/" in name else OUTPUTS / name
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file, and --name is of a directory")
    return directory


def load_encoder(name_or_path: str) -> tuple[BertModel, PreTrainedTokenizerBase]:
    """A plain BERT and its tokenizer.

    Raises:
        UserError: not found, not a BERT, no safetensors, or fewer than two layers.
    """
    tokenizer = load_tokenizer(name_or_path)
    logging.set_verbosity_error()  # it would list the pooler and heads that are left out
    try:
        encoder, report = BertModel.from_pretrained(
            encoder_path(name_or_path),
            add_pooling_layer=False,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            attn_implementation=cpu.IMPLEMENTATION,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"the encoder `{name_or_path}` has no readable weights in safetensors: {error}") from None
    if report["missing_keys"]:
        raise UserError(f"the weights of `{name_or_path}` lack {', '.join(sorted(report['missing_keys'])[:3])}, ...")
    if encoder.config.num_hidden_layers < 2:
        raise UserError(f"the encoder `{name_or_path}` has one layer; word vectors need the third state from the end")
    cpu.use_cpu_dropout(encoder)
    return encoder, tokenizer


def begin(
    directory: Path, settings: dict, labels: Labels, model: Extractor, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write what does not change during training; config.json, last, says that it is all there.

    Raises:
        UserError: the directory is of a run with other settings, or of one on other data.
    """
    for path in directory.glob(".*.tmp"):  # what a killed run was writing
        path.unlink()
    if (directory / "config.json").is_file():
        before = read_json(directory / "config.json")
        if before.get("sha256") != settings["sha256"] or Labels.load(directory / "labels.json") != labels:
            raise UserError(f"{directory} was begun with other content of {settings['data']}; choose another --name")
        differing = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if differing:
            names = ", ".join(f"--{name}" for name in differing)
            raise UserError(f"{directory} holds a run with another {names}; choose another --name")
        return
    directory.mkdir(parents=True, exist_ok=True)
    labels.save(directory / "labels.json")
    model.encoder.config.save_pretrained(directory / "encoder")
    tokenizer.save_pretrained(directory / "encoder")
    write_atomically(directory / "config.json", json.dumps(settings, indent=1) + "\n")


def save_epoch(directory: Path, epoch: int, model: Extractor) -> None:
    """Keep the model as it is after an epoch."""
    write_atomically(directory / f"epoch-{epoch}.safetensors", save(model.state_dict()))


def save_state(
    directory: Path, model: Extractor, optimizer: torch.optim.Optimizer, history: list[dict], best: dict
) -> None:
    """Keep all that training goes on from, and publish it."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
    metadata = {"history": json.dumps(history), "best": json.dumps(best)}
    write_atomically(directory / STATE, save(tensors, metadata))
    publish(directory, history, best)


def publish(directory: Path, history: list[dict], best: dict) -> None:
    """Write the history and the best epochs to be read; drop the epochs that are no task's best any more."""
    write_atomically(directory / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))
    write_atomically(directory / "best.json", json.dumps(best, indent=1) + "\n")
    wanted = {f"epoch-{epoch}.safetensors" for epoch, _ in best.values()}
    for path in directory.glob("epoch-*.safetensors"):
        if path.name not in wanted:
            path.unlink()


def load_state(directory: Path, model: Extractor, optimizer: torch.optim.Optimizer) -> tuple[list[dict], dict]:
    """Go on from the saved state, if there is one: the history and the best epochs so far.

    Raises:
        UserError: the state is broken.
    """
    if not (directory / STATE).is_file():
        return [], {}
    try:
        file = safe_open(directory / STATE, "pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{directory / STATE} cannot be read: {error}; delete it to begin again") from None
    with file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, moment = name.split(".")
            moments.setdefault(int(i), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    history, best = json.loads(metadata["history"]), json.loads(metadata["best"])
    publish(directory, history, best)  # the run may have been killed before it had done so
    return history, best


def read_best(directory: Path) -> dict[str, tuple[int, float]]:
    """{task or `overall`: (best epoch, its dev F1)} of a run.

    Raises:
        UserError: no training got that far.
    """
    if not (directory / "best.json").is_file():
        raise UserError(f"{directory} holds no trained model (no best.json)")
    return read_json(directory / "best.json")


def load_model(directory: Path, epoch: int) -> tuple[Extractor, Labels, PreTrainedTokenizerBase]:
    """A run's model as it was after an epoch.

    Raises:
        UserError: a file of the directory is missing or broken.
    """
    try:
        labels = Labels.load(directory / "labels.json")
        config = BertConfig.from_pretrained(directory / "encoder")
        model = Extractor.from_config(config, labels, read_json(directory / "config.json")["mixed_precision"])
        model.load_state_dict(load_file(directory / f"epoch-{epoch}.safetensors"))
        return model, labels, AutoTokenizer.from_pretrained(directory / "encoder")
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{directory} holds no whole model of epoch {epoch}: {error}") from None


def read_json(path: Path) -> dict:
    """A JSON file of a run.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
