"""Text files read line by line, with every way they can be broken named by file and line."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

LONGEST_LINE = 1_000_000  # bytes; a longer "line" is a file in another format, and would not fit a model anyway


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or .gz, without their line ends (LF or CRLF) and without a BOM.

    The file is streamed: memory does not grow with it. A last line without a newline is a line like any other.

    Raises:
        UserError: the file cannot be read, holds NUL bytes (is binary) or invalid UTF-8, or a line is longer
            than `LONGEST_LINE`; the message names the file and the line.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            number = 0
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE:
                    raise UserError(f"{path}, line {number}: over {LONGEST_LINE:,} bytes; is it one text a line?")
                if b"\0" in raw:
                    raise UserError(f"{path}, line {number}: a NUL byte; the file is binary, not text")
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}, line {number}: not valid UTF-8 (byte {error.start + 1})") from None
                yield line.removesuffix("\n").removesuffix("\r")
    except (OSError, EOFError, zlib.error) as error:  # the last two: a truncated, a damaged .gz
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
