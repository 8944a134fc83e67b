"""In which order the rows of an epoch come: a function of seed, epoch, rows and columns alone.

Arrays and files, whatever pages they have, and any part of them find the rows of a batch by the
same function, without an array of the size of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.steps.random import SHUFFLING, Random
from shoal.types import Indices

Words = npt.NDArray[np.uint64]

#: Values of the rows that are shuffled together: 32 MB of float32.
WINDOW_VALUES = 1 << 23
#: ... but no fewer rows than this, however wide they are.
LEAST_ROWS = 1024
#: Places of the data that a window takes rows from.
STRIPS = 8
#: Rounds of the network; over few places it takes more until all orders are as likely.
ROUNDS, ROUNDS_OF_FEW, FEW = 6, 10, 4096
#: Places that are permuted at a time: calls cost more than places where there are few.
CHUNK = 1 << 14

#: What words are mixed with: odd factors without a pattern, and half of their bits.
FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
HALF = np.uint64(32)


class Permutation:
    """A keyed permutation of 0 … n - 1, of which any part is found without the rest.

    A Feistel network over a x b ≥ n places (Luby & Rackoff 1988; Black & Rogaway 2002, "Ciphers
    with arbitrary finite domains"): a place that is no row is sent on until it is one.

    Parameters
    ----------
    n
        How many; at most 2**60.
    random
        Where the keys of the rounds are drawn from.
    """

    def __init__(self, n: int, random: Random) -> None:
        self._n = n
        self._high = max(1, math.isqrt(max(n, 1) - 1) + 1)
        self._low = -(-n // self._high)
        self._keys = random.shares(ROUNDS_OF_FEW if n <= FEW else ROUNDS)

    def __call__(self, first: int, last: int) -> Indices:
        """What stands at the places ``first`` … ``last`` - 1, [last - first]."""
        if (first, last) == (0, self._n) and self._n <= CHUNK:  # calls cost more than places
            table = self._once(np.arange(self._high * self._low, dtype=np.uint64))
            once: Callable[[Words], Words] = table.__getitem__
            out = table[:last].copy()
        else:
            once = self._once
            out = once(np.arange(first, last, dtype=np.uint64))
        while len(outside := np.flatnonzero(out >= self._n)):
            out[outside] = once(out[outside])
        return out.astype(np.int64)

    def _once(self, places: Words) -> Words:
        a, b = np.uint64(self._high), np.uint64(self._low)
        left, right = np.divmod(places, b)
        for key in self._keys:  # left is below a, right below b
            left += _hashed(right, key, a)
            np.minimum(left, left - a, out=left)  # below 0 is far above
            left, right, a, b = right, left, b, a
        # An even number of rounds: a and b are where they were.
        return left * b + right


def rows_of_a_window(columns: int) -> int:
    """The most rows that are shuffled together."""
    return max(LEAST_ROWS, WINDOW_VALUES // columns)


def _hashed(words: Words, key: np.uint64, below: np.uint64) -> Words:
    """A number below ``below`` of each word and the key."""
    mixed = words + key
    mixed *= FIRST
    mixed ^= mixed >> HALF
    mixed *= SECOND
    mixed >>= HALF
    mixed *= below
    mixed >>= HALF
    return mixed


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
    """

    def __init__(self, seed: int, epoch: int, rows: int, columns: int) -> None:
        self.rows = rows
        self._path = (seed, SHUFFLING, epoch)
        room = rows_of_a_window(columns)
        segments = STRIPS if rows > room else 1
        self._edges = np.arange(segments + 1) * rows // segments
        self._lengths = self._edges[1:] - self._edges[:-1]
        self._turns = np.zeros(segments, np.int64)
        self.strip, self.windows = rows, 1
        if segments > 1:
            self.strip = max(1, room // segments)
            self.windows = max(1, -(-int(self._lengths.max()) // self.strip))
            turns = Random(*self._path, 0).uniform(segments) * self._lengths
            self._turns = np.minimum(turns.astype(np.int64), self._lengths - 1)
        self._permutations: dict[int, Permutation] = {}  # the last few of each
        self._chunks: dict[tuple[int, int], Indices] = {}

    def start(self, window: int) -> int:
        """The place in the epoch at which a window begins."""
        if self.windows == 1:
            return min(window * self.strip, self.rows)
        return int(np.minimum(window * self.strip, self._lengths).sum())

    def window_at(self, place: int) -> int:
        """The window that a place in the epoch lies in."""
        window = min(place // max(1, self.strip * len(self._lengths)), self.windows - 1)
        while window + 1 < self.windows and self.start(window + 1) <= place:
            window += 1  # segments differ by a row
        return window

    def strips(self, window: int) -> list[list[tuple[int, int]]]:
        """Rows of a window, segment after segment: one or two ranges of each, or none."""
        found = []
        for segment, length in enumerate(self._lengths.tolist()):
            first = min(window * self.strip, length)
            last = min(first + self.strip, length)
            begin = int(self._edges[segment])
            turn = int(self._turns[segment])
            ranges = [(first + turn, min(last + turn, length))] if first + turn < length else []
            if last + turn > length:
                ranges.append((max(first + turn, length) - length, last + turn - length))
            found.append([(begin + a, begin + b) for a, b in ranges if a < b])
        return found

    def within(self, window: int, first: int, last: int) -> Indices:
        """Which rows of a window stand at its places ``first`` … ``last`` - 1."""
        chunks = range(first // CHUNK, -(-last // CHUNK))
        parts = [
            self._chunk(window, chunk)[max(first - chunk * CHUNK, 0) : last - chunk * CHUNK]
            for chunk in chunks
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def at(self, first: int, last: int) -> Indices:
        """Indices of the rows at places ``first`` … ``last`` - 1 of the epoch."""
        parts = []
        while first < last:
            window = self.window_at(first)
            start, end = self.start(window), self.start(window + 1)
            places = self.within(window, first - start, min(last, end) - start)
            parts.append(self._rows_of(window, places))
            first = min(last, end)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _rows_of(self, window: int, places: Indices) -> Indices:
        if self.windows == 1:
            return places
        sizes = np.clip(self._lengths - window * self.strip, 0, self.strip)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        segment = np.searchsorted(starts, places, side="right") - 1
        inside = places - starts[segment] + window * self.strip + self._turns[segment]
        rows: Indices = self._edges[segment] + inside % self._lengths[segment]
        return rows

    def _permutation(self, window: int) -> Permutation:
        if window not in self._permutations:
            path = self._path if self.windows == 1 else (*self._path, 1 + window)
            size = self.start(window + 1) - self.start(window)
            _keep(self._permutations, window, Permutation(size, Random(*path)))
        return self._permutations[window]

    def _chunk(self, window: int, chunk: int) -> Indices:
        if (window, chunk) not in self._chunks:
            size = self.start(window + 1) - self.start(window)
            found = self._permutation(window)(chunk * CHUNK, min((chunk + 1) * CHUNK, size))
            _keep(self._chunks, (window, chunk), found)
        return self._chunks[window, chunk]


def _keep(last: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep the last two; a dict, as functools' caches of methods hold their object for ever."""
    last[key] = value
    if len(last) > 2:
        del last[next(iter(last))]
