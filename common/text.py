"""Text files read line by line, with every way they can be broken named by file and line."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError, first_line

LONGEST_LINE = 1_000_000  # characters; a longer "line" is a file in another format, and would not fit a model anyway
AT_ONCE = 2**18  # bytes
# Where Unicode always breaks a line (UAX 14), CR and CR LF being LF by then: vertical tab, form feed, NEL, line and
# paragraph separator.
TEXT_ENDS = re.compile("[\n\v\f\x85\u2028\u2029]")
# Where paragraphs run over several lines up to a blank one: form feed and paragraph separator leave one behind.
PARAGRAPH_ENDS = re.compile("(?<=[\f\u2029])|[\n\v\f\x85\u2028\u2029]")
# Of files whose lines are records (JSON, columns): the others may be part of a string or a word there.
RECORD_ENDS = re.compile("\n")
BYTE_ORDER_MARKS = {  # the one of little-endian UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)  # the last three: truncated or damaged compressed files


def open_bytes(path: Path) -> BinaryIO:
    """The file; if its name says that it is compressed, what is in it."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        from pyarrow import CompressedInputStream  # Python's own comes with 3.14

        return CompressedInputStream(str(path), "zstd")
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(suffix, open)(path, "rb")


def unreadable(path: Path, error: Exception) -> UserError:
    """What to tell the user of an error while a file was read."""
    return UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or first_line(error)}")


def split_lines(text: str, ends: re.Pattern[str] = TEXT_ENDS) -> list[str]:
    """The lines of a text in memory, as `read_lines` has them."""
    return ends.split(text.replace("\r\n", "\n").replace("\r", "\n"))


def read_lines(path: str | Path, ends: re.Pattern[str] = TEXT_ENDS, longest: int = LONGEST_LINE) -> Iterator[str]:
    """The lines of a text file, plain or compressed, without their ends and without a byte order mark.

    Text is UTF-8, or UTF-16 or UTF-32 if a byte order mark says so. The file is streamed: memory does not grow with it.
    A last line without an end is a line like any other. Messages count the lines from 1, as they are returned; an
    editor that knows fewer kinds of line ends may count otherwise.

    Args:
        ends: what ends a line besides LF, CR LF and CR: `TEXT_ENDS`, `PARAGRAPH_ENDS`, or `RECORD_ENDS` for nothing.
        longest: characters that a line may have.

    Raises:
        UserError: the file cannot be read, holds NUL characters (is binary) or is no text in its encoding, or a line
            is too long; the message names the file and the line.
    """
    path = Path(path)
    number = 1
    parts: list[str] = []  # of the line that has no end yet

    def check(line: str) -> str:
        if "\0" in line:
            what = "a NUL byte; the file is binary, or UTF-16 without a byte order mark"
            raise UserError(f"{path}, line {number}: {what}")
        if len(line) > longest:
            raise UserError(f"{path}, line {number}: over {longest:,} characters; is it one text a line?")
        return line

    try:
        with open_bytes(path) as file:
            raw = file.read(AT_ONCE)
            mark = next((mark for mark in BYTE_ORDER_MARKS if raw.startswith(mark)), b"")
            encoding = BYTE_ORDER_MARKS.get(mark, "utf-8")
            decoder = codecs.getincrementaldecoder(encoding)()
            newlines = io.IncrementalNewlineDecoder(None, translate=True)
            final, fault, raw = not raw, False, raw[len(mark) :]
            while True:
                try:
                    text = decoder.decode(raw, final)
                except UnicodeDecodeError as error:
                    fault, text = True, error.object[: error.start].decode(encoding)
                first, *others = ends.split(newlines.decode(text, final or fault))
                parts.append(first)
                for other in others:
                    yield check("".join(parts))
                    number += 1
                    parts = [other]
                check(parts[-1])
                if final or sum(map(len, parts)) > longest:
                    parts = [check("".join(parts))]
                if final or fault:
                    break
                raw = file.read(AT_ONCE)
                final = not raw
        line = "".join(parts)
        if fault:
            place = f"{path}, line {number}: not valid {encoding.upper()} (byte {len(line.encode(encoding)) + 1})"
            raise UserError(f"{place}; is it text? iconv converts other encodings")
        if line:
            yield line
    except READ_ERRORS as error:
        raise unreadable(path, error) from None
