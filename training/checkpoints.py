"""Checkpoints of a run: whole or absent, checked before use, and holding no pickle.

`step-N/` is a model directory (config, safetensors, tokenizer) plus `optimizer.safetensors`, `training_state.json`
and `manifest.json` with every file's size and sha256. Random numbers need no place in it: the data order, the
masking, the Gumbel noise and the dropout of a step are functions of the seed and the step.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

import runs.directory
from common.errors import UserError
from common.files import sha256_of, sync_directory, sync_files, write_atomically
from common.tensors import read_safetensors
from encoders import quiet
from model import SparseLTForPreTraining
from runs import BEGIN_ANEW, RunDirectory, read_metrics, read_record
from runs.directory import present
from training.recipe import Recipe

MANIFEST = "manifest.json"
LONGER = "the schedule is part of a run, so that it cannot be made longer: start another, with --model {}"


def what_is_safe(run_directory: Path) -> str:
    """Half a sentence with the newest checkpoint."""
    saved = saved_steps(run_directory)
    return f"the checkpoint step-{saved[-1][0]} is untouched" if saved else "nothing was saved before"


def disk_errors(run_directory: Path) -> AbstractContextManager[None]:
    """Turn a full or read-only disk into one sentence that says what is safe."""
    return runs.directory.disk_errors(run_directory, what_is_safe(run_directory))


@contextmanager
def model_beside(
    run_directory: Path, name: str, model: SparseLTForPreTraining, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Path]:
    """RUN/.NAME.tmp with model and tokenizer, for the block to move; gone behind it. A full disk is a `UserError`."""
    beside = run_directory / f".{name}.tmp"
    with disk_errors(run_directory):
        try:
            beside.mkdir()  # fails where the run's directory is gone, which transformers would make anew
            with quiet():
                model.save_pretrained(beside)
            try:
                tokenizer.save_pretrained(beside)
            except Exception as error:  # the class that the tokenizers library raises for a full disk
                raise OSError(error) from None
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def save_step(
    run_directory: Path,
    step: int,
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep_last: int,
) -> None:
    """Write `step-N/` beside, sync it, rename it, and only then prune to the newest `keep_last`.

    `state` is what JSON can hold; floats survive exactly. A full or read-only disk is a `UserError`.
    """
    with model_beside(run_directory, f"step-{step}", model, tokenizer) as beside:
        names, moments = parameter_names(model, optimizer), optimizer.state_dict()["state"]
        tensors = {f"{names[i]}/{key}": t.contiguous() for i, part in moments.items() for key, t in part.items()}
        save_file(tensors, beside / "optimizer.safetensors")
        (beside / "training_state.json").write_text(json.dumps({"step": step, **state}, indent=1))
        write_manifest(beside)
        os.replace(beside, run_directory / f"step-{step}")
        sync_directory(run_directory)
        for _, old in saved_steps(run_directory)[:-keep_last]:
            shutil.rmtree(old)


def save_final(run_directory: Path, model: SparseLTForPreTraining, tokenizer: PreTrainedTokenizerBase) -> None:
    """The finished model into the run's own directory, each file whole or absent; the manifest is the last."""
    with model_beside(run_directory, "final", model, tokenizer) as beside:
        write_manifest(beside)
        for file in sorted(beside.iterdir(), key=lambda file: file.name == MANIFEST):
            os.replace(file, run_directory / file.name)
        sync_directory(run_directory)


def write_manifest(directory: Path) -> None:
    """Sync what lies in the directory and list it with sizes and hashes."""
    sync_files(directory)
    files = {file.name: {"size": file.stat().st_size, "sha256": sha256_of(file)} for file in directory.iterdir()}
    write_atomically(directory / MANIFEST, json.dumps(files, indent=1))


def damage(directory: Path) -> str | None:
    """What is wrong with a checkpoint by its manifest, in a few words; None for an intact one. What cannot be read just
    now is a `UserError`."""
    file = directory / MANIFEST
    try:
        files = json.loads(file.read_bytes())
        for name, expected in files.items():
            file = directory / name
            if file.stat().st_size != expected["size"] or sha256_of(file) != expected["sha256"]:
                return f"{name} is truncated or changed"
        return None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return f"{file.name} is missing"
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; nothing was changed") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"


