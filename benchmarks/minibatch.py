"""One mini-batch step at k=1000, from 1,024 to 65,536 rows: shoal and scikit-learn."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import shoal
from benchmarks import data, ours, peers, report
from benchmarks.data import Rows
from benchmarks.settings import Settings
from benchmarks.timing import Effort, race

K = 1000
BATCHES = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
DISTINCT = 4  # batches drawn beforehand, which take turns
TIMED_ROWS = 65536  # a timed call makes so many steps that it sees about this many rows


@dataclass(frozen=True)
class Case:
    """Rows and the size of a batch."""

    name: str
    rows: Callable[[], Rows | None]
    batch: int
    quick: bool

    @property
    def goal(self) -> float | None:
        """How many times faster than scikit-learn shoal must be."""
        return 1.2 if self.batch == 1024 else 3.0 if self.batch >= 4096 else None


def cases(settings: Settings) -> Iterator[Case]:
    """Yield each size of batch on both data sets."""
    del settings
    for name, rows in (("glove", data.glove), ("minilm", data.minilm)):
        for batch in BATCHES:
            yield Case(f"{name} batch={batch}", rows, batch, batch in (1024, 8192))


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.rows()
    if rows is None:
        return None
    random = np.random.default_rng(case.batch)
    drawn = [
        np.ascontiguousarray(rows[random.integers(len(rows), size=case.batch)])
        for _ in range(DISTINCT)
    ]
    centers = data.first_centers(rows, K)
    steps = max(1, TIMED_ROWS // case.batch)
    contenders = _contenders(drawn, centers, settings.threads)
    calls = {name: _repeat(step, steps) for name, step in contenders.items()}
    found = race(calls, settings.effort if settings.quick else Effort(5, 15, 0.3))
    ms = {name: seconds * 1e3 / steps for name, seconds in found.best.items()}
    # Both of shoal's ways must do it: the slower one is compared.
    slower = max(ms["shoal partial_fit"], ms["shoal training_op"])
    ratio = ms["sklearn"] / slower if "sklearn" in ms else None
    return {
        "name": case.name,
        "batch": case.batch,
        "d": rows.shape[1],
        "k": K,
        "threads": settings.threads,
        "quick": settings.quick,
        "steps_per_call": steps,
        "ms": ms,
        "ratio": ratio,
        "goal": case.goal,
        "met": None if ratio is None or case.goal is None else ratio >= case.goal,
        "noise": found.noise,
        "seconds": found.seconds,
    }


def _contenders(drawn: list[Rows], centers: Rows, threads: int) -> dict[str, Callable[[], object]]:
    """Return one step of each; every call takes the next batch and goes on from the last."""
    model = ours.estimator(centers, threads, use_mini_batch=True)
    program = shoal.KMeans(
        itertools.cycle(drawn),
        len(centers),
        centers,
        use_mini_batch=True,
        num_threads=threads,
    )
    turns = itertools.cycle(drawn)
    found = {
        "shoal partial_fit": lambda: model.partial_fit(next(turns)),
        "shoal training_op": program.training_graph().training_op,
    }
    if peers.sklearn is not None:
        peer = peers.sklearn.MiniBatchKMeans(
            len(centers), init=centers, n_init=1, reassignment_ratio=0
        )
        others = itertools.cycle(drawn)
        found["sklearn"] = lambda: peer.partial_fit(next(others))
    return found


def _repeat(step: Callable[[], object], times: int) -> Callable[[], None]:
    def call() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(times):
                step()

    return call


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    del rows
    return [
        "Milliseconds per step. Ratio: scikit-learn's `partial_fit` / the slower of shoal's two. "
        "A timed call makes several steps on batches drawn beforehand, with replacement; "
        "scikit-learn's reassignment of centers is off, which is faster."
    ]


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("d"),
    report.text("k"),
    *(
        report.milliseconds(name, 2)
        for name in ("shoal partial_fit", "shoal training_op", "sklearn")
    ),
    report.number("ratio"),
    report.GOAL,
    report.MET,
    report.NOISE,
]
