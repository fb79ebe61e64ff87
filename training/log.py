"""What a run writes down about how it goes: metrics.jsonl, and the same numbers for the trackers."""

import threading
from pathlib import Path

from accelerate import Accelerator
from tqdm import tqdm

from runs import MetricsLog
from training.checkpoints import disk_errors


def leave_disk_errors_to_the_run(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread dies of a full disk, and its next call raises the same error, which the run then reports."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


class RunLog:
    """Lines of metrics.jsonl, each also a step of accelerate's trackers; written by the main process alone.

    Args:
        resumed_after: see `MetricsLog`.

    Raises:
        UserError: the disk is full or read-only; so do the methods.
    """

    def __init__(self, directory: Path, accelerator: Accelerator, resumed_after: int):
        self.directory, self.accelerator = directory, accelerator
        self.excepthook, threading.excepthook = threading.excepthook, leave_disk_errors_to_the_run
        self.lines = None
        if accelerator.is_main_process:
            with disk_errors(directory):
                self.lines = MetricsLog(directory, resumed_after)
                options = {"tensorboard": {"purge_step": resumed_after + 1}}
                accelerator.init_trackers("tensorboard", init_kwargs=options)

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
