"""The libraries to compare with: those that are installed, and how many threads they may use."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from typing import Any


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# Imported at once: limits on threads hold for libraries that are loaded.
sklearn = _optional("sklearn.cluster")
sklearn_kmeans = _optional("sklearn.cluster._kmeans")
faiss = _optional("faiss")
superkmeans = _optional("superkmeans")
torch = _optional("torch")
fastkmeans = _optional("fastkmeans")
sklearnex = _optional("sklearnex.cluster")
daal4py = _optional("daal4py")
threadpoolctl = _optional("threadpoolctl")

# It reports each fit that it does not hand on to scikit-learn.
logging.getLogger("sklearnex").setLevel(logging.WARNING)

_PEERS = {
    "scikit-learn": sklearn,
    "scikit-learn-intelex": sklearnex,
    "faiss-cpu": faiss,
    "superkmeans": superkmeans,
    "fastkmeans": fastkmeans,
    "torch": torch,
    "threadpoolctl": threadpoolctl,
}


def missing() -> list[str]:
    """Name the peers that are not installed."""
    names = [name for name, module in _PEERS.items() if module is None]
    if faiss is not None and not hasattr(faiss, "SuperKmeans"):
        names.append(f"faiss.SuperKmeans (faiss {faiss.__version__} has none)")
    return names


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Give every library the same number of threads."""
    if faiss is not None:
        faiss.omp_set_num_threads(threads)
    if torch is not None:
        torch.set_num_threads(threads)
    if daal4py is not None:
        daal4py.daalinit(threads)
    if threadpoolctl is None:
        yield
        return
    with threadpoolctl.threadpool_limits(limits=threads):
        yield
