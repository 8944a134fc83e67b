"""A sample of rows, where they are: the same rows however the data is split and read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from shoal.shards.part import Sample
from shoal.shards.rows import Blocks
from shoal.sources.rows import Rows
from shoal.steps.random import SUBSAMPLING, Random
from shoal.types import Indices


class Sampled(Blocks):
    """Some of the rows of other blocks, copied once where there is room, else for each pass.

    Parameters
    ----------
    whole
        All rows, looked at already.
    sample
        Which of them.
    first
        Index of their first row in the data set.
    room
        Bytes that the copy may take.
    """

    def __init__(self, whole: Blocks, sample: Sample, first: int, room: int) -> None:
        super().__init__()
        self._whole = whole
        self._sample = sample
        self._first = first
        self._kept: list[Rows] | None = None
        self._keep(room)
        self.resident = self._kept is not None

    @property
    def nbytes(self) -> int:
        """Bytes that the copy takes."""
        return sum(map(_size, self._kept or ()))

    def read(self) -> Iterable[Rows]:
        """The blocks."""
        if self._kept is not None:
            return self._kept
        return (_some(block, inside) for block, inside in self._drawn())

    def _keep(self, room: int) -> None:
        kept: list[Rows] = []
        for block, inside in self._drawn():
            room -= _size(block) * len(inside) // len(block)
            if room < 0:
                return
            kept.append(_some(block, inside))
        self._kept = kept

    def _drawn(self) -> Iterator[tuple[Rows, Indices]]:
        """Each block of which some rows are in the sample, and which."""
        random = Random(self._sample.seed, SUBSAMPLING).after(self._first)
        share = np.uint64(self._sample.share)
        for block in self._whole:
            inside = np.flatnonzero(random.shares(len(block)) < share)
            if len(inside):
                yield block, inside


def _some(block: Rows, inside: Indices) -> Rows:
    """Rows of a block, with what is known of it."""
    rows = block.at(inside)
    weights = rows.weights
    positive = len(rows) if weights is None else int(np.count_nonzero(weights))
    scan = replace(block.seen, rows=len(rows), positive=positive, dropped=0, left_out=())
    return replace(rows, scan=scan, kept=None)


def _size(rows: Rows) -> int:
    return rows.rows.nbytes + (0 if rows.weights is None else rows.weights.nbytes)
