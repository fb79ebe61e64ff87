"""A setting's directory: what it was made with (`run.json`) and one line per episode (`episodes.jsonl`)."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import write_atomically
from common.flags import Count, CountOrZero, flag
from common.text import unreadable
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.recipe import Recipe
from evaluations.few_shot.scores import SCORINGS, total
from runs import BEGIN_ANEW, read_record

Records = dict[int, dict[str, Any]]  # the lines of episodes by index


class EpisodeLog:
    """The finished episodes of a run, appended by one or several processes; `read` gives what is new."""

    def __init__(self, path: Path):
        self.path, self.position = path, 0
        self.records: Records = {}

    def repair(self, finished: bool = False) -> None:
        """Drop lines that a killed run left half-written (their episodes will be run again) and repeated ones;
        UserError if the log cannot be read just now, or holds no episode although the run was `finished`."""
        whole: dict[int, bytes] = {}
        try:
            self.path.touch()
            content = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}; nothing was changed") from None
        for line in content.splitlines():
            try:
                whole.setdefault(json.loads(line)["index"], line + b"\n")
            except (ValueError, KeyError, TypeError):
                continue
        if finished and not whole:
            raise UserError(f"{self.path} holds no episode any more, although the run was finished; {BEGIN_ANEW}")
        repaired = b"".join(whole[index] for index in sorted(whole))
        if content != repaired:
            write_atomically(self.path, repaired)

    def append(self, record: dict[str, Any]) -> None:
        """Add an episode, on disk when this returns; one write, so that processes do not mix their lines."""
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            os.fsync(file.fileno())

    def read(self) -> Records:
        """All episodes, reading on from where the last call ended."""
        with open(self.path, "rb") as file:
            file.seek(self.position)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]  # another process may be in the middle of a line
        self.position += len(new)
        self.records |= {record["index"]: record for record in map(json.loads, new.splitlines())}
        return self.records


class Run(NamedTuple):
    """A run as it lies in its directory: how it was made, and its selected episodes."""

    made: dict[str, Any]  # `arguments`, and `inputs`: the data's, and those of source training under `training`
    records: Records

    @property
    def method(self) -> str:
        return self.made["arguments"].get("method", Recipe.method)

    @property
    def reads_label_names(self) -> bool:
        return METHODS[self.method].READS_LABEL_NAMES

    def counts(self, scoring: str) -> np.ndarray:
        """(episodes, 3), see `counts`."""
        return counts(self.records, scoring)

    def type_counts(self, scoring: str) -> dict[str, np.ndarray]:
        """What `counts` has, for every type: its name to (episodes, 3)."""
        episodes = [self.records[index][scoring] for index in sorted(self.records)]
        types = sorted({kind for episode in episodes for kind in episode})
        return {kind: np.array([episode.get(kind, [0, 0, 0]) for episode in episodes]) for kind in types}


def read_run(folder: Path, skip_episodes: int = 0, episodes: int | None = None) -> Run:
    """Read a run's directory, leaving out its first `skip_episodes` episodes and those from number `episodes` on;
    UserError if there is no run, its episodes are gone or damaged, or none of these is finished."""
    made = read_record(folder)
    if "recipe" in made:  # of a version before `runs.RunDirectory`
        training = {"arguments": made["training"]["recipe"], "inputs": made["training"]["data"]}
        made = {"arguments": made["recipe"], "inputs": made["data"] | {"training": training}}
    log, stop = EpisodeLog(folder / "episodes.jsonl"), math.inf if episodes is None else episodes
    try:
        records = {index: record for index, record in log.read().items() if skip_episodes <= index < stop}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(log.path, error) from None
    if not records:
        raise UserError(f"{log.path}: none of the episodes asked for is finished")
    return Run(made, records)


def counts(records: Records, scoring: str) -> np.ndarray:
    """(episodes, 3) correct, predicted and gold entities, in the order of the indices."""
    return np.array([total(records[index][scoring]) for index in sorted(records)]).reshape(-1, 3)


def accuracies(records: Records) -> dict[str, float]:
    """In percent, by name, what the method measured besides the tags."""
    measured = [record["measured"] for record in records.values() if "measured" in record]
    sums = {name: np.sum([one[name] for one in measured], axis=0) for name in (measured[0] if measured else ())}
    return {name: float(100 * right / max(1, number)) for name, (right, number) in sums.items()}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The flags that choose the episodes and the scoring of finished runs."""

    skip_episodes: CountOrZero = flag(0, "leave out so many of the first episodes")
    episodes: Count | None = flag(None, "leave out the episodes from this number on")
    scoring: str = flag("full", "whole labels, or the published scorer's", choices=SCORINGS)
