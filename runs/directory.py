"""The directory of a run:

.lock          held while a process writes into it
run.json       what the run was made with: its arguments, the hashes of its inputs, the versions of the libraries
metrics.jsonl  how it goes, see `runs.metrics`
summary.json   written last: the run is finished
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from common.errors import UserError, first_line
from common.files import check_name, environment, sync_directory, write_atomically
from runs.metrics import METRICS

LOCK, RECORD, FINISHED = ".lock", "run.json", "summary.json"
BEGIN_ANEW = "--restart begins anew, and keeps what is there in before-N/"
LAYOUT = 2  # of run.json; records of another layout, or without a number, are of another version of this project


class RunDirectory:
    """A directory, made where it is absent, that one process writes into until it ends or calls `close`.

    Raises:
        UserError: it cannot be written into, another process holds it, or its name is not UTF-8.
    """

    def __init__(self, path: Path):
        self.path = path
        check_name(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
            self.lock = FileLock(path / LOCK)
            self.lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"another run is writing into {path}; wait for it, or choose another name") from None
        except OSError as error:
            raise UserError(f"cannot write into {path}: {error.strerror}") from None
        for left in path.glob(".*.tmp"):  # what a process that was killed had not finished writing
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def close(self) -> None:
        """Let another process write into the directory."""
        self.lock.release()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def finished(self) -> bool:
        return present(self.path / FINISHED)

    def begin(
        self,
        arguments: dict[str, Any],
        inputs: dict[str, Any],
        free: frozenset[str],
        resume: bool,
        restart: bool = False,
        advice: dict[str, str] | None = None,
    ) -> bool:
        """Record what a new run is made with, or see that one that was begun before was made with the same.

        Args:
            arguments: the recipe.
            inputs: what it was applied to, by name: hashes of the data, of the weights, ...
            free: names of arguments and inputs that may change.
            resume: whether to go on with a run that was begun before.
            restart: whether to set such a run aside and begin anew.
            advice: by argument, what to do where it was changed, if that is more than to take it back.

        Returns:
            whether the run was begun before.

        Raises:
            UserError: it was, and `resume` is False, or it was made with something else, or its record is unreadable.
        """
        now = json.loads(json.dumps({"arguments": arguments, "inputs": inputs}, default=str))  # as it is read again
        if restart:
            self.set_aside()
        if not present(self.path / RECORD):
            if self.finished or present(self.path / METRICS):
                raise UserError(
                    f"{self.path} holds a run without the {RECORD} that tells what it was made with, so that it "
                    "cannot be resumed; choose another name"
                )
            record = {"layout": LAYOUT, **now, "environment": environment()}
            with disk_errors(self.path):
                write_atomically(self.path / RECORD, json.dumps(record, indent=1))
                sync_directory(self.path.parent)
            return False
        if not resume:
            raise UserError(f"{self.path} holds a run already; --resume goes on with it, or choose another name")
        before = read_record(self.path)
        if before.get("layout") != LAYOUT:
            raise UserError(f"{self.path} holds a run of another version of this project, which cannot be resumed")
        # Inputs that only a later version knows are not compared.
        compared = [("inputs", name, f"the {name.replace('_', ' ')}") for name in sorted(before["inputs"])]
        compared += [("arguments", name, f"--{name}") for name in sorted(now["arguments"] | before["arguments"])]
        for part, name, what in compared:
            old, new = before[part].get(name), now[part].get(name)
            if name not in free and old != new:
                to_do = (advice or {}).get(name, "go on with the same, or choose another name")
                raise UserError(f"{self.path} was made with {what} {old}, now it is {new}; {to_do}")
        return True

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run as finished, with what is worth knowing about it."""
        with disk_errors(self.path):
            write_atomically(self.path / FINISHED, json.dumps(summary, indent=1))

    def set_aside(self) -> None:
        """Move what the directory holds into `before-N` in it, N being one more than the largest there."""
        with disk_errors(self.path):
            held = {entry for entry in self.path.iterdir() if entry.name != LOCK}
            earlier = {entry for entry in held if re.fullmatch(r"before-\d+", entry.name)}
            held = sorted(held - earlier, key=lambda entry: entry.name == RECORD)  # a half-moved run has one
            if not held:
                return
            last = max((int(entry.name.removeprefix("before-")) for entry in earlier), default=0)
            aside = self.path / f"before-{last + 1}"
            aside.mkdir()
            for entry in held:
                entry.rename(aside / entry.name)
            sync_directory(self.path)
        print(f"{self.path} begins anew; what it held is in {aside}")

    def reopen(self) -> None:
        """Take the finished mark away: there is more to do."""
        (self.path / FINISHED).unlink(missing_ok=True)


@contextmanager
def disk_errors(directory: Path, safe: str = "what was saved before is untouched") -> Iterator[None]:
    """Turn a full or read-only disk into one sentence, which ends on what is safe.

    Raises:
        UserError: what was done in the block could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write into {directory}: {first_line(error)}; {safe}") from None


def present(path: Path) -> bool:
    """Whether there is a file or a directory of a name; a `UserError` where that cannot be told just now."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return True


def read_record(directory: Path) -> dict[str, Any]:
    """DIRECTORY/run.json, always with `arguments` and `inputs`; a `UserError` where it is absent or damaged."""
    return {"arguments": {}, "inputs": {}} | _read(directory / RECORD)


def read_summary(directory: Path) -> dict[str, Any]:
    """DIRECTORY/summary.json of a finished run; a `UserError` where it is absent or damaged."""
    return _read(directory / FINISHED)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{file.parent} has no {file.name}: no such run was begun there, or it is not finished"
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: {first_line(error)}") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k, {}), dict) for k in ("arguments", "inputs")):
        raise UserError(f"{file} is damaged: it does not hold what a run records")
    return content
