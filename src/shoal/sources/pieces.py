"""Rows that come in pieces, cut where they are wanted: views, never copies; and their order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol

from shoal.sources.rows import Rows
from shoal.types import Indices


class Order(Protocol):
    """In which order the rows of an epoch come; see ``steps.order``."""

    windows: int  # rows are taken from one window after the other
    strip: int  # the most rows of a range of a window

    def at(self, first: int, last: int) -> Indices:
        """Indices of the rows at places ``first`` … ``last`` - 1 of the epoch."""

    def start(self, window: int) -> int:
        """The place in the epoch at which a window begins."""

    def window_at(self, place: int) -> int:
        """The window that a place in the epoch lies in."""

    def strips(self, window: int) -> list[list[tuple[int, int]]]:
        """Ranges of rows that make up a window: for each place that data is read from, in order."""

    def within(self, window: int, first: int, last: int) -> Indices:
        """Which rows of a window stand at its places ``first`` … ``last`` - 1."""


def in_pieces(parts: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Each of some rows in pieces of at most ``size``: views."""
    for part in parts:
        for start in range(0, len(part), size):
            yield part.between(start, start + size)


def portions(pieces: Iterator[Rows], sizes: Iterable[int]) -> Iterator[list[Rows]]:
    """Batches of so many rows, wherever pieces end: views."""
    piece: Rows | None = None
    for size in sizes:
        batch: list[Rows] = []
        room = size
        while room > 0:
            if (piece is None or len(piece) == 0) and (piece := next(pieces, None)) is None:
                return
            part = piece.between(0, min(room, len(piece)))
            piece = piece.between(len(part), len(piece))
            room -= len(part)
            if len(part):
                batch.append(part)
        yield batch


def until(pieces: Iterator[Rows], rows: int) -> Iterator[Rows]:
    """The first rows of the pieces."""
    while rows > 0 and (piece := next(pieces, None)) is not None:
        yield piece if len(piece) <= rows else piece.between(0, rows)
        rows -= len(piece)


def cut(pieces: Iterator[Rows], size: int) -> Iterator[list[Rows]]:
    """Batches of ``size`` rows, wherever pieces end: views."""
    batch: list[Rows] = []
    room = size
    for piece in pieces:
        start = 0
        while start < len(piece):
            batch.append(piece.between(start, start + room))
            start, room = start + len(batch[-1]), room - len(batch[-1])
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def skip(pieces: Iterator[Rows], rows: int) -> Iterator[Rows]:
    """The pieces without their first ``rows`` rows."""
    for piece in pieces:
        if rows >= len(piece):
            rows -= len(piece)
        else:
            yield piece.between(rows, len(piece)) if rows else piece
            rows = 0


class Reader:
    """Reads on from where it has read to, as long as what is asked for is there.

    ``begin`` starts reading at a row.
    """

    def __init__(self, begin: Callable[[int], Iterator[Rows]]) -> None:
        self._begin = begin
        self._pieces: Iterator[Rows] = iter(())
        self._rest: Rows | None = None
        self._row = -1

    def read(self, first: int, last: int) -> Iterator[Rows]:
        """Rows ``first`` … ``last`` - 1 in pieces."""
        if first != self._row:
            self.close()
            self._rest, self._pieces = None, self._begin(first)
        while first < last:
            piece = self._rest or next(self._pieces)
            size = min(len(piece), last - first)
            yield piece.between(0, size)
            self._rest = piece.between(size, len(piece)) if size < len(piece) else None
            first += size
        self._row = last

    def close(self) -> None:
        """End the reading."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()
