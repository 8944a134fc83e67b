"""How each k is fitted: from the first of the centers of the largest, or from those before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.prepared import Prepared
from shoal.runs import Found, run
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages
from shoal.sources.rows import Rows
from shoal.sources.sparse import SparseRows
from shoal.steps.random import SAMPLING, Random
from shoal.types import Floats


@dataclass(frozen=True)
class Plan:
    """Fits of rows over a range of k.

    Parameters
    ----------
    runs, warm_start, max_steps, tolerance
        As of ``choose_k``.
    """

    runs: int
    warm_start: bool
    max_steps: int
    tolerance: float

    def fits(self, rows: Prepared, numbers: Sequence[int]) -> Iterator[Found]:
        """The best run of each k."""
        seed = rows.parameters.random_seed
        if self.warm_start:
            yield from self._warm(rows, numbers, seed)
            return
        largest = rows.into(numbers[-1])
        starts = [largest.seeded(seed, run).clusters for run in range(self.runs)]
        for number in numbers:
            found = [self._from(rows.into(number), start[:number]) for start in starts]
            yield min(found, key=lambda one: one.inertia)

    def _warm(self, rows: Prepared, numbers: Sequence[int], seed: int) -> Iterator[Found]:
        first = rows.into(numbers[0])
        starts = [first.seeded(seed, run).clusters for run in range(self.runs)]
        for number in numbers:
            here = rows.into(number)
            tried = [
                self._from(here, start if len(start) == number else here.grown(start, seed))
                for start in starts
            ]
            best = min(tried, key=lambda one: one.inertia)
            starts = [best.centers]
            yield best

    def _from(self, rows: Prepared, centers: Floats) -> Found:
        return run(rows, rows.started(centers), self.max_steps, self.tolerance)


def gaps(
    rows: Prepared, plan: Plan, numbers: Sequence[int], references: int, inertia: Floats
) -> tuple[Floats, Floats]:
    """Gap statistic of each k, and its standard error (Tibshirani et al. 2001).

    The references are uniform in the box around the data.
    """
    assert rows.source.any_order
    low, high = np.full((2, rows.columns), np.inf) * [[1], [-1]]
    for part in rows.source.stream():
        if len(part):
            some: Any = part.rows
            low = np.minimum(low, some.min(axis=0).astype(np.float64))
            high = np.maximum(high, some.max(axis=0).astype(np.float64))
    logs = np.empty((references, len(numbers)))
    for i in range(references):
        random = Random(rows.parameters.random_seed, SAMPLING, 1 + i)
        shares = random.uniform(len(rows) * rows.columns).reshape(len(rows), rows.columns)
        uniform = (low + shares * (high - low)).astype(rows.dtype)
        source = PagedSource(ArrayPages([Rows(uniform)]), None, False)
        with Prepared.of(source, rows.parameters) as reference:
            logs[i] = _log([found.inertia for found in plan.fits(reference, numbers)])
    error = logs.std(axis=0) * np.sqrt(1 + 1 / references)
    return logs.mean(axis=0) - _log(inertia), error


def _log(inertia: Any) -> Floats:
    logs: Floats = np.log(np.maximum(inertia, np.finfo(np.float64).tiny))
    return logs


def check_gap(source: Source) -> None:
    """Refuse rows around which there is no box to be filled."""
    if not source.any_order or any(isinstance(one.rows, SparseRows) for one in source.held):
        raise BadInputError(
            "gap asks for reference data as large as the data, in memory: rows must be dense, and "
            "no stream. Leave it at 0, or give a sample of the rows"
        )
