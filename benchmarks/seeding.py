"""Choosing first centers on GloVe: k-means++ beside scikit-learn's, k-MC² and AFK-MC²."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import data, exact, ours, peers, report
from benchmarks.data import Rows
from benchmarks.settings import Settings
from benchmarks.timing import PAUSE

GREEDY = {"kmeans_plus_plus_num_retries": -1}
PLAIN = {"kmeans_plus_plus_num_retries": 0}
CHAIN = {"kmc2_chain_length": 200}

SEEDS = 5
MORE_SEEDS = 20  # of shoal, for the distribution of the potential
PICKS = 5  # of scikit-learn's, where all of them would take minutes


@dataclass(frozen=True)
class Case:
    """A method, its size and its goal: a ratio to scikit-learn, or seconds."""

    name: str
    method: str
    options: dict[str, int]
    n: int
    k: int
    ratio: float | None = None
    seconds: float | None = None
    quick: bool = True

    @property
    def trials(self) -> int | None:
        """Candidates per pick: as many as shoal's; None where scikit-learn has no such method."""
        if self.method != "kmeans_plus_plus":
            return None
        return 3 + int(math.log(self.k)) if self.options == GREEDY else 1


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the methods, as far as scikit-learn has the patience at full length."""
    del settings
    plus = "kmeans_plus_plus"
    yield Case("greedy k-means++ 50k", plus, GREEDY, 50_000, 500, ratio=40)
    yield Case("plain k-means++ 400k", plus, PLAIN, 400_000, 1000, seconds=3)
    yield Case("greedy k-means++ 400k", plus, GREEDY, 400_000, 1000, seconds=4)
    yield Case("k-MC² 400k", "kmc2", CHAIN, 400_000, 1000, seconds=0.5)
    yield Case("AFK-MC² 400k", "afkmc2", CHAIN, 400_000, 1000, seconds=0.5)


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = data.glove()
    if rows is None:
        return None
    n, k = (case.n // 20, case.k // 20) if settings.quick else (case.n, case.k)
    rows = rows[:n]
    whole = case.ratio is not None  # scikit-learn runs too, in turn, seed by seed
    mine = _Seeds(lambda seed: _shoal(case, rows, k, seed, settings.threads))
    peer = _Seeds(lambda seed: _sklearn(rows, k, seed, case.trials))
    ours.seed(rows[: 2 * k], k, case.method, 0, settings.threads, **case.options)  # not timed
    for seed in range(2 if settings.quick else SEEDS):
        mine.add(seed)
        if whole and peers.sklearn is not None:
            peer.add(seed)
    if whole and not settings.quick:
        for seed in range(SEEDS, MORE_SEEDS):
            mine.add(seed)
    seconds, measured = {"shoal": mine.best}, None
    if peer.seconds:
        seconds["sklearn"], measured = peer.best, "whole"
    elif case.trials is not None and peers.sklearn is not None:
        seconds["sklearn"] = _sklearn_by_picks(rows, k, case.trials)
        measured = f"{PICKS} picks"
    ratio = seconds["sklearn"] / mine.best if "sklearn" in seconds else None
    met = ratio >= case.ratio if case.ratio and ratio else None
    if case.seconds:
        met = mine.best < case.seconds
    return {
        "name": case.name,
        "n": len(rows),
        "d": rows.shape[1],
        "k": k,
        "threads": settings.threads,
        "quick": settings.quick,
        "ms": {name: value * 1e3 for name, value in seconds.items()},
        "sklearn_measured": measured,
        "ratio": ratio,
        "goal": f">= {case.ratio:g}x" if case.ratio else f"< {case.seconds:g} s",
        "met": met,
        "potential": {
            name: found.potentials(rows)
            for name, found in (("shoal", mine), ("sklearn", peer))
            if found.seconds
        },
        "noise": mine.noise,
        "seconds": {"shoal": mine.seconds, "sklearn": peer.seconds},
    }


class _Seeds:
    """One method run with several seeds."""

    def __init__(self, choose: Callable[[int], Rows]) -> None:
        self._choose = choose
        self.seconds: list[float] = []
        self._found: list[Rows] = []

    def add(self, seed: int) -> None:
        """Run it once."""
        time.sleep(PAUSE)
        begin = time.perf_counter()
        self._found.append(self._choose(seed))
        self.seconds.append(time.perf_counter() - begin)

    @property
    def best(self) -> float:
        """The least time."""
        return min(self.seconds)

    @property
    def noise(self) -> float:
        """Median time / least time."""
        return statistics.median(self.seconds) / self.best

    def potentials(self, rows: Rows) -> list[float]:
        """Return the sum of squared distances to the chosen centers, for each seed."""
        return [exact.inertia(rows, centers) for centers in self._found]


def _shoal(case: Case, rows: Rows, k: int, seed: int, threads: int) -> Rows:
    return ours.seed(rows, k, case.method, seed, threads, **case.options)


def _sklearn(rows: Rows, k: int, seed: int, trials: int | None) -> Any:
    return peers.sklearn.kmeans_plusplus(rows, k, random_state=seed, n_local_trials=trials)[0]


def _sklearn_by_picks(rows: Rows, k: int, trials: int) -> float:
    """Return the cost of the first center, plus that of a further pick times k - 1."""

    def least(picks: int) -> float:
        found = _Seeds(lambda seed: _sklearn(rows, picks, seed, trials))
        for seed in range(3):
            found.add(seed)
        return found.best

    first = least(1)
    return first + (least(1 + PICKS) - first) / PICKS * (k - 1)


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    del rows
    return [
        "Potential: the sum of squared distances to the chosen centers, mean ± standard deviation "
        f"over the seeds, in float64; {SEEDS} seeds, where scikit-learn runs whole {MORE_SEEDS} of "
        f"shoal. Elsewhere scikit-learn's time is that of {PICKS} further picks x (k-1)/{PICKS}, "
        "plus that of the first center: whole it takes minutes."
    ]


def _potential(name: str) -> report.Column:
    def cell(row: report.Row) -> str:
        found = row["potential"].get(name)
        if not found:
            return "-"
        return f"{statistics.mean(found):.0f} ± {statistics.stdev(found):.0f}"

    return f"{name} potential", cell


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    report.text("k"),
    report.milliseconds("shoal"),
    report.milliseconds("sklearn"),
    report.text("sklearn_measured", "sklearn measured"),
    report.number("ratio"),
    report.text("goal"),
    report.MET,
    _potential("shoal"),
    _potential("sklearn"),
    report.NOISE,
]
