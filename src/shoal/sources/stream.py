"""Batches as they come: iterators, generators, callables and re-readable iterables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from shoal.errors import BadInputError
from shoal.sources.array import Columns, Rows, to_shards


class StreamSource:
    """A sequence of batches, of a length that only reading it tells.

    Parameters
    ----------
    begin
        Starts reading: returns an iterator of batches.
    rereadable
        Whether ``begin`` can be called again for the same batches.
    columns
        Columns of batches that are dicts or frames.
    """

    in_memory = False
    rows: int | None = None
    dim: int | None = None

    def __init__(
        self, begin: Callable[[], Iterator[Any]], rereadable: bool, columns: Columns
    ) -> None:
        self._begin = begin
        self._columns = columns
        self.rereadable = rereadable

    def batches(self) -> Iterator[list[Rows]]:
        """Batches in order, each checked to have the columns and dtype of the first."""
        first: tuple[int, Any] | None = None
        for number, batch in enumerate(self._begin()):
            shards = to_shards(batch, self._columns, f"batch {number}")
            this = (shards[0].rows.shape[1], shards[0].rows.dtype)
            if first is None:
                first = this
            if this != first:
                raise BadInputError(
                    f"batch {number} has {this[0]} columns of {this[1]}, the batches before had "
                    f"{first[0]} of {first[1]}: all must agree"
                )
            if sum(len(shard) for shard in shards):
                yield shards
