"""What a call costs beyond its arithmetic: n=1,000, d=10, k=8, in microseconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import data, ours, peers, report
from benchmarks.data import Rows
from benchmarks.settings import Settings
from benchmarks.timing import Effort, race

N, D, K = 1000, 10, 8
CALLS = 20  # in a timed call
GOAL = 200.0  # microseconds


@dataclass(frozen=True)
class Case:
    """A call, and how many passes over the rows its arithmetic is."""

    name: str
    steps: int  # of `fit`; 0: predict
    quick: bool = True


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the calls."""
    del settings
    yield Case("fit steps=1", 1)
    yield Case("fit steps=20", 20)
    yield Case("predict", 0)


def run(case: Case, settings: Settings) -> report.Row:
    """Measure one case."""
    rows = data.blobs(N, D, K)
    centers = data.first_centers(rows, K)
    passes = max(case.steps, 1)
    contenders = _calls(case, rows, centers, settings.threads)
    timed = {name: _repeat(call) for name, call in contenders.items()}
    found = race(timed, Effort(20, 100, 0.2))
    us = {name: seconds / CALLS * 1e6 for name, seconds in found.best.items()}
    arithmetic = us.pop("shoal pass") * passes
    beyond = us["shoal"] - arithmetic
    return {
        "name": case.name,
        "n": N,
        "d": D,
        "k": K,
        "threads": settings.threads,
        "us": us,
        "passes": passes,
        "arithmetic_us": arithmetic,
        "beyond_us": beyond,
        "goal": GOAL,
        "met": beyond < GOAL,
        "noise": found.noise,
    }


def _calls(case: Case, rows: Rows, centers: Rows, threads: int) -> dict[str, Callable[[], object]]:
    labels = np.zeros(N, np.int32)
    found: dict[str, Callable[[], object]] = {
        "shoal pass": lambda: ours.assign(rows, centers, labels, threads)
    }
    if case.steps:
        found["shoal"] = lambda: ours.train(rows, centers, case.steps, threads)
    else:
        model = ours.train(rows, centers, 1, threads)
        found["shoal"] = lambda: model.predict(rows, outputs="cluster_idx", as_iterable=False)
    if peers.sklearn is not None:
        found["sklearn"] = _sklearn(case, rows, centers)
    return found


def _sklearn(case: Case, rows: Rows, centers: Rows) -> Callable[[], Any]:
    model = peers.sklearn.KMeans(
        K, init=centers, n_init=1, max_iter=max(case.steps, 1), tol=0, algorithm="lloyd"
    )
    if case.steps:
        return lambda: model.fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows)
    return lambda: model.predict(rows)


def _repeat(call: Callable[[], object]) -> Callable[[], None]:
    def several() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(CALLS):
                call()

    return several


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    del rows
    return [
        "Arithmetic: the core's cold assignment pass on the same rows, called directly and timed "
        "in turn, times the number of steps. scikit-learn stops when no label changes, so its "
        "20 steps are fewer."
    ]


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    ("shoal us", lambda row: f"{row['us']['shoal']:.0f}"),
    report.number("arithmetic_us", "arithmetic us", 0),
    report.number("beyond_us", "beyond us", 0),
    report.GOAL,
    report.MET,
    ("sklearn us", lambda row: f"{row['us']['sklearn']:.0f}" if "sklearn" in row["us"] else "-"),
    report.NOISE,
]
