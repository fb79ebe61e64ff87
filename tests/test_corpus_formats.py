"""data/sources.py: corpora in files with columns, compressed, broken, and without text."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet
import pytest
from corpus_cases import ROWS, TEXTS, as_parquet, read

from common.errors import UserError
from data.corpus import load_corpus


def as_csv(delimiter: str) -> bytes:
    cells = ['"' + (row["text"] or "").replace('"', '""') + '"' for row in ROWS]
    rows = [delimiter.join([str(row["id"]), cell, "x"]) for row, cell in zip(ROWS, cells, strict=True)]
    return "\r\n".join([delimiter.join(["id", "text", "more"]), *rows, ""]).encode()


LINES_OF_JSON = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FORMATS = {
    "c.jsonl": LINES_OF_JSON,
    "c.json": LINES_OF_JSON,
    "c.ndjson": b"\xef\xbb\xbf" + LINES_OF_JSON.replace(b"\n", b"\r\n\r\n"),
    "utf16.jsonl": LINES_OF_JSON.decode().encode("utf-16"),
    "array.json": json.dumps(ROWS, ensure_ascii=False).encode(),  # U+2028 as it is
    "pretty.json": b"\n" + json.dumps(ROWS, indent=2).encode(),
    "c.csv": as_csv(","),
    "semicolons.csv": as_csv(";"),
    "c.parquet": as_parquet(ROWS),
    "wiki_00": LINES_OF_JSON,
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_with_columns(write, tiny_tokenizer, name):
    for path in (write(FORMATS[name], name), write(gzip.compress(FORMATS[name]), f"{name}.gz")):
        dataset, summary = load_corpus(path, tiny_tokenizer, 64)
        texts = [tiny_tokenizer.decode(ids, skip_special_tokens=True) for ids in dataset["input_ids"]]
        assert list(zip(dataset["line"], texts, strict=True)) == TEXTS
        assert str(summary) == "1 rows without text, 0% [UNK]"
        assert load_corpus(path, tiny_tokenizer, 64)[1] == summary  # from the cache


def test_a_table_with_tabs_has_quotation_marks_of_its_own(write, tiny_tokenizer):
    content = b'id\ttext\n1\t"he" won .\n2\t"he ""won"" ."\n3\the , he\n\n4\t \n'
    rows = read(write(content, "c.tsv"), tiny_tokenizer)
    assert rows == [(1, '" he " won.'), (2, 'he " won ".'), (3, "he, he")]


def test_what_looks_like_numbers_and_dates_is_text(write, tiny_tokenizer):
    rows = [(1, "1984"), (2, "na"), (3, "2019 - 04 - 25")]
    assert read(write(b"text\n1984\nNA\n2019-04-25\n", "c.csv"), tiny_tokenizer) == rows
    content = b'{"text": "1984"}\n{"text": "NA"}\n{"text": "2019-04-25"}\n'
    assert read(write(content, "c.jsonl"), tiny_tokenizer) == rows


@pytest.mark.parametrize("name", ["c.txt.bz2", "c.txt.xz", "c.txt.zst", "c.jsonl.bz2", "c.jsonl.xz", "c.jsonl.zst"])
def test_other_compressions_whole_and_truncated(write, tiny_tokenizer, name):
    content = b'{"text": "he won ."}\n' * 3000 if "json" in name else b"he won .\n" * 3000
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as file:
        file.write(content)
    compressed = {"bz2": bz2.compress(content), "xz": lzma.compress(content), "zst": stream.getvalue().to_pybytes()}
    whole = compressed[name.rpartition(".")[2]]
    assert read(write(whole, name), tiny_tokenizer) == [(number, "he won.") for number in range(1, 3001)]
    with pytest.raises(UserError, match=f"{name} cannot be read: "):
        load_corpus(write(whole[: len(whole) // 2], name), tiny_tokenizer, 64)


def test_another_column(write, tiny_tokenizer):
    path = write(b'{"id": 1, "body": "he won ."}\n' * 2, "c.jsonl")
    assert read(path, tiny_tokenizer, text_column="body") == [(1, "he won."), (2, "he won.")]


BROKEN = {
    "no column, JSON": (
        "c.jsonl",
        b'{"id": 1, "body": "x"}\n',
        "c.jsonl has no column `text`; --text_column takes one of id, body",
    ),
    "no column, late": ("c.jsonl", b'{"id": 1}\n' * 5000, "has no column `text`; --text_column takes one of id"),
    "no column, CSV": ("c.csv", b"id,body\n1,x\n", "c.csv has no column `text`; --text_column takes one of id, body"),
    "no column, parquet": ("c.parquet", as_parquet([{"id": 1}]), "has no column `text`; --text_column takes one of id"),
    "number": ("c.jsonl", b'{"text": "x"}\n{"text": 5}\n', "c.jsonl, row 2: the column `text` holds a number"),
    "number, parquet": ("c.parquet", as_parquet([{"text": 5}]), "c.parquet, row 1: the column `text` holds a number"),
    "list": ("c.json", b'[{"text": ["x"]}]', "c.json, row 1: the column `text` holds a list"),
    "nested": ("c.parquet", as_parquet([{"text": {"en": "x"}}]), "row 1: the column `text` holds an object"),
    "wrong JSON": (
        "c.jsonl",
        b'{"text": "x"}\n\n{"text": x}\n',
        "c.jsonl, line 3: not JSON: Expecting value (column 10)",
    ),
    "wrong array": (
        "c.json",
        b'[\n{"text": "x"},\n{"text": x}\n]',
        "c.json, line 3: not JSON: Expecting value (column 10)",
    ),
    "text in .json": ("c.json", b"he won .\n", "c.json, line 1: not JSON"),
    "no objects": ("c.jsonl", b'"x"\n', "c.jsonl, line 1: not an object with a column `text`"),
    "array of texts": ("c.json", b'["x"]', "c.json, row 1: not an object with a column `text`"),
    "deep": ("c.jsonl", b"{" + b'"a":{' * 99_999, "c.jsonl, line 1: not JSON"),
    "ragged": ("c.csv", b"id,text\n1,x\n2,x,y\n", "c.csv, line 3: 3 columns where the header has 2"),
    "open quote": ("c.csv", b'text,id\n"x,1\ny,2\n', "c.csv, line 3: not CSV: unexpected end of data"),
    "not UTF-8": ("c.csv", b"text,id\n\xff,2\n", "c.csv, line 2: not valid UTF-8"),
    "not parquet": ("c.parquet", b"he won .\n" * 9, "c.parquet cannot be read: Parquet magic bytes not found"),
    "truncated": ("c.parquet", as_parquet(ROWS)[:-9], "c.parquet cannot be read"),
    "empty parquet": ("c.parquet", b"", "c.parquet cannot be read"),
    "empty JSON": ("c.jsonl", b"", "c.jsonl holds no sentence"),
    "empty array": ("c.json", b"[]", "c.json holds no sentence"),
    "header alone": ("c.csv", b"id,text\n", "c.csv holds no sentence"),
    "no text": ("c.jsonl", b'{"text": null}\n{"text": " "}\n', "c.jsonl holds no sentence"),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files_with_columns(write, tiny_tokenizer, name, content, message):
    for path in (write(content, name), write(gzip.compress(content), f"{name}.gz")):
        for _ in range(2):
            with pytest.raises(UserError) as error:
                load_corpus(path, tiny_tokenizer, 64)
            said = str(error.value)
            assert said.startswith(path) and message in said.replace(".gz", "") and "\n" not in said


NO_TEXT = {
    "JSON lines": (LINES_OF_JSON, "holds JSON, not text; name it .jsonl or .json, and its column `text` is read"),
    "JSON array": (json.dumps(ROWS).encode(), "holds JSON"),
    "pretty JSON": (json.dumps(ROWS, indent=1).encode(), "holds JSON"),
    "JSON array of texts": (b'["he won .", "prices rose ."]', "holds JSON"),
    "HTML": (b"\n<!DOCTYPE html>\n<html><body><p>he won .</p></body></html>\n", "holds a document with markup"),
    "XML": (b'<?xml version="1.0"?>\n<page>he won .</page>\n', "holds a document with markup"),
    "CSV": (as_csv(","), "holds a table (first line: id, text, more); with a header and the name .tsv or .csv"),
    "tabs": (b"1\the won .\n2\tprices rose .\n3\the won .\n", "holds a table (first line: 1, he won .)"),
    "columns": (b"he\tO\nwon\tO\n\nhe\tO\nwon\tO\n", "holds a table (first line: he, O)"),
}


@pytest.mark.parametrize(("content", "message"), NO_TEXT.values(), ids=NO_TEXT)
def test_text_files_that_hold_no_text(write, tiny_tokenizer, content, message):
    for path in (write(content), write(gzip.compress(content), "c.txt.gz")):
        with pytest.raises(UserError) as error:
            load_corpus(path, tiny_tokenizer, 64)
        assert str(error.value).startswith(path) and message in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b'["he won ,"] he said .\n',
        b"[1] he won .\n[2] he said .\n",
        b"{he} won .\n",
        b"he , he\nhe , won\nwon , he\n" * 9,
        b"yes, sir\nno, well\nhe, won\n",
        b"he\twon .\nprices rose .\nhe won .\n",
        b"\the won .\n\tprices rose .\n\the won .\n",
        b"yes,no\nhe won .\nup,down\n",
        b"<b>he</b> won .\n",
    ],
)
def test_text_that_begins_like_something_else_is_text(write, tiny_tokenizer, content):
    assert len(read(write(content), tiny_tokenizer)) == content.count(b"\n")


def test_tags_that_stand_alone_are_no_text(write, tiny_tokenizer):
    content = b'<doc id="1" url="x" title="A > \'B\'">\nThe president\n\nhe won .\n</doc>\n<b>he</b> won .\n'
    expected = [(2, "the president"), (4, "he won."), (6, "< b > he < / b > won.")]
    assert read(write(content, "wiki_00"), tiny_tokenizer) == expected


def test_half_a_surrogate_pair(write, tiny_tokenizer):
    content = b'{"text": "he \\ud800 won"}\n{"text": "\\ud83d\\ude00"}\n'
    dataset, _ = load_corpus(write(content, "c.jsonl"), tiny_tokenizer, 64)
    words = [tiny_tokenizer.convert_ids_to_tokens(ids)[1:-1] for ids in dataset["input_ids"]]
    assert words == [["he", "won"], ["[UNK]"]]  # the tokenizer takes U+FFFD away
