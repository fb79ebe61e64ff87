"""stdout and stderr as real machines have them: full, closed, of ASCII alone, or gone with the terminal."""

import io
import os
import sys
from fcntl import F_DUPFD, fcntl
from typing import Any


class LostOutput(Exception):
    """The standard output can be written to no longer; the message says why, and is empty if its reader has gone."""


class Output(io.FileIO):
    """What a standard stream writes to; if `careless`, what cannot be written is lost in silence, otherwise the first
    time is a `LostOutput`."""

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
        if stream is None:  # closed before Python began: no file may be opened under its number, lest it is written to
            descriptor = fcntl(os.open(os.devnull, os.O_WRONLY), F_DUPFD, descriptor)  # this number or one above it
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            encoding, by_line, unbuffered = stream.encoding, stream.line_buffering, stream.write_through
        else:
            continue  # a test's, a notebook's
        output: Any = Output(descriptor, careless or name == "stderr")
        buffer = output if unbuffered else io.BufferedWriter(output)
        text = io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=by_line, write_through=unbuffered)
        setattr(sys, name, text)
