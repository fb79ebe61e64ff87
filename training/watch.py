"""Training that goes wrong: numbers that are not finite, types that collapse, and signals to stop."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from common.errors import UserError
from common.files import write_atomically


class FiniteWatch:
    """Remembers on the device, without waiting for it, the first step whose figures are not finite."""

    def __init__(self, names: Sequence[str], device: torch.device):
        self.names = names
        self.step = torch.full((), -1, device=device)
        self.figures = torch.zeros(len(names), dtype=torch.float64, device=device)

    def look(self, step: int, figures: Tensor) -> None:
        """`figures` is (N,), in the order of the names."""
        first = (self.step < 0) & ~figures.isfinite().all()
        self.step = torch.where(first, step, self.step)
        self.figures = torch.where(first, figures, self.figures)

    def check(self, run_directory: Path, lines_of: Callable[[int], list[int]]) -> None:
        """Stop the run if a step went wrong, leaving `non_finite.json` with the batch's line numbers for replay.

        Raises:
            UserError: a figure was not finite.
        """
        step = int(self.step)
        if step < 0:
            return
        figures = ", ".join(f"{name} {value:g}" for name, value in zip(self.names, self.figures.tolist(), strict=True))
        file = run_directory / "non_finite.json"
        write_atomically(file, json.dumps({"step": step + 1, "figures": figures, "corpus_lines": lines_of(step)}))
        raise UserError(
            f"step {step + 1} is not finite: {figures}; the batch's corpus lines are in {file}, "
            "and earlier checkpoints are intact"
        )


class CollapseWatch:
    """Says once that the types have come to say nothing and have stayed so for some looks.

    A new typer types nearly every token, so that "everything is typed" is a finding only after fewer were. It may
    then type hardly any for a while, until the reconstruction asks for them.
    """

    PATIENCE = 5

    def __init__(self) -> None:
        self.sparse_once = False
        self.in_a_row = 0

    def look(self, share_typed: float, type_perplexity: float) -> str | None:
        """A sentence with the figures (share in 0..1, perplexity from 1) when a collapse has lasted, else None."""
        if self.in_a_row == self.PATIENCE:  # said before
            return None
        self.sparse_once |= share_typed < 0.95
        problem = None
        if share_typed < 0.01:
            problem = "nothing is typed any more; --beta may be too high"
        elif type_perplexity < 1.05:
            problem = "one type is left; --gamma may be too low"
        elif share_typed > 0.999 and self.sparse_once:
            problem = "everything is typed; --beta may be too low"
        self.in_a_row = self.in_a_row + 1 if problem else 0
        if self.in_a_row < self.PATIENCE:
            return None
        return f"{problem} ({100 * share_typed:.1f}% of the tokens typed, type perplexity {type_perplexity:.2f})"


def ignore_stop_signals(worker: int) -> None:
    """For processes that prepare batches: they too get a Ctrl-C, but must live until the step is finished."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class StopSignal:
    """SIGTERM and Ctrl-C ask for a stop after the step; a second one, a second later, ends the process at once.

    Not earlier, because launchers pass on to their processes the Ctrl-C that these got from the terminal already.
    """

    def __init__(self) -> None:
        self.number = 0
        self.asked = 0.0
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self.asked = number, time.monotonic()
        elif time.monotonic() > self.asked + 1:
            self.restore()
            os.kill(os.getpid(), number)

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
