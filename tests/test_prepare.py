"""Raw text to one sentence a line: every kind of file, what is dropped, what is refused."""

import bz2
import gzip
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from prepare_cases import prepared, sentences_of

from common.errors import UserError
from common.files import sha256_of
from data.bundled import LEE, gensim_file
from data.prepare import INVISIBLE, SeenSentences, clean, main, prepare

ROOT = Path(__file__).resolve().parents[1]


def test_summary_counts_what_was_dropped(tmp_path):
    raw = tmp_path / "raw.txt"
    raw.write_text("One two three. Too short. One  two\tthree.\n\nFour five six seven.\nOne two three.\n")
    summary = prepare([raw], tmp_path / "out.txt")
    assert sentences_of(summary.output) == ["One two three.", "Four five six seven."]
    assert (summary.paragraphs, summary.sentences, summary.words) == (3, 2, 7)
    assert (summary.short, summary.duplicates) == (1, 2)
    assert summary.sha256 == sha256_of(tmp_path / "out.txt")
    assert prepare([raw], tmp_path / "out.txt", min_words=2).short == 0


def test_paragraphs_are_lines_or_hard_wrapped(tmp_path):
    text = "A sentence that goes\non over lines. Here is\n \nanother paragraph without end\n"
    assert prepared(tmp_path, text) == [
        "A sentence that goes",
        "on over lines.",
        # "Here is" has two words
        "another paragraph without end",
    ]
    assert prepared(tmp_path, text, hard_wrapped=True, min_words=2) == [
        "A sentence that goes on over lines.",
        "Here is",
        "another paragraph without end",
    ]
    for end in ("\n\n", "\r\r", "\f", "\u2029", "\n\f", "\u2028\u2028"):
        text = f"A sentence that\rgoes on{end}over pages\u2028and lines."
        expected = ["A sentence that goes on", "over pages and lines."]
        assert prepared(tmp_path, text, hard_wrapped=True) == expected
        assert prepared(tmp_path, json.dumps({"text": text}), "raw.json", hard_wrapped=True) == expected


@pytest.mark.parametrize(
    "content",
    [
        "One two three.\r\nFour five six.\r\n",
        "One two three.\nFour five six.",
        "\ufeffOne two three.\nFour five six.\n",
        "One\u00a0two\u2003three.\nFour\tfive \x1c six.\n",
        "O\u00adne two\x07 three.\nFo\u200bur five six.\x1b\n",
        "One two three. Four five six.\n\n\n",
        "One two three.\rFour five six.\r",
        "One two three.\u2029Four five six.\u2028",
        "One two three.\x85\x0bFour five six.\x0c",
        "One two three.\r\nFour five six.\r\n".encode("utf-16"),
        "\ufeffOne two three.\nFour five six.\n".encode("utf-16-be"),
        "<doc id='1'>\nOne two three.\nFour five six.\n</doc>\n",
        '[\n {"text": "One two three.\\nFour five six."}\n]'.encode("utf-8-sig"),
    ],
    ids=[
        "CRLF",
        "no final newline",
        "BOM",
        "Unicode spaces",
        "invisible",
        "one paragraph",
        "CR",
        "U+2029",
        "NEL",
        "UTF-16",
        "UTF-16-BE",
        "tags",
        "JSON",
    ],
)
def test_same_sentences_however_the_text_is_written(tmp_path, content):
    name = "raw.json" if b"{" in (content if isinstance(content, bytes) else b"") else "raw.txt"
    assert prepared(tmp_path, content, name) == ["One two three.", "Four five six."]


def test_directories_and_gz_files_are_read_in_the_order_of_their_paths(tmp_path):
    raw = tmp_path / "raw"
    (raw / "b" / "deep").mkdir(parents=True)
    (raw / "c.txt").write_text("Number three is here.")
    (raw / "b" / "deep" / "x.txt.gz").write_bytes(gzip.compress(b"Number two is here.\n"))
    (raw / "a.gz").write_bytes(gzip.compress(b"Number one is here.\n"))
    (raw / "d.jsonl").write_text('{"text": "Number four is here."}\n')
    (raw / "e.csv.gz").write_bytes(gzip.compress(b"id,text\n5,Number five is here.\n"))
    (raw / "passed_over.pdf").write_text("Number nine is here.")
    (tmp_path / "last.text").write_text("Number six is here.\n")
    summary = prepare([raw, tmp_path / "last.text"], tmp_path / "new" / "folder" / "out.txt")
    written = sentences_of(tmp_path / "new" / "folder" / "out.txt")
    assert written == [f"Number {n} is here." for n in ("one", "two", "three", "four", "five", "six")]
    said = str(summary).splitlines()[-1]
    assert said == f"passed over 1 files that are not named like text: {raw / 'passed_over.pdf'}"


