"""stdout and stderr as real machines have them: full, closed, of ASCII alone, or gone with the terminal."""

import io
import os
import sys
from typing import Any


class LostOutput(Exception):
    """The standard output can be written to no longer; the message says why, and is empty if its reader has gone."""


class Output(io.FileIO):
    """What a standard stream writes to.

    Args:
        descriptor: 1 or 2, or another.
        careless: what cannot be written is lost in silence; otherwise the first time is a `LostOutput`.
    """

    def __init__(self, descriptor: int, careless: bool):
        super().__init__(descriptor, "wb", closefd=False)
        self.careless = careless

    def write(self, content: Any) -> int:
        try:
            written = super().write(content)
        except OSError as error:
            if self.careless:
                return len(content)
            self.careless = True
            raise LostOutput("" if isinstance(error, BrokenPipeError) else error.strerror) from None
        return len(content) if written is None else written  # None: a terminal that would have to be waited for


def harden(careless: bool) -> None:
    """Let stdout and stderr survive whatever becomes of them, and print escaped what they cannot show.

    Args:
        careless: of stdout, see `Output`; stderr always is.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream, encoding, by_line, unbuffered = getattr(sys, name), "utf-8", True, False
        if stream is None:  # it was closed before Python began
            descriptor = open_nowhere(descriptor)
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            encoding, by_line, unbuffered = stream.encoding, stream.line_buffering, stream.write_through
        else:
            continue  # a test's, a notebook's
        output: Any = Output(descriptor, careless or name == "stderr")
        buffer = output if unbuffered else io.BufferedWriter(output)
        hardened = io.TextIOWrapper(
            buffer, encoding, "backslashreplace", line_buffering=by_line, write_through=unbuffered
        )
        setattr(sys, name, hardened)


def open_nowhere(descriptor: int) -> int:
    """A descriptor to /dev/null: this one where it is free, lest another file takes the number of an output."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(nowhere, descriptor)
        return descriptor
    return nowhere
