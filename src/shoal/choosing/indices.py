"""Indices of how well rows are clustered, by which numbers of clusters are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from shoal.metric import all_distances, is_cosine
from shoal.prepared import Prepared
from shoal.runs import Found
from shoal.shards.kernels import means_of
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix
from shoal.types import Floats, Labels

#: Distances that are computed at a time: 16 MB of float32.
PIECE_DISTANCES = 4_000_000


class Indices(NamedTuple):
    """Of one clustering; NaN where there are fewer than two clusters."""

    simplified_silhouette: float
    calinski_harabasz: float
    davies_bouldin: float


def distances(rows: Prepared, these: Matrix, those: Floats) -> Floats:
    """Distance [m, k] of each row to each center, in the metric: Euclidean, not squared."""
    given = rows.parameters
    found = all_distances(these, those, given.distance_metric, given.num_threads)
    return found if is_cosine(given.distance_metric) else np.sqrt(found, out=found)


def measured(rows: Prepared, found: Found, total: float) -> Indices:
    """Indices of a clustering; ``total`` is the inertia of one cluster.

    Calinski-Harabasz and Davies-Bouldin are about the means of the labels, as everywhere; the
    simplified silhouette is about the centers.
    """
    given, weights = rows.parameters, found.partial.weights
    k, there = len(found.centers), np.flatnonzero(weights > 0)
    if len(there) < 2:
        return Indices(np.nan, np.nan, np.nan)
    means = means_of(found.partial, found.centers, given.distance_metric, given.num_threads)
    settled = np.array_equal(means, found.centers)
    centers = found.centers if settled else np.concatenate([found.centers, means])
    silhouettes, within, spreads = 0.0, 0.0, np.zeros(k)
    for part, labels in _pieces(rows, found.labels, len(centers)):
        every = distances(rows, part.rows, centers)
        each = np.arange(len(labels))
        own = every[each, labels].astype(np.float64)
        to_mean = every[each, labels + len(centers) - k].astype(np.float64)
        every[each, labels] = np.inf
        other = every[:, :k].min(axis=1).astype(np.float64)
        weight = np.ones(len(labels)) if part.weights is None else part.weights
        silhouettes += float(weight @ _silhouettes(own, other))
        spreads += np.bincount(labels, weight * to_mean, k)
        within += float(weight @ (to_mean if is_cosine(given.distance_metric) else to_mean**2))
    all_weight = float(weights.sum())
    return Indices(
        silhouettes / all_weight,
        calinski_harabasz(total, within, all_weight, len(there)),
        davies_bouldin(
            spreads[there] / weights[there], distances(rows, means, means)[there][:, there]
        ),
    )


def _silhouettes(own: Floats, other: Floats) -> Floats:
    """(b - a) / max(a, b); 0 where both are 0."""
    largest = np.maximum(own, other)
    found: Floats = np.divide(other - own, largest, out=np.zeros_like(own), where=largest > 0)
    return found


def _pieces(rows: Prepared, labels: Labels, width: int) -> Iterator[tuple[Rows, Labels]]:
    """Rows and their labels, as many at a time as there is room for distances."""
    size, start = max(1, PIECE_DISTANCES // width), 0
    for batch in rows.source.batches():
        for part in batch:
            for first in range(0, len(part), size):
                piece = part.between(first, min(first + size, len(part)))
                yield piece, labels[start : start + len(piece)]
                start += len(piece)


def calinski_harabasz(total: float, within: float, weight: float, k: int) -> float:
    """Variance between clusters over that within them; 1 where there is none within."""
    if within == 0:
        return 1.0
    return max(total - within, 0.0) * (weight - k) / (within * (k - 1))


def davies_bouldin(spreads: Floats, between: Floats) -> float:
    """Mean over clusters of (s_i + s_j) / |c_i - c_j| of the nearest in that sense."""
    if np.allclose(spreads, 0) or np.allclose(between, 0):
        return 0.0
    apart = np.where(between == 0, np.inf, between)
    return float(((spreads[:, None] + spreads) / apart).max(axis=1).mean())


def silhouette(pairs: Floats, labels: Labels) -> float:
    """Mean silhouette of rows among themselves, of their distances [m, m]; NaN of one label."""
    _, inside, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if not 1 < len(sizes) < len(labels):
        return float("nan")
    each = np.arange(len(labels))
    member = np.zeros((len(labels), len(sizes)))
    member[each, inside] = 1
    sums = pairs @ member
    mates = sizes[inside] - 1
    own = sums[each, inside] / np.maximum(mates, 1)
    sums /= sizes
    sums[each, inside] = np.inf
    found = np.where(mates > 0, _silhouettes(own, sums.min(axis=1)), 0.0)
    return float(found.mean())
