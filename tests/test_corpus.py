"""data/corpus.py and data/sources.py: corpora in all their formats, what they lose, and files that are no corpus."""

import bz2
import gzip
import json
import lzma

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

import data.corpus
from common.errors import UserError
from common.files import sha256_of
from data.corpus import load_corpus, percent


@pytest.fixture
def write(tmp_path):
    def write(content, name="corpus.txt"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def read(path, tokenizer, max_length=64, **options):
    dataset, _ = load_corpus(path, tokenizer, max_length, **options)
    return [(row["line"], tokenizer.decode(row["input_ids"], skip_special_tokens=True)) for row in dataset]


LINES = [(1, "he won."), (2, "prices rose again."), (5, "officials say.")]


@pytest.mark.parametrize(
    "content",
    [
        b"He won.\nPrices rose again.\n\n  \t \nOfficials say.\n",
        b"He won.\nPrices rose again.\n\n\nOfficials say.",  # no final newline: no character is lost
        b"He won.\r\nPrices rose again.\r\n\r\n\r\nOfficials say.\r\n",
        b"\xef\xbb\xbfHe won.\nPrices rose again.\n\n\nOfficials say.\n\n\n",
        "He won.\nPrices rose again.\n\u3000\n\u200b\nOfficials say.".encode(),  # U+200B is no token
    ],
    ids=["plain", "no final newline", "CRLF", "BOM", "wide blanks"],
)
def test_lines_and_their_numbers(write, tiny_tokenizer, content):
    assert read(write(content), tiny_tokenizer) == LINES
    assert read(write(gzip.compress(content), "corpus.gz"), tiny_tokenizer) == LINES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no sentence"),
        (b"\n \n\r\n\t\n", "holds no sentence"),
        (b"he won\n\x00\x01\x02\xff", "line 2: a NUL byte"),
        (b"he won\n\nhe w\xf6n\n", "line 3: not valid UTF-8"),
        (b"he won\n" + b"word " * 2_000_000, "line 2: over 1,000,000 characters"),
        (b"he won\n" * 3000 + b"\xff\n", "line 3001: not valid UTF-8"),
    ],
    ids=["empty", "blank", "binary", "not UTF-8", "10 MB line", "late"],
)
def test_files_that_are_no_corpus(write, tiny_tokenizer, content, message):
    path = write(content)
    for _ in range(2):  # a failure leaves nothing behind that the next attempt would take for a corpus
        with pytest.raises(UserError) as error:
            load_corpus(path, tiny_tokenizer, 64)
        assert str(error.value).startswith(path) and message in str(error.value)
    with open(path, "wb") as file:
        file.write(b"he won .\n")
    assert read(path, tiny_tokenizer) == [(1, "he won.")]


def test_a_truncated_gzip_and_a_directory(write, tiny_tokenizer, tmp_path):
    path = write(gzip.compress(b"he won .\n" * 1000)[:-20], "corpus.gz")
    with pytest.raises(UserError, match="cannot be read"):
        load_corpus(path, tiny_tokenizer, 64)
    with pytest.raises(UserError, match="is a directory"):
        load_corpus(str(tmp_path), tiny_tokenizer, 64)


@pytest.mark.parametrize("name", ["nowhere.txt", "voa_corpus", "nobody/nothing"])
def test_a_missing_corpus(tiny_tokenizer, name):
    with pytest.raises(UserError, match=f"no corpus `{name}`.* put one sentence a line"):
        load_corpus(name, tiny_tokenizer, 64)


def test_long_sentences_are_cut(write, tiny_tokenizer):
    dataset, _ = load_corpus(write(b"won " * 100 + b"\nhe won\n"), tiny_tokenizer, 16)
    assert [len(ids) for ids in dataset["input_ids"]] == [16, 4]
    assert dataset[0]["input_ids"][-1] == tiny_tokenizer.sep_token_id


def test_the_hash_follows_the_content_and_so_does_the_cache(write, tiny_tokenizer):
    path = write(b"he won .\nprices rose .\n")
    first, first_summary = load_corpus(path, tiny_tokenizer, 64)
    assert first_summary.identity == sha256_of(path)
    again, again_summary = load_corpus(path, tiny_tokenizer, 64)
    assert again_summary == first_summary
    assert again.cache_files == first.cache_files and first.cache_files  # memory-mapped, and found again

    write(b"he won .\nprices fell .\n")  # same name, same size
    changed, changed_summary = load_corpus(path, tiny_tokenizer, 64)
    assert changed_summary.identity == sha256_of(path) != first_summary.identity
    assert changed.cache_files != first.cache_files
    assert tiny_tokenizer.decode(changed[1]["input_ids"], skip_special_tokens=True) == "prices fell."
    shorter, _ = load_corpus(path, tiny_tokenizer, 4)
    assert [len(ids) for ids in shorter["input_ids"]] == [4, 4]


