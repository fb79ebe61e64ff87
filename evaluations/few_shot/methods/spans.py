"""Spans of words: found by a tagger that knows inside and outside alone, read as means of states, written as labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluations.few_shot.scores import entities

Span = tuple[int, int]  # the first word, and the one after the last


def runs(inside: Sequence[bool]) -> list[Span]:
    """The runs of words that are inside."""
    return sorted((begin, end) for begin, end, _ in entities(["I" if one else "O" for one in inside]))


def typed_spans(labels: Sequence[str]) -> tuple[list[Span], list[str]]:
    """The spans of a labelled sentence in their order, and the type of each."""
    found = sorted(entities(labels))
    return [(begin, end) for begin, end, _ in found], [kind for *_, kind in found]


def span_states(states: Sequence[Tensor], spans: Sequence[Sequence[Span]]) -> Tensor:
    """The mean over the words of each span; sentences' states (length, D) each -> (spans, D), one sentence after
    another."""
    return torch.stack(
        [own[begin:end].mean(0) for own, found in zip(states, spans, strict=True) for begin, end in found]
    )


def as_labels(lengths: Sequence[int], spans: Sequence[Sequence[Span]], types: Sequence[str]) -> list[list[str]]:
    """The labels of the words of sentences so long; `types` of all spans, one sentence after another, `O` for none."""
    left = iter(types)
    tags = [["O"] * length for length in lengths]
    for labels, found in zip(tags, spans, strict=True):
        for begin, end in found:
            labels[begin:end] = [next(left)] * (end - begin)
    return tags
