"""A permutation of which any part is found without the rest: places become rows in the core."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.steps.random import Random
from shoal.types import Indices

#: Rounds of the network; over few places it takes more until all orders are as likely.
ROUNDS, ROUNDS_OF_FEW, FEW = 6, 10, 4096


class Permutation:
    """A keyed permutation of 0 … n - 1: a Feistel network, ``cpp/core/base/permutation.h``.

    Parameters
    ----------
    n
        How many; at most 2**60.
    random
        Where the keys of the rounds are drawn from.
    """

    def __init__(self, n: int, random: Random) -> None:
        self._n = n
        self._keys = random.shares(ROUNDS_OF_FEW if n <= FEW else ROUNDS)

    def __call__(
        self, first: int, last: int, strips: npt.NDArray[np.int64] | None = None
    ) -> Indices:
        """What stands at the places ``first`` … ``last`` - 1, [last - first].

        With ``strips`` [segments, 4], of each the place at which it begins, the first row of the
        segment, how many rows this has and how many of them come before: the rows there.
        """
        found = np.empty(last - first, np.int64)
        _core.permuted(self._n, self._keys, first, strips, found)
        return found
