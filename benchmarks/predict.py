"""One cold pass, the nearest center of each row: shoal, scikit-learn, faiss, SuperKMeans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import data, exact, memory, ours, peers, report
from benchmarks.data import Rows
from benchmarks.settings import Settings
from benchmarks.timing import race

PEERS = ("sklearn", "faiss", "superkmeans")


@dataclass(frozen=True)
class Case:
    """Rows, a number of centers, and how many times faster than the best peer shoal must be."""

    name: str
    rows: Callable[[], Rows | None]
    k: int
    goal: float
    quick: bool = True


class Pass(NamedTuple):
    """What an assignment pass found."""

    labels: npt.NDArray[Any]


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the data sets."""
    del settings
    yield Case("glove k=1000", data.glove, 1000, 2)
    yield Case("minilm k=1000", data.minilm, 1000, 3)
    yield Case("cities k=1000", data.cities, 1000, 5)


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.rows()
    if rows is None:
        return None
    rows = rows[: settings.quick_rows()]
    centers = data.first_centers(rows, case.k)
    contenders = assigners(rows, centers, settings.threads)
    model = ours.estimator(centers, settings.threads).fit(rows, steps=1)
    contenders["shoal predict"] = lambda: _predict(model, rows)
    found = race(contenders, settings.effort)
    own = found.results["shoal"]
    labels = own.labels
    mine = exact.distances(rows, centers, labels)
    exact.check(case.name, ours.loss(rows, centers, settings.threads), float(mine.sum()))
    ms = {name: seconds * 1e3 for name, seconds in found.best.items()}
    rivals = {name: ms[name] for name in PEERS if name in ms}
    best = min(rivals, key=lambda name: rivals[name], default=None)
    ratio = None if best is None else ms[best] / ms["shoal"]
    others = {name: found.results[name].labels for name in ("shoal", *rivals)}
    grown = memory.Memory(rows, centers).growth([memory.assign(settings.threads)])
    return {
        "name": case.name,
        "n": rows.shape[0],
        "d": rows.shape[1],
        "k": case.k,
        "dtype": str(rows.dtype),
        "threads": settings.threads,
        "quick": settings.quick,
        "ms": ms,
        "best": best,
        "ratio": ratio,
        "goal": case.goal,
        "met": None if ratio is None else ratio >= case.goal,
        "inertia": {
            name: float(exact.distances(rows, centers, found).sum())
            for name, found in others.items()
        },
        "labels_differ": {
            name: int(np.count_nonzero(found != labels)) for name, found in others.items()
        },
        "memory_mb": None if grown is None else grown[0],
        "failed": found.failed,
        "noise": found.noise,
        "seconds": found.seconds,
    }


def assigners(rows: Rows, centers: Rows, threads: int) -> dict[str, Callable[[], Pass]]:
    """Return a call per library that is installed; what a call needs beforehand is made here."""
    calls = {"shoal": _shoal(rows, centers, threads)}
    if peers.sklearn_kmeans is not None:
        calls["sklearn"] = _sklearn(rows, centers, threads)
    if peers.faiss is not None:
        calls["faiss"] = _faiss(rows, centers)
    if peers.superkmeans is not None:
        calls["superkmeans"] = _superkmeans(rows, centers)
    return calls


def _shoal(rows: Rows, centers: Rows, threads: int) -> Callable[[], Pass]:
    labels = np.zeros(len(rows), np.int32)

    def call() -> Pass:
        ours.assign(rows, centers, labels, threads)
        return Pass(labels)

    return call


def _predict(model: Any, rows: Rows) -> Pass:
    found = model.predict(rows, outputs="cluster_idx", as_iterable=False)
    return Pass(found["cluster_idx"])


def _sklearn(rows: Rows, centers: Rows, threads: int) -> Callable[[], Pass]:
    weights = np.ones(len(rows), rows.dtype)

    def call() -> Pass:
        # Limits BLAS to one thread inside each of its own threads, as KMeans.predict does.
        found = peers.sklearn_kmeans._labels_inertia_threadpool_limit(
            rows, weights, centers, n_threads=threads, return_inertia=False
        )
        return Pass(found[0] if isinstance(found, tuple) else found)

    return call


def _faiss(rows: Rows, centers: Rows) -> Callable[[], Pass]:
    index = peers.faiss.IndexFlatL2(rows.shape[1])
    index.add(centers)
    return lambda: Pass(index.search(rows, 1)[1][:, 0])


def _superkmeans(rows: Rows, centers: Rows) -> Callable[[], Pass]:
    model = peers.superkmeans.SuperKMeans(len(centers), rows.shape[1])
    return lambda: Pass(model.assign(rows, centers))


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    del rows
    return [
        "Ratio: time of the best peer / time of shoal's core pass. All give labels only (faiss "
        "distances, too), and none of these calls checks its arguments. `shoal predict` is "
        "`KMeansClustering.predict`, which looks at every value first. Labels columns: rows whose "
        "label differs from the one that float64 gives."
    ]


def _differing(name: str) -> report.Column:
    return f"{name} labels", lambda row: str(row["labels_differ"].get(name, "-"))


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    report.text("d"),
    report.text("k"),
    *(report.milliseconds(name, 2) for name in ("shoal", "shoal predict", *PEERS)),
    report.text("best", "best peer"),
    report.number("ratio"),
    report.GOAL,
    report.MET,
    *(_differing(name) for name in PEERS),
    *(report.excess(name) for name in PEERS),
    report.number("memory_mb", "MB", 1),
    report.NOISE,
]
