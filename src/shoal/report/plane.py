"""Where rows and centers lie on a map: principal components, two columns, or the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.checks import one_of
from shoal.errors import BadInputError
from shoal.report.reading import are_points, as_compared
from shoal.sources.sparse import Matrix, SparseRows, dense
from shoal.sphere import LATITUDES, LONGITUDES, from_sphere, places_among
from shoal.types import Floats

#: Ways to draw a map.
MAPS = ("auto", "pca", "columns", "world")
#: Rows that principal components are fitted to.
FITTED = 600
#: Centers nearer to the middle of the sphere than this have no place.
NEAR = 1e-3


@dataclass(frozen=True)
class Plane:
    """Positions on a map."""

    kind: str  # "pca", "columns" or "world"
    rows: Floats  # [m, 2]
    centers: Floats  # [k, 2]; NaN where a center has no place
    axes: tuple[str, str]
    note: str  # for the reader of the map


def plane_of(
    rows: Matrix, centers: Floats, metric: str, columns: Sequence[Any], wanted: str = "auto"
) -> Plane:
    """Positions of a sample of rows and of the centers.

    Parameters
    ----------
    rows, centers
        [m, d] and [k, d]; ``centers`` as users read them.
    metric
        Under cosine rows are brought to length one.
    columns
        Names of the columns, or ().
    wanted
        One of ``MAPS``: ``"auto"`` is the world where columns are latitude and longitude, or rows
        points of the sphere; the columns themselves where there are two at most; else ``"pca"``.

    Raises
    ------
    BadInputError
        For ``"world"`` without places, or ``"columns"`` of more than two.
    """
    one_of("map_view", wanted, MAPS)
    if wanted in ("auto", "world") and (found := _world(rows, centers, columns)) is not None:
        return found
    if wanted == "world":
        raise BadInputError(
            "map_view is 'world', and the rows are no places: there must be columns of latitude "
            "and longitude in degrees, or three that are points of the unit sphere (to_sphere)"
        )
    if wanted == "columns" and centers.shape[1] > 2:
        raise BadInputError(
            f"map_view is 'columns', and there are {centers.shape[1]} of them: a map has room for "
            "two. 'pca' draws principal components"
        )
    if centers.shape[1] <= 2 and wanted != "pca":
        return _plain(dense(rows).astype(np.float64), centers.astype(np.float64), columns)
    return _components(as_compared(rows, metric), centers.astype(np.float64), metric)


def _world(rows: Matrix, centers: Floats, columns: Sequence[Any]) -> Plane | None:
    if isinstance(rows, SparseRows):
        return None
    names = list(map(str, columns))
    note = "The world: longitude to the right, latitude upwards."
    if (places := places_among(names)) is not None and len(names) == rows.shape[1]:
        lat, lon = (rows[:, at].astype(np.float64) for at in places)
        inside = (lat >= LATITUDES[0]) & (lat <= LATITUDES[1])
        inside &= (lon >= LONGITUDES[0]) & (lon <= LONGITUDES[1])
        if not inside.all():
            return None
        middle = centers[:, list(places)].astype(np.float64)
        return Plane("world", _lon_lat(lat, lon), _lon_lat(*middle.T), DEGREES, note)
    if not may_be_points(names, rows.shape[1]) or not are_points(rows):
        return None
    found = np.full((len(centers), 2), np.nan)
    known = np.linalg.norm(centers, axis=1) > NEAR
    found[known] = _lon_lat(*from_sphere(centers[known]))
    return Plane("world", _lon_lat(*from_sphere(rows)), found, DEGREES, note)


DEGREES = ("longitude (degrees)", "latitude (degrees)")


def may_be_points(names: Sequence[str], columns: int) -> bool:
    """Whether rows may be points of the sphere, for what their columns are called."""
    called = not names or names[0].startswith("sphere(")
    return columns == 3 and (called or [name.lower() for name in names] == ["x", "y", "z"])


def _lon_lat(lat: Floats, lon: Floats) -> Floats:
    return np.stack([(lon + 180) % 360 - 180, lat], axis=1)


def _plain(rows: Floats, centers: Floats, columns: Sequence[Any]) -> Plane:
    if rows.shape[1] == 1:
        name = str(columns[0]) if columns else "column 0"
        spread = np.random.default_rng(0).uniform(-1, 1, len(rows))
        return Plane(
            "columns",
            np.stack([rows[:, 0], spread], axis=1),
            np.stack([centers[:, 0], np.zeros(len(centers))], axis=1),
            (name, ""),
            "The one column of the data; heights are random, so that rows can be told apart.",
        )
    names = tuple(map(str, columns)) if columns else ("column 0", "column 1")
    return Plane("columns", rows, centers, (names[0], names[1]), "The two columns of the data.")


def _components(rows: Any, centers: Floats, metric: str) -> Plane:
    """The first two principal components of the first rows, which are a sample."""
    fitted = rows[:FITTED]
    mean = np.asarray(fitted.mean(axis=0)).ravel()
    axes, share = _axes(fitted, mean)

    def placed(some: Any) -> Floats:
        found: Floats = np.asarray(some @ axes) - mean @ axes
        return found

    note = (
        f"Principal components of the rows: the plane shows {share:.0%} of their variance, and "
        "what is apart elsewhere may lie together here."
    )
    if metric == "cosine":
        note = f"{note} Rows and centers are of length one."
    labels = ("first principal component", "second principal component")
    return Plane("pca", placed(rows), placed(centers), labels, note)


def _axes(rows: Any, mean: Floats) -> tuple[Floats, float]:
    """Directions [d, 2] of the largest variance, and the share of it that they have.

    By the eigenvectors of the smaller of X'X and XX', X being centered.
    """
    number, dim = rows.shape
    if isinstance(rows, np.ndarray):
        centered = rows - mean
        inner = centered.T @ centered if dim <= number else centered @ centered.T
    else:  # sparse: XX' of centered rows, which stay sparse
        products = np.asarray((rows @ rows.T).toarray())
        along = np.asarray(rows @ mean).ravel()
        inner = products - along[:, None] - along[None] + mean @ mean
    values, vectors = np.linalg.eigh(inner)
    total = float(np.maximum(values, 0).sum())
    two = vectors[:, ::-1][:, :2]
    if inner.shape[0] != dim or not isinstance(rows, np.ndarray):
        two = np.asarray(rows.T @ two) - np.outer(mean, two.sum(axis=0))
    two = two / np.maximum(np.linalg.norm(two, axis=0), 1e-300)
    if two.shape[1] < 2:
        two = np.concatenate([two, np.zeros((dim, 2 - two.shape[1]))], axis=1)
    # The sign of an eigenvector says nothing: the largest part of each is made positive.
    largest = two[np.abs(two).argmax(axis=0), np.arange(2)]
    two = two * np.where(largest < 0, -1, 1)
    share = float(np.maximum(values[::-1][:2], 0).sum()) / total if total > 0 else 1.0
    return two, share
