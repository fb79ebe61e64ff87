"""Tagging text from examples: the library, the command and its page."""

import json
import os
import random
import re
import subprocess
import sys

import few_shot_cases as cases
import pytest
import torch
from markupsafe import escape

from common.errors import UserError
from common.files import ROOT
from evaluations.few_shot import FewShotTagger, predict, train
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.tagger import spans_of

SCORED = ("container", "nnshot", "structshot", "protobert", "proml")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run with source training of every kind, examples, and sentences with their labels."""
    folder = tmp_path_factory.mktemp("predict")
    cases.write_data(folder / "data")
    cases.write_encoder(folder / "encoder")
    for method in ("container", "proml", "tadner", "readout"):
        train.main(flags(folder, method))
    part = cases.episode(random.Random(4))
    cases.two_columns(folder / "examples.txt", part["support"])
    (folder / "text.txt").write_text("\n".join(" ".join(words) for words in part["query"]["word"]))
    (folder / "labels.json").write_text(json.dumps(part["query"]))
    return folder


def flags(folder, method):
    common = ["--type", "intra", "--name", "tiny", "--device", "cpu", "--batch_size", "8", "--method", method]
    paths = ["--data", f"{folder}/data", "--model", f"{folder}/encoder", "--output", f"{folder}/out"]
    more = ["--train_way", "2"] if method == "proml" else []
    return [*common, *paths, *more]


def command(folder, *more, text="text.txt"):
    paths = ["--support", f"{folder}/examples.txt", "--input", str(folder / text), "--output", f"{folder}/out"]
    predict.main(["--run", "tiny", "--device", "cpu", *paths, *more])


@pytest.fixture(scope="module")
def tagger(place):
    return FewShotTagger.from_run(place / "out/intra/tiny", device="cpu").fit(str(place / "examples.txt"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_tags_text(place, method):
    tagger = FewShotTagger.from_run(place / "out/intra/tiny", method, "cpu").fit(place / "examples.txt")
    sentences = (place / "text.txt").read_text().splitlines()
    found = tagger.predict(sentences)
    assert len(found) == len(sentences)
    for text, entities in zip(sentences, found, strict=True):
        for entity in entities:
            assert entity.text == text[entity.start : entity.end] and entity.label in cases.TEST_TYPES
            assert (entity.score is not None) == (method in SCORED)
            assert entity.score is None or 0 < entity.score <= 1
    assert tagger.predict(sentences) == found


def test_the_entities_are_those_of_the_methods_tags(tagger, place):
    """And more often than not the right ones, for the examples' names come again in the text."""
    query = json.loads((place / "labels.json").read_text())
    found = tagger.predict(query["word"])
    tags = tagger.method.tag(query["word"])
    right = []
    for words, labels, own, entities in zip(query["word"], query["label"], tags, found, strict=True):
        text, spans = spans_of(words)
        assert text == " ".join(words)
        of_entities = ["O"] * len(words)
        for entity in entities:
            inside = [i for i, (a, b) in enumerate(spans) if entity.start <= a and b <= entity.end]
            for i in inside:
                of_entities[i] = entity.label
        assert of_entities == own
        right += [a == b for a, b in zip(of_entities, labels, strict=True)]
    assert sum(right) / len(right) > 0.5


def test_a_score_is_the_mean_probability_of_the_words(tagger):
    words = ["word1", cases.NAMES["location-GPE"][0], cases.NAMES["location-GPE"][1], "word2"]
    tagger.method.tag([words])
    (probabilities,) = tagger.method.probabilities
    assert torch.allclose(probabilities.sum(1), torch.ones(4))
    (entities,) = tagger.predict([words])
    assert entities
    for entity in entities:
        inside = [i for i, (a, b) in enumerate(spans_of(words)[1]) if entity.start <= a and b <= entity.end]
        expected = probabilities[inside, tagger.labels.index(entity.label)].mean().item()
        assert entity.score == pytest.approx(expected)


def test_neither_batches_nor_examples_before_change_what_is_found(tagger, place):
    sentences = [*(place / "text.txt").read_text().splitlines(), "", "word1"]
    found = tagger.predict(sentences)
    one_by_one = tagger.predict(sentences, batch_size=1)
    assert [[e[:4] for e in entities] for entities in found] == [[e[:4] for e in entities] for entities in one_by_one]
    tagger.fit([Sentence(["word1", "word2"], ["thing", "O"])])
    assert {entity.label for entities in tagger.predict(sentences) for entity in entities} <= {"thing"}
    tagger.fit(place / "examples.txt")
    assert tagger.predict(sentences) == found


