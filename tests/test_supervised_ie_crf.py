"""The CRF against the sum, the gradient and the maximum over all tag sequences, enumerated."""

from itertools import pairwise, product

import pytest
import torch

from evaluations.supervised_ie.crf import CRF, tags_to_spans

TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]
LENGTHS = [4, 1, 3]


def well_formed(tags):
    return all(
        not tag.startswith("I-") or (i > 0 and tags[i - 1] in ("B-" + tag[2:], tag)) for i, tag in enumerate(tags)
    )


def paths(length):
    for path in product(range(len(TAGS)), repeat=length):
        if well_formed([TAGS[tag] for tag in path]):
            yield path


def score(crf, emissions, path):
    total = crf.start[path[0]] + crf.end[path[-1]] + sum(emissions[t, tag] for t, tag in enumerate(path))
    return total + sum(crf.transition[a, b] for a, b in pairwise(path))


@pytest.fixture
def case():
    torch.manual_seed(5)
    crf = CRF(TAGS).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(len(LENGTHS), max(LENGTHS), len(TAGS), dtype=torch.double, requires_grad=True)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return crf, emissions, mask


def test_log_likelihood_and_its_gradient_are_those_of_enumeration(case):
    crf, emissions, mask = case
    gold = [(1, 2, 0, 3), (0,), (3, 4, 1)]
    tags = torch.tensor([[*path, *[1] * (max(LENGTHS) - len(path))] for path in gold])
    ours = crf.log_likelihood(emissions, tags, mask)
    expected = torch.stack(
        [
            score(crf, emissions[b], gold[b])
            - torch.logsumexp(torch.stack([score(crf, emissions[b], path) for path in paths(length)]), dim=0)
            for b, length in enumerate(LENGTHS)
        ]
    )
    torch.testing.assert_close(ours, expected)
    wanted = [emissions, *crf.parameters()]
    for a, b in zip(torch.autograd.grad(ours.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True):
        torch.testing.assert_close(a, b)


def test_probabilities_of_all_well_formed_sequences_sum_to_one(case):
    crf, emissions, _mask = case
    every = list(paths(3))
    one = emissions[2:, :3].expand(len(every), -1, -1)
    total = crf.log_likelihood(one, torch.tensor(every), torch.ones(len(every), 3, dtype=torch.bool)).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-12)


def test_viterbi_is_the_best_of_all_sequences(case):
    crf, emissions, mask = case
    for _ in range(20):
        emissions = torch.randn_like(emissions) * 2
        expected = [
            list(max(paths(length), key=lambda path, b=b: score(crf, emissions[b], path).item()))
            for b, length in enumerate(LENGTHS)
        ]
        assert crf.viterbi(emissions, mask) == expected


def test_padding_changes_nothing(case):
    crf, emissions, mask = case
    tags = torch.tensor([[1, 2, 0, 3], [0, 1, 1, 1], [3, 4, 1, 0]])
    garbage = torch.where(mask[:, :, None], emissions, torch.full_like(emissions, 1e3))
    torch.testing.assert_close(crf.log_likelihood(garbage, tags, mask), crf.log_likelihood(emissions, tags, mask))
    assert crf.viterbi(garbage, mask) == crf.viterbi(emissions, mask)


def test_tags_become_spans():
    assert tags_to_spans(["B-A", "I-A", "O", "B-B", "B-A", "I-A"]) == [(0, 2), (3, 4), (4, 6)]
    assert tags_to_spans(["O", "O"]) == []