def test_the_cache_is_found_whatever_the_tokenizer_did_before(write, tiny_tokenizer, monkeypatch):
    path = write(b"he won .\nprices rose .\n")
    load_corpus(path, tiny_tokenizer, 64)
    tiny_tokenizer(["a", "b c"], padding="max_length", truncation=True, max_length=9)  # leaves traces in it

    def no_tokenising(*_, **__):
        raise AssertionError("the cached data set was not found")

    monkeypatch.setattr(datasets.Dataset, "_map_single", no_tokenising)
    dataset, _ = load_corpus(path, tiny_tokenizer, 64)
    assert len(dataset) == 2


def test_lines_end_in_every_way(write, tiny_tokenizer):
    text = "he won .\rprices rose\u2028again\u2029in march .\x85he\x0cwon\x0bon\r\nmonday\n"
    expected = ["he won.", "prices rose", "again", "in march.", "he", "won", "on", "monday"]
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert read(write(text.encode(encoding)), tiny_tokenizer) == list(enumerate(expected, 1))
    mark = "\ufeff"
    assert read(write(gzip.compress((mark + text).encode("utf-16-be")), "c.txt.gz"), tiny_tokenizer)[-1] == (
        8,
        "monday",
    )
    path = write((mark + "he won\nhe w").encode("utf-16-le") + b"\0\xd8")
    with pytest.raises(UserError, match=r"corpus\.txt, line 2: not valid UTF-16-LE \(byte 9\)"):
        load_corpus(path, tiny_tokenizer, 64)


# --- formats ----------------------------------------------------------------------------------------------------------

ROWS = [
    {"id": 1, "text": 'he won .\nprices "rose" .', "more": {"text": [1]}},
    {"id": 2, "text": None, "more": None},
    {"id": 3, "text": "officials say , on monday .\r\n\u2028he won", "more": {"text": []}},
]
TEXTS = [(1, "he won."), (1, 'prices " rose ".'), (3, "officials say, on monday."), (3, "he won")]


def as_csv(delimiter: str) -> bytes:
    cells = ['"' + (row["text"] or "").replace('"', '""') + '"' for row in ROWS]
    rows = [delimiter.join([str(row["id"]), cell, "x"]) for row, cell in zip(ROWS, cells, strict=True)]
    return "\r\n".join([delimiter.join(["id", "text", "more"]), *rows, ""]).encode()


def as_parquet(rows: list[dict]) -> bytes:
    stream = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue().to_pybytes()


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


# --- long lines and unknown tokens ------------------------------------------------------------------------------------


def test_what_was_cut_and_what_is_unknown_is_counted(write, tiny_tokenizer):
    # 30, 2, 14 and 20 words of a token each; 14 fit. Lost are 16 and 6 of 32 + 4 + 16 + 22 tokens. 3 words are unknown.
    lines = [b"won " * 30, b"he won", b"\xe1\x88\x80 " * 3 + b"he " * 11, b"won " * 20, b" "]
    path = write(b"\n".join(lines))
    for _ in range(2):  # the second time from the cache
        dataset, summary = load_corpus(path, tiny_tokenizer, 16)
        assert dataset.column_names == ["line", "input_ids"]
        assert (summary.lines, summary.long, summary.beyond, summary.tokens) == (4, 2, 22, 16 + 4 + 16 + 16)
        assert (summary.words, summary.unknown) == (14 + 2 + 14 + 14, 3)
        assert str(summary) == "2 of 4 lines cut at 16 tokens (30% of the tokens lost), 6.8% [UNK]"
        assert summary.warning is None
    assert str(load_corpus(path, tiny_tokenizer, 32)[1]) == "4.5% [UNK]"  # of 66


def test_a_corpus_that_the_tokenizer_does_not_know(write, tiny_tokenizer):
    path = write("\u1200\u1208 \u1200\nhe won \u1200\n".encode())
    _, summary = load_corpus(path, tiny_tokenizer, 16)
    assert str(summary) == "60% [UNK]"
    assert summary.warning == "60% of the tokens are [UNK]: nothing can be learnt from this text with this tokenizer"
    assert load_corpus(write(b"he won\n\xe1\x88\x80 \xe1\x88\x80"), tiny_tokenizer, 16)[1].warning is None  # half


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 0, "0%"), (0, 9, "0%"), (1, 10_000, "under 0.1%"), (1, 1000, "0.1%"), (394, 522, "75%"), (9, 9, "100%")],
)
def test_shares(part, whole, expected):
    assert percent(part, whole) == expected