def test_extracts_of_wikipedia(tmp_path):
    """AA/wiki_00 and its like, plain, compressed and as JSON; what is no text there, or hidden, is passed over."""
    raw = tmp_path / "text"
    (raw / "AA").mkdir(parents=True)
    article = '<doc id="{0}" url="x" title="A > {0}">\nNews of {0}\n\nIt began in {0}.{1}It ended at once.\n\n</doc>\n'
    (raw / "AA" / "wiki_00").write_text(article.format(1, " ") + article.format(2, "\n"))
    (raw / "AA" / "wiki_01.bz2").write_bytes(bz2.compress(article.format(3, " ").encode()))
    (raw / "AA" / "wiki_02").write_text(
        '{"id": "4", "title": "x", "text": "News of 4\\n\\nIt began in 4."}\n{"text": ""}\n'
    )
    (raw / "AA" / "index").write_bytes(b"\0\1\2")
    (raw / ".hidden").write_text("It is hidden here.\n")
    expected = ["News of 1", "It began in 1.", "It ended at once."]  # a repetition later
    expected += [f"{what} {n}{stop}" for n in (2, 3, 4) for what, stop in (("News of", ""), ("It began in", "."))]
    for hard_wrapped in (False, True):
        summary = prepare([raw], tmp_path / "out.txt", hard_wrapped=hard_wrapped)
        assert sentences_of(tmp_path / "out.txt") == expected
        assert summary.passed_over == [raw / ".hidden", raw / "AA" / "index"]
        assert "dropped: 0 too short, 2 duplicates, 1 rows without text\n" in str(summary)


def test_the_lines_of_a_row_are_paragraphs(tmp_path):
    content = (
        '{"body": "Headline of the day\\r\\nThe first one. The\\nsecond one is here"}\n{"body": "The third one."}\n'
    )
    options = {"name": "raw.jsonl", "text_column": "body"}
    expected = ["Headline of the day", "The first one.", "second one is here", "The third one."]
    assert prepared(tmp_path, content, **options) == expected
    expected = ["Headline of the day The first one.", "The second one is here", "The third one."]
    assert prepared(tmp_path, content, hard_wrapped=True, **options) == expected
    with pytest.raises(UserError, match=r"raw\.jsonl has no column `text`; --text_column takes one of body"):
        prepare([tmp_path / "raw.jsonl"], tmp_path / "out.txt")
    (tmp_path / "raw.jsonl").write_text('{"text": "One two three."}\n{"text": ' + f'"{"word " * 300_000}"}}\n')
    with pytest.raises(UserError, match=r"raw\.jsonl, row 2: a paragraph of over"):
        prepare([tmp_path / "raw.jsonl"], tmp_path / "out.txt")


BAD = {
    "empty": (b"", "no sentence"),
    "blank": (b"\n \n\t\r\n", "no sentence"),
    "too short": (b"Too short.\n", r"no sentence of 3 or more words in .*raw.txt: 1 are shorter \(--min_words\)"),
    "binary": (b"One two three.\n\x00\x01\n", "raw.txt, line 2: a NUL byte"),
    "not UTF-8": (b"One two three.\nFour \xff six.\n", "raw.txt, line 2: not valid UTF-8"),
    "10 MB line": (b"One two three.\n" + b"word " * 2_000_000, "raw.txt, line 2: over"),
    "JSON": (b'{"text": "One two three."}\n', "raw.txt holds JSON, not text; name it .jsonl or .json"),
    "HTML": (b"<html>One two three.</html>\n", "raw.txt holds a document with markup"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_loses_nothing(tmp_path, content, message):
    raw, output = tmp_path / "raw.txt", tmp_path / "out.txt"
    raw.write_bytes(content)
    with pytest.raises(UserError, match=message):
        prepare([raw], output)
    assert os.listdir(tmp_path) == ["raw.txt"]
    output.write_text("from an earlier run\n")
    with pytest.raises(UserError, match=message):
        prepare([raw], output)
    assert output.read_text() == "from an earlier run\n"
    assert sorted(os.listdir(tmp_path)) == ["out.txt", "raw.txt"]


def test_bad_paths(tmp_path):
    raw = tmp_path / "raw.txt"
    raw.write_text("One two three.\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file or directory"):
        prepare([tmp_path / "missing.txt"], tmp_path / "out.txt")
    with pytest.raises(UserError, match=r"directory .*empty has no"):
        prepare([tmp_path / "empty"], tmp_path / "out.txt")
    with pytest.raises(UserError, match="is a directory"):
        prepare([raw], tmp_path / "empty")
    with pytest.raises(UserError, match="cannot be written"):
        prepare([raw], raw / "below_a_file" / "out.txt")
    (tmp_path / "link.txt").symlink_to(raw)
    for inputs, output in [([raw], raw), ([tmp_path], raw), ([raw], tmp_path / "link.txt")]:
        with pytest.raises(UserError, match="input and output at once"):
            prepare(inputs, output)
    assert raw.read_text() == "One two three.\n"


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:40] + b"\xff" * 20 + b[60:]])
def test_damaged_gz(tmp_path, damage):
    whole = gzip.compress(random.Random(0).randbytes(3000).hex().encode())
    (tmp_path / "raw.gz").write_bytes(damage(whole))
    with pytest.raises(UserError, match=r"raw\.gz"):
        prepare([tmp_path / "raw.gz"], tmp_path / "out.txt")
    assert os.listdir(tmp_path) == ["raw.gz"]


