"""Timing of several contenders in turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# A library's threads spin for a while after its call. The next contender waits for them.
PAUSE = 0.02


@dataclass(frozen=True)
class Effort:
    """How long to measure: until every contender has taken `seconds`, within the limits.

    A contender that took more than `hopeless` times as long as the fastest other one in the first
    round cannot become the best, and is not repeated.
    """

    least: int = 5
    most: int = 15
    seconds: float = 0.5
    hopeless: float = float("inf")


QUICK = Effort(least=3, most=3)
RUNS = Effort(least=3, most=7)  # whole training runs, which take seconds


@dataclass
class Race(Generic[T]):
    """What each contender returned the first time, the seconds of each call, and who failed.

    `warmed` is what the calls that were not timed returned.
    """

    warmed: dict[str, object] = field(default_factory=dict)
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

    One round comes first that is not timed: it starts threads and touches memory. It makes the
    calls of `warm_up`, or of the contenders themselves. Who raises there takes no part, with the
    reason kept; shoal must not fail.
    """
    found: Race[T] = Race()
    for name, call in (warm_up or contenders).items():
        _warm_up(found, name, call)
    running = {name: call for name, call in contenders.items() if name not in found.failed}
    found.seconds = {name: [] for name in running}
    for round_ in range(effort.most):
        enough = min(sum(found.seconds[name]) for name in running) >= effort.seconds
        if round_ >= effort.least and enough:
            break
        for name, call in running.items():
            time.sleep(PAUSE)
            begin = time.perf_counter()
            result = call()
            found.seconds[name].append(time.perf_counter() - begin)
            found.results.setdefault(name, result)
        if round_ == 0:
            running = _hopeful(running, found.best, effort.hopeless)
    return found


def _warm_up(found: Race[T], name: str, call: Callable[[], object]) -> None:
    try:
        found.warmed[name] = call()
    except Exception as error:
        if name.startswith("shoal"):
            raise
        found.failed[name] = str(error).strip().splitlines()[-1][:200]


def _hopeful(
    running: dict[str, Callable[[], T]], best: dict[str, float], hopeless: float
) -> dict[str, Callable[[], T]]:
    others = [seconds for name, seconds in best.items() if not name.startswith("shoal")]
    limit = hopeless * min(others, default=float("inf"))
    return {
        name: call
        for name, call in running.items()
        if name.startswith("shoal") or best[name] <= limit
    }


def available_threads() -> int:
    """Count the CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
