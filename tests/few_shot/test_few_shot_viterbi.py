"""Viterbi and its transitions against enumeration of all paths and hand-counted statistics."""

from itertools import pairwise, product

import pytest
import torch

from evaluations.few_shot.transitions import log_transitions, transition_statistics
from evaluations.viterbi import viterbi


def test_statistics_by_hand():
    a, b = "art-music", "person-actor"
    sentences = [["O", a, a, b, "O", "O"], [a, "O"], ["O"], []]
    # starts: O 2, I 1; from O: O 1, I 1; from an entity label: O 2, itself 1, another 1
    assert transition_statistics(sentences) == pytest.approx([2 / 3, 1 / 3, 1 / 2, 1 / 2, 2 / 4, 1 / 4, 1 / 4])


def test_a_split_without_entities_has_no_statistics_of_them():
    assert transition_statistics([["O", "O"]]) == [1, 0, 1, 0, 0, 0, 0]


def test_transitions_by_hand():
    start, between = log_transitions([0.8, 0.2, 0.9, 0.1, 0.4, 0.5, 0.1], types=3, temperature=1.0)
    third, half = 1 / 3, 0.1 / 2
    torch.testing.assert_close(start.exp(), torch.tensor([0.8, 0.2 * third, 0.2 * third, 0.2 * third]))
    expected = [[0.9, 0.1 * third, 0.1 * third, 0.1 * third]]
    expected += [[0.4, *(0.5 if i == j else half for j in range(3))] for i in range(3)]
    torch.testing.assert_close(between.exp(), torch.tensor(expected))


def test_the_temperature_flattens_and_unseen_moves_are_flattened_with_the_others():
    """By hand: were they left at 0, staying in an entity would be ten times as probable as staying outside."""
    start, between = log_transitions([1.0, 0.0, 0.9, 0.1, 0.5, 0.5, 0.0], types=2, temperature=0.01)
    rows = torch.tensor([[1.0, 1e-6, 1e-6], [0.9, 0.05, 0.05], [0.5, 0.5, 1e-6]], dtype=torch.float64) ** 0.01
    expected = rows / rows.sum(1, keepdim=True)
    torch.testing.assert_close(start.double().exp(), expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(between[:2].double().exp(), expected[1:], rtol=1e-5, atol=0)


def test_without_statistics_all_moves_are_equally_probable():
    start, between = log_transitions([0.0] * 7, types=3)
    torch.testing.assert_close(torch.cat([start[None], between]).exp(), torch.full((5, 4), 0.25))


@pytest.mark.parametrize("seed", range(5))
def test_viterbi_equals_brute_force(seed):
    torch.manual_seed(seed)
    lengths, labels = [1, 5, 3, 4], 3
    emissions = torch.randn(len(lengths), max(lengths), labels).log_softmax(-1)
    start, transitions = torch.randn(labels).log_softmax(0), torch.randn(labels, labels).log_softmax(1)
    paths = viterbi(emissions, torch.tensor(lengths), start, transitions)
    for row, length, path in zip(emissions, lengths, paths, strict=True):

        def score(labels, row=row):
            moves = sum(transitions[a, b] for a, b in pairwise(labels))
            return (start[labels[0]] + moves + sum(row[t, label] for t, label in enumerate(labels))).item()

        best = max(product(range(labels), repeat=length), key=score)
        assert path.tolist() == list(best)
