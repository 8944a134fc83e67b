"""Rows that a pass picks as it goes: a sample, and those nearest to and farthest from centers."""

from __future__ import annotations

import numpy as np

from shoal.sources.sparse import Matrix, stacked
from shoal.steps.random import SAMPLING, Random
from shoal.types import Floats, Indices, Labels

#: What random numbers of a report are for, among those of samples.
OF_REPORT = 1 << 20


class Picked:
    """Some rows [m]: copies, their numbers in the data, labels and distances to their center."""

    def __init__(self) -> None:
        self.rows: Matrix | None = None
        self.numbers: Indices = np.empty(0, np.int64)
        self.labels: Labels = np.empty(0, np.int32)
        self.distances: Floats = np.empty(0)

    def __len__(self) -> int:
        return len(self.numbers)

    def join(self, rows: Matrix, numbers: Indices, labels: Labels, distances: Floats) -> None:
        """Take in rows."""
        self.rows = rows if self.rows is None else stacked([self.rows, rows])
        self.numbers = np.concatenate([self.numbers, numbers])
        self.labels = np.concatenate([self.labels, labels])
        self.distances = np.concatenate([self.distances, distances])

    def keep(self, which: Indices) -> None:
        """Leave out all others."""
        if self.rows is not None:
            self.rows = self.rows[which]
        self.numbers, self.labels = self.numbers[which], self.labels[which]
        self.distances = self.distances[which]


class Sample(Picked):
    """Rows drawn evenly, however many come: the same for any split of the data into blocks.

    Each row has a random number, and those with the smallest are in.
    """

    def __init__(self, size: int, seed: int) -> None:
        super().__init__()
        self._size = size
        self._random = Random(seed, SAMPLING, OF_REPORT)
        self._keys = np.empty(0)

    def add(self, rows: Matrix, numbers: Indices, labels: Labels, distances: Floats) -> None:
        """Look at the rows of a block."""
        keys = self._random.uniform(len(numbers))
        limit = self._keys.max() if len(self._keys) >= self._size else np.inf
        inside = np.flatnonzero(keys < limit)
        inside = inside[np.argsort(keys[inside], kind="stable")[: self._size]]
        if not len(inside):
            return
        self.join(rows[inside], numbers[inside], labels[inside], distances[inside])
        self._keys = np.concatenate([self._keys, keys[inside]])
        order = np.argsort(self._keys, kind="stable")[: self._size]
        self._keys = self._keys[order]
        self.keep(order)


class Extremes(Picked):
    """Of each cluster the rows nearest to its center, or the farthest from it.

    Parameters
    ----------
    clusters, most
        How many clusters there are, and how many rows are kept of each.
    farthest
        Whether it is the farthest.
    """

    def __init__(self, clusters: int, most: int, farthest: bool) -> None:
        super().__init__()
        self._most = most
        self._sign = -1.0 if farthest else 1.0
        self._limits = np.full(clusters, np.inf)  # distances that are looked at

    def add(self, rows: Matrix, numbers: Indices, labels: Labels, distances: Floats) -> None:
        """Look at the rows of a block."""
        if not self._most:
            return
        inside = np.flatnonzero(self._sign * distances < self._limits[labels])
        if not len(inside):
            return
        inside = inside[first_of_each(labels[inside], self._sign * distances[inside], self._most)]
        self.join(rows[inside], numbers[inside], labels[inside], distances[inside])
        self.keep(first_of_each(self.labels, self._sign * self.distances, self._most))
        counts = np.bincount(self.labels, minlength=len(self._limits))
        full = counts >= self._most
        last = np.cumsum(counts) - 1
        self._limits[full] = (self._sign * self.distances)[last[full]]


def first_of_each(labels: Labels, values: Floats, most: int) -> Indices:
    """Indices of the ``most`` smallest values of each label, label by label, in order."""
    order = np.lexsort((values, labels))
    counts = np.bincount(labels)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[ranks < most]
