"""Sparse rows: a million texts of 50 words out of 50,000, k=100, in a process of its own.

Every contender starts from the same centers. A pass is timed as the difference of runs of two
lengths; the peak counts everything in the process, the matrix included.
"""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.data import ROOT
from benchmarks.memory import _status_mb
from benchmarks.settings import Settings

STEPS = 3  # of the longer run; the shorter one has 1
GOAL_MB = 2048.0


@dataclass(frozen=True)
class Case:
    """The shape of the data, and the metric."""

    name: str
    metric: str = "squared_euclidean"
    rows: int = 1_000_000
    columns: int = 50_000
    nonzeros: int = 50
    k: int = 100
    quick: bool = True


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the cases."""
    size = {"rows": settings.quick_rows() or 1_000_000}
    yield Case("1M x 50000 k=100", **size)
    yield Case("1M x 50000 k=100 cos", metric="cosine", **size)


def run(case: Case, settings: Settings) -> report.Row:
    """Measure one case."""
    contenders = ["shoal"] if case.metric == "cosine" else ["shoal", "sklearn"]
    with tempfile.TemporaryDirectory() as folder:
        for name, part in _texts(case).items():
            np.save(Path(folder, name), part)
        found = {name: _in_process(name, case, folder, settings.threads) for name in contenders}
    ours = found["shoal"]
    return {
        **asdict(case),
        "quick": settings.quick,
        "found": found,
        "per_pass": ours["per_pass"],
        "first": ours["first"],
        "peak": ours["peak"],
        "matrix": ours["matrix"],
        "sklearn": found.get("sklearn", {}).get("per_pass"),
        "sklearn_peak": found.get("sklearn", {}).get("peak"),
        "inertia": {name: of["inertia"] for name, of in found.items()},
        "goal": GOAL_MB,
        "met": ours["peak"] <= GOAL_MB,
    }


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return what is to be said below the table."""
    del rows
    return [
        "A pass: assignment and new centers, in seconds. First: a fit of one step, with the look "
        "at every value. Peaks in MB, with the matrix."
    ]


COLUMNS: Sequence[report.Column] = (
    report.text("name", "case"),
    report.number("first", "first s"),
    report.number("per_pass", "pass s"),
    report.number("peak", "peak MB", 0),
    report.number("matrix", "matrix MB", 0),
    report.number("sklearn", "sklearn pass s"),
    report.number("sklearn_peak", "sklearn peak MB", 0),
    report.excess("sklearn"),
    report.MET,
)


def _texts(case: Case) -> dict[str, Any]:
    """Return rows of words, some of a topic, some of all topics, which some words are often in."""
    rng = np.random.default_rng(0)
    often = 1 / np.arange(20, case.columns + 20)
    often = np.cumsum(often / often.sum())
    topics = rng.permutation(case.columns).astype(np.int32)
    columns = np.empty((case.rows, case.nonzeros), np.int32)
    step = 50_000
    for start in range(0, case.rows, step):
        part = columns[start : start + step]
        words = np.searchsorted(often, rng.random(part.shape)).astype(np.int32)
        mine = rng.integers(0, 2 * case.k, (len(part), 1)) * (case.columns // (2 * case.k))
        own = topics[mine + rng.integers(0, case.columns // (2 * case.k), part.shape)]
        part[:] = np.where(rng.random(part.shape) < 0.3, own, words)
        part.sort(axis=1)
        # Each once: words that come twice give way to their neighbours.
        places = np.arange(case.nonzeros, dtype=np.int32)
        part[:] = np.maximum.accumulate(part - places, axis=1) + places
        over = part - (case.columns - case.nonzeros + places)
        part -= np.maximum(over, 0)
    values = rng.random(case.rows * case.nonzeros, np.float32) + np.float32(0.1)
    first = rng.choice(case.rows, case.k, replace=False)
    indptr = np.arange(0, case.rows * case.nonzeros + 1, case.nonzeros, dtype=np.int32)
    return {"indices": columns.ravel(), "data": values, "indptr": indptr, "first": first}


def _in_process(contender: str, case: Case, folder: str, threads: int) -> dict[str, float]:
    job = json.dumps({"contender": contender, "threads": threads, **asdict(case)})
    command = [sys.executable, "-m", "benchmarks.sparse", folder, job]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _fit(job: dict[str, Any], rows: Any, centers: Any, steps: int) -> float:
    """Train, and return the inertia at the end: shoal's score, scikit-learn's inertia."""
    if job["contender"] == "sklearn":
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        with threadpool_limits(job["threads"]):
            model = KMeans(job["k"], init=centers, n_init=1, max_iter=steps, tol=0)
            return float(model.fit(rows).inertia_)
    import shoal

    ours = shoal.KMeansClustering(
        job["k"],
        initial_clusters=centers,
        distance_metric=job["metric"],
        use_mini_batch=False,
        num_threads=job["threads"],
        config=shoal.RunConfig(progress=False),
    )
    ours.fit(rows, steps=steps)
    return ours.score(rows) if steps > 1 else 0.0


def _main(folder: str, text: str) -> None:
    import warnings

    import scipy.sparse

    warnings.simplefilter("ignore")  # scikit-learn says that it has not converged
    job = json.loads(text)
    parts = [np.load(Path(folder, name + ".npy")) for name in ("data", "indices", "indptr")]
    rows = scipy.sparse.csr_matrix(tuple(parts), shape=(job["rows"], job["columns"]))
    centers = rows[np.load(Path(folder, "first.npy"))].toarray()
    _fit(job, rows[:1000], centers, 1)  # loads code
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    times, inertia = [], 0.0
    for steps in (1, STEPS):
        begin = time.perf_counter()
        inertia = _fit(job, rows, centers, steps)
        times.append(time.perf_counter() - begin)
    scored = 0.0
    if job["contender"] == "shoal":
        begin = time.perf_counter()
        _score(job, rows, centers)
        scored = time.perf_counter() - begin
    found = {
        "first": times[0],
        "per_pass": (times[1] - scored - times[0]) / (STEPS - 1),
        "score": scored,
        "peak": _status_mb("VmHWM"),
        "matrix": sum(part.nbytes for part in parts) / 2**20,
        "inertia": inertia,
    }
    print(json.dumps(found))


def _score(job: dict[str, Any], rows: Any, centers: Any) -> None:
    import shoal

    model = shoal.KMeansClustering(
        None,
        initial_clusters=centers,
        distance_metric=job["metric"],
        num_threads=job["threads"],
        config=shoal.RunConfig(progress=False),
    )
    model.partial_fit(rows[:1000]).score(rows)


if __name__ == "__main__":
    _main(*sys.argv[1:])
