"""The shards of a data set, wherever they live; one that is lost is made anew from its part."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from shoal.errors import ShardLost
from shoal.executors.base import Executor
from shoal.shards.part import Part

logger = logging.getLogger("shoal")

#: A message and its arguments.
Message = tuple[Any, ...]


class Shards:
    """Asks all shards, or some, and remembers what one that is made anew must be told.

    Parameters
    ----------
    executor
        Where they live.
    parts
        Of the data, in the order of its rows.
    """

    def __init__(self, executor: Executor, parts: Sequence[Part]) -> None:
        self.executor = executor
        self._parts = parts
        self._numbers = executor.start(parts)
        self._names = itertools.count()
        self._history: dict[str, Callable[[int], Message]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def name(self) -> int:
        """A name that nothing else in these shards has."""
        return next(self._names)

    def close(self) -> None:
        """End them."""
        self.executor.close(self._numbers)

    def ask(self, message: str, *arguments: Any) -> list[Any]:
        """The answers of all shards."""
        submit = self.executor.submit
        answers = [submit(number, message, *arguments) for number in self._numbers]
        try:
            return self.executor.gather(answers)
        except ShardLost:
            return self._again(answers, [(message, *arguments)] * len(answers))

    def ask_each(self, message: str, arguments: dict[int, Message]) -> list[Any]:
        """The answers of some shards: of those that there are arguments for, in that order."""
        submit = self.executor.submit
        messages = [(message, *given) for given in arguments.values()]
        answers = [
            submit(self._numbers[which], *one)
            for which, one in zip(arguments, messages, strict=True)
        ]
        try:
            return self.executor.gather(answers)
        except ShardLost:
            return self._again(answers, messages, list(arguments))

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """Ask a shard, by its place among all; what stands for its answer is for ``first``."""
        return self.executor.submit(self._numbers[which], message, *arguments)

    def first(self, asked: Sequence[tuple[int, Any]]) -> tuple[int, Any]:
        """The place of an answer that is there, and the answer; of shards and their answers.

        The answer is None where the shard was lost: there is a new one, which is yet to be asked.
        An executor that does not say which is there first is asked for the first that was asked.
        """
        answers = [answer for _, answer in asked]
        first = getattr(self.executor, "first", None)
        place = 0 if first is None else int(first(answers))
        try:
            return place, self.executor.gather([answers[place]])[0]
        except ShardLost as lost:
            logger.warning("%s; its part is started again", lost)
            self._start_again(asked[place][0])
            return place, None

    @property
    def parts(self) -> Sequence[Part]:
        """The parts, in the order of their rows."""
        return self._parts

    def merged(self, message: str, *arguments: Any) -> Any:
        """The answers of all shards as one: they are merged where they are, two at a time."""
        submit = self.executor.submit
        answers = [submit(number, message, *arguments) for number in self._numbers]
        if len(answers) == 1 and self.executor.here:
            return answers[0]
        if len(answers) > 1 and not self.executor.here:
            level = list(zip(self._numbers, answers, strict=True))
            while len(level) > 1:
                pairs = zip(level[::2], level[1::2], strict=False)
                above = [(one[0], submit(one[0], "merge", one[1], two[1])) for one, two in pairs]
                level = above + level[len(above) * 2 :]
            try:
                return self.executor.gather([level[0][1]])[0]
            except ShardLost:  # what it had said before may be there, all the same
                pass
        values = self._again(answers, [(message, *arguments)] * len(answers))
        total = values[0]
        for value in values[1:]:
            total = total.merge(value)
        return total

    def remember(self, name: str, message: Callable[[int], Message]) -> None:
        """What a shard that is made anew is told, after what was remembered before.

        ``message`` gives message and arguments for the shard with this place among all; a second
        one of the same ``name`` replaces the first.
        """
        if self.executor.here:
            return  # none is lost
        self._history.pop(name, None)
        self._history[name] = message

    def forget(self, name: str) -> None:
        """Remember a message no more."""
        self._history.pop(name, None)

    def _again(
        self, answers: list[Any], messages: Sequence[Message], which: Sequence[int] | None = None
    ) -> list[Any]:
        """The answers; those that are lost with their shards are asked for again."""
        found = []
        for place, answer in enumerate(answers):
            shard = place if which is None else which[place]
            while True:
                try:
                    found += self.executor.gather([answer])
                    break
                except ShardLost as lost:
                    logger.warning("%s; its part is started again", lost)
                    self._start_again(shard)
                    answer = self.executor.submit(self._numbers[shard], *messages[place])
        return found

    def _start_again(self, which: int) -> None:
        """A new shard in the place of one that was lost, told what that knew."""
        gather, submit = self.executor.gather, self.executor.submit
        while True:
            lost = self._numbers[which]
            [self._numbers[which]] = self.executor.start([self._parts[which]])
            self.executor.close([lost])  # behind it, so that there are shards all the time
            try:
                for message in self._history.values():
                    gather([submit(self._numbers[which], *message(which))])
                return
            except ShardLost as again:
                logger.warning("%s; its part is started again", again)
