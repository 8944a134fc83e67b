"""Shards in this process that are spoken to as if they were elsewhere: a double for tests.

Parts, messages, arguments, answers and exceptions all go through pickle, so that what works here
works between machines. It counts what would travel, and can lose a shard.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from shoal.errors import ShardLost
from shoal.shards.part import UNPICKLABLE, Part, cannot_be_sent
from shoal.shards.shard import Shard


class Sent(NamedTuple):
    """A message that went to a shard."""

    which: int
    message: str
    down: int  # bytes of the arguments, but those that are shared
    up: int  # bytes of the answer


class _Shared(NamedTuple):
    content: bytes


class _Answer(NamedTuple):
    which: int
    content: bytes | None  # whether it went well, and what came of it; None: the shard was lost


class PickledExecutor:
    """An executor whose shards see nothing but pickled messages.

    Parameters
    ----------
    num_parts
        Into how many parts data is cut.
    lose_at
        The number of the message, from 0, at which its shard is lost; None: none is.

    Attributes
    ----------
    sent
        The messages so far, with their sizes.
    shared, parts
        Sizes in bytes of what was shared, and of the parts that shards were started with.
    """

    here = False

    def __init__(self, num_parts: int = 3, lose_at: int | None = None) -> None:
        self.num_parts = num_parts
        self.lose_at = lose_at
        self.sent: list[Sent] = []
        self.shared: list[int] = []
        self.parts: list[int] = []
        self._shards: dict[int, Shard] = {}
        self._numbers = itertools.count()

    def __reduce__(self) -> Any:
        return type(self), (self.num_parts, self.lose_at)

    def start(self, parts: Sequence[Part]) -> list[int]:
        """Make a shard of a copy of each part."""
        numbers = []
        for part in parts:
            try:
                content = pickle.dumps(part)
            except UNPICKLABLE as error:
                raise cannot_be_sent(part, error) from error
            self.parts.append(len(content))
            number = next(self._numbers)
            self._shards[number] = Shard(pickle.loads(content))
            numbers.append(number)
        return numbers

    def share(self, value: Any) -> Any:
        """A copy of the value, which shards make copies of."""
        content = pickle.dumps(value)
        self.shared.append(len(content))
        return _Shared(content)

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """The answer, or what the shard raised, pickled."""
        if len(self.sent) == self.lose_at:
            self._shards.pop(which, None)
        plain = [one for one in arguments if not isinstance(one, (_Shared, _Answer))]
        content = _answered(self._shards.get(which), message, arguments)
        self.sent.append(Sent(which, message, len(pickle.dumps(plain)), len(content or b"")))
        return _Answer(which, content)

    def gather(self, answers: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """The answers."""
        del timeout
        return [_opened(answer) for answer in answers]

    def close(self, which: Iterable[int]) -> None:
        """Forget some shards."""
        for number in which:
            self._shards.pop(number, None)


def _answered(shard: Shard | None, message: str, arguments: Sequence[Any]) -> bytes | None:
    if shard is None:
        return None
    try:
        copies = [_opened(pickle.loads(pickle.dumps(one))) for one in arguments]
        return pickle.dumps((True, getattr(shard, message)(*copies)))
    except Exception as error:
        return pickle.dumps((False, error))


def _opened(value: Any) -> Any:
    """What stands behind a value that was shared, or behind an answer."""
    if isinstance(value, _Shared):
        return pickle.loads(value.content)
    if not isinstance(value, _Answer):
        return value
    if value.content is None:
        raise ShardLost(value.which)
    went_well, found = pickle.loads(value.content)
    if not went_well:
        raise found
    return found
