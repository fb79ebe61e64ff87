"""A run's directory: what it was made with (`run.json`) and one line per episode (`episodes.jsonl`)."""

import argparse
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from common.errors import UserError
from common.files import write_atomically
from container.scores import SCORINGS, total

FINISHED = "summary.json"  # in a run's directory once all its episodes are done


@contextmanager
def locked(folder: Path):
    """Hold a directory, made if absent, so that two runs do not write into it at once.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"{folder} is being written by another run; wait for it, or take another name") from None


def kept(path: Path, record: dict[str, dict]) -> bool:
    """Whether the file at `path` holds what `record` holds (False: there is no such file).

    Raises:
        UserError: it holds something else; the message names the first value that differs.
    """
    if not path.exists():
        return False
    there = json.loads(path.read_text())
    for part, values in record.items():
        for key, value in values.items():
            if there[part].get(key) != value:
                raise UserError(
                    f"{path.parent} was made with {part} {key} = {there[part].get(key)}, and now it is {value}; "
                    "take another NAME or remove the directory"
                )
    return True


class EpisodeLog:
    """The finished episodes of a run, appended by one or several processes; `read` gives what is new."""

    def __init__(self, path: Path):
        self.path, self.position = path, 0
        self.records: dict[int, dict] = {}

    def repair(self) -> None:
        """Drop lines that a killed run left half-written (their episodes will be run again) and repeated ones."""
        self.path.touch()
        whole: dict[int, bytes] = {}
        lines = self.path.read_bytes().splitlines(keepends=True)
        for line in lines:
            try:
                whole.setdefault(json.loads(line)["index"], line.rstrip(b"\n") + b"\n")
            except (ValueError, KeyError, TypeError):
                continue
        if b"".join(lines) != b"".join(whole[index] for index in sorted(whole)):
            write_atomically(self.path, b"".join(whole[index] for index in sorted(whole)))

    def append(self, record: dict) -> None:
        """Add an episode, on disk when this returns; one write, so that processes do not mix their lines."""
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            os.fsync(file.fileno())

    def read(self) -> dict[int, dict]:
        """All episodes by index, reading on from where the last call ended."""
        with open(self.path, "rb") as file:
            file.seek(self.position)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]  # another process may be in the middle of a line
        self.position += len(new)
        for line in new.splitlines():
            record = json.loads(line)
            self.records[record["index"]] = record
        return self.records


class Run(NamedTuple):
    """A run as it lies in its directory: how it was made, and its selected episodes by index."""

    made: dict
    records: dict[int, dict]

    def counts(self, scoring: str) -> np.ndarray:
        """(episodes, 3) correct, predicted and gold entities, in the order of the indices."""
        return counts(self.records, scoring)

    def type_counts(self, scoring: str) -> dict[str, np.ndarray]:
        """The same for every type: its name to (episodes, 3)."""
        episodes = [self.records[index][scoring] for index in sorted(self.records)]
        types = sorted({kind for episode in episodes for kind in episode})
        return {kind: np.array([episode.get(kind, [0, 0, 0]) for episode in episodes]) for kind in types}


def read_run(folder: Path, skip_episodes: int = 0, episodes: int | None = None) -> Run:
    """Read a run's directory, leaving out its first `skip_episodes` episodes and those from number `episodes` on.

    Raises:
        UserError: there is no run, or none of these episodes is finished.
    """
    if not (folder / "run.json").exists():
        raise UserError(f"{folder} holds no run: it has no run.json")
    stop = float("inf") if episodes is None else episodes
    records = EpisodeLog(folder / "episodes.jsonl").read()
    records = {index: record for index, record in records.items() if skip_episodes <= index < stop}
    if not records:
        raise UserError(f"{folder / 'episodes.jsonl'}: none of the episodes asked for is finished")
    return Run(json.loads((folder / "run.json").read_text()), records)


def counts(records: dict[int, dict], scoring: str) -> np.ndarray:
    """(episodes, 3) correct, predicted and gold entities, in the order of the indices."""
    return np.array([total(records[index][scoring]) for index in sorted(records)]).reshape(-1, 3)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The arguments that choose the episodes and the scoring."""
    parser.add_argument("--skip_episodes", type=int, default=0, help="leave out so many of the first episodes")
    parser.add_argument("--episodes", type=int, help="leave out the episodes from this number on")
    parser.add_argument("--scoring", choices=SCORINGS, default="full", help="whole labels, or the published scorer's")
