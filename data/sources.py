"""Files with text, in the formats that corpora come in, as numbered lines.

| name | read as |
|---|---|
| .json, .jsonl, .ndjson | objects, one a line or in one array: the text column of each |
| .csv, .tsv, .parquet | rows under named columns: the text column of each |
| any other | lines of text; one that is nothing but a tag, as in Wikipedia extracts, counts as blank |

All may be compressed (.gz, .bz2, .xz, .zst). Python itself reads JSON and CSV: datasets would guess types (the text
"1984" becomes a number, "NA" nothing, a date a timestamp) and not name the line at fault.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from common.errors import UserError, first_line
from common.text import COMPRESSED, READ_ERRORS, RECORD_ENDS, TEXT_ENDS, open_bytes, read_lines, split_lines, unreadable

Row = dict[str, Any]

LONGEST_ROW = 100_000_000  # characters: a row may be a book
SAMPLE = 20  # lines that tell what a file is
ROWS_BEFORE_GIVING_UP = 1000  # on a column that none of them has
NAMED_AT_MOST = 20
TAG = re.compile(r"""\s*<(?:doc\s.*|/?[A-Za-z](?:[^<>"]|"[^"]*")*)>\s*""")
# An object with a key; an array of strings.
JSON = re.compile(r'\s*(?:\[\s*)*\{\s*"[^"]*"\s*:|\s*\[[\s[]*"(?:[^"\\]|\\.)*"\s*(?:,\s*["[{]|][\s\],]*(?:\n|\Z))')
MARKUP = re.compile(
    r"\s*(?:<!--.*?-->\s*)?(?:<(?:!doctype|html|head|body|\?xml|mediawiki)\b|\{\\rtf|%PDF|%!PS)", re.I | re.S
)
HALF_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell it, UTF-8 cannot
ENCLOSED = re.compile(r'^"((?:[^"]|"")*)"$')
KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}

csv.field_size_limit(LONGEST_ROW)


class TextFile:
    """A file, to be iterated as (number from 1, line); None stands for a row without text.

    Several lines may come from one row; they have its number, and a blank line follows them. `column` is the one with
    the text, in formats that have columns; `ends` is what ends a line, see `read_lines`.

    Raises (here and in the functions below, which it is made of):
        UserError: the file cannot be read or is not what its name says, or it has no such column, or holds something
            else than text there; the message names the file and the line or row.
    """

    def __init__(self, path: Path, column: str = "text", ends: re.Pattern[str] = TEXT_ENDS):
        self.path, self.column, self.ends = path, column, ends
        self.read_rows = ROWS.get(bare_suffix(path))
        if bare_suffix(path) == "" and JSON.match("\n".join(sample(path))):
            self.read_rows = json_rows
        self.unit = "row" if self.read_rows else "line"

    @property
    def identity(self) -> str:
        """The sha256 of the content, be it compressed or not, and the column where there are columns."""
        try:
            with open_bytes(self.path) as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        except READ_ERRORS as error:
            raise unreadable(self.path, error) from None
        return sha256 + (f" (column {self.column})" if self.read_rows else "")

    def __iter__(self) -> Iterator[tuple[int, str | None]]:
        if self.read_rows:
            return lines_of_rows(self.read_rows(self.path, self.column), self.column, str(self.path), self.ends)
        return enumerate(text_lines(self.path, self.column, self.ends), 1)


def bare_suffix(path: Path) -> str:
    """The suffix that tells the format: .json of `c4.00000-of-01024.json.gz`, none of `wiki_00.bz2` and `part.001`."""
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def sample(path: Path) -> list[str]:
    """The first lines of a text file."""
    return list(islice(read_lines(path, longest=LONGEST_ROW), SAMPLE))


def find_files(inputs: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """The files among the inputs and, sorted by path, those below the directories that are text; the others there.

    Text is what is named .txt or like another format, compressed files without such a name, and files without a suffix
    that begin as text; but nothing hidden.

    Raises:
        UserError: an input is missing, or a directory has no text.
    """

    def is_text(path: Path, directory: Path) -> bool:
        if any(part.startswith(".") for part in path.relative_to(directory).parts):
            return False
        suffix = bare_suffix(path)
        if suffix == "" and path.suffix.lower() not in COMPRESSED:
            try:
                sample(path)
            except UserError:
                return False
        return suffix in ("", ".txt", *ROWS)

    files: list[Path] = []
    others: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file())
            texts = [file for file in found if is_text(file, path)]
            if not texts:
                names = f".txt, {', '.join(ROWS)}"
                raise UserError(f"the directory {path} has no text ({names}, or without a suffix; also compressed)")
            files += texts
            others += sorted(set(found).difference(texts))
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"no file or directory {path}")
    return files, others


def text_lines(path: Path, column: str, ends: re.Pattern[str]) -> Iterator[str]:
    """The lines of a text file; tags that stand alone are blank. JSON, markup and tables are refused."""
    lines = read_lines(path, ends)
    head = list(islice(lines, SAMPLE))
    text = "\n".join(head)
    if JSON.match(text):
        raise UserError(f"{path} holds JSON, not text; name it .jsonl or .json, and its column `{column}` is read")
    if MARKUP.match(text):
        raise UserError(f"{path} holds a document with markup (HTML, XML, RTF, PDF); make plain text of it first")
    if columns := _table(head, column):
        raise UserError(
            f"{path} holds a table (first line: {columns}); with a header and the name .tsv or .csv its column "
            f"`{column}` is read, or keep the text alone (cut -f)"
        )
    for line in chain(head, lines):
        yield "" if TAG.fullmatch(line) else line


def _table(head: list[str], column: str) -> str:
    """The first cells if these are lines of a table: all with as many, between tabs or under a header of names."""
    lines = [line.strip() for line in head if line.strip()]
    for delimiter in "\t,;|":
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
        if len(head) == SAMPLE:
            rows = rows[:-1]  # a quoted cell may go on in the next line
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            enough = 2 if column in rows[0] else 3 if delimiter == "\t" else 5
            named = delimiter == "\t" or all(re.fullmatch(r"\s?\w[\w.-]*", cell) for cell in rows[0])
            if named and len(rows) >= enough:
                return _names(rows[0])
    return ""


def _names(columns: Iterable[str]) -> str:
    shown = [name if len(name) <= 40 else f"{name[:40]}..." for name in islice(columns, NAMED_AT_MOST + 1)]
    return ", ".join(shown[:NAMED_AT_MOST]) + (", ..." if len(shown) > NAMED_AT_MOST else "")


# --- rows ---------------------------------------------------------------------------------------------------------


def lines_of_rows(
    rows: Iterable[Row], column: str, name: str, ends: re.Pattern[str] = TEXT_ENDS
) -> Iterator[tuple[int, str | None]]:
    """The lines of text in a column, with the numbers of their rows, as `TextFile` has them."""
    columns: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        if column not in columns:
            columns |= dict.fromkeys(row)
            if column not in columns and number == ROWS_BEFORE_GIVING_UP:
                break
        text = row.get(column)
        if not isinstance(text, str | None):
            kind = KINDS.get(type(text), type(text).__name__)
            raise UserError(f"{name}, row {number}: the column `{column}` holds {kind}, not text")
        if text and text.strip():
            for line in split_lines(HALF_SURROGATE.sub("\ufffd", text), ends):
                yield number, line
            yield number, ""
        else:
            yield number, None
    if columns and column not in columns:
        raise UserError(f"{name} has no column `{column}`; --text_column takes one of {_names(columns)}")


def json_rows(path: Path, column: str) -> Iterator[Row]:
    """The objects of a file of JSON lines, or of one array or object over all lines, which is read into memory."""
    lines = enumerate(read_lines(path, RECORD_ENDS, LONGEST_ROW), 1)
    for number, line in lines:
        if not line.strip():
            continue
        whole = line.lstrip().startswith("[") or line.strip() == "{"
        try:
            values = json.loads("\n".join([line, *(line for _, line in lines)]) if whole else line)
        except json.JSONDecodeError as error:
            place = f"{path}, line {number + error.lineno - 1}"
            raise UserError(f"{place}: not JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
            raise UserError(f"{path}, line {number}: not JSON that can be read: {first_line(error)}") from None
        for row, value in enumerate(values if isinstance(values, list) else [values], 1):
            if not isinstance(value, dict):
                place = f"row {row}" if whole else f"line {number}"
                raise UserError(f"{path}, {place}: not an object with a column `{column}`")
            yield value


def csv_rows(path: Path, column: str) -> Iterator[Row]:
    """The rows of a table: tabs between the columns in .tsv, else what the header has most of `,`, `;`, `|` and tabs.

    Between tabs a quotation mark is one, unless it encloses the whole cell; elsewhere it encloses cells, as in CSV.
    """
    lines = read_lines(path, RECORD_ENDS, LONGEST_ROW)
    head = list(islice(lines, 1))
    delimiter = "\t" if bare_suffix(path) == ".tsv" else max(",;\t|", key="".join(head).count)
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    text = (f"{line}\n" for line in chain(head, lines))
    rows = csv.reader(text, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] = []
    try:
        for row in filter(None, rows):
            if quoting == csv.QUOTE_NONE:
                row = [ENCLOSED.sub(lambda cell: cell[1].replace('""', '"'), cell) for cell in row]
            if not header:
                header = [cell.strip() for cell in row]
            elif len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            else:
                what = f"{len(row)} columns where the header has {len(header)}"
                raise UserError(f"{path}, line {rows.line_num}: {what}")
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not CSV: {error}") from None


def parquet_rows(path: Path, column: str) -> Iterator[Row]:
    """The rows of a parquet file with the text's column alone, or without text if there is no such column."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with open_bytes(path) as raw:
            file = ParquetFile(raw)
            names = file.schema_arrow.names
            if column not in names:
                yield dict.fromkeys(names)
                return
            for batch in file.iter_batches(columns=[column]):
                yield from batch.to_pylist()
    except (*READ_ERRORS, ArrowException) as error:
        raise unreadable(path, error) from None


ROWS = {
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".parquet": parquet_rows,
}
