"""The next center of rows: the nearest but for their own."""

from __future__ import annotations

import numpy as np

from shoal.metric import all_distances
from shoal.shards.kernels import nearest
from shoal.sources.sparse import Matrix
from shoal.types import Floats, Labels

#: Groups of centers: rows of one group are compared with the centers of all others at once.
GROUPS = 32


def next_centers(
    rows: Matrix, labels: Labels, centers: Floats, metric: str, threads: int
) -> tuple[Labels, Floats]:
    """Next center [n] of each row and its distance [n] float64, as the metric has it.

    ``labels`` are the rows' own centers, of which there must be another. Centers come in groups: of
    the rows of one, the nearest center outside of the group is what the engine finds, with all of
    its shortcuts, and only distances inside of the group are computed one by one.
    """
    number = len(labels)
    found, distances = np.empty(number, np.int32), np.full(number, np.inf)
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    for group in np.array_split(np.arange(len(centers)), min(GROUPS, len(centers))):
        start, end = np.searchsorted(ordered, [group[0], group[-1] + 1])
        some = order[start:end]
        if not len(some):
            continue
        here = rows[some]
        others = np.delete(np.arange(len(centers)), group)
        if len(others):
            outside, distances[some] = nearest(here, centers[others], metric, threads)
            found[some] = others[outside]
        if len(group) > 1:
            inside = all_distances(here, centers[group], metric, threads)
            inside[np.arange(len(some)), labels[some] - group[0]] = np.inf
            best = inside.argmin(axis=1)
            least = inside[np.arange(len(some)), best].astype(np.float64)
            nearer = least < distances[some]
            distances[some[nearer]] = least[nearer]
            found[some[nearer]] = group[best[nearer]]
    return found, distances