def test_hard_wrapped_text_without_blank_lines_stays_within_memory(tmp_path):
    (tmp_path / "raw.txt").write_text("these are some words\n" * 60_000)
    with pytest.raises(UserError, match=r"raw\.txt, line 1: a paragraph of over"):
        prepare([tmp_path / "raw.txt"], tmp_path / "out.txt", hard_wrapped=True)


def run_prepare(*arguments: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "data.prepare", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        **options,
    )


def test_a_full_disk_leaves_the_earlier_output(tmp_path):
    (tmp_path / "raw.txt").write_text("".join(f"This is sentence {i}.\n" for i in range(5000)))
    (tmp_path / "out.txt").write_text("from an earlier run\n")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))}
    result = run_prepare(tmp_path / "raw.txt", "--output", tmp_path / "out.txt", **limit)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("out.txt cannot be written: File too large")
    assert "Traceback" not in result.stderr
    assert (tmp_path / "out.txt").read_text() == "from an earlier run\n"
    assert sorted(os.listdir(tmp_path)) == ["out.txt", "raw.txt"]


def test_command_line_and_same_bytes_under_any_hash_seed(tmp_path):
    raw = gensim_file(LEE)
    outputs = []
    for seed in "12":
        output = tmp_path / f"out{seed}.txt"
        result = run_prepare(raw, "--output", output, env={**os.environ, "PYTHONHASHSEED": seed})
        assert result.returncode == 0
        assert result.stdout.startswith("300 paragraphs -> 2,")
        assert sha256_of(output) in result.stdout
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    failed = run_prepare(tmp_path / "nothing.txt", "--output", tmp_path / "out.txt")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == f"error: no file or directory {tmp_path / 'nothing.txt'}\n"


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(
            st.sampled_from(
                ["Mr.", "No.", "U.S.", "a", "Bo", "5", "...", "!?", "”", '"', ")", "\n", "\r", "e.g.", "\x85"]
            )
        ).map(" ".join),
    ),
    st.booleans(),
)
def test_any_text_gives_whole_lines_in_order(tmp_path_factory, text, hard_wrapped):
    tmp_path = tmp_path_factory.mktemp("fuzz")
    raw, output = tmp_path / "raw.txt", tmp_path / "out.txt"
    raw.write_bytes(text.encode())
    assume("<" not in text and "\t" not in text)  # tags and tables
    try:
        summary = prepare([raw], output, min_words=1, hard_wrapped=hard_wrapped)
    except UserError as error:
        assert "\0" in text or not clean(text.removeprefix("\ufeff")), error  # binary, or nothing to see
        assert not output.exists()
        return
    lines = output.read_bytes().decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) == summary.sentences == len(set(lines))
    visible = "".join(INVISIBLE.sub("", text).split())
    end = 0
    for line in lines:
        assert line == clean(line) != ""
        letters = line.replace(" ", "")
        start = visible.find(letters, end)
        assert start >= 0  # nothing added, changed or moved
        end = start + len(letters)
    if not summary.duplicates:
        assert "".join(lines).replace(" ", "") == visible  # nothing lost


def test_seen_sentences_is_a_set(monkeypatch):
    monkeypatch.setattr(SeenSentences, "RECENT", 50)  # so that most hashes lie in the sorted array
    generator = random.Random(0)
    seen, reference = SeenSentences(), set()
    for _ in range(5000):
        sentence = f"sentence {generator.randrange(2000)}"
        assert seen.add(sentence) == (sentence not in reference)
        reference.add(sentence)
    assert len(seen.sorted) + len(seen.recent) == len(reference)


def test_two_processes_at_once(tmp_path):
    (tmp_path / "raw.txt").write_text("".join(f"This is sentence {i}.\n" for i in range(2000)))
    command = [sys.executable, "-m", "data.prepare", tmp_path / "raw.txt", "--output", tmp_path / "out.txt"]
    running = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in "12"]
    assert [process.wait() for process in running] == [0, 0]
    assert len(sentences_of(tmp_path / "out.txt")) == 2000
    assert sorted(os.listdir(tmp_path)) == ["out.txt", "raw.txt"]


def test_main_prints_the_summary(tmp_path, capsys):
    (tmp_path / "raw.txt").write_text("One two three.\n")
    main([str(tmp_path / "raw.txt"), "--output", str(tmp_path / "out.txt"), "--min_words", "2"])
    assert capsys.readouterr().out.startswith("1 paragraphs -> 1 sentences, 3.0 words each (3 words)\n")
