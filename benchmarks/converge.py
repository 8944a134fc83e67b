"""Runs to convergence from the same centers: by scikit-learn's defaults, and at tolerance 0."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import shoal.sklearn
from benchmarks import peers, report, train
from benchmarks.data import first_rows
from benchmarks.settings import Settings
from benchmarks.table import CASES, Case, named
from benchmarks.timing import Effort, race
from benchmarks.trainers import WITHOUT_END, Job, Run, Trained, calls, jobs

PEERS = tuple(name for name in train.PEERS if name != "faiss super")
# Such a run may take a minute: peers that cannot be the best run once.
EFFORT = Effort(least=3, most=3, hopeless=1.5)
TOLERANCE, MOST = 1e-4, 300  # scikit-learn's defaults
SAME = 1e-3  # relative difference of inertias that count as the same
GOAL = 4.0
ELKAN_K = 256  # with more centers its runs take minutes


@dataclass(frozen=True)
class Until:
    """A row of the table, and the tolerance at which its runs end."""

    case: Case
    tolerance: float

    @property
    def name(self) -> str:
        """What tells it from others."""
        return f"{self.case.name} tol={self.tolerance:g}"

    @property
    def quick(self) -> bool:
        """Whether a quick look takes it."""
        return self.tolerance > 0


def cases(settings: Settings) -> Iterator[Until]:
    """Yield the rows of the table, and some at tolerance 0."""
    del settings
    yield from (Until(case, TOLERANCE) for case in CASES)
    for case in named("glove k=100", "blobs 16-d k=50", "blobs 128-d k=256"):
        yield Until(case, 0)


def run(until: Until, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    case = until.case
    rows = case.load(settings)
    if rows is None:
        return None
    job = Job(rows, first_rows(rows, case.k), None, settings.threads)
    given = jobs(job)
    given.pop("faiss super", None)  # it has no rule to stop by
    if case.k > ELKAN_K:
        given.pop("sklearn elkan", None)
    running = _by_defaults(given) if until.tolerance else calls(given, None)
    found = race(running, EFFORT, calls(given, 1))
    row = train.describe(job, found)
    row.update(
        name=until.name,
        quick=settings.quick,
        runs={name: len(seconds) for name, seconds in found.seconds.items()},
    )
    if until.tolerance:
        row.update(_of_the_same_inertia(row))
    return row


def _by_defaults(given: dict[str, Job]) -> dict[str, Run]:
    """Return the calls: those that have no such rule make as many iterations as shoal does."""
    job = given["shoal"]
    made = _face(shoal.sklearn.KMeans, job, n_threads=job.threads)
    running = calls(given, made.iterations)
    running["shoal"] = lambda: _face(shoal.sklearn.KMeans, job, n_threads=job.threads)
    for name, kind, algorithm in (
        ("sklearn lloyd", peers.sklearn, "lloyd"),
        ("sklearn elkan", peers.sklearn, "elkan"),
        ("sklearnex", peers.sklearnex, "lloyd"),
    ):
        if name in given:
            running[name] = _bind(kind.KMeans, job, algorithm)
    return running


def _bind(kind: Any, job: Job, algorithm: str) -> Run:
    return lambda: _face(kind, job, algorithm=algorithm)


def _face(kind: Any, job: Job, **given: Any) -> Trained:
    model = kind(job.k, init=job.centers, n_init=1, max_iter=MOST, tol=TOLERANCE, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        model.fit(job.rows)
    return Trained(model.cluster_centers_, int(model.n_iter_))


def _of_the_same_inertia(row: report.Row) -> report.Row:
    """Return the ratio to the best of the peers that reach shoal's inertia."""
    own = row["inertia"]["shoal"]
    reached = {
        name: ms
        for name, ms in row["ms"].items()
        if name != "shoal" and row["inertia"][name] <= own * (1 + SAME)
    }
    best = min(reached, key=lambda name: reached[name], default=None)
    ratio = None if best is None else reached[best] / row["ms"]["shoal"]
    met = None if ratio is None else ratio >= GOAL
    return {"best": best, "ratio": ratio, "goal": GOAL, "met": met}


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    return [
        f"tol={TOLERANCE:g}: `fit` by scikit-learn's defaults (tol={TOLERANCE:g}, max_iter={MOST}) "
        "from the same centers for shoal.sklearn, scikit-learn and its extension, labels and "
        "inertia included; faiss, superkmeans and fastkmeans have no such rule and make as many "
        "iterations as shoal. The best peer is the fastest of those whose inertia is at most "
        f"{SAME:.1%} above shoal's. tol=0: each library stops by its own rule: no label changes "
        "(shoal, scikit-learn), no center moves, or the loss stays the same; those with a limit on "
        f"iterations got {WITHOUT_END}. faiss.SuperKmeans has no rule and is left out. The least "
        f"of three runs; peers that took more than {EFFORT.hopeless:g} times as long as the best "
        f"peer ran once; scikit-learn's elkan takes part up to k = {ELKAN_K}. Different roundings "
        "lead to different optima.",
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
    report.GOAL,
    report.MET,
    report.NOISE,
]
DETAILS: list[report.Column] = [
    report.text("name", "case"),
    *(_iterations(name) for name in ("shoal", *PEERS)),
    *train.INERTIA,
]
