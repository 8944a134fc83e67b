"""Batches of a stream where its shard is: one after the other, found by their number."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.sources.rows import Rows
from shoal.sources.stream import StreamSource


class Turns:
    """The batches of a stream, by number: the first is 1.

    Parameters
    ----------
    source
        The stream; begun anew where an earlier batch is asked for.
    """

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._batches: Iterator[list[Rows]] | None = None
        self._rows: list[Rows] | None = None
        self.number = 0  # of batches read

    def at(self, number: int) -> list[Rows] | None:
        """The batch of this number, those before which are passed over; None behind the last."""
        if self._batches is None or number < self.number:
            self._batches, self._rows, self.number = self._source.batches(), None, 0
        while self.number < number:
            found = next(self._batches, None)
            if found is None:
                self._batches, self._rows = iter(()), None
                return None
            self._rows = found
            self.number += 1
        return self._rows
