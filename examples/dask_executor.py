"""Rows in the workers of Dask, by the protocol alone; ``client.upload_file`` sends them this."""

import asyncio
import itertools
import time

from distributed import CancelledError, KilledWorker

from shoal.errors import ShardLost
from shoal.executors.worker import Said, Worker

_shards = {}  # of this process, where it is a worker


class DaskExecutor:
    """Messages to a shard are tasks that wait for each other, pinned to one worker."""

    here = False

    def __init__(self, client, num_parts):
        self.num_parts, self._client = num_parts, client
        self._homes, self._last, self._numbers = {}, {}, itertools.count()  # addresses; messages

    def _workers(self):
        return sorted(self._client.scheduler_info(n_workers=-1)["workers"])

    def start(self, parts):
        """Make a shard of each part, in one worker after the other."""
        made = {next(self._numbers): part for part in parts}
        self._homes |= zip(made, itertools.cycle(self._workers()), strict=False)
        self.gather([self.submit(n, "hold", part, part.threads) for n, part in made.items()])
        return list(made)

    def share(self, value):
        """Make it what a task gives: workers bring it to each other, and make it anew if lost."""
        return self._client.submit(dict.get, {0: value}, 0, pure=False)

    def submit(self, which, message, *arguments):
        """Send a message, to be taken behind those before; Dask brings what arguments stand for."""
        before, home = self._last.get(which), self._homes[which]
        count = 0 if before is None else before.count + 1
        said = _say, which, before, count, message, *arguments
        answer = self._client.submit(*said, workers=home, pure=False)
        answer.which, answer.count, self._last[which] = which, count, answer
        return answer

    def gather(self, answers, timeout=None):
        """The answers, in order."""
        found = []
        for answer in answers:
            self.first([answer], timeout or 3600)
            try:
                found.append(answer.result(timeout=60 if answer.done() else 0))
            except (CancelledError, KilledWorker, asyncio.TimeoutError):
                raise ShardLost(answer.which) from None
        return [one.opened() for one in found]

    def first(self, answers, timeout=3600):
        """The place of an answer that is there, or whose worker is gone."""
        for _ in range(int(timeout * 1000)):
            over = [a.done() or self._homes.get(a.which) not in self._workers() for a in answers]
            if any(over):
                return over.index(True)
            time.sleep(0.001)
        raise TimeoutError(f"shard {answers[0].which} has not answered in time")

    def close(self, which):
        """Forget some shards."""
        for number in which:
            if self._homes[number] in self._workers():
                self.submit(number, "let_go").result(timeout=60)
            del self._homes[number], self._last[number]


def _say(number, _before, count, message, *arguments):
    worker = _shards.setdefault(number, Worker())
    if getattr(worker, "count", 0) != count:  # a new process in the place of another
        return Said(False, ShardLost(number))
    worker.count = count + 1
    return getattr(worker, message, lambda *given: worker.answer(message, given))(*arguments)
