"""What trained centers say of rows, where the rows are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from shoal.metric import all_distances, as_scores
from shoal.shards.kernels import nearest, nearest_labels
from shoal.shards.part import Part
from shoal.shards.rows import Blocks
from shoal.sources.rows import Rows
from shoal.state import Scan
from shoal.types import Array, Floats

ALL_SCORES = "all_scores"
CLUSTER_IDX = "cluster_idx"
SCORES = "scores"
ROW = "row"


class Answered(NamedTuple):
    """What is said of a piece of the rows, and what a look at them found that is not told yet."""

    outputs: dict[str, Array]
    scan: Scan


class Writer(Protocol):
    """Where outputs go, piece by piece."""

    def write(self, outputs: dict[str, Array]) -> object:
        """Take the outputs of some more rows."""


class Sink(Protocol):
    """Opens a file for each shard; can be sent to where the shards are."""

    def open(self, number: int) -> AbstractContextManager[Writer]:
        """Open the file of a shard, from the beginning."""


def outputs_of(
    block: Rows, centers: Floats, metric: str, threads: int, outputs: Sequence[str]
) -> dict[str, Array]:
    """Each of the outputs for the rows of a block."""
    found: dict[str, Array] = {}
    given = block.rows, centers, metric, threads
    if SCORES not in outputs and CLUSTER_IDX in outputs:
        found[CLUSTER_IDX] = nearest_labels(*given).astype(np.int64)
    elif SCORES in outputs:
        labels, distances = nearest(*given)
        found[CLUSTER_IDX] = labels.astype(np.int64)
        found[SCORES] = as_scores(distances, block.rows)
    if ALL_SCORES in outputs:
        found[ALL_SCORES] = all_distances(*given)
        if SCORES in outputs and found[ALL_SCORES].dtype == np.float64:
            found[SCORES] = distances
    if ROW in outputs:
        found[ROW] = block.numbers()
    return {name: found[name] for name in outputs}


class Reading:
    """Outputs for the rows of a shard, piece after piece of at most ``size`` rows.

    Rows are validated as they are read: once, if they have not been before.
    """

    def __init__(self, part: Part, blocks: Blocks, first: int, asked: tuple[Any, ...]) -> None:
        self._part = part
        self.asked = asked
        _, _, size = asked
        self._pieces = self._read(blocks, first, size)
        self.number = 0  # of the next piece

    def _read(self, blocks: Blocks, first: int, size: int) -> Iterator[Rows]:
        for block in blocks.read():
            yield from replace(block, first=first).pieces(size)
            first += block.dropped + len(block.rows)

    def next(self, centers: Floats) -> Answered | None:
        """Say of the next piece what is asked; None at the end."""
        piece = self.skip()
        if piece is None:
            return None
        part = self._part
        found = outputs_of(piece, centers, part.metric, part.threads, self.asked[1])
        return Answered(found, piece.seen)

    def skip(self) -> Rows | None:
        """Pass over a piece, which is returned; None at the end."""
        self.number += 1
        return next(self._pieces, None)
