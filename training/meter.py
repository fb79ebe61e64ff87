"""The means of a run's metrics between two log lines, and the first step at which one of them was no number."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.files import write_atomically


class Meter:
    """Adds up metrics, which must have the same names in every step, on the device, without waiting for it.

    Args:
        scaled: whether a loss scaler leaves out steps whose gradient overflows; they count as norm 0, and are counted.
    """

    def __init__(self, device: torch.device, scaled: bool = False):
        self.device, self.scaled = device, scaled
        self.names: list[str] = []
        self.steps = 0  # since the last log line
        self.skipped = torch.zeros((), dtype=torch.long, device=device)  # fp16 steps whose gradient overflowed
        self.bad_step = torch.full((), -1, device=device)

    def _name(self, names: list[str]) -> None:
        self.names = names
        self.sums, self.now, self.bad = torch.zeros(3, len(names), dtype=torch.float64, device=self.device)

    def add(self, metrics: Mapping[str, Tensor], share: float) -> None:
        """Add a batch's metrics, () each; `share` is the batch's in its step."""
        if not self.names:
            self._name([*metrics, "gradient_norm"])
        values = torch.stack([value.detach() for value in metrics.values()])  # (N - 1,)
        self.now[:-1] += values * share

    def end_step(self, step: int, gradient_norm: Tensor) -> None:
        """Close a step (from 0)."""
        if self.scaled:
            overflowed = ~gradient_norm.isfinite()
            self.skipped += overflowed
            gradient_norm = gradient_norm.masked_fill(overflowed, 0)
        self.now[-1] = gradient_norm
        first = (self.bad_step < 0) & ~self.now.isfinite().all()
        self.bad_step = torch.where(first, step, self.bad_step)
        self.bad = torch.where(first, self.now, self.bad)
        self.sums += self.now
        self.now.zero_()
        self.steps += 1

    def check(self, run_directory: Path, lines_of: Callable[[int], list[int]]) -> None:
        """Stop the run if a step went wrong, leaving `non_finite.json` with the batch's line numbers for replay.

        Args:
            lines_of: the corpus' lines in the batch of a step.

        Raises:
            UserError: a metric was not finite.
        """
        step = int(self.bad_step)
        if step < 0:
            return
        metrics = ", ".join(f"{name} {value:g}" for name, value in zip(self.names, self.bad.tolist(), strict=True))
        file = run_directory / "non_finite.json"
        write_atomically(file, json.dumps({"step": step + 1, "metrics": metrics, "corpus_lines": lines_of(step)}))
        raise UserError(
            f"step {step + 1} is not finite: {metrics}; the batch's corpus lines are in {file}, "
            "and earlier checkpoints are intact"
        )

    def means(self) -> dict[str, float]:
        """The means over the steps since the last call, by name."""
        means: dict[str, float] = dict(zip(self.names, (self.sums / self.steps).tolist(), strict=True))
        self.sums.zero_()
        self.steps = 0
        return means | ({"skipped_steps": int(self.skipped)} if self.scaled else {})

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, JSON-able."""
        return {"names": self.names, "sums": self.sums.tolist(), "steps": self.steps, "skipped": int(self.skipped)}

    def load_state(self, state: dict[str, Any]) -> None:
        self._name(state["names"])
        self.sums += torch.tensor(state["sums"], dtype=torch.float64, device=self.device)
        self.steps = state["steps"]
        self.skipped += state["skipped"]