def test_any_text(tagger):
    hostile = ["", " \t ", "🙂 👩‍👩‍👧", "word1 " * 500, "x" * 10_000, "\x1b[31m word1 \u202e", "北京", "<script>"]
    assert len(tagger.predict(hostile)) == len(hostile)
    assert [beyond > 0 for beyond in tagger.beyond] == [False, False, False, True, False, False, False, False]


def test_blank_words_are_no_entities(tagger, place):
    """Though the tokenizer makes [UNK] of them, which may be the name of a type."""
    tagger.fit([Sentence(["\u5317", "word1", "word2"], ["thing", "O", "O"])])
    found = tagger.predict([["", "word1", " ", "\u5317"], ["", " "], []])
    tagger.fit(place / "examples.txt")
    assert [[entity[:4] for entity in entities] for entities in found] == [[(9, 10, "thing", "\u5317")], [], []]
    assert tagger.beyond == [0, 0, 0]


def test_examples_are_read_as_the_command_reads_them(tagger, place, capsys):
    """Labels of BIO are types, and what is left out is said."""
    text = f"{cases.NAMES['location-GPE'][0]} word1"
    (place / "spans.jsonl").write_text(json.dumps({"text": text, "spans": [[0, len(text) - 6, "place"], [0, 2, "x"]]}))
    tagger.fit(place / "spans.jsonl")
    assert "spans.jsonl: 1 sentences; 1 spans that begin or end within a word left out" in capsys.readouterr().err
    found = tagger.predict([text])
    tagger.fit([(text.split(), ["B-place", "O"])])
    assert tagger.labels == ["O", "place"] and tagger.predict([text]) == found
    (place / "bahn.txt").write_text("S1\tB-S-Bahn\nruns\tO\n")
    assert tagger.fit(place / "bahn.txt").labels == ["O", "S-Bahn"]
    tagger.fit(place / "examples.txt")


def test_what_no_encoder_reads_is_named(tagger, place):
    with pytest.raises(UserError, match="sentence 2: holds half a character"):
        tagger.predict(["word1", "word2 \ud800"])
    with pytest.raises(UserError, match="sentence 2 of the support set: 1 words and 2 labels"):
        tagger.fit([(["word1", "word2"], ["thing", "O"]), (["word1"], ["O", "thing"])])
    with pytest.raises(UserError, match="no method nope; there are container, "):
        FewShotTagger.from_run(place / "out/intra/tiny", "nope")
    tagger.fit(place / "examples.txt")


def test_one_text_in_place_of_a_list_is_refused(tagger):
    with pytest.raises(TypeError, match="must be a list of texts"):
        tagger.predict("word1 word2")


def test_the_command_prints_an_entity_a_line(place, tagger, capsys):
    command(place)
    plain = capsys.readouterr()
    command(place, "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = tagger.predict((place / "text.txt").read_text().splitlines())
    assert [(row["sentence"], row["start"], row["end"], row["label"], row["text"]) for row in rows] == [
        (number, *entity[:4]) for number, entities in enumerate(expected, 1) for entity in entities
    ]
    for row, line in zip(rows, plain.out.splitlines(), strict=True):
        place_of = f"{row['sentence']}\t{row['start']}-{row['end']}\t{row['label']}\t{row['text']}"
        assert line == f"{place_of}\t{row['score']:.2f}"
    assert f"{len(rows)} entities in" in plain.err


def test_sentences_as_json(place, capsys):
    text = (place / "text.txt").read_text().splitlines()
    lines = [{"text": text[0]}, {"tokens": text[1].split()}, {"text": ""}]
    (place / "text.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n" + json.dumps({"text": text[2]}))
    command(place)
    plain = capsys.readouterr().out.replace("\n3\t", "\n5\t")
    command(place, text="text.jsonl")
    assert capsys.readouterr().out == plain
    for line, message in (("[]", "not a JSON object"), ("{}", "neither a `text`"), ('{"text": "\\ud800"}', "half a")):
        (place / "broken.jsonl").write_text(f'{{"text": "a"}}\n{line}')
        with pytest.raises(UserError, match=rf"broken\.jsonl, line 2: .*{message}"):
            command(place, text="broken.jsonl")


def test_the_numbers_of_lines_are_those_of_other_programs(place, capsys):
    """Whatever else Unicode has that ends a line: it is white space between words."""
    name = json.loads((place / "labels.json").read_text())["word"][0]
    lines = [" ".join(name), "word1\u2028word2\vword3\fword4\x85word5", " ".join(name)]
    (place / "ends.txt").write_bytes("\r\n".join(lines).encode())
    command(place, "--json", text="ends.txt")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["sentence"] for row in rows} >= {1, 3} and max(row["sentence"] for row in rows) == 3
    for row in rows:
        assert row["text"] == lines[row["sentence"] - 1][row["start"] : row["end"]]


