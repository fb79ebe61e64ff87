"""What the raw corpora share: text and offsets of a file, words; and DyGIE++ -> sentences."""

import json

import pytest
from supervised_ie_cases import shown

from common.errors import UserError
from evaluations.supervised_ie import prepare
from evaluations.supervised_ie.data import read_sentences
from evaluations.supervised_ie.documents import read_source, word_spans


def test_offsets_count_the_file_without_its_tags():
    counted, paragraphs = read_source("<DOC>\n<TEXT>\na &amp; b\n\nc\n</TEXT>\n", tags_count=False)
    assert counted == "\n\na &amp; b\n\nc\n\n"
    assert [p.text.strip() for p in paragraphs] == ["a & b", "c"]
    first = paragraphs[0]
    at = {c: (s, e) for c, s, e in zip(first.text, first.starts, first.ends, strict=True) if c.strip()}
    assert at == {"a": (2, 3), "&": (4, 9), "b": (10, 11)}
    counted, (with_tags,) = read_source("<DOC>&lt;é<a href='x'>f</a></DOC>", tags_count=True)
    assert counted == "<DOC>&lt;é<a href='x'>f</a></DOC>"
    assert with_tags.text == "<éf"
    assert with_tags.starts == [5, 9, 22]


def test_quotes_and_headers_are_left_out_and_an_unclosed_quote_swallows_nothing():
    post = "<DOC><DATETIME>2005</DATETIME><POST><QUOTE a='1'>{}</QUOTE> ours</POST></DOC>"
    _, paragraphs = read_source(post.format("theirs <quote>older</quote> more"), tags_count=True)
    assert [p.text.strip() for p in paragraphs] == ["ours"]
    _, paragraphs = read_source("<POST><QUOTE PREVIOUSPOST='x'> ours</POST><QUOTE b='y'/> too", tags_count=False)
    assert [p.text.strip() for p in paragraphs] == ["ours", "too"]


def test_words_have_the_offsets_of_the_text():
    for text in (
        'He said "no" and left.',
        "a pro-American, U.S.-led raid",
        "``x'' \"y\" '''z''' \"",
        "don't 10/12 é—ü",
    ):
        words = [text[a:b] for a, b in word_spans(text)]
        assert "".join(words) == "".join(text.split())
    assert ["pro-U.S. café"[a:b] for a, b in word_spans("pro-U.S. café")] == ["pro", "-", "U.S.", "café"]


def test_where_words_have_no_spaces_between_them_each_letter_is_one():
    expected = {
        "我爱北京。": "我 爱 北 京 。",
        "iPhone手机 and Anna": "iPhone 手 机 and Anna",
        "データと「東京」": "デ ー タ と 「 東 京 」",
        "ที่เมือง": "ที่ เ มื อ ง",  # vowels and tones stay on their consonants
        "မြန်မာ": "မြ န် မာ",
        "안녕 하세요": "안녕 하세요",  # Korean has spaces
        "नमस्ते दुनिया": "नमस्ते दुनिया",
    }
    assert {text: " ".join(text[a:b] for a, b in word_spans(text)) for text in expected} == expected


def test_an_ampersand_that_begins_no_escape_is_a_character():
    counted, (paragraph,) = read_source("<P>R&D; sued AT&amp;T</P>", tags_count=False)
    assert paragraph.text == "R&D; sued AT&T" and counted == "R&D; sued AT&amp;T"
    assert paragraph.starts == [*range(13), 17] and paragraph.ends == [*range(1, 13), 17, 18]


