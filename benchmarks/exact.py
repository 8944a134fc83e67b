"""Labels, distances and inertia in float64, by NumPy alone: the judge of every contender."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import Rows

CHUNK = 2**21  # numbers held at a time

# Of two float64 sums in different orders.
TOLERANCE = 1e-9


def distances(rows: Rows, centers: Rows, labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the squared distance of each row to the center of its label."""
    found = np.empty(len(rows))
    step = max(1, CHUNK // rows.shape[1])
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        difference = rows[part].astype(np.float64) - centers[labels[part]]
        found[part] = np.einsum("ij,ij->i", difference, difference)
    return found


def nearest(rows: Rows, centers: Rows) -> npt.NDArray[np.intp]:
    """Return the nearest center of each row.

    Two centers whose distances agree to 15 digits may be taken for each other: |x|² is left out.
    """
    wide = centers.astype(np.float64)
    norms = np.einsum("ij,ij->i", wide, wide) / 2
    labels = np.empty(len(rows), np.intp)
    step = max(1, CHUNK // max(len(centers), rows.shape[1]))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        scores = rows[part].astype(np.float64) @ wide.T
        scores -= norms
        labels[part] = scores.argmax(axis=1)
    return labels


def inertia(rows: Rows, centers: Rows) -> float:
    """Return the sum of squared distances of all rows to their nearest center."""
    return float(distances(rows, centers, nearest(rows, centers)).sum())


def check(what: str, reported: float, recomputed: float, scale: float = 0.0) -> None:
    """Stop the benchmark where shoal's own figure is not what float64 gives."""
    if not np.isclose(reported, recomputed, rtol=TOLERANCE, atol=TOLERANCE * scale):
        raise RuntimeError(f"{what}: shoal says {reported!r}, float64 gives {recomputed!r}")
