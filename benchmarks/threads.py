"""Two threads against one: whole runs of shoal on every row of the table of training runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks import ours, report
from benchmarks.data import first_centers
from benchmarks.settings import Settings
from benchmarks.table import CASES, ITERATIONS, Case
from benchmarks.timing import race

GOAL = 1.85


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
    contenders = {
        f"shoal {threads}": lambda threads=threads: ours.train(
            rows, centers, ITERATIONS, threads
        ).clusters()
        for threads in (1, 2)
    }
    found = race(contenders, settings.effort)
    if not np.array_equal(found.results["shoal 1"], found.results["shoal 2"]):
        raise RuntimeError(f"{case.name}: two threads give other centers than one")
    ratio = found.best["shoal 1"] / found.best["shoal 2"]
    return {
        "name": case.name,
        "n": rows.shape[0],
        "d": rows.shape[1],
        "k": case.k,
        "quick": settings.quick,
        "ms": {name: seconds * 1e3 for name, seconds in found.best.items()},
        "ratio": ratio,
        "goal": GOAL,
        "met": ratio >= GOAL if settings.threads >= 2 else None,
        "noise": found.noise,
        "seconds": found.seconds,
    }


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    del rows
    return ["Ratio: time with one thread / time with two. The centers are the same to the bit."]


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    report.text("d"),
    report.text("k"),
    report.milliseconds("shoal 1"),
    report.milliseconds("shoal 2"),
    report.number("ratio"),
    report.GOAL,
    report.MET,
    report.NOISE,
]
