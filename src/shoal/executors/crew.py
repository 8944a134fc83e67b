"""The workers of a run: asked for, waited for, given their parts, ended, or kept for the next."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoal.errors import ClusterError
from shoal.executors.cluster import Cluster, Gone
from shoal.executors.worker import About
from shoal.version import __version__

logger = logging.getLogger("shoal")

#: Seconds after which the log says what is waited for.
FIRST_WORD = 10.0


@dataclass(eq=False)
class SentPart:
    """A part as it was put into the object store, from where shards are made, and made anew."""

    part: Any
    ref: Any
    hung: int = 0  # workers of it that gave no answer


@dataclass(eq=False)
class Member:
    """A process that holds a shard."""

    actor: Any
    about: About
    part: SentPart | None = None
    lost: str | None = None  # why

    def __str__(self) -> str:
        return f"process {self.about.process} on {self.about.host}"


@dataclass(frozen=True)
class Terms:
    """What workers are given, and how long they are waited for."""

    resources: dict[str, float]
    num_threads: int | None
    timeout: float
    start_timeout: float

    def threads(self, about: About, on_host: Counter[str]) -> int:
        """How many threads a worker uses."""
        if self.num_threads is not None:
            return self.num_threads
        given = math.floor(self.resources.get("CPU", 0))
        return given if given >= 1 else max(1, about.threads // max(1, on_host[about.host]))

    def needs(self) -> str:
        """What each takes, for messages."""
        each = (f"{amount:g} {name}" for name, amount in self.resources.items())
        return ", ".join(each) or "1 CPU to start"


@dataclass
class Crew:
    """Workers of one cluster."""

    cluster: Cluster
    terms: Terms
    idle: list[Member] = field(default_factory=list)

    def holding(
        self, parts: Sequence[SentPart], others: Iterable[Member], lost: Callable[[str], None]
    ) -> list[Member]:
        """A worker for each part, which it has opened.

        ``others`` are at work already; ``lost`` hears why one is, and is replaced.
        """
        workers: list[Member] = []
        try:
            workers += self._new(len(parts))
            on_host = Counter(one.about.host for one in [*others, *workers])
            waiting = list(range(len(parts)))
            while waiting:
                asked = [self._hold(workers[at], parts[at], on_host) for at in waiting]
                late = self.cluster.wait(asked, self.terms.timeout)
                gone = []
                for at, one in zip(waiting, asked, strict=True):
                    why = self._opened(one, one in late)
                    if why is None:
                        continue
                    logger.warning("%s is lost: %s; its part is started again", workers[at], why)
                    self.end([workers[at]])
                    lost(why)
                    [workers[at]] = self._new(1)
                    gone.append(at)
                waiting = gone
        except BaseException:
            self.end(workers)
            raise
        return workers

    def end(self, workers: Iterable[Member]) -> None:
        """End some, whatever they do."""
        for worker in workers:
            self.cluster.kill(worker.actor)

    def keep(self, worker: Member) -> None:
        """Let a worker wait for the next part."""
        self.cluster.ask(worker.actor, "let_go")
        worker.part = None
        self.idle.append(worker)

    def dismiss(self) -> None:
        """End those that wait."""
        self.end(self.idle)
        self.idle = []

    def _hold(self, worker: Member, part: SentPart, on_host: Counter[str]) -> Any:
        worker.part = part
        threads = self.terms.threads(worker.about, on_host)
        return self.cluster.ask(worker.actor, "hold", part.ref, threads)

    def _opened(self, answer: Any, late: bool) -> str | None:
        """Why a worker is lost that was given a part; None: it has opened it."""
        if late:
            return f"its part is not open within timeout={self.terms.timeout:g} s"
        try:
            self.cluster.read(answer).opened()
        except Gone as gone:
            return str(gone)
        return None

    def _new(self, number: int) -> list[Member]:
        """Workers that have started: those that wait, and new ones."""
        kept = [self.idle.pop() for _ in range(min(number, len(self.idle)))]
        actors: list[Any] = []
        try:
            while len(actors) < number - len(kept):
                actors.append(self.cluster.worker(self.terms.resources))
            about = self._started(actors)
            made = [Member(*pair) for pair in zip(actors, about, strict=True)]
            for worker in made:
                if worker.about.version != __version__:
                    raise ClusterError(
                        f"this is shoal {__version__}, and {worker} has {worker.about.version}: "
                        "install the same on all machines"
                    )
        except BaseException as error:
            for actor in actors:
                self.cluster.kill(actor)
            self.end(kept)
            if isinstance(error, Gone):
                raise ClusterError(f"workers cannot start: {error}") from None
            raise
        return kept + made

    def _started(self, actors: list[Any]) -> list[About]:
        """What workers say they are, once they are there."""
        seconds = self.terms.start_timeout
        asked = [self.cluster.ask(actor, "about") for actor in actors]
        late = self.cluster.wait(asked, min(FIRST_WORD, seconds))
        if late and seconds > FIRST_WORD:
            free = self.cluster.resources(self.terms.resources)
            logger.info("waiting for %d workers to start: free are %s", len(late), free)
            late = self.cluster.wait(late, seconds - FIRST_WORD)
        if late:
            raise ClusterError(
                f"{len(late)} of {len(actors)} workers have not started within start_timeout="
                f"{seconds:g} s. Each needs {self.terms.needs()}; free in the cluster are "
                f"{self.cluster.resources(self.terms.resources)}. Use fewer num_workers, or ask "
                "for less in resources"
            )
        found: list[About] = self.cluster.read(asked)
        return found
