"""Given first centers for libraries that only choose their own.

Three libraries draw k rows with a generator of their own. The rows are handed to them in an order
in which they draw the given ones. That relies on how their present versions draw, so each run
checks it: after one iteration the centers must be those that the others have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import peers
from benchmarks.data import Rows

SEED = 1234
Indices = npt.NDArray[np.int64]


def available() -> list[str]:
    """Return the names of those that are installed."""
    found = []
    if peers.faiss is not None and hasattr(peers.faiss, "SuperKmeans"):
        found.append("faiss super")
    if peers.superkmeans is not None:
        found.append("superkmeans")
    if peers.fastkmeans is not None and peers.torch is not None:
        found.append("fastkmeans")
    return found


def arranged(name: str, rows: Rows, first: Indices) -> Rows:
    """Return the rows in an order in which the library's first centers are `rows[first]`."""
    drawn = _DRAWS[name](len(rows), len(first))
    order = np.empty(len(rows), np.int64)
    order[_others(len(rows), drawn)] = _others(len(rows), first)
    order[drawn] = first
    return np.ascontiguousarray(rows[order])


def same(centers: Rows, expected: Rows) -> bool:
    """Whether two sets of centers agree, up to rounding and a few empty clusters."""
    apart = np.linalg.norm(centers.astype(np.float64) - expected, axis=1)
    spread = np.linalg.norm(expected.astype(np.float64) - expected.mean(axis=0), axis=1)
    return bool(np.median(apart) <= 1e-3 * np.median(spread))


def _others(n: int, chosen: Indices) -> Indices:
    left = np.ones(n, bool)
    left[chosen] = False
    return np.flatnonzero(left)


def _faiss_super(n: int, k: int) -> Indices:
    order = np.empty(n, np.int32)
    peers.faiss.rand_perm(peers.faiss.swig_ptr(order), n, SEED + 1)
    return order[:k].astype(np.int64)


def _fastkmeans(n: int, k: int) -> Indices:
    state = peers.torch.get_rng_state()
    peers.torch.manual_seed(SEED)
    order = peers.torch.randperm(n)[:k].numpy()
    peers.torch.set_rng_state(state)
    return np.asarray(order, np.int64)


def _superkmeans(n: int, k: int) -> Indices:
    """Shuffle as GCC's std::shuffle does with std::mt19937, and take the first k."""
    words = _Words()
    order = list(range(n))
    at = 1
    if (2**32 - 1) // n >= n:  # few elements: two places from one number
        if n % 2 == 0:
            place = words.below(2)
            order[1], order[place] = order[place], order[1]
            at = 2
        while at < n:
            both = words.below((at + 1) * (at + 2))
            for place in divmod(both, at + 2):
                order[at], order[place] = order[place], order[at]
                at += 1
    while at < n:
        place = words.below(at + 1)
        order[at], order[place] = order[place], order[at]
        at += 1
    return np.array(order[:k], np.int64)


class _Words:
    """The 32-bit numbers of a Mersenne Twister."""

    def __init__(self) -> None:
        self._twister = np.random.MT19937()
        self._twister._legacy_seeding(SEED)
        self._block: list[int] = []

    def _next(self) -> int:
        if not self._block:
            self._block = self._twister.random_raw(2**16).tolist()[::-1]
        return self._block.pop()

    def below(self, limit: int) -> int:
        """Return a number below `limit`, by multiplication, as GCC's uniform_int_distribution."""
        product = self._next() * limit
        if product & 0xFFFFFFFF < limit:
            threshold = (2**32 - limit) % limit
            while product & 0xFFFFFFFF < threshold:
                product = self._next() * limit
        return product >> 32


_DRAWS: dict[str, Callable[[int, int], Any]] = {
    "faiss super": _faiss_super,
    "superkmeans": _superkmeans,
    "fastkmeans": _fastkmeans,
}
