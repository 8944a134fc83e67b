"""Tests of distributions: small, exact enough, and without further packages.

Each returns a p-value: the probability of data at least this far off if the hypothesis holds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: Randomised tests have fixed seeds and fail below this: one in ten thousand each.
LEVEL = 1e-4


def upper_gamma(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(a, x)."""
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:  # series of the lower function
        term = total = 1 / a
        n = a
        while term > total * 1e-16:
            n += 1
            term *= x / n
            total += term
        return 1 - scale * total
    # Continued fraction, by Lentz's method.
    b = x + 1 - a
    c, d = math.inf, 1 / b
    fraction = d
    for i in range(1, 10_000):
        factor = -i * (i - a)
        b += 2
        d = 1 / (factor * d + b)
        c = b + factor / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return scale * fraction


def chi_square(observed: Any, expected: Any, factor: float = 1.0) -> float:
    """Counts against probabilities (scaled to the same total).

    Cells expected less than 5 times are put together; nothing may be observed where nothing is
    expected. ``factor`` multiplies the statistic.
    """
    counts = np.asarray(observed, np.float64)
    wanted = np.asarray(expected, np.float64)
    wanted = wanted * counts.sum() / wanted.sum()
    assert (counts[wanted == 0] == 0).all(), "something impossible was observed"
    rare = wanted < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        wanted = np.append(wanted[~rare], wanted[rare].sum())
    used = wanted > 0
    statistic = ((counts[used] - wanted[used]) ** 2 / wanted[used]).sum() * factor
    return upper_gamma((used.sum() - 1) / 2, statistic / 2)


def same_counts(first: Any, second: Any) -> float:
    """Two samples of counts over the same cells: do they have one distribution?"""
    table = np.stack([first, second]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    rare = table.sum(axis=0) < 10
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    wanted = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = ((table - wanted) ** 2 / wanted).sum()
    return upper_gamma((table.shape[1] - 1) / 2, statistic / 2)


def kolmogorov_smirnov(first: Any, second: Any) -> float:
    """Two samples of numbers: do they have one distribution? Errs on the safe side with ties."""
    x, y = np.sort(first), np.sort(second)
    at = np.concatenate([x, y])
    below_x = np.searchsorted(x, at, side="right") / len(x)
    below_y = np.searchsorted(y, at, side="right") / len(y)
    size = len(x) * len(y) / (len(x) + len(y))
    statistic = abs(below_x - below_y).max() * (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size))
    if statistic < 0.2:
        return 1.0
    terms = ((-1) ** (i - 1) * math.exp(-2 * (i * statistic) ** 2) for i in range(1, 101))
    return min(1.0, 2 * sum(terms))
