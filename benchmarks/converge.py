"""Runs to convergence, tolerance 0, from the same centers, beside every peer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks import report, train
from benchmarks.data import first_rows
from benchmarks.settings import Settings
from benchmarks.table import Case, named
from benchmarks.timing import Effort, race
from benchmarks.trainers import WITHOUT_END, Job, calls, jobs

PEERS = tuple(name for name in train.PEERS if name != "faiss super")
# Such a run may take a minute: peers that cannot be the best run once.
EFFORT = Effort(least=3, most=3, hopeless=1.5)


def cases(settings: Settings) -> Iterator[Case]:
    """Yield some rows of the table."""
    del settings
    yield from named("glove k=100", "blobs 16-d k=50", "blobs 128-d k=256")


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.load(settings)
    if rows is None:
        return None
    job = Job(rows, first_rows(rows, case.k), None, settings.threads)
    given = jobs(job)
    given.pop("faiss super", None)  # it has no rule to stop by
    found = race(calls(given, None), EFFORT, calls(given, 1))
    return {
        **train.describe(job, found),
        "name": case.name,
        "quick": settings.quick,
        "runs": {name: len(seconds) for name, seconds in found.seconds.items()},
    }


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    return [
        "Each library stops by its own rule at tolerance 0: no label changes (shoal, "
        "scikit-learn), no center moves, or the loss stays the same; faiss.SuperKmeans has no rule "
        f"and is left out. Those with a limit on iterations got {WITHOUT_END}. The least of three "
        f"runs; peers that took more than {EFFORT.hopeless:g} times as long as the best peer ran "
        "once. Different roundings lead to different optima.",
        *train.remarks(rows),
    ]


def _iterations(name: str) -> report.Column:
    return f"{name} its", lambda row: str(row["iterations"].get(name, "-"))


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    report.text("d"),
    report.text("k"),
    *(report.milliseconds(name, 0) for name in ("shoal", *PEERS)),
    report.text("best", "best peer"),
    report.number("ratio"),
    report.NOISE,
]
DETAILS: list[report.Column] = [
    report.text("name", "case"),
    *(_iterations(name) for name in ("shoal", *PEERS)),
    *train.INERTIA,
]
