"""The seam between the loop and the machines: what whoever lends machines has to offer.

An executor knows nothing of k-means. It makes shards of parts, hands messages to them and brings
their answers back; what is asked, and how answers are merged, is in data.py, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from shoal.shards.part import Part


class Executor(Protocol):
    """Where shards live."""

    num_parts: int  # into how many parts data is cut
    here: bool  # whether shards are in this process: rows need not travel

    def start(self, parts: Sequence[Part]) -> list[int]:
        """Make a ``Shard`` of each part, where it will live; returns their numbers."""

    def share(self, value: Any) -> Any:
        """A value that several shards will read, sent once: returns what stands for it."""

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """Ask for ``Shard.message(*arguments)``; returns what stands for its answer.

        Messages to one shard are taken in the order in which they are submitted. An argument may be
        what ``share`` or ``submit`` returned.
        """

    def gather(self, answers: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """The answers, in order; what a shard raised is raised here.

        Raises ShardLost where the shard of an answer is gone, and TimeoutError, with its number,
        where it takes longer than ``timeout`` seconds. An answer can be gathered again.

        An executor may have ``first(answers)``, too: the place of one that is there, or whose shard
        is lost, as soon as there is one. Asynchronous training asks for it; without, it waits for
        the answer that was asked for first.
        """

    def close(self, which: Iterable[int]) -> None:
        """End some shards."""
