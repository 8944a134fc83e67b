"""Batches as they come: iterators, generators, callables and re-readable iterables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from shoal.errors import BadInputError
from shoal.sources.array import Columns, Rows, names_of, to_shards


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
    name
        What error messages call the data.
    """

    rows: int | None = None
    dim: int | None = None
    columns: tuple[Any, ...] | None = None  # names, known once a batch has been read
    num_batches: int | None = None  # of a pass, as far as the data says

    def __init__(
        self,
        begin: Callable[[], Iterator[Any]],
        rereadable: bool,
        columns: Columns,
        name: str = "x",
    ) -> None:
        self._begin = begin
        self.named = columns
        self.rereadable = rereadable
        self.name = name

    def batches(self) -> Iterator[list[Rows]]:
        """Batches in order, each checked to have the columns and dtype of the first."""
        return _Batches(self)

    def begin(self) -> Iterator[Any]:
        """Start reading."""
        return self._begin()

    def read(self, batch: Any, name: str) -> list[Rows]:
        """Shards of one batch."""
        shards = to_shards(batch, self.named, name)
        names = names_of(shards)
        self.columns = self.columns or names
        self.named = self.named.following(names, name)
        return shards

    def like(self, columns: Columns) -> StreamSource:
        """The same batches, read by other columns."""
        other = StreamSource(self._begin, self.rereadable, columns, self.name)
        other.num_batches = self.num_batches
        return other


class _Batches:
    """One pass. Not a generator: an error or an interruption does not end it."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._given = source.begin()
        self._number = 0
        self._first: tuple[int, Any] | None = None

    def __iter__(self) -> Iterator[list[Rows]]:
        return self

    def __next__(self) -> list[Rows]:
        while True:
            batch = next(self._given)
            name = f"{self._source.name}: batch {self._number}"
            self._number += 1
            shards = self._source.read(batch, name)
            this = (shards[0].rows.shape[1], shards[0].rows.dtype)
            first = self._first = self._first or this
            if this != first:
                raise BadInputError(
                    f"{name} has {this[0]} columns of {this[1]}, the batches before had "
                    f"{first[0]} of {first[1]}: all must agree"
                )
            if sum(len(shard) for shard in shards):
                return shards
