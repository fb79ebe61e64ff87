"""The scorer against cases counted by hand."""

import pytest

from evaluations.supervised_ie.data import Entity, Event, Relation, Sentence
from evaluations.supervised_ie.scores import OVERALL, TASKS, count, f1_of, summary

WORDS = ["Anna", "met", "Bob", "in", "Paris", "today"]
ANNA, BOB, PARIS = Entity(0, 1, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "GPE")
MEET = Event(1, 2, "Meet", ((0, "Entity"), (1, "Entity"), (2, "Place")))


def sentence(entities=(), relations=(), events=(), doc="d"):
    return Sentence(doc, "s", WORDS, list(entities), list(relations), list(events))


def counted(gold, predicted, symmetric=()):
    return dict(zip(TASKS, count([gold], [predicted], symmetric)["d"].tolist(), strict=True))


GOLD = sentence([ANNA, BOB, PARIS], [Relation("SOC", 0, 1), Relation("At", 0, 2)], [MEET])


def test_perfect_prediction_in_another_order():
    shuffled = sentence(
        [PARIS, BOB, ANNA],
        [Relation("At", 2, 0), Relation("SOC", 2, 1)],
        [Event(1, 2, "Meet", ((0, "Place"), (2, "Entity"), (1, "Entity")))],
    )
    assert counted(GOLD, shuffled) == {
        "entity": [3, 3, 3],
        "trigger_identification": [1, 1, 1],
        "trigger_classification": [1, 1, 1],
        "relation": [2, 2, 2],
        "role_identification": [3, 3, 3],
        "role_classification": [3, 3, 3],
    }


def test_empty_prediction():
    assert counted(GOLD, sentence()) == {
        "entity": [0, 0, 3],
        "trigger_identification": [0, 0, 1],
        "trigger_classification": [0, 0, 1],
        "relation": [0, 0, 2],
        "role_identification": [0, 0, 3],
        "role_classification": [0, 0, 3],
    }


def test_wrong_entity_type_and_wrong_span():
    said = sentence([Entity(0, 1, "ORG"), Entity(1, 3, "PER"), PARIS])
    assert counted(GOLD, said)["entity"] == [1, 3, 3]


def test_wrong_event_type_finds_the_trigger_and_no_argument():
    said = sentence([ANNA, BOB, PARIS], [], [Event(1, 2, "Attack", MEET.arguments)])
    got = counted(GOLD, said)
    assert got["trigger_identification"] == [1, 1, 1]
    assert got["trigger_classification"] == [0, 1, 1]
    assert got["role_identification"] == [0, 3, 3]
    assert got["role_classification"] == [0, 3, 3]


def test_an_argument_does_not_need_its_trigger_but_its_event_type_and_role():
    said = sentence([ANNA, BOB], [], [Event(3, 4, "Meet", ((0, "Entity"), (1, "Agent")))])
    got = counted(GOLD, said)
    assert got["trigger_identification"] == [0, 1, 1]
    assert got["role_identification"] == [2, 2, 3]
    assert got["role_classification"] == [1, 2, 3]


def test_duplicate_arguments_count_once():
    twice = Event(1, 2, "Meet", ((0, "Entity"), (0, "Entity")))
    got = counted(GOLD, sentence([ANNA], [], [twice, Event(3, 4, "Meet", ((0, "Entity"),))]))
    assert got["role_identification"] == got["role_classification"] == [1, 1, 3]


def test_one_argument_in_two_roles_is_one_to_identify_and_two_to_classify():
    both = Event(1, 2, "Meet", ((0, "Entity"), (0, "Place")))
    got = counted(GOLD, sentence([ANNA], [], [both]))
    assert got["role_identification"] == [1, 1, 3]
    assert got["role_classification"] == [1, 2, 3]


def test_swapped_relation_counts_only_where_symmetric():
    swapped = sentence([ANNA, BOB, PARIS], [Relation("SOC", 1, 0), Relation("At", 2, 0)])
    assert counted(GOLD, swapped)["relation"] == [0, 2, 2]
    assert counted(GOLD, swapped, symmetric=["SOC"])["relation"] == [1, 2, 2]
    both_ways = sentence([ANNA, BOB], [Relation("SOC", 0, 1), Relation("SOC", 1, 0)])
    assert counted(GOLD, both_ways, symmetric=["SOC"])["relation"] == [1, 1, 2]


def test_wrong_relation_type_and_wrong_end():
    said = sentence([ANNA, BOB, PARIS], [Relation("At", 0, 1), Relation("At", 1, 2)])
    assert counted(GOLD, said)["relation"] == [0, 2, 2]


def test_documents_add_up_and_f1_is_micro():
    gold = [sentence([ANNA, BOB], doc="a"), sentence([PARIS], doc="b"), sentence([BOB], doc="a")]
    said = [sentence([ANNA], doc="a"), sentence([PARIS, BOB], doc="b"), sentence(doc="a")]
    counts = count(gold, said)
    assert {doc: of_tasks[0].tolist() for doc, of_tasks in counts.items()} == {"a": [1, 1, 3], "b": [1, 2, 1]}
    # 2 correct of 3 predicted and 4 gold: P 66.67, R 50, F1 57.14
    line = summary(counts, ["entity"])["entity"]
    assert line["precision"] == pytest.approx(200 / 3)
    assert line["recall"] == pytest.approx(50)
    assert line["f1"] == pytest.approx(400 / 7)
    assert line["low"] <= line["f1"] <= line["high"]
    assert f1_of(counts, ["entity", "relation"]) == {
        "entity": pytest.approx(400 / 7),
        "relation": 0.0,
        OVERALL: pytest.approx(200 / 7),
    }


def test_other_words_are_refused():
    other = Sentence("d", "s", ["Anna"], [], [], [])
    with pytest.raises(ValueError, match="not of the same words"):
        count([GOLD], [other])