def test_dygiepp(tmp_path, capsys):
    document = {
        "doc_key": "d",
        "sentences": [["Nothing", "."], ["Anna", "Smith", "shot", "dead", "Bob", "in", "Lima", "in", "May"]],
        "ner": [[], [[2, 3, "PER"], [6, 6, "PER"], [8, 8, "GPE"]]],
        "relations": [[], [[6, 6, 8, 8, "PHYS"], [10, 10, 8, 8, "PHYS"]]],
        "events": [
            [],
            [
                [[4, 5, "Life.Die"], [2, 3, "Agent"], [6, 6, "Victim"], [10, 10, "Time-Within"]],
                [[4, "Conflict.Attack"], [6, 6, "Target"]],
            ],
        ],
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.json").write_text(
        json.dumps(document) + "\n" + json.dumps({"doc_key": "e", "sentences": [[], ["x"]]})
    )
    splits, counts = run_on_dygiepp(tmp_path)
    empty, full, other = splits
    assert (empty.entities, empty.events, other.doc_id) == ([], [], "e")
    assert shown(full)["relations"] == [("PHYS", "Bob", "Lima")]
    assert shown(full)["events"] == [
        ("shot dead", "Life:Die", [("Anna Smith", "Agent"), ("Bob", "Victim")]),
        ("shot", "Conflict:Attack", [("Bob", "Target")]),
    ]
    assert counts == {
        "relation between words that are not two entities": 1,
        "argument that is no entity": 1,
        "sentence without words": 1,
    }
    report = json.loads((tmp_path / "out" / "alignment.json").read_text())
    assert report["argument that is no entity"]["first"] == (
        f"{tmp_path / 'in' / 'train.json'}, line 1: Time-Within of Life.Die"
    )
    document["ner"][1][0] = [2, 30, "PER"]
    (tmp_path / "in" / "dev.json").write_text(
        json.dumps(document) + "\n{\n" + json.dumps({"doc_key": "e", "sentences": [["x", 1]]})
    )
    message = (
        r"3 broken lines: .*dev\.json, line 1: .*\[2, 30\] is not in the words.*line 2: .*line 3: .*lists of words"
    )
    with pytest.raises(UserError, match=message):
        run_on_dygiepp(tmp_path)
    (tmp_path / "in" / "dev.json").write_text(json.dumps({"doc_key": "e", "sentences": []}))
    with pytest.raises(UserError, match="the documents of dev hold no sentence"):
        run_on_dygiepp(tmp_path)


CROSSING = {
    "doc_key": "d",
    "sentences": [["Paris", "\n", "fell", "."], ["Anna", " ", "Smith", "joined", "Acme", "\t"]],
    "ner": [[[0, 0, "LOC"], [1, 1, "LOC"]], [[4, 6, "PER"], [8, 9, "ORG"], [3, 4, "PER"]]],
    "relations": [[[4, 6, 8, 9, "EMP"]], [[4, 6, 8, 9, "EMP"], [0, 0, 4, 6, "PHYS"], [3, 4, 8, 8, "PHYS"]]],
    "events": [
        [],
        [
            [[7, "Start"], [4, 6, "Person"], [0, 0, "Place"], [3, 4, "Place"]],
            [[2, "End"], [4, 6, "Person"]],
            [[3, 4, "End"], [4, 6, "Person"]],
            [[9, "End"]],
        ],
    ],
}


def test_dygiepp_leaves_out_and_counts_what_crosses_sentences_and_words_of_white_space(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.json").write_text(json.dumps(CROSSING))
    (paris, anna), counts = run_on_dygiepp(tmp_path)
    assert shown(paris) == {
        "tokens": "Paris fell .",
        "entities": [("Paris", "LOC", "UNK")],
        "relations": [],
        "events": [],
    }
    assert shown(anna) == {
        "tokens": "Anna Smith joined Acme",
        "entities": [("Acme", "ORG", "UNK"), ("Anna Smith", "PER", "UNK")],
        "relations": [("EMP", "Anna Smith", "Acme")],
        "events": [("joined", "Start", [("Anna Smith", "Person")])],
    }
    assert counts == {
        "word of white space": 3,
        "entity of white space alone": 1,
        "entity across sentences": 1,
        "relation across sentences": 3,
        "argument in another sentence": 2,
        "trigger across sentences": 2,
        "trigger of white space alone": 1,
    }


@pytest.mark.parametrize(
    ("layer", "item", "message"),
    [
        ("ner", [0, 1, "PER"], r"the span \[0, 1\] is not in the words of its sentence"),  # counts from the sentence
        ("ner", [6, 4, "PER"], r"the span \[6, 4\] is not in the words of its document"),
        ("relations", [4, 6, 8, 10, "EMP"], r"the span \[8, 10\] is not in the words of its document"),
        ("relations", [4, 6, "EMP"], "TypeError"),
        ("events", [[2, "End"], [4, 60, "Person"]], r"the span \[4, 60\] is not in the words of its document"),
        ("sentences", "Smith", "`sentences` are not lists of words"),
    ],
)
def test_dygiepp_of_another_form_is_refused_by_line(tmp_path, layer, item, message):
    document = CROSSING | {layer: [*CROSSING[layer][:1], item if layer == "sentences" else [item]]}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.json").write_text(json.dumps(CROSSING) + "\n" + json.dumps(document))
    with pytest.raises(UserError, match=rf"1 broken lines: .*train\.json, line 2: .*{message}"):
        run_on_dygiepp(tmp_path)


def run_on_dygiepp(root):
    prepare.main(["dygiepp", "--input", str(root / "in"), "--output", str(root / "out")])
    report = json.loads((root / "out" / "alignment.json").read_text())
    counts = {reason: line["count"] for reason, line in report.items()}
    return read_sentences(root / "out" / "train.oneie.jsonl"), counts
