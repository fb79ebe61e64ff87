"""data/corpus.py: corpora of lines, what they lose, and files that are no corpus."""

import gzip

import pytest
from corpus_cases import read

from common.errors import UserError
from data.corpus import load_corpus, percent

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
