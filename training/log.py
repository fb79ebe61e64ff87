"""What a run writes down about how it goes: metrics.jsonl, and the same numbers for the trackers of `--report_to`."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from tqdm import tqdm

from common.errors import UserError, first_line
from common.files import write_atomically
from runs import MetricsLog, read_record
from training.checkpoints import disk_errors

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")  # as accelerate and PyPI call them
PROJECT = "sparse-latent-typing"  # under which the trackers keep runs
TRACKED = "trackers.json"  # what each tracker calls the run


def pick_trackers(report_to: str) -> list[str]:
    """The trackers of `--report_to`, as accelerate knows them.

    Raises:
        UserError: there is no such tracker, or its package is not installed.
    """
    names = [] if report_to == "none" else report_to.split(",")
    installed = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--report_to {report_to}: no tracker `{name}`; there are {', '.join(TRACKERS)}, and none")
        if name not in installed:
            raise UserError(f"--report_to {report_to}: the package {name} is not installed; pip install {name}")
    return names


def leave_disk_errors_to_the_run(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread dies of a full disk, and its next call raises the same error, which the run then reports."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


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
        self.excepthook, threading.excepthook = threading.excepthook, leave_disk_errors_to_the_run
        self.lines = None
        if accelerator.is_main_process:
            with disk_errors(directory):
                self.lines = MetricsLog(directory, resumed_after)
                self.start_trackers(resumed_after)

    def start_trackers(self, resumed_after: int) -> None:
        """Begin the trackers' runs, or go on with those of before, whose names are in `TRACKED`."""
        file, name = self.directory / TRACKED, self.directory.name
        known = json.loads(file.read_text()) if file.exists() else {}
        config = read_record(self.directory)["arguments"]
        options = {
            "tensorboard": {"purge_step": resumed_after + 1},
            "wandb": {"id": known.get("wandb"), "resume": "allow", "dir": self.directory},
            "trackio": {"resume": "allow" if "trackio" in known else "never"},
            "mlflow": {"run_id": known.get("mlflow"), "run_name": name},
        }
        for tracker in ("wandb", "trackio"):
            options[tracker] |= {"name": name, "config": config}
        with self.tracker_errors():
            self.accelerator.init_trackers(PROJECT, init_kwargs=options)
        for tracker in self.accelerator.trackers:
            if tracker.name == "mlflow":
                if "mlflow" not in known:  # it lets no parameter change
                    tracker.store_init_configuration(config)
                known["mlflow"] = tracker.tracker.info.run_id
            elif tracker.name != "tensorboard":
                known[tracker.name] = tracker.tracker.id
        if known:
            write_atomically(file, json.dumps(known))

    @contextmanager
    def tracker_errors(self) -> Iterator[None]:
        """Turn whatever a tracker raises, but a disk's error, into one sentence."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # each has its own
            names = ",".join(map(str, self.accelerator.log_with))
            raise UserError(
                f"--report_to {names}: {first_line(error)}; the same command goes on, with another --report_to as well"
            ) from None

    def print(self, text: str) -> None:
        """A line above the progress bar."""
        if self.lines:
            tqdm.write(text)

    def write(self, step: int, metrics: dict[str, float], validation: bool = False) -> None:
        """A line of metrics; those of a validation are a group of their own."""
        group = "validation" if validation else "train"
        if self.lines:
            with disk_errors(self.directory):
                self.lines.write(step, {"validation": metrics} if validation else metrics)
                with self.tracker_errors():
                    self.accelerator.log({f"{group}/{name}": value for name, value in metrics.items()}, step)

    def sync(self) -> None:
        """Lines up to here survive a power cut; to be called before a checkpoint that relies on them."""
        if self.lines:
            with disk_errors(self.directory):
                self.lines.sync()

    def close(self) -> None:
        if self.lines:
            with disk_errors(self.directory):
                self.lines.close()
        self.accelerator.end_training()
        threading.excepthook = self.excepthook
