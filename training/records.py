"""What a run writes down about itself: run.json (made from what) and metrics.jsonl (how it went)."""

import json
import os
import threading
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from common.errors import UserError
from common.files import environment, sync_directory, write_atomically
from training.checkpoints import clear_disk_errors

# Flags that do not touch what a run computes; a resumed run may change them.
FREE_FLAGS = {"name", "output_dir", "resume", "save_steps", "keep_last", "num_workers"}


def write_record(run_directory: Path, arguments: dict[str, Any], corpus_sha256: str) -> None:
    """run.json: the flags, the corpus' hash, the versions and the commit."""
    record = {"arguments": arguments, "corpus_sha256": corpus_sha256, "environment": environment()}
    with clear_disk_errors(run_directory):
        write_atomically(run_directory / "run.json", json.dumps(record, indent=1, default=str))
        sync_directory(run_directory.parent)


def check_record(run_directory: Path, arguments: dict[str, Any], corpus_sha256: str) -> None:
    """Refuse to resume a run with other data or another recipe than it was started with.

    Raises:
        UserError: they differ, or run.json cannot be read.
    """
    file = run_directory / "run.json"
    try:
        record = json.loads(file.read_text())
        before, before_sha256 = record["arguments"], record["corpus_sha256"]
        changed = [k for k in arguments if k not in FREE_FLAGS and before.get(k) != arguments[k]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is missing or damaged; the run cannot be resumed") from None
    if before_sha256 != corpus_sha256:
        raise UserError(f"the corpus changed: {file} was made with sha256 {before_sha256}, now it is {corpus_sha256}")
    if changed:
        flags = ", ".join(f"--{k} {before.get(k)} (now {arguments[k]})" for k in changed)
        raise UserError(f"{file} was started with {flags}; resume with the same flags or choose another --name")


def leave_disk_errors_to_the_run(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread dies of a full disk, and its next call raises the same error, which the run then says."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


class MetricsLog:
    """metrics.jsonl and the same numbers as TensorBoard scalars.

    Args:
        resumed_after: lines of later steps are dropped, for the resumed run writes them again; with 0 all are,
            step 0's too.

    Raises:
        UserError: the disk is full or read-only; so do the methods.
    """

    def __init__(self, run_directory: Path, resumed_after: int):
        self.path = run_directory / "metrics.jsonl"
        threading.excepthook = leave_disk_errors_to_the_run
        with clear_disk_errors(run_directory):
            if self.path.exists():
                write_atomically(self.path, "".join(self._lines_until(resumed_after) if resumed_after else []))
            self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115, open as long as the run
            self.board = SummaryWriter(str(run_directory / "tensorboard"), purge_step=resumed_after + 1)

    def _lines_until(self, step: int) -> list[str]:
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            try:
                if line.endswith("\n") and json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash; the step that it belongs to is repeated
        return kept

    def write(self, step: int, figures: dict[str, Any]) -> None:
        """One line; nested figures (`validation`) become TensorBoard groups."""
        with clear_disk_errors(self.path.parent):
            self.file.write(json.dumps({"step": step, **figures}) + "\n")
            self.file.flush()
            for name, value in figures.items():
                if isinstance(value, dict):
                    for inner, number in value.items():
                        self.board.add_scalar(f"{name}/{inner}", number, step)
                else:
                    self.board.add_scalar(f"train/{name}", value, step)

    def sync(self) -> None:
        """Lines up to here survive a power cut; called before a checkpoint that relies on them."""
        with clear_disk_errors(self.path.parent):
            os.fsync(self.file.fileno())
            self.board.flush()

    def close(self) -> None:
        self.sync()
        self.file.close()
        self.board.close()
