"""One assignment pass, nearest center of each row, as each library does it."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.data import Rows
from shoal import _core


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# Imported at once: limits on threads hold for libraries that are loaded.
faiss = _optional("faiss")
sklearn_kmeans = _optional("sklearn.cluster._kmeans")
threadpoolctl = _optional("threadpoolctl")


class Pass(NamedTuple):
    """What an assignment pass found."""

    labels: npt.NDArray[Any]
    loss: float | None = None  # as the library itself reports it
    looked_again: int | None = None  # rows that float32 could not settle


_PEERS = {"scikit-learn": sklearn_kmeans, "faiss": faiss, "threadpoolctl": threadpoolctl}


def announce_missing() -> None:
    """Print a line for each peer that is not installed."""
    for name, module in _PEERS.items():
        if module is None:
            print(f"skipped: {name}: not installed", flush=True)


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Give every library the same number of threads."""
    if faiss is not None:
        faiss.omp_set_num_threads(threads)
    if threadpoolctl is None:
        yield
        return
    with threadpoolctl.threadpool_limits(limits=threads):
        yield


def assigners(rows: Rows, centers: Rows, threads: int) -> dict[str, Callable[[], Pass]]:
    """Return a call per library that is installed; what a call needs beforehand is made here."""
    calls = {"shoal": _shoal(rows, centers, threads)}
    if sklearn_kmeans is not None:
        calls["sklearn"] = _sklearn(rows, centers, threads)
    if faiss is not None:
        calls["faiss"] = _faiss(rows, centers)
    return calls


def exact_loss(units: int) -> float:
    """Return the core's exact loss, an integer in units of 2**-1074, as a float."""
    return units / 2**1074


def _shoal(rows: Rows, centers: Rows, threads: int) -> Callable[[], Pass]:
    labels = np.zeros(len(rows), np.int32)

    def call() -> Pass:
        _, units, looked_again = _core.assign(rows, None, centers, False, threads, labels, None)
        return Pass(labels, exact_loss(units), looked_again)

    return call


def _sklearn(rows: Rows, centers: Rows, threads: int) -> Callable[[], Pass]:
    weights = np.ones(len(rows), rows.dtype)

    def call() -> Pass:
        # Limits BLAS to one thread inside each of its own threads, as KMeans.predict does.
        labels, loss = sklearn_kmeans._labels_inertia_threadpool_limit(
            rows, weights, centers, n_threads=threads
        )
        return Pass(labels, float(loss))

    return call


def _faiss(rows: Rows, centers: Rows) -> Callable[[], Pass]:
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(centers)

    def call() -> Pass:
        _, labels = index.search(rows, 1)
        return Pass(labels[:, 0])

    return call
