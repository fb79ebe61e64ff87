"""Entities and their counts."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

SCORINGS = ("full", "published")
Counts = dict[str, list[int]]  # type -> numbers of correct, predicted and gold entities


def entities(labels: Sequence[str]) -> set[tuple[int, int, str]]:
    """The entities (first word, word after the last, type) of a sentence: adjacent words of one label are one."""
    found, begin = set(), 0
    for label, words in groupby(labels):
        end = begin + len(list(words))
        if label != "O":
            found.add((begin, end, label))
        begin = end
    return found


def entity_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scoring: str = "full") -> Counts:
    """Correct, predicted and gold numbers of entities per type, of the labels of the words of some sentences.

    The scoring `full` compares whole labels; `published` cuts each at its first `-`, as the published scorer does:
    `location-other` and `organization-other` are one type `other`.
    """
    counts: Counts = {}
    for sentence in zip(gold, predicted, strict=True):
        if scoring == "published":
            sentence = [[label.split("-", 1)[-1] for label in labels] for labels in sentence]
        true, found = (entities(labels) for labels in sentence)
        for column, group in enumerate((true & found, found, true)):
            for *_, kind in group:
                counts.setdefault(kind, [0, 0, 0])[column] += 1
    return counts


def total(counts: Counts) -> np.ndarray:
    """(3,) counts summed over the types."""
    return np.array(list(counts.values()), dtype=int).reshape(-1, 3).sum(axis=0)
