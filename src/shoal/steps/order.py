"""In which order the rows of an epoch come: a function of seed, epoch, rows and columns alone.

Arrays and files, whatever pages they have, and any part of them find the rows of a batch by the
same function, without an array of the size of the data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shoal.shards.permutation import Permutation
from shoal.steps.random import SHUFFLING, Random
from shoal.types import Indices

#: Values of the rows that are shuffled together: 32 MB of float32.
WINDOW_VALUES = 1 << 23
#: ... but no fewer rows than this, however wide they are.
LEAST_ROWS = 1024
#: Places of the data that a window takes rows from.
STRIPS = 8


def rows_of_a_window(columns: int) -> int:
    """The most rows that are shuffled together."""
    return max(LEAST_ROWS, WINDOW_VALUES // columns)


class Order:
    """The rows of one epoch, in the order in which mini-batches take them.

    Rows that are few enough are permuted as a whole. Of more, the data is cut into ``STRIPS``
    segments; a *window* is the next strip of each, and the rows of a window are permuted. So files
    are read from ``STRIPS`` places on, each row once, and windows mix rows from all over the data.
    Where the segments begin to be read is drawn anew each epoch.

    Parameters
    ----------
    seed, epoch
        Of the shuffle.
    rows, columns
        Of the data.
    room
        The most rows that are shuffled together (None: ``rows_of_a_window``).
    """

    def __init__(
        self, seed: int, epoch: int, rows: int, columns: int, room: int | None = None
    ) -> None:
        self.rows = rows
        self._path = (seed, SHUFFLING, epoch)
        room = rows_of_a_window(columns) if room is None else room
        segments = STRIPS if rows > room else 1
        edges = np.arange(segments + 1) * rows // segments
        lengths = edges[1:] - edges[:-1]
        turns = np.zeros(segments, np.int64)
        self.strip, self.windows = rows, 1
        if segments > 1:
            self.strip = max(1, room // segments)
            self.windows = max(1, -(-int(lengths.max()) // self.strip))
            drawn = Random(*self._path, 0).uniform(segments) * lengths
            turns = np.minimum(drawn.astype(np.int64), lengths - 1)
        # Of each segment its first row, how many it has, and where it begins to be read.
        self._segments: list[tuple[int, int, int]] = list(
            zip(edges.tolist(), lengths.tolist(), turns.tolist(), strict=False)
        )
        self._drawn: dict[int, tuple[Permutation, npt.NDArray[np.int64] | None]] = {}

    def start(self, window: int) -> int:
        """The place in the epoch at which a window begins."""
        return sum(min(window * self.strip, length) for _, length, _ in self._segments)

    def window_at(self, place: int) -> int:
        """The window that a place in the epoch lies in."""
        window = min(place // max(1, self.strip * len(self._segments)), self.windows - 1)
        while window + 1 < self.windows and self.start(window + 1) <= place:
            window += 1  # segments differ by a row
        return window

    def strips(self, window: int) -> list[list[tuple[int, int]]]:
        """Rows of a window, segment after segment: one or two ranges of each, or none."""
        found = []
        for begin, length, turn in self._segments:
            first = min(window * self.strip, length)
            last = min(first + self.strip, length)
            ranges = [(first + turn, min(last + turn, length))] if first + turn < length else []
            if last + turn > length:
                ranges.append((max(first + turn, length) - length, last + turn - length))
            found.append([(begin + a, begin + b) for a, b in ranges if a < b])
        return found

    def within(self, window: int, first: int, last: int) -> Indices:
        """Which rows of a window stand at its places ``first`` … ``last`` - 1."""
        return self._window(window)[0](first, last)

    def at(self, first: int, last: int) -> Indices:
        """Indices of the rows at places ``first`` … ``last`` - 1 of the epoch."""
        parts = []
        while first < last:
            window = self.window_at(first)
            start, end = self.start(window), min(last, self.start(window + 1))
            permutation, strips = self._window(window)
            parts.append(permutation(first - start, end - start, strips))
            first = end
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _window(self, window: int) -> tuple[Permutation, npt.NDArray[np.int64] | None]:
        """The order of a window, and the strips that its places lie in."""
        if window not in self._drawn:
            if len(self._drawn) > 1:  # keep two; functools' caches hold their object for ever
                del self._drawn[next(iter(self._drawn))]
            path = self._path if self.windows == 1 else (*self._path, 1 + window)
            size = self.start(window + 1) - self.start(window)
            strips = None if self.windows == 1 else self._places(window)
            self._drawn[window] = Permutation(size, Random(*path)), strips
        return self._drawn[window]

    def _places(self, window: int) -> npt.NDArray[np.int64]:
        """As ``Permutation`` takes strips."""
        found, place = [], 0
        for begin, length, turn in self._segments:
            first = min(window * self.strip, length)
            found.append((place, begin, length, first + turn))
            place += min(first + self.strip, length) - first
        return np.array(found, np.int64)
