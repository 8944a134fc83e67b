"""Whole runs of shoal on float64 and float16 rows, and with cosine, against float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import ours, report
from benchmarks.data import Rows, first_centers
from benchmarks.settings import Settings
from benchmarks.table import CASES, ITERATIONS, Case
from benchmarks.timing import race

# The most that each may take, as a multiple of the time with float32 and squared distances.
GOALS = {"float64": 1.3, "float16": 1.15, "cosine": 1.1}


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the rows of the table."""
    del settings
    yield from CASES


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.load(settings)
    if rows is None:
        return None
    centers = first_centers(rows, case.k)
    found = race(_contenders(rows, centers, settings.threads), settings.effort)
    ratio = {name: seconds / found.best["shoal"] for name, seconds in found.best.items()}
    return {
        "name": case.name,
        "n": rows.shape[0],
        "d": rows.shape[1],
        "k": case.k,
        "threads": settings.threads,
        "quick": settings.quick,
        "ms": {name: seconds * 1e3 for name, seconds in found.best.items()},
        "ratio": ratio,
        "goal": GOALS,
        "met": all(ratio.get(name, np.inf) <= goal for name, goal in GOALS.items()),
        "failed": found.failed,
        "noise": found.noise,
        "seconds": found.seconds,
    }


def _contenders(rows: Rows, centers: Rows, threads: int) -> dict[str, Callable[[], Any]]:
    """Return the calls; the rows of each dtype are made here."""

    def bind(dtype: type, metric: str) -> Callable[[], Any]:
        given = rows.astype(dtype)
        first = given if dtype is np.float64 else rows
        start = centers.astype(first.dtype)
        return lambda: ours.train(given, start, ITERATIONS, threads, distance_metric=metric)

    return {
        "shoal": bind(np.float32, "squared_euclidean"),
        "float64": bind(np.float64, "squared_euclidean"),
        "float16": bind(np.float16, "squared_euclidean"),
        "cosine": bind(np.float32, "cosine"),
    }


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    lines = [
        "Ratio: time / time with float32 rows and squared distances. float64 rows hold the same "
        "values; float16 rows are rounded, so their run is another one."
    ]
    reasons = {name: why for row in rows for name, why in row["failed"].items()}
    return lines + [f"{name} is not supported: {why}" for name, why in reasons.items()]


def _ratio(name: str) -> report.Column:
    title = f"{name} (<= {GOALS[name]:g})"
    return title, lambda row: f"{row['ratio'][name]:.2f}" if name in row["ratio"] else "no"


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    report.text("d"),
    report.text("k"),
    *(report.milliseconds(name) for name in ("shoal", *GOALS)),
    *(_ratio(name) for name in GOALS),
    report.MET,
    report.NOISE,
]