@pytest.mark.parametrize("max_length", [3, 4, 9, 64])
def test_split_lines_lose_nothing(write, tiny_tokenizer, sentences, max_length):
    lines = [sentences[0], "", " ".join(sentences), "he", " ".join(sentences[2:5])]
    path = write("\n".join(lines).encode())
    for _ in range(2):
        dataset, summary = load_corpus(path, tiny_tokenizer, max_length, long_lines="split")
        for number, line in enumerate(lines, 1):
            pieces = [row["input_ids"] for row in dataset if row["line"] == number]
            whole = tiny_tokenizer(line, add_special_tokens=False)["input_ids"]
            assert [i for piece in pieces for i in piece[1:-1]] == whole  # in order, nothing lost or twice
            assert all(len(piece) == max_length for piece in pieces[:-1])
            assert all((piece[0], piece[-1]) == (2, 3) and 2 < len(piece) <= max_length for piece in pieces)
        lengths = [len(tiny_tokenizer(line)["input_ids"]) for line in lines]
        long = sum(length > max_length for length in lengths)
        assert (summary.lines, summary.long) == (4, long)
        said = f"{long} of 4 lines split at {max_length} tokens, 0% [UNK]" if long else "0% [UNK]"
        assert str(summary) == said
    cut, cut_summary = load_corpus(path, tiny_tokenizer, max_length)
    assert [len(ids) for ids in cut["input_ids"]] == [min(length, max_length) for length in lengths if length > 2]
    assert summary.identity == f"{cut_summary.identity} (long lines split)"


# --- identity and cache -----------------------------------------------------------------------------------------------


def test_the_identity_is_that_of_the_content(write, tiny_tokenizer):
    plain = write(b"he won .\nhe won .\n")

    def identity(path, **options):
        return load_corpus(path, tiny_tokenizer, 64, **options)[1].identity

    same = {identity(path) for path in (plain, write(gzip.compress(b"he won .\nhe won .\n"), "other.gz"))}
    assert same == {sha256_of(plain)} == {identity(plain, text_column="body")}
    rows = write(b'{"text": "he won", "body": "he"}\n', "c.jsonl")
    assert identity(rows) == f"{sha256_of(rows)} (column text)" != identity(rows, text_column="body")
    assert read(rows, tiny_tokenizer, text_column="body") == [(1, "he")] != read(rows, tiny_tokenizer)


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage", [lambda _: b"", halved, lambda b: b[:-8], None], ids=["empty", "half", "end", "gone"]
)
@pytest.mark.parametrize("pattern", ["generator-train.arrow", "cache-*.arrow", "dataset_info.json"])
def test_a_damaged_cache_is_made_anew(write, tiny_tokenizer, datasets_cache, capsys, pattern, damage):
    path = write(b"he won .\nprices rose .\nofficials say .\n")

    def splits():
        corpus, summary = load_corpus(path, tiny_tokenizer, 64)
        return [[row["line"] for row in part] for part in data.corpus.hold_out(corpus, 0.3, 0)], summary

    before = splits()
    files = list(datasets_cache.rglob(pattern))
    assert files
    capsys.readouterr()
    for file in files:
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:
            file.unlink()
        assert splits() == before
        said = capsys.readouterr().out
        rebuilt = damage is not None or pattern == "generator-train.arrow"  # the others are not missed
        assert (said.count("\n") == 1 and f"the cached copy of {path} is damaged and made anew" in said) == rebuilt
        assert splits() == before and capsys.readouterr().out == ""


def test_a_cache_that_cannot_be_written(write, tiny_tokenizer, datasets_cache, monkeypatch):
    (datasets_cache / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", datasets_cache / "file")
    with pytest.raises(UserError, match=r"the cache .*sentences-\w+ cannot be used: .*Not a directory"):
        load_corpus(write(b"he won .\n"), tiny_tokenizer, 64)


def test_a_damaged_copy_of_a_hub_data_set(tmp_path, tiny_tokenizer, monkeypatch, capsys, datasets_cache):
    (tmp_path / "d.parquet").write_bytes(as_parquet(ROWS))
    load = datasets.load_dataset

    def from_hub(identifier, part, split, download_mode):
        assert (identifier, part) == ("nobody/news", "en")
        return load("parquet", data_files=str(tmp_path / "d.parquet"), split=split, download_mode=download_mode)

    monkeypatch.setattr(data.corpus, "load_dataset", from_hub)
    for damage in (lambda content: content, lambda _: b"", halved, lambda content: content[:-8]):
        for file in datasets_cache.rglob("parquet-train.arrow"):
            file.write_bytes(damage(file.read_bytes()))
        dataset, summary = load_corpus("nobody/news:en", tiny_tokenizer, 64)
        texts = [tiny_tokenizer.decode(ids, skip_special_tokens=True) for ids in dataset["input_ids"]]
        assert list(zip(dataset["line"], texts, strict=True)) == TEXTS
        assert str(summary) == "1 rows without text, 0% [UNK]"
    assert capsys.readouterr().out == "the cached copy of nobody/news:en is damaged and made anew\n" * 3
    with pytest.raises(
        UserError, match="nobody/news:en has no column `body`; --text_column takes one of id, text, more"
    ):
        load_corpus("nobody/news:en", tiny_tokenizer, 64, text_column="body")
