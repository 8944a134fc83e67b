"""Whole runs: 20 full-batch iterations from the same centers, shoal and scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import shoal
from benchmarks import data, peers, report
from benchmarks.data import Rows
from benchmarks.timing import Effort, interleave, noise
from shoal import _core

ITERATIONS = 20
QUICK_ROWS = 20_000


@dataclass(frozen=True)
class Case:
    """Rows and a number of centers."""

    name: str
    rows: Callable[[], Rows | None]
    k: int
    quick: bool = True


def cases() -> Iterator[Case]:
    """Yield the data sets."""
    yield Case("glove k=100", data.glove, 100)
    yield Case("minilm k=100", data.minilm, 100)


def run(case: Case, threads: int, effort: Effort, quick: bool) -> report.Row | None:
    """Measure one case; None where its data or the estimator is missing."""
    if not hasattr(shoal, "KMeansClustering"):
        print(f"skipped: train {case.name}: this build has no shoal.KMeansClustering", flush=True)
        return None
    rows = case.rows()
    if rows is None:
        return None
    if quick:
        rows = rows[:QUICK_ROWS]
    centers = data.first_centers(rows, case.k)
    contenders: dict[str, Callable[[], Any]] = {"shoal": lambda: _shoal(rows, centers, threads)}
    if peers.sklearn_kmeans is not None:
        contenders["sklearn"] = lambda: _sklearn(rows, centers)
    results, seconds = interleave(contenders, Effort(3, min(effort.most, 7), effort.seconds))

    inertia = {"shoal": abs(float(results["shoal"].score(rows)))}
    iterations = {"shoal": ITERATIONS}
    if "sklearn" in results:
        inertia["sklearn"] = _inertia(rows, results["sklearn"].cluster_centers_, threads)
        iterations["sklearn"] = int(results["sklearn"].n_iter_)
    ms = {name: min(times) * 1e3 for name, times in seconds.items()}
    return {
        "name": case.name,
        "n": rows.shape[0],
        "d": rows.shape[1],
        "k": case.k,
        "dtype": str(rows.dtype),
        "threads": threads,
        "quick": quick,
        "iterations": iterations,
        "ms": ms,
        "ratio": {name: ms[name] / ms["shoal"] for name in ms if name != "shoal"},
        "inertia": inertia,
        "excess": {name: value / inertia["shoal"] - 1 for name, value in inertia.items()},
        "noise": noise(seconds),
        "seconds": seconds,
    }


def _shoal(rows: Rows, centers: Rows, threads: int) -> Any:
    model = shoal.KMeansClustering(
        len(centers), initial_clusters=centers, use_mini_batch=False, num_threads=threads
    )
    model.fit(rows, steps=ITERATIONS)
    return model


def _sklearn(rows: Rows, centers: Rows) -> Any:
    from sklearn.cluster import KMeans

    model = KMeans(
        len(centers), init=centers, n_init=1, max_iter=ITERATIONS, tol=0, algorithm="lloyd"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged yet
        return model.fit(rows)


def _inertia(rows: Rows, centers: Rows, threads: int) -> float:
    """Return the exact inertia of centers, as `score` measures shoal's."""
    _, units, _ = _core.assign(rows, None, centers, False, threads, None, None)
    return peers.exact_loss(units)


COLUMNS: list[report.Column] = [
    ("case", lambda row: row["name"]),
    ("n", lambda row: str(row["n"])),
    ("d", lambda row: str(row["d"])),
    ("k", lambda row: str(row["k"])),
    ("dtype", lambda row: row["dtype"]),
    ("threads", lambda row: str(row["threads"])),
    ("iterations", lambda row: "/".join(map(str, row["iterations"].values()))),
    *(report.milliseconds(name) for name in ("shoal", "sklearn")),
    report.ratio("sklearn"),
    ("inertia", lambda row: f"{row['inertia']['shoal']:.8g}"),
    report.excess("sklearn"),
    report.NOISE,
]
WIDTHS = [19, 7, 4, 5, 8, 7, 10, 9, 10, 13, 13, 15, 5]
