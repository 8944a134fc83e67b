"""Random numbers as values: they are a function of (seed, path), nothing is carried along.

Only raw 64-bit output of a counter-based generator is used, so that they do not change with
NumPy's distributions.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

#: First element of a path: what they are for.
SEEDING, SHUFFLING, SAMPLING, REASSIGNING, SUBSAMPLING = range(5)


class Random:
    """A sequence of random numbers (Philox; Salmon et al. 2011)."""

    def __init__(self, seed: int, *path: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=path))

    def after(self, number: int) -> Random:
        """The same sequence behind its first ``number`` numbers, if none was taken yet."""
        self._bits.advance(number // 4)  # a step of the counter is four numbers
        self._bits.random_raw(number % 4)
        return self

    def uniform(self, size: int) -> npt.NDArray[np.float64]:
        """Numbers in [0, 1), multiples of 2**-53."""
        return self.shares(size).astype(np.float64) * 2.0**-53

    def integers(self, below: int, size: int) -> npt.NDArray[np.int64]:
        """Whole numbers in [0, below)."""
        return np.minimum((self.uniform(size) * below).astype(np.int64), below - 1)

    def shares(self, *shape: int) -> npt.NDArray[np.uint64]:
        """Whole numbers in [0, 2**53): shares of a total, in units of 2**-53."""
        raw: npt.NDArray[np.uint64] = self._bits.random_raw(math.prod(shape))
        return (raw >> np.uint64(11)).reshape(shape)

    def without_replacement(self, n: int, size: int) -> npt.NDArray[np.int64]:
        """``size`` different indices below n, in the order drawn."""
        chosen: dict[int, None] = {}
        while len(chosen) < size:
            for index in self.integers(n, size - len(chosen)):
                chosen.setdefault(int(index))
        return np.fromiter(chosen, np.int64, size)
