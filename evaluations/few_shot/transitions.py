"""Transitions between abstract labels, counted on the source data (Yang and Katiyar 2020, section 4.2)."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

UNSEEN = 1e-6  # probability of what the source data does not have
STATISTICS = ("start_o", "start_i", "o_o", "o_i", "i_o", "i_i", "i_other")


def transition_statistics(sentences: Iterable[Sequence[str]]) -> list[float]:
    """How often, in sentences given by their words' labels, an entity starts, goes on, ends or turns into another.

    The seven probabilities of `STATISTICS`: from the start to O and to any entity label; from O to O and to any entity
    label; from an entity label to O, to itself, to another one. Those of one origin sum to one, or are zero without it.
    """
    start, outside, inside = [0, 0], [0, 0], [0, 0, 0]
    for labels in sentences:
        if labels:
            start[labels[0] != "O"] += 1
        for previous, label in pairwise(labels):
            if previous == "O":
                outside[label != "O"] += 1
            else:
                inside[0 if label == "O" else 1 if label == previous else 2] += 1
    return [count / max(1, sum(origin)) for origin in (start, outside, inside) for count in origin]


def log_transitions(statistics: Sequence[float], types: int, temperature: float = 0.01) -> tuple[Tensor, Tensor]:
    """Transitions between the labels of the target split, the seven statistics spread evenly over its types: log
    probabilities from the start, (1 + types,), and between labels, (1 + types, 1 + types); label 0 is O.

    Probabilities are raised to the power `temperature` and renormalised over each row. What the source data does not
    have counts as 1e-6 before that: left at 0, which no power lifts, it would leave its row to the few other moves, and
    where no entity meets one of another type, whole sentences would become one entity.
    """
    start_o, start_i, o_o, o_i, i_o, i_i, i_other = statistics
    rows = torch.empty(2 + types, 1 + types)  # the start, O, the types; (from, to)
    rows[0, 0], rows[0, 1:] = start_o, start_i / types
    rows[1, 0], rows[1, 1:] = o_o, o_i / types
    rows[2:, 0], rows[2:, 1:] = i_o, i_other / max(1, types - 1)
    rows[2:, 1:].fill_diagonal_(i_i)
    rows = rows.clamp(min=UNSEEN) ** temperature
    rows = (rows / rows.sum(1, keepdim=True)).clamp(min=UNSEEN).log()
    return rows[0], rows[1:]
