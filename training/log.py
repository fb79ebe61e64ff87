"""What a run writes down about how it goes: metrics.jsonl, and the same numbers for the trackers of `--report_to`."""

import errno
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from tqdm import tqdm

from common.errors import UserError, first_line, note
from common.files import write_atomically
from runs import MetricsLog, read_record
from training.checkpoints import disk_errors

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")  # as accelerate and PyPI call them
PROJECT = "sparse-latent-typing"  # under which the trackers keep runs
TRACKED = "trackers.json"  # what each tracker calls the run


def pick_trackers(report_to: str) -> list[str]:
    """The trackers of `--report_to`; a `UserError` where there is no such one, or its package is not installed."""
    names = [name for part in report_to.split(",") if (name := part.strip())]
    if names in ([], ["none"]):
        return []
    installed = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in TRACKERS:
            raise UserError(
                f"--report_to {report_to}: no tracker `{name}`; choose among {', '.join(TRACKERS)}, or none by itself"
            )
        if name not in installed:
            raise UserError(f"--report_to {report_to}: the package {name} is not installed; pip install {name}")
    return names


def is_of_disk(error: BaseException | None, directory: Path) -> bool:
    """Whether a disk is full, failing or read-only, or a file in the directory cannot be written; networks raise the
    same class."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
    return isinstance(error, OSError) and (error.errno in full or str(error.filename or "").startswith(str(directory)))


class RunLog:
    """Lines of metrics.jsonl, each also a step of accelerate's trackers; written by the main process alone.

    A resumed run goes on in the trackers' run of before. TensorBoard forgets the steps that are computed again, wandb
    keeps what it had of them, the others hold them twice.

    Args:
        resumed_after: see `MetricsLog`.

    Raises:
        UserError: the disk is full or read-only, or a tracker fails; so do the methods.
    """

    def __init__(self, directory: Path, accelerator: Accelerator, resumed_after: int):
        self.directory, self.accelerator = directory, accelerator
        self.excepthook, threading.excepthook = threading.excepthook, self.leave_disk_errors_to_the_run
        self.lines = None
        if accelerator.is_main_process:
            with disk_errors(directory):
                self.lines = MetricsLog(directory, resumed_after)
                self.start_trackers(resumed_after)

    def leave_disk_errors_to_the_run(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread dies of a full disk, and its next call raises the same, which the run then reports."""
        if not is_of_disk(failure.exc_value, self.directory):
            threading.__excepthook__(failure)

    def start_trackers(self, resumed_after: int) -> None:
        """Begin the trackers' runs, or go on with those of before, whose names are in `TRACKED`."""
        name, file = self.directory.name, self.directory / TRACKED
        try:
            before = dict(json.loads(file.read_text())) if file.exists() else {}
        except (ValueError, TypeError):
            raise UserError(f"{file} is damaged; without it the run begins anew in its trackers") from None
        unique = before.get("trackio", f"{name}-{uuid.uuid4().hex[:8]}")  # it knows a run by its name alone
        config = read_record(self.directory)["arguments"]
        wandb = {"id": before.get("wandb"), "name": name, "config": config, "resume": "allow", "dir": self.directory}
        options = {
            "tensorboard": {"purge_step": resumed_after + 1},
            "wandb": wandb,
            "trackio": {"name": unique, "config": config, "resume": "allow"},
            "mlflow": {"run_id": before.get("mlflow"), "run_name": name},
        }
        called = {"wandb": lambda run: run.id, "trackio": lambda run: unique, "mlflow": lambda run: run.info.run_id}
        with self.tracker_errors(f"; without {file} it begins anew there" if before else ""):
            self.accelerator.init_trackers(PROJECT, init_kwargs=options)
            now = {one.name: called[one.name](one.tracker) for one in self.accelerator.trackers if one.name in called}
            if now:
                write_atomically(file, json.dumps(before | now))
            if "mlflow" in now.keys() - before.keys():  # it lets no parameter change
                self.accelerator.get_tracker("mlflow").store_init_configuration(config)

    @contextmanager
    def tracker_errors(self, advice: str = "") -> Iterator[None]:
        """Turn whatever a tracker raises, but a disk's error, into one sentence."""
        try:
            yield
        except Exception as error:  # each has its own
            if is_of_disk(error, self.directory):
                raise
            failed = f"--report_to {','.join(map(str, self.accelerator.log_with))}: {first_line(error)}"
            go_on = "the same command goes on, with another --report_to as well"
            raise UserError(f"{failed}; {go_on}{advice}") from None

    def print(self, text: str) -> None:
        """A line above the progress bar."""
        if self.lines:
            tqdm.write(text)

    def write(self, step: int, metrics: dict[str, float], validation: bool = False) -> None:
        """A line of metrics; those of a validation are a group of their own."""
        if self.lines:
            group = "validation" if validation else "train"
            with disk_errors(self.directory):
                self.lines.write(step, {group: metrics} if validation else metrics)
                with self.tracker_errors():
                    self.accelerator.log({f"{group}/{name}": value for name, value in metrics.items()}, step)

    def sync(self) -> None:
        """See `MetricsLog.sync`; to be called before a checkpoint that relies on the lines."""
        if self.lines:
            with disk_errors(self.directory):
                self.lines.sync()

    def close(self) -> None:
        if self.lines:
            with disk_errors(self.directory):
                self.lines.close()
        for tracker in self.accelerator.trackers:
            try:
                tracker.finish()
            except Exception as error:  # metrics.jsonl has all of it, and the model is still to be written
                note(f"--report_to {tracker.name}: {first_line(error)}")
        self.accelerator.trackers = []
        self.accelerator.end_training()
        threading.excepthook = self.excepthook
