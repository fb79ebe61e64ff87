"""Labelled sentences in the formats that people have."""

import json

import datasets
import pytest
from few_shot_cases import ANNE, BIO, IN_ROME, columns

from common.errors import UserError
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.formats import read_examples, word_spans

TEXT = "Anne Lee met Bob in Paris."
SPANS = [[0, 8, "person"], [13, 16, "person"], [20, 25, "city"]]
BIOES = [["B-person", "E-person", "O", "S-person", "O", "S-city", "O"], ["O", "S-city"]]


FORMATS = {
    "plain.txt": columns([ANNE, IN_ROME], [ANNE.labels, IN_ROME.labels]).replace(" ", "\t"),
    "bio.txt": columns([ANNE, IN_ROME], BIO),
    "conll2003.txt": "-DOCSTART- -X- -X- O\n\n" + columns([ANNE, IN_ROME], BIO, " NNP B-NP"),
    "multiconer.conll": "# id 7b domain=en\n" + columns([ANNE, IN_ROME], BIOES, " _ _"),
    "five.tsv": columns([ANNE, IN_ROME], BIOES, " a b c").replace(" ", "\t"),
    "spacy.jsonl": json.dumps({"text": TEXT, "entities": SPANS}) + '\n\n{"text": "in Rome", "spans": [[3, 7, "city"]]}',
    "prodigy.json": json.dumps(
        {"text": TEXT, "tokens": [{}], "spans": [{"start": a, "end": b, "label": kind} for a, b, kind in SPANS]}
    )
    + '\n{"text": "in  Rome", "spans": [{"start": 3, "end": 8, "label": "city"}]}',
    "tokens.txt": "\n".join(
        json.dumps({"tokens": s.words, "ner_tags": tags}) for s, tags in ((ANNE, BIO[0]), (IN_ROME, BIO[1]))
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_sentences(tmp_path, name):
    (tmp_path / name).write_text(FORMATS[name])
    examples = read_examples(str(tmp_path / name))
    assert examples.sentences == [ANNE, IN_ROME]
    aside = {"conll2003.txt": "1 -DOCSTART- lines left out", "multiconer.conll": "1 comments left out"}.get(name)
    where = {aside: f"; {aside} (first: {tmp_path / name}, line 1)"} if aside else {}
    assert str(examples) == "2 sentences" + where.get(aside, "")


def test_labels_of_spans_are_types_as_they_are(tmp_path):
    """`S-` is a prefix of BIOES in columns alone."""
    lines = [{"text": f"{name} runs", "spans": [[0, 2, f"{name[0]}-Bahn"]]} for name in ("S1", "U2")]
    (tmp_path / "bahn.jsonl").write_text("\n".join(map(json.dumps, lines)))
    examples = read_examples(str(tmp_path / "bahn.jsonl"))
    assert [sentence.labels for sentence in examples.sentences] == [["S-Bahn", "O"], ["U-Bahn", "O"]]


def test_what_an_annotator_rejected_is_no_example(tmp_path):
    span = [{"start": 0, "end": 4, "label": "person"}]
    answers = ["accept", "reject", "ignore", "reject"]
    lines = [{"text": "Anne left", "spans": span, "answer": answer} for answer in answers] + [{"text": "", "spans": []}]
    path = tmp_path / "prodigy.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    examples = read_examples(str(path))
    assert examples.sentences == [Sentence(["Anne", "left"], ["person", "O"])]
    left_out = {'with the answer "reject"': [2, 4], 'with the answer "ignore"': [3], "without words": [5]}
    assert examples.notes == {
        f"{what} left out": [f"{path}, line {n}" for n in numbers] for what, numbers in left_out.items()
    }


def test_where_nothing_is_left_it_is_said_what_was_left_out(tmp_path):
    """Offsets of bytes, as some programs write them."""
    path = tmp_path / "bytes.jsonl"
    path.write_text(json.dumps({"text": "é Anne", "spans": [[3, 7, "person"]]}))
    with pytest.raises(UserError, match=r"no labelled entity \(1 sentences; 1 spans that .* left out .*line 1"):
        read_examples(str(path))


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_column_that_numbers_the_words_is_refused(tmp_path, first):
    path = tmp_path / "numbered.conll"
    path.write_text("".join(f"{first + i}\t{word}\t{tag}\n" for i, (word, tag) in enumerate(zip(*ANNE, strict=True))))
    with pytest.raises(UserError, match="line 1: the first column numbers the words"):
        read_examples(str(path))


@pytest.mark.parametrize("comment", ["# newdoc", "# id 2", "# text = Anne is at O"])
@pytest.mark.parametrize("middle", ["\t", " ", "\tNNP\t", " NNP "])
def test_comments_are_no_words_whatever_number_of_columns_they_seem_to_have(tmp_path, comment, middle):
    path = tmp_path / "mine.conll"
    parts = [f"{comment}\nAnne{middle}B-person\nleft{middle}O\n", f"{comment}\n#{middle}O\nRome{middle}B-city\n"]
    path.write_text("\n".join(parts))
    examples = read_examples(str(path))
    words = [sentence.words for sentence in examples.sentences]
    assert words == [["Anne", "left"], ["#", "Rome"]]
    assert [sentence.labels for sentence in examples.sentences] == [["person", "O"], ["O", "city"]]
    assert str(examples) == f"2 sentences; 2 comments left out (first: {path}, line 1)"
    path.write_text("# title O\nAnne\tNNP\tB-person\nleft\tV\tO\n")  # three columns, but between spaces
    assert read_examples(str(path)).sentences == [Sentence(["Anne", "left"], ["person", "O"])]


def test_white_space_around_columns_and_tags_is_no_part_of_them(tmp_path):
    (tmp_path / "mine.tsv").write_text("Anne \t B-person\nleft\t O \n\u00a0\tO\n")
    (tmp_path / "mine.jsonl").write_text('{"tokens": ["Anne", "left"], "ner_tags": ["B-person ", "O "]}')
    for name, words in (("mine.tsv", ["Anne", "left", "\u00a0"]), ("mine.jsonl", ["Anne", "left"])):
        (sentence,) = read_examples(str(tmp_path / name)).sentences
        assert sentence.words == words and sentence.labels == ["person", "O", "O"][: len(words)]


def test_labels_of_bio_that_stay_types_are_noted(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Anne B-person\nleft O\n\nRome city\n\nO O\n")
    assert "1 sentences with labels `B-...`, which are types of their own because `city`" in str(
        read_examples(str(path))
    )


def test_what_is_no_text_of_columns_or_json(tmp_path):
    """A brace in a column is none of JSON, entities beside an empty list of spans count, no pipe can be read twice."""
    (tmp_path / "code.txt").write_text("{ O\nAnne person\n")
    (tmp_path / "both.jsonl").write_text('{"text": "Anne", "spans": [], "entities": [[0, 4, "person"]]}')
    assert read_examples(str(tmp_path / "code.txt")).sentences[0].words == ["{", "Anne"]
    assert read_examples(str(tmp_path / "both.jsonl")).sentences[0].labels == ["person"]
    with pytest.raises(UserError, match=r"/dev/null is no file: .* cannot be piped in"):
        read_examples("/dev/null")


@pytest.mark.parametrize("tags", ["names", "strings"])
def test_a_data_set_of_the_hub(tmp_path, tags):
    names = sorted({label for labels in BIO for label in labels})
    feature = datasets.ClassLabel(names=names) if tags == "names" else datasets.Value("string")
    rows = [[names.index(label) for label in labels] for labels in BIO] if tags == "names" else BIO
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(feature)}
    table = datasets.Dataset.from_dict(
        {
            "tokens": [[*ANNE.words[:6], "\t", "."], IN_ROME.words],
            "ner_tags": [[*rows[0][:6], rows[0][2], rows[0][6]], rows[1]],
        },
        features=datasets.Features(features),
    )
    table.to_parquet(tmp_path / "hub" / "test.parquet")
    assert read_examples(str(tmp_path / "hub"), "test").sentences == [ANNE, IN_ROME]
    with pytest.raises(UserError, match=r"hub has no column `tags` but tokens, ner_tags"):
        read_examples(str(tmp_path / "hub"), "test", "tags")
    with pytest.raises(UserError, match=r"hub cannot be loaded: Unknown split"):
        read_examples(str(tmp_path / "hub"))


@pytest.mark.parametrize("token", [7, ["Anne"], "a\0"])
def test_tokens_of_a_data_set_that_are_no_words_are_refused(tmp_path, token):
    datasets.Dataset.from_dict({"tokens": [[token]], "ner_tags": [["person"]]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"row 1: the token .* is no string, or holds a NUL character"):
        read_examples(str(tmp_path))


def test_entities_that_touch_are_joined_and_spans_without_words_left_out_both_counted(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [
        {"text": "Rome Paris, Berlin", "spans": [[0, 4, "city"], [5, 10, "city"], [13, 18, "city"], [12, 18, "x"]]}
    ]
    lines += [{"text": "Rome", "spans": [[0, 4, "city"], [0, 3, "x"], [9, 12, "x"], [2, 2, "x"]]}]
    path.write_text("\n".join(map(json.dumps, lines)))
    examples = read_examples(str(path))
    assert [s.labels for s in examples.sentences] == [["city", "city", "O", "x"], ["city"]]
    assert {what: len(places) for what, places in examples.notes.items()} == {
        "entities joined with another of their type that they touch": 1,
        "spans that begin or end within a word left out": 2,
        "spans that hold no word or leave the text left out": 2,
    }
    assert examples.notes["spans that begin or end within a word left out"][0] == f"{path}, line 1: 'erlin'"
    (tmp_path / "bio.txt").write_text("Rome B-city\nParis B-city\nin O\n")
    assert str(read_examples(str(tmp_path / "bio.txt"))).endswith(f"touch (first: {tmp_path / 'bio.txt'}, line 1)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paris's mayor, (Anne) won.", "Paris|'s|mayor|,|(|Anne|)|won|."),
        ("the mobile-phone costs $5.40 -- don't", "the|mobile-phone|costs|$|5.40|-|-|don't"),
        ("北京 is 東京です。", "北|京|is|東|京|で|す|。"),
        ("हिन्दी में ❤️ ok🙂", "हिन्दी|में|❤️|ok|🙂"),
        (" \t\u3000", ""),
    ],
)
def test_words(text, words):
    assert "|".join(text[begin:end] for begin, end in word_spans(text)) == words


BROKEN = {
    "a b c d e O\n": "line 1: 6 columns; there must be 2 to 5",
    "a\n": "line 1: 1 columns",
    "a x O\nb O\n": "line 2: 2 columns, but 3 in the lines before",
    "Rome city\n": "line 1: from `city` on, no word has the label `O`",
    "a O\n": "holds no labelled entity",
    "": "holds no labelled entity",
    "# a comment\n\n": "holds no labelled entity",
    '{"text": "a", "spans": []}\n{"text": "b"}\n': "line 2: no `text` with a list",
    '{"text": "a", "spans": []}\nb': "line 2: not a JSON object",
    '{"text": "a", "spans": [[0, "1", "x"]]}': "line 1: a span must be",
    '{"text": "a", "spans": [[0, true, "x"]]}': "line 1: a span must be",
    '{"text": "a", "spans": [[0, 1, "O"]]}': "line 1: 'O' cannot be the label",
    '{"text": "a", "spans": [[0, 1, "x\\ty"]]}': r"line 1: 'x\\ty' cannot be the label",
    '{"text": "\\ud800", "spans": []}': "line 1: holds half a character",
    '{"text": "a\\u0000", "spans": []}': "line 1: holds a NUL",
    '{"tokens": ["a"], "ner_tags": ["O", "O"]}': "line 1: 1 tokens and 2 tags",
    '{"tokens": ["a"], "ner_tags": [0]}': "line 1: `tokens` and `ner_tags` must be lists of strings",
    "{" * 100_000: "line 1: 1 columns",
    '{"text":' * 100_000: "line 1: not a JSON object",
    '{"tokens": ["a", "b"], "ner_tags": ["x\\ny", "O"]}': r"line 1: 'x\\ny' cannot be a label",
    '{"tokens": ["a", "b"], "ner_tags": [" ", "O"]}': "line 1: '' cannot be a label",
    "a x\u200b\nb O\n": r"line 1: 'x\\u200b' cannot be a label",
    "\tO\n": "line 1: the first column, which must hold the word, is empty",
    "1\tAnne\tB-x\n2\tleft\tO\n\n1\tRome\tB-x\n": "line 1: the first column numbers the words",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path, text):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=BROKEN[text]) as error:
        read_examples(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
