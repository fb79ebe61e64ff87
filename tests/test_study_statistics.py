"""The statistics over pre-training seeds, against brute force and values counted by hand."""

from itertools import product

import numpy as np
import pytest

from evaluations.bootstrap import micro_prf, paired_difference
from study.statistics import Difference, f1_of_seeds, hierarchical_difference, holm, sign_flip_p, t_interval


def random_counts(seeds: int, few_shot_seeds: int, episodes: int, seed: int = 0) -> np.ndarray:
    """(S, K, E, 3); the number of correct ones is at most that of predicted and gold ones."""
    generator = np.random.default_rng(seed)
    predicted, gold = generator.integers(1, 9, (2, seeds, few_shot_seeds, episodes))
    correct = generator.integers(0, np.minimum(predicted, gold) + 1)
    return np.stack([correct, predicted, gold], axis=-1)


def test_the_bootstrap_agrees_with_all_samples_there_are():
    """2 pre-training seeds, 2 few-shot seeds, 3 episodes: 4 * 4^2 * 27 equally likely samples, each one counted."""
    a, b = random_counts(2, 2, 3), random_counts(2, 2, 3, seed=1)
    exact = []
    for seeds in product(range(2), repeat=2):
        for few_shot in product(product(range(2), repeat=2), repeat=2):
            for episodes in product(range(3), repeat=3):
                f1 = [
                    micro_prf(
                        sum(
                            counts[s, k, e]
                            for s, drawn in zip(seeds, few_shot, strict=True)
                            for k in drawn
                            for e in episodes
                        )
                    )[2]
                    for counts in (a, b)
                ]
                exact.append(f1[1] - f1[0])
    difference = hierarchical_difference(a, b, resamples=40_000)
    assert difference.samples.mean() == pytest.approx(np.mean(exact), abs=0.3)
    assert difference.samples.std() == pytest.approx(np.std(exact), rel=0.02)
    for level in (0.8, 0.95):
        expected = np.quantile(exact, [(1 - level) / 2, (1 + level) / 2])
        assert difference.interval(level) == pytest.approx(expected, abs=1.5)


def test_with_one_seed_it_is_the_bootstrap_over_episodes():
    a, b = random_counts(1, 1, 50), random_counts(1, 1, 50, seed=1)
    difference, flat = hierarchical_difference(a, b), paired_difference(a[0, 0], b[0, 0])
    assert difference.observed == pytest.approx(flat["difference"])
    assert difference.interval() == pytest.approx((flat["low"], flat["high"]), abs=0.5)


def test_seeds_that_differ_widen_the_interval():
    """One episode's counts everywhere, so that nothing but the seeds can vary: B's F1 is 20 or 60, A's 40."""
    a, b = (np.full((4, 2, 10, 3), 5) for _ in range(2))
    a[..., 0], b[:2, ..., 0], b[2:, ..., 0] = 2, 1, 3
    assert f1_of_seeds(b).tolist() == [20, 20, 60, 60]
    difference = hierarchical_difference(a, b)
    assert difference.observed == 0 and difference.interval() == (-20, 20)
    # drawn from four seeds, the number of high ones is binomial: all four one time in 16
    assert (difference.samples == 20).mean() == pytest.approx(1 / 16, abs=0.01)


def test_episodes_are_drawn_for_all_seeds_at_once():
    """Two episodes, F1 0 and 100 with every seed alike: were they drawn for each seed, values between would come."""
    a, b = np.zeros((3, 1, 2, 3)), np.zeros((3, 1, 2, 3))
    a[..., 1:], b[..., 1:], b[:, :, 1, 0] = 5, 5, 5
    samples = hierarchical_difference(a, b).samples
    assert set(samples) == {0, 50, 100} and (samples == 100).mean() == pytest.approx(1 / 4, abs=0.02)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 1, 1, 1, 1, 1], 2 / 64),  # nothing but all signs alike is as far out
        ([1, 1, 1, 1, 1], 2 / 32),
        ([1, 2, -3], 1.0),
        ([3, 2, -1], 4 / 8),  # sums of 6, 4, 2, 0 and their negatives: 6 and 4, on both sides
        ([0.1, 0.2, 0.3], 2 / 8),
    ],
)
def test_sign_flips_by_hand(differences, p):
    assert sign_flip_p(differences) == p


def test_holm_by_hand():
    """0.01 * 4; 0.02 * 3 = 0.06; 0.03 * 2 = 0.06; 0.5 * 1; never below an earlier one, never above 1."""
    p_values = {"c": 0.03, "a": 0.01, "d": 0.5, "b": 0.02}
    assert holm(p_values) == pytest.approx({"c": 0.06, "a": 0.04, "d": 0.5, "b": 0.06})
    assert list(holm(p_values)) == list(p_values)
    assert holm({"a": 0.03, "b": 0.04}) == {"a": 0.06, "b": 0.06} and holm({"a": 0.9, "b": 0.8}) == {"a": 1, "b": 1}


def test_equivalence_is_the_narrower_interval_within_the_margin():
    samples = np.linspace(-1, 1, 2001)  # its 90% interval is -0.9 to 0.9, its 95% one -0.95 to 0.95
    difference = Difference(0.0, samples)
    assert difference.interval(0.9) == pytest.approx((-0.9, 0.9))
    assert difference.equivalent(0.91) and not difference.equivalent(0.89)
    assert not difference.equivalent(0.94, alpha=0.025)
    assert not Difference(0.5, samples + 0.5).equivalent(1)


def test_students_interval_by_hand():
    """Of 1, 2, 3: mean 2, standard deviation 1, and t of two degrees of freedom at 95% is 2.920."""
    assert t_interval([1, 2, 3]) == pytest.approx((2 - 2.920 / 3**0.5, 2 + 2.920 / 3**0.5), abs=1e-3)
    assert t_interval([0.5]) == (-np.inf, np.inf)  # one run says nothing about others


def test_six_seeds_can_show_what_the_plan_asks_for():
    """Both contrasts of a split at once need no adjustment, and the splits are tested in a fixed order."""
    assert max(sign_flip_p([1] * 6), sign_flip_p([2] * 6)) < 0.05
    assert min(holm({name: sign_flip_p([1] * 6) for name in "abcd"}).values()) > 0.05
