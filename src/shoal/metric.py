"""The two distances, and what they ask of centers: their only home in Python."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.dtypes import is_double
from shoal.errors import BadInputError
from shoal.sources.sparse import Matrix
from shoal.types import Floats

SQUARED_EUCLIDEAN_DISTANCE = "squared_euclidean"
COSINE_DISTANCE = "cosine"
METRICS = (SQUARED_EUCLIDEAN_DISTANCE, COSINE_DISTANCE)

#: Squares of larger values could leave the range of float64.
LARGEST_VALUE = 1e150
#: Squares of the differences of smaller ones could fall below it, and rows would seem equal.
SMALLEST_VALUE = 1e-140


def check_metric(name: object) -> str:
    """Return ``name`` if it is a known distance metric."""
    if not isinstance(name, str) or name not in METRICS:
        raise BadInputError(f"distance_metric is {name!r}; allowed are {METRICS}")
    return name


def check_magnitude(centers: Floats, metric: str, name: str) -> None:
    """Refuse centers whose squares leave the range of float64."""
    if metric != SQUARED_EUCLIDEAN_DISTANCE or not is_double(centers.dtype):
        return
    largest = float(np.abs(centers).max(initial=0))
    if largest > LARGEST_VALUE:
        raise BadInputError(
            f"{name} holds a value of magnitude {largest:.3g}, whose square leaves the range of "
            f"float64: stay below {LARGEST_VALUE:g}"
        )


def is_cosine(metric: str) -> bool:
    """Whether rows and centers are compared by direction only."""
    return metric == COSINE_DISTANCE


def to_unit(centers: Floats) -> Floats:
    """Centers [k, d] of length one, in their dtype; zero centers stay zero."""
    unit = np.empty(centers.shape, np.float64)
    _core.read_rows(centers, True, unit)
    return unit.astype(centers.dtype)


def as_stored(centers: Floats, metric: str) -> Floats:
    """Centers as they are stored when chosen or synced: of length one under cosine."""
    return to_unit(centers) if is_cosine(metric) else centers


def users_clusters(clusters: Floats, metric: str) -> Floats:
    """Centers as users read them: of length one under cosine. A copy."""
    return to_unit(clusters) if is_cosine(metric) else clusters.copy()


def score_dtype(rows: Matrix) -> npt.DTypeLike:
    """The dtype in which distances of these rows are given: float32 or float64, as they need."""
    return np.float64 if is_double(rows.dtype) else np.float32


def as_scores(distances: Floats, rows: Matrix) -> Floats:
    """Distances of these rows in ``score_dtype``, or float64 where float32 has no room for them."""
    fits = _fits_float32(distances) or not distances.any()
    return distances.astype(score_dtype(rows) if fits else np.float64)


def all_distances(rows: Matrix, centers: Floats, metric: str, threads: int) -> Floats:
    """Distance of every row to every center, [n, k]; the dtype is that of ``as_scores``."""
    out = np.empty((len(rows), len(centers)), score_dtype(rows))
    _core.all_distances(rows, centers, is_cosine(metric), threads, out)
    if out.dtype == np.float64 or _fits_float32(out):
        return out
    wide = np.empty(out.shape)
    _core.all_distances(rows, centers, is_cosine(metric), threads, wide)
    return as_scores(wide, rows)


def _fits_float32(distances: Floats) -> bool:
    """Whether the largest is a normal number of float32."""
    float32 = np.finfo(np.float32)
    return bool(float32.tiny <= distances.max(initial=0) <= float32.max)
