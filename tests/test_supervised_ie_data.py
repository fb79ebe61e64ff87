"""Reading: round trips, every kind of broken line named, and the targets made from a sentence."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from evaluations.supervised_ie.data import (
    Entity,
    Event,
    Relation,
    Sentence,
    read_sentences,
    to_record,
    without_overlap,
    write_sentences,
)
from evaluations.supervised_ie.labels import Labels, collect_labels

SHARED = Path(__file__).resolve().parents[2] / "shared" / "ie"
SENTENCE = Sentence(
    "doc",
    "doc-0",
    ["In", "Köln", "Anna", "visited", "Bob", "'s", "🎉\u2028", "office"],
    [Entity(1, 2, "GPE", "NAM"), Entity(2, 3, "PER", "NAM"), Entity(4, 5, "PER", "NAM"), Entity(7, 8, "FAC", "NOM")],
    [Relation("At", 3, 0), Relation("SOC", 1, 2)],
    [Event(3, 4, "Visit", ((1, "Visitor"), (3, "Place")))],
)


def test_what_is_written_reads_the_same(tmp_path):
    write_sentences(tmp_path / "x.jsonl", [SENTENCE, Sentence("doc", "doc-1", ["Nothing", "here"])])
    first, second = read_sentences(tmp_path / "x.jsonl")
    assert first == SENTENCE
    assert second == Sentence("doc", "doc-1", ["Nothing", "here"])


def broken(change):
    record = to_record(SENTENCE)
    change(record)
    return json.dumps(record)


BROKEN = {
    "out of range": (broken(lambda r: r["entity_mentions"][0].update(end=9)), r"spans \[1, 9\) in a sentence of 8"),
    "empty span": (broken(lambda r: r["entity_mentions"][0].update(end=1)), r"spans \[1, 1\)"),
    "negative": (broken(lambda r: r["event_mentions"][0]["trigger"].update(start=-1)), "trigger of a Visit event"),
    "not a number": (broken(lambda r: r["entity_mentions"][0].update(start="1")), r"spans \[1, 2\)"),
    "unknown id": (
        broken(lambda r: r["relation_mentions"][0]["arguments"][0].update(entity_id="E99")),
        "a relation names the unknown entity id 'E99'",
    ),
    "unknown argument": (
        broken(lambda r: r["event_mentions"][0]["arguments"][0].update(entity_id="E99")),
        "an event names the unknown entity id 'E99'",
    ),
    "one argument": (broken(lambda r: r["relation_mentions"][0]["arguments"].pop()), "exactly the arguments Arg-1"),
    "itself": (
        broken(lambda r: r["relation_mentions"][0]["arguments"][0].update(entity_id="doc-0-E0")),
        "of an entity with itself",
    ),
    "same id": (broken(lambda r: r["entity_mentions"][1].update(id="doc-0-E0")), "two entities have the id"),
    "no type": (
        broken(lambda r: r["entity_mentions"][1].pop("entity_type")),
        "missing or mistyped field: 'entity_type'",
    ),
    "type null": (broken(lambda r: r["entity_mentions"][1].update(entity_type=None)), "`entity_type` is None, not a"),
    "role a number": (
        broken(lambda r: r["event_mentions"][0]["arguments"][0].update(role=1)),
        "`role` is 1, not a name",
    ),
    "mentions not a list": (broken(lambda r: r.update(entity_mentions={"a": 1})), "missing or mistyped field"),
    "no tokens": (broken(lambda r: r.pop("tokens")), "`tokens` is not a non-empty list"),
    "blank token": (broken(lambda r: r["tokens"].__setitem__(0, " ")), "`tokens` is not a non-empty list"),
    "half a surrogate": (broken(lambda r: r["tokens"].__setitem__(0, "\ud83d")), "surrogates not allowed"),
    "half a surrogate in a name": (broken(lambda r: r.update(doc_id="\ud83d")), "surrogates not allowed"),
    "not an object": ("[1, 2]", "not a JSON object"),
    "cut": (json.dumps(to_record(SENTENCE))[:-20], r"not JSON: .* at column \d+"),
    "blank line": ("", "not JSON: Expecting value at column 1"),
    "a hundred thousand brackets": ("[" * 100_000, "recursion depth"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_named(tmp_path, name):
    line, message = BROKEN[name]
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(to_record(SENTENCE)) + "\n" + line + "\n")
    with pytest.raises(UserError, match=rf"x\.jsonl: 1 bad lines: line 2: .*({message})"):
        read_sentences(path)


def test_broken_lines_are_counted_and_the_first_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("{}\n" * 8)
    with pytest.raises(UserError, match=r"8 bad lines: line 1: .*line 5: .*and 3 more"):
        read_sentences(path)
    path.write_text("")
    with pytest.raises(UserError, match="holds no sentence"):
        read_sentences(path)


def test_what_cannot_be_predicted_is_kept_and_counted(tmp_path, capsys):
    sentence = Sentence(
        "d",
        "s",
        ["a", "b", "c"],
        [Entity(0, 2, "X"), Entity(1, 3, "Y"), Entity(2, 3, "X")],
        [Relation("R", 0, 1), Relation("R", 1, 0)],
        [Event(0, 1, "E", ((0, "P"), (0, "Q")))],
    )
    write_sentences(tmp_path / "x.jsonl", [SENTENCE, sentence])
    assert read_sentences(tmp_path / "x.jsonl")[1] == sentence
    assert capsys.readouterr().err.endswith(
        "3 mentions that this model cannot predict, kept and scored: line 2 (overlapping spans), "
        "line 2 (an argument with two roles), line 2 (two relations between two entities)\n"
    )


def test_without_overlap_keeps_the_longest_then_the_first():
    assert without_overlap([(0, 2), (1, 4), (3, 5), (5, 6)]) == [(1, 4), (5, 6)]
    assert without_overlap([(1, 3), (0, 2)]) == [(0, 2)]
    assert without_overlap([(0, 2), (0, 2)]) == [(0, 2)]


def test_labels_and_patterns(tmp_path):
    labels = collect_labels([SENTENCE], symmetric_relations=["SOC", "absent"])
    assert labels.entity_tags == ["O", "B-FAC", "I-FAC", "B-GPE", "I-GPE", "B-PER", "I-PER"]
    assert labels.mention_types == ["NAM", "NOM"]
    assert labels.symmetric_relations == ["SOC"]
    assert labels.event_role == {"Visit": ["Place", "Visitor"]}
    assert labels.relation_entity == {"At": ["FAC", "GPE"], "SOC": ["PER"]}
    assert labels.role_entity == {"Place": ["FAC"], "Visitor": ["PER"]}
    # rows none, At, SOC; columns FAC, GPE, PER
    assert labels.valid_relations().tolist() == [[True] * 3, [True, True, False], [False, False, True]]
    assert labels.valid_roles()[:, 0].tolist() == [[True] * 3, [True, False, False], [False, False, True]]
    labels.save(tmp_path / "labels.json")
    assert Labels.load(tmp_path / "labels.json") == labels


def test_patterns_of_a_directory_replace_those_seen(tmp_path):
    (tmp_path / "event_role.json").write_text('{"Visit": ["Visitor"]}')
    (tmp_path / "relation_entity.json").write_text("{}")
    with pytest.raises(UserError, match=r"role_entity\.json is not a readable file"):
        collect_labels([SENTENCE], [], tmp_path)
    (tmp_path / "role_entity.json").write_text('{"Visitor": ["PER", "ORG"], "Unseen": ["PER"]}')
    labels = collect_labels([SENTENCE], [], tmp_path)
    assert not labels.valid_relations()[1:].any()
    assert labels.valid_roles()[:, 0].tolist() == [[True] * 3, [False] * 3, [False, False, True]]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the annotated corpora are not here")
def test_real_corpora_round_trip(tmp_path, capsys):
    for corpus, split, sizes in (("conll04", "test", (288, 1079, 422, 0)), ("m2e2", "dev", (429, 1602, 0, 99))):
        sentences = read_sentences(SHARED / corpus / f"{split}.oneie.jsonl")
        mentions = [
            sum(map(len, parts))
            for parts in zip(*((s.entities, s.relations, s.events) for s in sentences), strict=True)
        ]
        assert (len(sentences), *mentions) == sizes
        write_sentences(tmp_path / "again.jsonl", sentences)
        assert read_sentences(tmp_path / "again.jsonl") == sentences
    assert capsys.readouterr().err.count("4 mentions that this model cannot predict") == 2
