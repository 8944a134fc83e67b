"""Where a row of a data set stands: in which file, and which row of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Places:
    """Files, or whatever else rows come from, one after the other."""

    names: tuple[str, ...]
    starts: tuple[int, ...]  # index of the first row of each

    @classmethod
    def of(cls, parts: Iterable[tuple[str, int]]) -> Places:
        """Those of names and their numbers of rows."""
        names, sizes = zip(*parts, strict=True)
        return cls(names, (0, *accumulate(sizes[:-1])))

    def find(self, index: int) -> tuple[str, int]:
        """Name, and the number of a row there, of its index in the data set."""
        at = bisect_right(self.starts, index) - 1
        return self.names[at], index - self.starts[at]
