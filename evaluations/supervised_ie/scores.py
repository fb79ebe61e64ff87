"""Micro precision, recall and F1 of extraction as the field reports them, counted per document."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from evaluations.bootstrap import f1_interval, micro_prf
from evaluations.supervised_ie.data import Sentence
from evaluations.supervised_ie.labels import Labels

TASKS = (
    "entity",
    "trigger_identification",
    "trigger_classification",
    "relation",
    "role_identification",
    "role_classification",
)
OVERALL = "overall"  # the mean F1 of a corpus's tasks, by which the one epoch to predict with is picked


def found(sentence: Sentence, symmetric_relations: Iterable[str] = ()) -> dict[str, set[tuple]]:
    """What counts as one item of each task (Lin et al., ACL 2020, section 4.1).

    An entity counts by its words and type; a trigger by its words, and its type to be classified; a relation
    by its type and the words of its two entities, in either order where it is symmetric; an argument by its
    words and its event's type, and its role to be classified. What is said twice counts once.
    """
    span = [(e.start, e.end) for e in sentence.entities]
    arguments = {(span[e], event.type, role) for event in sentence.events for e, role in event.arguments}
    ends = [(r.type, span[r.head], span[r.tail]) for r in sentence.relations]
    return {
        "entity": {(e.start, e.end, e.type) for e in sentence.entities},
        "trigger_identification": {(e.start, e.end) for e in sentence.events},
        "trigger_classification": {(e.start, e.end, e.type) for e in sentence.events},
        "relation": {(kind, *(sorted(both) if kind in symmetric_relations else both)) for kind, *both in ends},
        "role_identification": {(words, event) for words, event, _ in arguments},
        "role_classification": arguments,
    }


def count(
    gold: list[Sentence], predicted: list[Sentence], symmetric_relations: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Counts of each document, {doc_id: (6 tasks, 3)}: correct, predicted, gold; of the same sentences in one order."""
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((len(TASKS), 3), dtype=np.int64))
    for right, said in zip(gold, predicted, strict=True):
        if right.tokens != said.tokens:
            raise ValueError(f"sentence {right.sent_id}: gold and prediction are not of the same words")
        pairs = zip(found(right, symmetric_relations).values(), found(said, symmetric_relations).values(), strict=True)
        counts[right.doc_id] += [[len(a & b), len(b), len(a)] for a, b in pairs]
    return dict(counts)


def summary(counts: dict[str, np.ndarray], tasks: Iterable[str] = TASKS) -> dict[str, dict[str, float]]:
    """Per task: precision, recall, f1 in percent, and low, high: the 95% bootstrap interval of f1 over documents."""
    stacked = np.stack(list(counts.values()))  # (documents, tasks, 3)
    table = {}
    for task in tasks:
        of_task = stacked[:, TASKS.index(task)]
        scores = [*micro_prf(of_task.sum(axis=0)).tolist(), *f1_interval(of_task)]
        table[task] = dict(zip(("precision", "recall", "f1", "low", "high"), scores, strict=True))
    return table


def tasks_of(labels: Labels) -> list[str]:
    """The tasks that a corpus of these labels has anything to say about."""
    has = (
        labels.entity_types,
        labels.event_types,
        labels.event_types,
        labels.relation_types,
        labels.roles,
        labels.roles,
    )
    return [task for task, types in zip(TASKS, has, strict=True) if types]


def f1_of(counts: dict[str, np.ndarray], tasks: Iterable[str]) -> dict[str, float]:
    """Micro F1 of each task in percent, and their mean as OVERALL."""
    f1 = micro_prf(np.sum([*counts.values()], axis=0))[:, 2]
    of_task = {task: float(f1[TASKS.index(task)]) for task in tasks}
    return {**of_task, OVERALL: sum(of_task.values()) / len(of_task)}
