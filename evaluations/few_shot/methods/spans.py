"""Spans of words: found by a tagger that knows inside and outside alone, read as means of states, written as labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluations.few_shot.scores import entities

Span = tuple[int, int, str]  # the first word, the one after the last, and the type


def runs(inside: Sequence[bool]) -> list[Span]:
    """The runs of words that are inside, of the type `I`."""
    return sorted(entities(["I" if one else "O" for one in inside]))


def span_states(states: Sequence[Tensor], spans: Sequence[Sequence[Span]]) -> Tensor:
    """The mean over the words of each span; sentences' states (length, D) each -> (spans, D), in their order."""
    pairs = zip(states, spans, strict=True)
    return torch.stack([own[begin:end].mean(0) for own, found in pairs for begin, end, _ in found])


def prototypes(states: Sequence[Tensor], spans: Sequence[Sequence[Span]], types: Sequence[str]) -> Tensor:
    """(Y, D) the mean over the spans of each type, which has at least one."""
    of_spans, kinds = span_states(states, spans), [kind for found in spans for *_, kind in found]
    return torch.stack([of_spans[[one == kind for one in kinds]].mean(0) for kind in types])


def as_labels(lengths: Sequence[int], spans: Sequence[Sequence[Span]], types: Sequence[str]) -> list[list[str]]:
    """The labels of the words of sentences so long; `types` of all spans, one sentence after another, `O` for none."""
    left = iter(types)
    tags = [["O"] * length for length in lengths]
    for labels, found in zip(tags, spans, strict=True):
        for begin, end, _ in found:
            labels[begin:end] = [next(left)] * (end - begin)
    return tags
