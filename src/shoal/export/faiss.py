"""A model as an index of faiss, and back: flat over its centers, or the lists of an IVF index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from shoal.checks import path_of
from shoal.config import Parameters
from shoal.errors import BadInputError, MissingExtraError
from shoal.export.endings import check_ending
from shoal.export.given import Given
from shoal.export.shifted import users_centers, warn_of_coarse
from shoal.metric import COSINE_DISTANCE, SQUARED_EUCLIDEAN_DISTANCE, is_cosine
from shoal.state import State
from shoal.storage.files import whole_file
from shoal.types import Array

#: How far from 1 the length of centers may be that are compared by inner product, of float32.
UNIT = 1e-5
#: First bytes of its files: flat and IVF indexes.
MAGIC = (b"IxF2", b"IxFI", b"IwFl")
#: What faiss calls limits of what it reads.
LIMITS = ("deserialization_vector_byte_limit", "deserialization_loop_limit")


def to_index(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    *,
    ivf: bool = False,
) -> Any:
    """An ``IndexFlat`` of the centers, or an empty ``IndexIVFFlat`` that quantizes with it."""
    del columns
    if not isinstance(ivf, (bool, np.bool_)):
        raise BadInputError(
            f"ivf is {ivf!r:.80}; allowed: True, False. To write a file, there is "
            "shoal.export.to_faiss(model, path)"
        )
    faiss, metric = _faiss("to_faiss_index"), parameters.distance_metric
    with np.errstate(over="ignore"):
        centers = np.ascontiguousarray(users_centers(state, metric), np.float32)
    if not np.isfinite(centers).all():
        raise BadInputError("faiss computes in float32, which has no room for these centers")
    warn_of_coarse(state, metric, centers.dtype, "Subtract the mean from rows and centers first")
    dim = centers.shape[1]
    index = faiss.IndexFlatIP(dim) if is_cosine(metric) else faiss.IndexFlatL2(dim)
    index.add(centers)
    if not ivf:
        return index
    lists = faiss.IndexIVFFlat(index, dim, len(centers), index.metric_type)
    lists.is_trained = True  # the quantizer is, and flat codes need no training
    return lists


def write(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    path: str | os.PathLike[str],
    *,
    ivf: bool = False,
) -> None:
    """Write the index as a file, which appears whole or not at all."""
    check_ending(path, ".faiss")
    content = _faiss("export to faiss").serialize_index(
        to_index(state, parameters, columns, ivf=ivf)
    )
    with whole_file(path) as file:
        file.write(content.data)


def read(path: str | os.PathLike[str]) -> Any:
    """An index from a file; BadInputError for any other."""
    file = path_of("path", path)
    if not file.is_file():
        raise BadInputError(f"there is no file {file}")
    faiss = _faiss(f"reading {file.name}")
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
        with _no_more_than(faiss, len(content)):
            return faiss.deserialize_index(content)
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, MemoryError, ValueError) as error:  # of sizes that nothing has, too
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise BadInputError(f"{file} is no index of faiss, or damaged: {last}") from None


@contextmanager
def _no_more_than(faiss: Any, size: int) -> Iterator[None]:
    """Let faiss refuse sizes that a file of ``size`` bytes cannot have; old versions do not."""
    before = {}
    for name in LIMITS:
        if hasattr(faiss, f"set_{name}"):
            before[name] = getattr(faiss, f"get_{name}")()
            getattr(faiss, f"set_{name}")(size)
    try:
        yield
    finally:
        for name, value in before.items():
            getattr(faiss, f"set_{name}")(value)


def from_index(index: Any) -> Given:
    """Centers and metric of a flat index, or of the coarse quantizer of an IVF index."""
    faiss = _faiss("from_faiss_index")
    if isinstance(index, faiss.Index):
        index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIVF):
        index = faiss.downcast_index(index.quantizer)
    if not isinstance(index, faiss.IndexFlat):
        raise BadInputError(
            f"index is a {type(index).__name__}; it must be an IndexFlat, or an IVF index whose "
            "coarse quantizer is one; of a faiss.Kmeans, give its .index"
        )
    if index.ntotal == 0:
        raise BadInputError("index has no vectors: train it, or add the centers")
    centers: Array = index.reconstruct_n(0, index.ntotal)
    if index.metric_type == faiss.METRIC_L2:
        return Given(centers, SQUARED_EUCLIDEAN_DISTANCE, None)
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BadInputError(
            f"index has the metric {index.metric_type} of faiss; METRIC_L2 and "
            "METRIC_INNER_PRODUCT have a distance here"
        )
    lengths = np.linalg.norm(centers.astype(np.float64), axis=1)
    if np.abs(lengths - 1).max() > UNIT:
        raise BadInputError(
            f"index compares by inner product, and its vectors have lengths from "
            f"{lengths.min():.4g} to {lengths.max():.4g}: that is a cosine for vectors of length "
            "one alone"
        )
    return Given(centers, COSINE_DISTANCE, None)


def _faiss(feature: str) -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError(feature, "faiss-cpu", "faiss") from None
    return faiss
