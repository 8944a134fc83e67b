"""Whole training runs as each library makes them, from the given centers where it can."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import ours, peers, starts
from benchmarks.data import Rows

WITHOUT_END = 2_000  # iterations, where a library wants a limit and convergence is the aim


@dataclass(frozen=True)
class Job:
    """What to train on: k rows are the first centers; no `iterations`: until convergence."""

    rows: Rows
    first: npt.NDArray[np.int64]  # their indices [k]
    iterations: int | None
    threads: int

    @property
    def k(self) -> int:
        """The number of centers."""
        return len(self.first)

    @cached_property
    def centers(self) -> Rows:
        """The first centers [k, d]."""
        return np.ascontiguousarray(self.rows[self.first])

    @property
    def most(self) -> int:
        """The limit on iterations to give to a library that wants one."""
        return self.iterations or WITHOUT_END


class Trained(NamedTuple):
    """The centers a run ended with, and how many iterations it made."""

    centers: Rows
    iterations: int


Run = Callable[[], Trained]


def jobs(job: Job, arranged: bool = True) -> dict[str, Job]:
    """Return the job of each library that is installed.

    Three libraries choose their first centers themselves. They get the rows `arranged` in an order
    in which they choose the given ones (see `starts`), or as they are.
    """
    found = {"shoal": job}
    if peers.sklearn is not None:
        found |= {"sklearn lloyd": job, "sklearn elkan": job}
    if peers.sklearnex is not None:
        found["sklearnex"] = job
    if peers.faiss is not None:
        found["faiss"] = job
    for name in starts.available():
        rows = starts.arranged(name, job.rows, job.first) if arranged else job.rows
        found[name] = replace(job, rows=rows)
    return found


def calls(given: dict[str, Job], iterations: int | None) -> dict[str, Run]:
    """Return the call of each library that makes so many iterations."""
    return {name: _bind(name, replace(job, iterations=iterations)) for name, job in given.items()}


def _bind(name: str, job: Job) -> Run:
    return lambda: _RUNS[name](job)


def _shoal(job: Job) -> Trained:
    model = ours.train(job.rows, job.centers, job.iterations, job.threads)
    return Trained(model.clusters(), int(model.state.global_step))


def _sklearn(kind: Any, job: Job, algorithm: str) -> Trained:
    model = kind(job.k, init=job.centers, n_init=1, max_iter=job.most, tol=0, algorithm=algorithm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged yet
        model.fit(job.rows)
    return Trained(model.cluster_centers_, int(model.n_iter_))


def _faiss(job: Job) -> Trained:
    model = peers.faiss.Kmeans(
        job.rows.shape[1],
        job.k,
        niter=job.most,
        max_points_per_centroid=10**9,  # no subsampling
        min_points_per_centroid=1,
    )
    model.train(job.rows, init_centroids=job.centers)
    return Trained(model.centroids, len(model.obj))


def _faiss_super(job: Job) -> Trained:
    model = peers.faiss.SuperKmeans(
        job.rows.shape[1],
        job.k,
        niter=job.most,
        max_points_per_centroid=10**9,
        min_points_per_centroid=1,
        seed=starts.SEED,
    )
    model.train(job.rows)
    return Trained(model.centroids, len(model.obj))


def _superkmeans(job: Job) -> Trained:
    model = peers.superkmeans.SuperKMeans(
        job.k,
        job.rows.shape[1],
        hierarchical=False,
        iters=job.most,
        sampling_fraction=1.0,
        max_points_per_cluster=10**9,
        n_threads=job.threads,
        seed=starts.SEED,
        early_termination=job.iterations is None,
        # To convergence: the least that its float32 comparison of two losses can tell from 0.
        tol=0 if job.iterations else float(np.finfo(np.float32).epsneg),
    )
    centers = model.train(job.rows)
    return Trained(centers, len(model.iteration_stats))


def _fastkmeans(job: Job) -> Trained:
    model = peers.fastkmeans.FastKMeans(
        job.rows.shape[1],
        job.k,
        niter=job.most,
        gpu=False,
        seed=starts.SEED,
        tol=0 if job.iterations else np.finfo(np.float32).tiny,
        verbose=job.iterations is None,  # the only place that tells how many iterations it made
    )
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        model.train(job.rows)
    made = told.getvalue().count("Iteration ")
    return Trained(model.centroids, job.iterations or made)


_RUNS: dict[str, Callable[[Job], Trained]] = {
    "shoal": _shoal,
    "sklearn lloyd": lambda job: _sklearn(peers.sklearn.KMeans, job, "lloyd"),
    "sklearn elkan": lambda job: _sklearn(peers.sklearn.KMeans, job, "elkan"),
    "sklearnex": lambda job: _sklearn(peers.sklearnex.KMeans, job, "lloyd"),
    "faiss": _faiss,
    "faiss super": _faiss_super,
    "superkmeans": _superkmeans,
    "fastkmeans": _fastkmeans,
}
