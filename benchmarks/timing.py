"""Timing of several contenders in turn."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# A library's threads spin for a while after its call. The next contender waits for them.
PAUSE = 0.02
# Threads that have slept take up to this long to come back, if the scheduler puts two on one core.
WAKING = 0.03
# Calls shorter than SHORT are made again in the same turn, at least once and for TURN seconds: the
# first one wakes threads. The best of the turn counts.
SHORT, TURN = 0.2, 0.02


@dataclass(frozen=True)
class Effort:
    """How long to measure: until every contender has taken `seconds`, within the limits.

    A peer that takes more than `hopeless` times as long as the best peer cannot become the best:
    it is not repeated after the first round; with `skips`, it does not run at all where its warm-up
    alone took so long.
    """

    least: int = 5
    most: int = 15
    seconds: float = 0.5
    hopeless: float = math.inf
    skips: bool = False


QUICK = Effort(least=3, most=3)


@dataclass
class Race(Generic[T]):
    """What each contender returned the first time, the seconds of each call, and who failed.

    `warmed` is what the calls that were not timed returned.
    """

    warmed: dict[str, object] = field(default_factory=dict)
    warm_seconds: dict[str, float] = field(default_factory=dict)
    results: dict[str, T] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> dict[str, float]:
        """The least time of each contender, in seconds."""
        return {name: min(times) for name, times in self.seconds.items()}

    @property
    def noise(self) -> float:
        """The largest ratio of a contender's median time to its best; 1 is undisturbed."""
        return max(statistics.median(times) / min(times) for times in self.seconds.values())


def race(
    contenders: Mapping[str, Callable[[], T]],
    effort: Effort,
    warm_up: Mapping[str, Callable[[], object]] | None = None,
) -> Race[T]:
    """Run A B C A B C and so on.

    One round comes first that is not timed: it loads code and touches memory. It makes the calls
    of `warm_up`, or of the contenders themselves. Who raises there takes no part, with the reason
    kept; shoal must not fail.
    """
    found: Race[T] = Race()
    for name, call in (warm_up or contenders).items():
        _warm_up(found, name, call)
    running = {name: call for name, call in contenders.items() if name in found.warmed}
    for round_ in range(effort.most):
        enough = min((sum(times) for times in found.seconds.values()), default=0) >= effort.seconds
        if round_ >= effort.least and enough:
            break
        for name, call in running.items():
            if round_ == 0 and found.warm_seconds[name] - WAKING > _limit(found, effort):
                continue
            time.sleep(PAUSE)
            limit = math.inf if _is_ours(name) else _limit(found, effort)
            seconds, result = _turn(call, limit)
            found.seconds.setdefault(name, []).append(seconds)
            found.results.setdefault(name, result)
        if round_ == 0:
            limit = _limit(found, effort)
            running = {
                name: call
                for name, call in running.items()
                if _is_ours(name) or found.best.get(name, math.inf) <= limit
            }
    return found


def _turn(call: Callable[[], T], limit: float) -> tuple[float, T]:
    """Return the best time of a turn, and what the first call returned."""
    seconds, result = _timed(call)
    begin, best = time.perf_counter(), seconds
    while seconds < SHORT and best - WAKING < limit:
        best = min(best, _timed(call)[0])
        if time.perf_counter() - begin >= TURN:
            break
    return best, result


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def _is_ours(name: str) -> bool:
    return name.startswith("shoal")


def _warm_up(found: Race[T], name: str, call: Callable[[], object]) -> None:
    begin = time.perf_counter()
    try:
        found.warmed[name] = call()
        found.warm_seconds[name] = time.perf_counter() - begin
    except Exception as error:
        if _is_ours(name):
            raise
        reason = str(error).strip().splitlines()[-1]
        found.failed[name] = reason.rpartition("Error: ")[2][:200]


def _limit(found: Race[T], effort: Effort) -> float:
    """Return the seconds beyond which a peer is hopeless."""
    peers = [seconds for name, seconds in found.best.items() if not _is_ours(name)]
    return effort.hopeless * min(peers, default=math.inf)


def available_threads() -> int:
    """Count the CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
