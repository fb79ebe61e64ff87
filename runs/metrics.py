"""metrics.jsonl: one line of JSON per log step of a run."""

import json
import os
from pathlib import Path
from typing import Any

from common.files import write_atomically

METRICS = "metrics.jsonl"


class MetricsLog:
    """Appends lines to a run's metrics.jsonl.

    Args:
        directory: of the run.
        resumed_after: lines of later steps are dropped, for a resumed run writes them again; with 0 all are, step 0's
            too.
        key: what counts the steps.
    """

    def __init__(self, directory: Path, resumed_after: int, key: str = "step"):
        self.path, self.key = directory / METRICS, key
        if self.path.exists():
            kept = [line for line in read_metrics(directory, key) if resumed_after and line[key] <= resumed_after]
            write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115, open as long as the run

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        self.file.write(json.dumps({self.key: step, **metrics}) + "\n")
        self.file.flush()

    def sync(self) -> None:
        """Lines up to here survive a power cut."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.sync()
        self.file.close()


def read_metrics(directory: Path, key: str = "step") -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, if there is one, in their order, but torn lines and lines without a step."""
    file = directory / METRICS
    lines = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []:
        try:
            metrics = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(metrics, dict) and type(metrics.get(key)) is int:
            lines.append(metrics)
    return lines