def test_json_is_known_by_its_name_alone_and_said_otherwise(place, capsys):
    line = json.dumps({"text": (place / "text.txt").read_text().splitlines()[0]})
    shown = {}
    for name in ("one.jsonl", "ONE.JSONL", "piped"):
        (place / name).write_text(line)
        command(place, text=name)
        shown[name] = capsys.readouterr()
    assert shown["one.jsonl"].out == shown["ONE.JSONL"].out
    assert "piped, line 1: looks like JSON, but is tagged as text" in shown["piped"].err


def test_support_words_that_are_not_read_and_label_names_without_a_type_are_said(place, capsys):
    (place / "all.jsonl").write_text('{"text": "locationgpe0", "spans": [[0, 12, "place"]]}')
    command(place, "--support", str(place / "all.jsonl"))
    assert "all.jsonl: no word is outside entities" in capsys.readouterr().err
    words = ["word1"] * 200
    cases.two_columns(place / "long.txt", {"word": [["locationgpe0", *words]], "label": [["place", *["O"] * 200]]})
    (place / "other.tsv").write_text("plaze\tcity\n")
    (place / "mine.tsv").write_text("place \tcity\n")
    long = ["--method", "proml", "--support", str(place / "long.txt"), "--label_names"]
    command(place, *long, str(place / "other.tsv"))
    err = capsys.readouterr().err
    assert "other.tsv names no type of " in err
    assert re.search(r"long\.txt: \d+ words beyond 128 word pieces, or 128 with the prompts, of a sentence", err)
    command(place, *long, str(place / "mine.tsv"))
    assert "names no type" not in capsys.readouterr().err


def test_the_page(place, capsys):
    (place / "hostile.txt").write_text((place / "text.txt").read_text() + "\n</script><img src=x>\n" + "word1 " * 2000)
    command(place, "--html", str(place / "page.html"), text="hostile.txt")
    shown = capsys.readouterr()
    html = (place / "page.html").read_text()
    assert html.count("<b data-type=") == len(shown.out.splitlines())
    assert html.count("<li ") == 5 and "<img" not in html and "&gt;&lt;img" in html
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import""", html)
    for line in shown.out.splitlines():
        _, _, kind, text, score = line.split("\t")
        assert f'title="{kind}, {score}">{escape(text)}<sub>{kind}</sub>' in html
    assert (
        "hostile.txt, line 5: " in shown.err
        and "words beyond 128 word pieces are not tagged (1 such lines)" in shown.err
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--run", "nobody"], "holds no run nobody with finished source training for container; train first"),
        (["--type", "inter"], "holds no run tiny"),
        (["--input", "missing.txt"], "missing.txt cannot be read"),
        (["--support", "missing.txt"], "missing.txt does not exist"),
        (["--label_names", "names.tsv"], "container has no argument label_names"),
        (["--html", "nowhere/page.html"], "--html nowhere/page.html lies in a directory that does not exist"),
        (["--html", "."], "--html . is a directory"),
        (["--input", "page.html", "--html", "./page.html"], "page.html would take the place of what is read"),
    ],
)
def test_mistakes_are_named(place, flags, message):
    with pytest.raises(UserError, match=message):
        command(place, *flags)


def test_examples_without_entities_are_refused(tagger, place):
    with pytest.raises(UserError, match="the support set has no labelled entity"):
        tagger.fit([Sentence(["word1"], ["O"])])
    (place / "out" / "other").mkdir()
    (place / "out" / "other" / "tiny").symlink_to(place / "out" / "intra" / "tiny")
    with pytest.raises(UserError, match="several runs tiny; --type is intra or other"):
        command(place)


def test_neither_the_package_nor_the_page_needs_the_model(place):
    """Nor does reading data need torch's methods."""
    code = "import sys, evaluations.few_shot.predict; print([m for m in sys.modules if m.split('.')[0] == 'model'])"
    code += "; import evaluations.few_shot.data"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.stdout == "[]\n", done.stderr
