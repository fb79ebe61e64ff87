"""Training that goes wrong: types that collapse, and signals to stop."""

import os
import signal
import time
from types import FrameType


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
