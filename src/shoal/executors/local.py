"""Shards in this process, one after the other, each with all threads: messages are plain calls."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from shoal.shards.part import Part
from shoal.shards.shard import Shard


class LocalExecutor:
    """The executor of one machine.

    Parameters
    ----------
    num_parts
        Into how many parts data is cut: results do not depend on it.
    """

    here = True

    def __init__(self, num_parts: int = 1) -> None:
        self.num_parts = num_parts
        self._shards: dict[int, Shard] = {}
        self._numbers = itertools.count()

    def __reduce__(self) -> Any:  # shards are of this process
        return type(self), (self.num_parts,)

    def start(self, parts: Sequence[Part]) -> list[int]:
        """Make a shard of each part."""
        numbers = []
        for part in parts:
            number = next(self._numbers)
            self._shards[number] = Shard(part)
            numbers.append(number)
        return numbers

    def share(self, value: Any) -> Any:
        """The value itself."""
        return value

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """The answer itself."""
        return getattr(self._shards[which], message)(*arguments)

    def gather(self, answers: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """The answers."""
        del timeout
        return list(answers)

    def close(self, which: Iterable[int]) -> None:
        """Forget some shards."""
        for number in which:
            if (shard := self._shards.pop(number, None)) is not None:
                shard.close()
