"""Shards in workers of a Ray cluster: an actor for each part (extra ``shoal[ray]``)."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoal.checks import positive, whole_number
from shoal.errors import BadInputError, ClusterError, ShardLost
from shoal.executors.cluster import Cluster, Gone, Missing
from shoal.executors.crew import Crew, Member, SentPart, Terms
from shoal.shards.part import Part


@dataclass(eq=False)
class _Handle:
    """What stands for a value in the object store, until the run is over."""

    ref: Any  # None: it is no longer there
    which: int = -1  # the shard whose answer it is
    needs: tuple[_Handle, ...] = ()  # answers among its arguments


@dataclass(eq=False)
class _Run:
    """What is there as long as shards are."""

    parts: dict[int, SentPart] = field(default_factory=dict)  # by identity
    handles: weakref.WeakSet[_Handle] = field(default_factory=weakref.WeakSet)
    restarts: int = 0


class RayExecutor:
    """Rows in the workers of a Ray cluster, for training and inference by many machines.

    ``RunConfig(executor=RayExecutor(num_workers=8))`` cuts data into a part for each worker, an
    actor, which reads and validates its own rows: files by their paths, which all machines must
    see; blocks of Ray data sets, and arrays, from the object store, where those are put once.
    Centers go out, and of all sums one comes back: they are merged in a tree among the workers.
    Results are those of one machine, to the bit, for any number of workers; a worker that is lost
    is replaced, its part read again and the step repeated, with the same bits.

    Workers end with the run (``fit``, ``predict``, ...). In a ``with`` block they are kept for the
    next one, and end with the block, with the connection to Ray if the executor has made it::

        with RayExecutor(8) as executor:
            config = shoal.RunConfig(executor=executor)
            model = shoal.KMeansClustering(1000, config=config).fit("s3://bucket/rows/")
            model.evaluate("s3://bucket/test/")

    Parameters
    ----------
    num_workers
        Into how many parts data is cut, each with a worker of its own.
    address
        Of the cluster, as in ``ray.init``; ``"local"``: one of this machine alone. None: the one
        that this process is connected to; else the one that the variable RAY_ADDRESS names, or
        that runs on this machine; else as ``"local"``.
    resources
        What each worker is given of a machine: ``{"CPU": 4, "memory": 8e9}``, by Ray's names. None:
        room for one CPU when it starts.
    max_restarts
        How many workers are replaced in a run before it ends with an error.
    timeout
        Seconds that workers may take for an answer: more than a pass over a part takes. A worker
        that takes longer is taken to hang, and replaced; the second one of a part ends the run.
    num_threads
        Threads of each worker. None: the CPUs that ``resources`` gives it, else those of its
        machine, shared among its workers. (``num_threads`` of a model is for this process.)
    start_timeout
        Seconds in which workers must have started.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    BadInputError
        For a value out of range.
    ClusterError
        When it is used: if there is no cluster, or it has no room for the workers; if it is gone,
        or its object store is full; if workers are lost again and again.
    """

    here = False

    def __init__(
        self,
        num_workers: int,
        address: str | None = None,
        resources: dict[str, float] | None = None,
        max_restarts: int = 20,
        timeout: float = 1800.0,
        *,
        num_threads: int | None = None,
        start_timeout: float = 120.0,
    ) -> None:
        self.num_parts = whole_number("num_workers", num_workers, 1)
        if address is not None and not (isinstance(address, str) and address):
            raise BadInputError(f"address is {address!r:.80}; it must be text, or None")
        self.address = address
        self.resources = _checked_resources(resources)
        self.max_restarts = whole_number("max_restarts", max_restarts, 0)
        self.timeout = positive("timeout", timeout)
        self.num_threads = num_threads
        if num_threads is not None:
            whole_number("num_threads", num_threads, 1, or_none=True)
        self.start_timeout = positive("start_timeout", start_timeout)
        self._crew: Crew | None = None
        self._workers: dict[int, Member] = {}
        self._keeps = False  # workers, for the next run
        self._numbers = itertools.count()
        self._run = _Run()

    def __reduce__(self) -> Any:  # workers are spoken to by this process
        given = self.num_parts, self.address, self.resources, self.max_restarts, self.timeout
        return _again, (given, self.num_threads, self.start_timeout)

    def __enter__(self) -> RayExecutor:
        self._keeps = True
        return self

    def __exit__(self, *_: object) -> None:
        self._keeps = False
        self.close(list(self._workers))
        if self._crew is not None:
            self._crew.dismiss()
            self._crew.cluster.disconnect()
            self._crew = None

    # --- the five of an executor -----------------------------------------------------------

    def start(self, parts: Sequence[Part]) -> list[int]:
        """Make a shard of each part, in a worker of its own."""
        crew = self._hired()
        try:
            put = [self._put(crew.cluster, part) for part in parts]
            workers = crew.holding(put, self._workers.values(), self._count_restart)
        except BaseException:
            self._end_run()
            raise
        numbers = [next(self._numbers) for _ in workers]
        self._workers |= dict(zip(numbers, workers, strict=True))
        return numbers

    def share(self, value: Any) -> Any:
        """Put a value into the object store, from where each machine gets it once."""
        return self._handle(self._hired().cluster.put(value))

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """Send a message."""
        worker = self._workers.get(which)
        if worker is None or worker.lost is not None:
            return _Handle(None, which)
        needs = tuple(one for one in arguments if isinstance(one, _Handle))
        sent = [one.ref if isinstance(one, _Handle) else one for one in arguments]
        ref = self._hired().cluster.ask(worker.actor, "answer", message, *sent)
        return self._handle(ref, which, tuple(one for one in needs if one.which >= 0))

    def gather(self, answers: Sequence[_Handle], timeout: float | None = None) -> list[Any]:
        """The answers, in order, as soon as all are there."""
        cluster = self._hired().cluster
        for answer in answers:
            if answer.ref is None:
                raise ShardLost(answer.which, self._why(answer.which))
        seconds = self.timeout if timeout is None else timeout
        if cluster.wait([answer.ref for answer in answers], seconds):
            raise self._late(cluster, answers, timeout)
        try:
            found = cluster.read([answer.ref for answer in answers])
        except Gone:  # one by one, to know whose
            found = [self._read(cluster, answer) for answer in answers]
        return [one.opened() for one in found]

    def first(self, answers: Sequence[_Handle]) -> int:
        """The place of an answer that is there, or whose worker is lost, as soon as one is."""
        lost = [place for place, answer in enumerate(answers) if answer.ref is None]
        if lost:
            return lost[0]
        there = self._hired().cluster.first([answer.ref for answer in answers], self.timeout)
        return 0 if there is None else there  # gathered, it is said to be late

    def _read(self, cluster: Cluster, answer: _Handle) -> Any:
        try:
            return cluster.read(answer.ref)
        except Missing:
            for one in answer.needs:
                self._read(cluster, one)  # tells whose it was
            raise self._lost(answer.which, "what it was sent is lost") from None
        except Gone as gone:
            raise self._lost(answer.which, str(gone)) from None

    def close(self, which: Iterable[int]) -> None:
        """End some workers, or keep them for the next shards."""
        for number in which:
            worker = self._workers.pop(number, None)
            if worker is None or self._crew is None:
                continue
            if self._keeps and worker.lost is None:
                self._crew.keep(worker)
            else:
                self._crew.end([worker])
        self._end_run()

    def _hired(self) -> Crew:
        if self._crew is not None and not self._workers and not self._crew.cluster.current:
            self._crew = None  # of a cluster before
        if self._crew is None:
            terms = Terms(self.resources, self.num_threads, self.timeout, self.start_timeout)
            self._crew = Crew(Cluster(self.address), terms)
        return self._crew

    # --- what is in the object store ---------------------------------------------------------

    def _put(self, cluster: Cluster, part: Part) -> SentPart:
        """The part in the object store: put there once, in case that its worker is lost."""
        known = self._run.parts.get(id(part))
        if known is not None:  # it is held, so that no other has its place
            return known
        made = SentPart(part, cluster.pack(part))
        self._run.parts[id(part)] = made
        return made

    def _handle(self, ref: Any, which: int = -1, needs: tuple[_Handle, ...] = ()) -> _Handle:
        handle = _Handle(ref, which, needs)
        self._run.handles.add(handle)
        return handle

    def _end_run(self) -> None:
        """Leave nothing in the object store once there are no shards, whoever holds a handle."""
        if self._workers:
            return
        for handle in list(self._run.handles):
            handle.ref, handle.needs = None, ()
        for part in self._run.parts.values():
            part.ref = None
        self._run = _Run()

    # --- what is lost ------------------------------------------------------------------------

    def _lost(self, which: int, why: str) -> ShardLost:
        """The shard is lost, with its worker."""
        worker = self._workers.get(which)
        if worker is not None:
            if worker.lost is None:
                worker.lost = why
                self._count_restart(why)
            self._hired().end([worker])
        return ShardLost(which, self._why(which))

    def _why(self, which: int) -> str:
        worker = self._workers.get(which)
        return "it was closed" if worker is None else f"{worker}: {worker.lost}"

    def _count_restart(self, why: str) -> None:
        self._run.restarts += 1
        if self._run.restarts > self.max_restarts:
            raise ClusterError(
                f"{self._run.restarts} workers were lost in this run, more than max_restarts="
                f"{self.max_restarts}. Of the last one: {why}. Where memory is short, use more or "
                "larger machines, or a smaller memory_budget"
            )

    def _late(
        self, cluster: Cluster, answers: Sequence[_Handle], timeout: float | None
    ) -> Exception:
        """The error for answers that have not come in time."""
        which = _first_late(cluster, answers)
        worker = self._workers.get(which)
        if timeout is not None:
            return TimeoutError(f"worker {which} ({worker}) has not answered within {timeout:g} s")
        why = f"it has not answered within timeout={self.timeout:g} s, and is taken to hang"
        if worker is not None and worker.part is not None:
            worker.part.hung += 1
            if worker.part.hung > 1:
                return ClusterError(
                    f"worker {which} ({worker}) has not answered within timeout={self.timeout:g} "
                    "s, nor had the one that it replaced: if a pass over a part takes longer, "
                    "raise timeout, or use more workers"
                )
        return self._lost(which, why)


def _first_late(cluster: Cluster, answers: Sequence[_Handle]) -> int:
    """The shard that others wait for: all that its answer needs is there, but not the answer."""
    waiting = list(answers)
    while waiting:
        answer = waiting.pop(0)
        if answer.ref is None or not cluster.wait([answer.ref], 0):
            continue
        missing = [one for one in answer.needs if one.ref and cluster.wait([one.ref], 0)]
        if not missing:
            return answer.which
        waiting = missing + waiting
    return answers[0].which


def _checked_resources(given: object) -> dict[str, float]:
    """What each worker needs, by name."""
    if given is None:
        return {}
    named = isinstance(given, dict) and all(isinstance(name, str) for name in given)
    if not named:
        raise BadInputError(f"resources is {given!r:.80}; it must be a dict such as {{'CPU': 4}}")
    assert isinstance(given, dict)
    return {name: positive(f"resources[{name!r}]", amount) for name, amount in given.items()}


def _again(given: tuple[Any, ...], num_threads: int | None, start_timeout: float) -> RayExecutor:
    return RayExecutor(*given, num_threads=num_threads, start_timeout=start_timeout)