def saved_steps(run_directory: Path, name: str = r"step-(\d+)") -> list[tuple[int, Path]]:
    """The checkpoints of a run as (step, directory), sorted, intact or not. What cannot be read just now is a
    `UserError`."""
    try:
        entries = list(run_directory.iterdir()) if present(run_directory) else []
    except OSError as error:
        raise UserError(f"{run_directory} cannot be read: {error.strerror}; nothing was changed") from None
    return sorted((int(match[1]), path) for path in entries if (match := re.fullmatch(name, path.name)))


def had_steps(run_directory: Path) -> int:
    """How far a run without an intact checkpoint had come when it had one; 0 if it never had.

    Metrics of later steps than the first that is saved are written only when it is.
    """
    passed_over = [step for step, _ in saved_steps(run_directory, r"(?:damaged-)?step-(\d+)")]
    first_save = read_record(run_directory)["arguments"].get("save_steps", 0)
    written = [line["step"] for line in read_metrics(run_directory) if line["step"] > first_save]
    return max([0, *passed_over, *written])


def newest_run(output_dir: Path) -> Path:
    """The run under a directory whose final model was written last; a `UserError` where there is none."""
    finished = list(output_dir.glob(f"*/{MANIFEST}"))
    if not finished:
        raise UserError(f"{output_dir} holds no finished run of pretrain.py; name a checkpoint by --checkpoint")
    return max(finished, key=lambda manifest: manifest.stat().st_mtime_ns).parent


def newest_intact(run_directory: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose files are what its manifest says.

    Newer, damaged ones are named in a warning and renamed, lest they count among the newest that are kept.
    """
    for _, directory in reversed(saved_steps(run_directory)):
        if not (problem := damage(directory)):
            return directory
        aside = directory.with_name(f"damaged-{directory.name}")
        with disk_errors(run_directory):
            if aside.exists():
                shutil.rmtree(aside)
            directory.rename(aside)
        warn(f"warning: {directory} is passed over and renamed to {aside.name}: {problem}")
    return None


def parameter_names(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of an optimiser's parameters, in the order in which its state_dict numbers them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def load_step(
    directory: Path, model: SparseLTForPreTraining, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    """Load a checkpoint's weights and optimiser state in place; returns its step and what `save_step` was given."""
    # strict=False: the second names of tied tensors are not stored
    model.load_state_dict(read_safetensors(directory / "model.safetensors"), strict=False)
    tensors = read_safetensors(directory / "optimizer.safetensors")
    moments = {
        number: {key: tensors[f"{name}/{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        for number, name in enumerate(parameter_names(model, optimizer))
        if f"{name}/step" in tensors  # a parameter that has been frozen has none
    }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    state = json.loads((directory / "training_state.json").read_text())
    return state.pop("step"), state


def where_to_start(run_directory: RunDirectory, recipe: Recipe, inputs: dict[str, Any]) -> tuple[Path | None, bool]:
    """Record a new run, or find out how far one that was begun has come, and print it.

    Returns:
        the checkpoint to go on from; whether the run is finished.

    Raises:
        UserError: see `RunDirectory.begin`; or checkpoints were there and none is intact.
    """
    free = recipe.FREE | {"start"}  # a resumed run has its checkpoint's weights
    advice = {"max_steps": LONGER.format(recipe.directory)}
    if not run_directory.begin(asdict(recipe), inputs, free, recipe.resume, recipe.restart, advice):
        return None, False
    if run_directory.finished and damage(recipe.directory) is None:
        print(f"{recipe.directory} is finished; nothing to do")
        return None, True
    checkpoint = newest_intact(recipe.directory, print)
    if checkpoint is None and (step := had_steps(recipe.directory)):
        raise UserError(
            f"{recipe.directory} had come to step {step} but holds no intact checkpoint any more; {BEGIN_ANEW}"
        )
    print(f"{recipe.directory} goes on after " + (checkpoint.name.replace("-", " ") if checkpoint else "step 0"))
    return checkpoint, False
