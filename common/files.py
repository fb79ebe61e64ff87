"""Files that are whole or absent, their hashes, and the record of what a run was made with."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file's content in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_name(path: str | Path) -> None:
    """Raise a `UserError` for a path that is not UTF-8: libraries of models and tokenizers fail of that."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: its name is not UTF-8, which models and tokenizers require; rename it") from None


def sync_directory(path: str | Path) -> None:
    """Make renames inside the directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(directory: Path) -> None:
    """Make the content of a directory's files survive a power cut."""
    for file in directory.iterdir():
        sync_directory(file)  # it does the same for a file


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`; it takes that name when the block ends, and is gone if the block fails.

    A reader, also after a crash, sees the old content or the new, never a part.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a whole file at once, by `replacing`; what is no Unicode, as a file's name may be, is written escaped."""
    with replacing(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def environment() -> dict[str, str | None]:
    """Versions of Python and the libraries that decide a run's numbers, and the git commit (None outside git)."""
    record: dict[str, str | None] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("torch", "transformers", "datasets", "accelerate", "numpy", "nltk"):
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            record[package] = None
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    record["commit"] = None
    with suppress(OSError, subprocess.CalledProcessError):
        commit = subprocess.check_output(describe, cwd=ROOT, stderr=subprocess.DEVNULL, text=True)
        record["commit"] = commit.strip()
    record["command"] = " ".join([str(Path(sys.argv[0])).removeprefix(f"{ROOT}/"), *sys.argv[1:]])
    return record
