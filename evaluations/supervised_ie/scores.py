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
    arguments = [(span[e], event.type, role) for event in sentence.events for e, role in event.arguments]
    relations = set()
    for relation in sentence.relations:
        ends = (span[relation.head], span[relation.tail])
        relations.add((relation.type, *(sorted(ends) if relation.type in symmetric_relations else ends)))
    return {
        "entity": {(e.start, e.end, e.type) for e in sentence.entities},
        "trigger_identification": {(e.start, e.end) for e in sentence.events},
        "trigger_classification": {(e.start, e.end, e.type) for e in sentence.events},
        "relation": relations,
        "role_identification": {(words, event) for words, event, _ in arguments},
        "role_classification": set(arguments),
    }


def count(
    gold: list[Sentence], predicted: list[Sentence], symmetric_relations: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Counts of each document, {doc_id: (6 tasks, 3)}: correct, predicted, gold.

    Args:
        gold, predicted: the same sentences in the same order.
    """
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((len(TASKS), 3), dtype=np.int64))
    for right, said in zip(gold, predicted, strict=True):
        if right.tokens != said.tokens:
            raise ValueError(f"sentence {right.sent_id}: gold and prediction are not of the same words")
        items = (found(right, symmetric_relations), found(said, symmetric_relations))
        counts[right.doc_id] += [[len(items[0][t] & items[1][t]), len(items[1][t]), len(items[0][t])] for t in TASKS]
    return dict(counts)


def summary(counts: dict[str, np.ndarray], tasks: Iterable[str] = TASKS) -> dict[str, dict[str, float]]:
    """Per task: precision, recall, f1 in percent, and low, high: the 95% bootstrap interval of f1 over documents."""
    stacked = np.stack(list(counts.values()))  # (documents, tasks, 3)
    table = {}
    for task in tasks:
        of_task = stacked[:, TASKS.index(task)]
        precision, recall, f1 = micro_prf(of_task.sum(axis=0)).tolist()
        low, high = f1_interval(of_task)
        table[task] = {"precision": precision, "recall": recall, "f1": f1, "low": low, "high": high}
    return table


def tasks_of(labels: Labels) -> list[str]:
    """The tasks that a corpus of these labels has anything to say about."""
    has = {"entity": labels.entity_types, "trigger": labels.event_types, "relation": labels.relation_types}
    has["role"] = labels.roles
    return [task for task in TASKS if has[task.split("_")[0]]]


def f1_of(counts: dict[str, np.ndarray], tasks: Iterable[str]) -> dict[str, float]:
    """Micro F1 of each task in percent, and their mean as OVERALL."""
    f1 = micro_prf(np.sum([*counts.values()], axis=0))[:, 2]
    of_task = {task: float(f1[TASKS.index(task)]) for task in tasks}
    return {**of_task, OVERALL: sum(of_task.values()) / len(of_task)}
