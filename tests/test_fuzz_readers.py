"""Whatever a corpus or an episode file holds, its reader gives what is there or one sentence about it."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import common.text
from common.errors import UserError
from common.text import PARAGRAPH_ENDS, RECORD_ENDS, TEXT_ENDS, read_lines
from data.corpus import load_corpus
from evaluations.few_shot.data import Sentence, read_columns, read_episodes, read_labels

fuzz = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))

# Bytes that are nearly text: whole, cut and invalid UTF-8, all line ends, NUL, byte order marks, odd white space.
PIECES = [b"he won .", "épée 🙂".encode(), b"\n", b"\r\n", b"\r", b"\n\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc3"]
PIECES += [" \u2028 \x0b\x85".encode(), b" ", b"\t", b"O", b"person-actor", "\u2029\x0c\x1c".encode()]
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    st.binary(max_size=40),
    st.tuples(
        st.lists(st.sampled_from(["he won .", "épée 🙂", "\n", "\r\n", "\r", "\u2028", "\0"]), max_size=8).map("".join),
        st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]),
        st.sampled_from([None, -1]),  # whole, or without the last byte
    ).map(lambda drawn: drawn[0].encode(drawn[1])[: drawn[2]]),
)


def outcome(reader, path: Path, *arguments):
    """What the reader gives, or None if it refuses the file in one sentence that names it."""
    try:
        result = reader(path, *arguments)
        return result if isinstance(result, tuple) else list(result)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


def expected_lines(content: bytes) -> list[str] | None:
    """Independently: the file as one string, and Python's own lines, which end at three more characters."""
    marked = [("utf-32", "\ufeff".encode("utf-32-le")), ("utf-32", "\ufeff".encode("utf-32-be"))]
    marked += [("utf-16", "\ufeff".encode("utf-16-le")), ("utf-16", "\ufeff".encode("utf-16-be"))]
    encoding = next((name for name, mark in marked if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return None
    hidden = str.maketrans("\x1c\x1d\x1e", "\ue000\ue001\ue002")
    shown = str.maketrans("\ue000\ue001\ue002", "\x1c\x1d\x1e")
    return None if "\0" in text else [line.translate(shown) for line in text.translate(hidden).splitlines()]


@fuzz
@given(texts, st.sampled_from([4, 5, 7, 1000]))
def test_lines(tmp_path, content, at_once):
    """The same whatever is read at once: line ends and characters lie across the borders of what is read."""
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.text, "AT_ONCE", at_once)
        assert outcome(read_lines, path) == expected_lines(content)
    path = tmp_path / "corpus.gz"
    path.write_bytes(gzip.compress(content))
    assert outcome(read_lines, path) == expected_lines(content)


@fuzz
@given(st.text(alphabet="a\n\r\x0b\x0c\x85\u2028\u2029\x1c"), st.sampled_from([4, 5, 1000]))
def test_records_end_where_python_ends_lines(tmp_path, text, at_once):
    path = tmp_path / "records.txt"
    path.write_bytes(text.encode())
    with open(path, encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.text, "AT_ONCE", at_once)
        assert list(read_lines(path, RECORD_ENDS)) == [line.removesuffix("\n") for line in file]
        assert list(read_lines(path, TEXT_ENDS)) == expected_lines(text.encode())
        blank = text.replace("\f", "\f\n").replace("\u2029", "\u2029\n")
        assert list(read_lines(path, PARAGRAPH_ENDS)) == expected_lines(blank.encode())


@fuzz
@given(texts, st.integers(0, 100), st.integers(0, 255))
def test_lines_of_damaged_gz(tmp_path, content, place, byte):
    """A flipped byte may also hit a part of the header that says nothing (the time): then the text is right."""
    whole = gzip.compress(content * 3)
    damaged = bytearray(whole)
    damaged[place % len(whole)] ^= byte
    for file in (whole[: place % len(whole)], bytes(damaged), content):
        path = tmp_path / "corpus.gz"
        path.write_bytes(file)
        assert outcome(read_lines, path) in (None, expected_lines(content * 3), *([[]] if not file else []))


@settings(fuzz, max_examples=25)
@given(texts)
def test_corpus(tmp_path, tiny_tokenizer, content):
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    loaded, lines = outcome(load_corpus, str(path), tiny_tokenizer, 12), expected_lines(content)
    if loaded is None and b"\t" in content:  # it may look like a table
        return
    ids = [tiny_tokenizer(line, truncation=True, max_length=12)["input_ids"] for line in lines or []]
    rows = [{"line": number, "input_ids": i} for number, i in enumerate(ids, 1) if len(i) > 2]
    assert (loaded[0].to_list() if loaded else []) == rows


# --- episodes -----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["word", "label", "x"]), inner),
    max_leaves=8,
)


