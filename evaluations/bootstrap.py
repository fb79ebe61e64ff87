"""Micro precision, recall and F1, and how sure one can be of them (bootstrap over episodes or documents)."""

import numpy as np

RESAMPLES = 10_000


def micro_prf(counts: np.ndarray) -> np.ndarray:
    """Micro precision, recall and F1 in percent.

    Args:
        counts: (..., 3) true positives, predicted and gold numbers of entities.

    Returns:
        (..., 3); a ratio with an empty denominator is 0, as in the CoNLL scorer.
    """
    correct, predicted, gold = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    # F1 = 2PR / (P + R) = 2 correct / (predicted + gold)
    parts = [(correct, predicted), (correct, gold), (2 * correct, predicted + gold)]
    return np.stack([100 * np.divide(a, b, out=np.zeros_like(a), where=b > 0) for a, b in parts], axis=-1)


def resampled_f1(counts: np.ndarray) -> np.ndarray:
    """Micro F1 in percent of bootstrap samples of the units, which are the same at every call, so that runs pair.

    Args:
        counts: (units, 3) of one run, or (runs, units, 3) of several runs over the same units.

    Returns:
        (RESAMPLES,) or (runs, RESAMPLES).
    """
    counts = np.asarray(counts, dtype=np.float64)
    units, generator = counts.shape[-2], np.random.default_rng(0)
    sums = np.empty((*counts.shape[:-2], RESAMPLES, 3))
    for i in range(RESAMPLES):
        times_drawn = np.bincount(generator.integers(units, size=units), minlength=units)
        sums[..., i, :] = times_drawn @ counts
    return micro_prf(sums)[..., 2]


def f1_interval(counts: np.ndarray) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of micro F1; `counts` is (units, 3)."""
    low, high = np.percentile(resampled_f1(counts), [2.5, 97.5])
    return float(low), float(high)


def paired_difference(counts_a: np.ndarray, counts_b: np.ndarray) -> dict[str, float]:
    """Micro F1 of run B minus run A over the same units, by a paired bootstrap (Efron and Tibshirani 1993).

    Args:
        counts_a, counts_b: (units, 3) each, row i of both from the same unit.

    Returns:
        difference (F1 points), low and high (95% percentile interval), p_value (two-sided: twice the
        smaller share of resamples on either side of zero, at least 1 / resamples, at most 1).
    """
    both = np.stack([counts_a, counts_b])
    observed_a, observed_b = micro_prf(both.sum(axis=1))[:, 2].tolist()
    a, b = resampled_f1(both)
    low, high = np.percentile(b - a, [2.5, 97.5]).tolist()
    tail = min((b <= a).mean(), (b >= a).mean())
    p_value = float(np.clip(2 * tail, 1 / RESAMPLES, 1))
    return {"difference": observed_b - observed_a, "low": low, "high": high, "p_value": p_value}
