"""Training that goes wrong: types that collapse, and signals to stop."""

import os
import signal
import time
from types import FrameType
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor


class CollapseWatch:
    """Says once that the types have come to say nothing and have stayed so for `PATIENCE` looks.

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
        signs = {
            "nothing is typed any more; --beta may be too high": share_typed < 0.01,
            "one type is left; --gamma may be too low": type_perplexity < 1.05,
            "everything is typed; --beta may be too low": share_typed > 0.999 and self.sparse_once,
        }
        problem = next((problem for problem, found in signs.items() if found), None)
        self.in_a_row = self.in_a_row + 1 if problem else 0
        if self.in_a_row < self.PATIENCE:
            return None
        return f"{problem} ({100 * share_typed:.1f}% of the tokens typed, type perplexity {type_perplexity:.2f})"


class DeadTypeWatch:
    """Knows when each type last took a token, on the device, and says once that some have taken none for long."""

    PATIENCE = 200  # steps

    def __init__(self, num_types: int, device: torch.device):
        self.last_seen = torch.zeros(num_types, dtype=torch.long, device=device)  # (C,) step, from 1
        self.told = False

    def look(self, step: int, type_ids: Tensor, attention_mask: Tensor) -> None:
        """Note the types of a batch in a step (from 0); both (B, T). Padding counts as type 0, which is none."""
        self.last_seen.scatter_(0, type_ids.where(attention_mask > 0, 0).flatten(), step + 1)

    def dead(self, done: int, accelerator: Accelerator) -> list[int]:
        """The types that took no token in the last `PATIENCE` of the steps done, in any process."""
        gathered = cast(Tensor, accelerator.gather(self.last_seen))
        self.last_seen = gathered.view(accelerator.num_processes, -1).amax(0)  # (C,) of all, which a checkpoint keeps
        return [t for t, seen in enumerate(self.last_seen.tolist()) if t and done - seen >= self.PATIENCE]

    def warning(self, dead: list[int]) -> str | None:
        """A sentence the first time that there are dead types, else None."""
        if self.told or not dead:
            return None
        self.told = True
        return f"{len(dead)} types took no token in the last {self.PATIENCE} steps: {', '.join(map(str, dead))}"


class StopSignal:
    """SIGTERM and Ctrl-C ask for a stop after the step; another one ends the process at once, but not within a second:
    launchers pass on to their processes the Ctrl-C that these got from the terminal already."""

    def __init__(self) -> None:
        self.number, self.asked = 0, 0.0
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