@st.composite
def parts(draw):
    lengths = draw(st.lists(st.sampled_from([1, 2, 0]), max_size=2))
    words, labels = st.sampled_from(["he", "won", "", " ", "🙂"]), st.sampled_from(["O", "person-actor"])
    return {
        "word": [[draw(words) for _ in range(length)] for length in lengths],
        "label": [[draw(labels) for _ in range(length)] for length in lengths],
    }


@st.composite
def episodes(draw):
    """A well-formed episode; or one with something else, or nothing, in one place."""
    episode = {"support": draw(parts()), "query": draw(parts())}
    if draw(st.booleans()):
        return episode
    place, depth = episode, draw(st.sampled_from([4, 4, 3, 2, 1]))
    while True:
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        depth -= 1
        if depth == 0 or not isinstance(place[key], dict | list) or not place[key]:
            break
        place = place[key]
    if draw(st.booleans()):
        place[key] = draw(json_values)
    else:
        del place[key]
    return episode


@settings(fuzz, max_examples=1000)
@given(st.lists(episodes(), max_size=2), st.sampled_from([None, {"O", "person-actor"}]))
def test_episodes(tmp_path, found, known):
    path = tmp_path / "test_5_1.jsonl"
    path.write_text("".join(json.dumps(episode) + "\n" for episode in found))
    read = outcome(read_episodes, path, known)
    if read is None:
        return
    for episode, source in zip(read, found, strict=True):
        for part, name in ((episode.support, "support"), (episode.query, "query")):
            assert [list(pair) for pair in zip(source[name]["word"], source[name]["label"], strict=True)] == [
                [sentence.words, sentence.labels] for sentence in part
            ]
            for sentence in part:
                assert len(sentence.words) == len(sentence.labels)
                assert all(isinstance(text, str) for text in (*sentence.words, *sentence.labels))
                assert known is None or set(sentence.labels) <= known


def test_well_formed_episodes_are_read(tmp_path):
    """The fuzz above must not pass because everything is refused."""
    part = {"word": [["he", "won"]], "label": [["person-actor", "O"]]}
    (tmp_path / "e.jsonl").write_text(json.dumps({"support": part, "query": part}))
    read = outcome(read_episodes, tmp_path / "e.jsonl", {"O", "person-actor"})
    assert read[0].query == [Sentence(["he", "won"], ["person-actor", "O"])]


@fuzz
@given(texts)
def test_text_that_is_no_episode(tmp_path, content):
    for name, reader in (("e.jsonl", read_episodes), ("train.txt", read_columns), ("labels.txt", read_labels)):
        (tmp_path / name).write_bytes(content)
        outcome(reader, tmp_path / name)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"support":' * 100_000, "1" * 100_000, '"\\ud800"'])
def test_json_that_hurts_parsers(tmp_path, line):
    (tmp_path / "e.jsonl").write_text(line)
    assert outcome(read_episodes, tmp_path / "e.jsonl") is None


def test_the_older_layout_with_files_of_other_names(tmp_path):
    for part in ("support_test_5_1", "query_test_5_1"):
        (tmp_path / part).mkdir()
        for name in ("10", "9", "notes", "²", "-1", ""):
            (tmp_path / part / f"{name}.txt").write_text(f"he\tO\n{name}\tO\n")
    episodes = outcome(read_episodes, tmp_path / "support_test_5_1")
    assert [episode.query for episode in episodes] == [[Sentence(["he", name], ["O", "O"])] for name in ("9", "10")]
    (tmp_path / "query_test_5_1/9.txt").unlink()
    with pytest.raises(UserError, match=r"query_test_5_1/9\.txt cannot be read"):
        list(read_episodes(tmp_path / "support_test_5_1"))
