"""Write clusters of the world's cities as one self-contained HTML page.

The page is drawn by the template ``world_map.html`` next to this file: a canvas map on which the
cities themselves draw the continents.  It needs no network and no other file.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["write_world_map"]

_TEMPLATE = Path(__file__).with_name("world_map.html")

# Colors for a dark background, around the hue circle, of about the same visual weight.
_PALETTE = ["#ff6f61", "#ffa94d", "#ffe066", "#b2e55a", "#4fd18b", "#35d0ba"]
_PALETTE += ["#4cc3ff", "#6c8dff", "#a17bff", "#e07bf0", "#ff7eb0"]


def _unit_vectors(
    latitude: npt.NDArray[np.float64], longitude: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the points [n, 3] on the unit sphere."""
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _colors(centers: npt.NDArray[np.float64]) -> list[str]:
    """Choose a palette color per cluster so that neighbours differ.

    Greedy, then a few sweeps that give every cluster the color that clashes least with those of
    the clusters around it; "around" is measured against the distance to the sixth neighbour, so
    that crowded and empty regions are treated alike.
    """
    k = len(centers)
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _PALETTE]) / 255.0
    gap = np.square(rgb[:, None] - rgb[None]).sum(axis=2)
    clash = np.exp(-gap / 0.12)

    angle = np.arccos(np.clip(centers @ centers.T, -1.0, 1.0))
    reach = np.maximum(np.sort(angle, axis=1)[:, min(6, k - 1)], 1e-6)
    nearness = np.exp(-np.square(angle) / np.outer(reach, reach))
    np.fill_diagonal(nearness, 0.0)

    chosen = np.zeros((k, len(_PALETTE)))
    for _ in range(6):
        for i in range(k):
            chosen[i] = 0.0
            # The second term keeps the use of the colors even where nothing else decides.
            cost = (nearness[i] @ chosen) @ clash + 0.2 * chosen.mean(axis=0)
            chosen[i, np.argmin(cost)] = 1.0
    return [_PALETTE[i] for i in chosen.argmax(axis=1)]


def _json(value: object) -> str:
    """Return JSON that is safe inside an HTML script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def write_world_map(
    path: str | os.PathLike[str],
    *,
    latitude: npt.ArrayLike,
    longitude: npt.ArrayLike,
    cluster_idx: npt.ArrayLike,
    labels: Sequence[str],
    loss: Sequence[float],
    title: str,
    subtitle: str = "",
) -> None:
    """Write one HTML page that shows clusters of cities on a world map.

    Parameters
    ----------
    path
        The file to write.
    latitude, longitude
        The cities' positions in degrees, [n].
    cluster_idx
        The cluster of each city, [n], whole numbers from 0 to ``len(labels) - 1``.
    labels
        A name for each cluster, for example that of the city nearest to its center,
        ``"Nagpur, IN"``.
    loss
        The loss per step, for a small curve; fewer than two values leave the curve out.
    title, subtitle
        The heading of the page and the line below it, as plain text.

    Raises
    ------
    ValueError
        If the arrays do not fit together, or a value is out of range or not finite.
    """
    lat = np.asarray(latitude, dtype=np.float64)
    lon = np.asarray(longitude, dtype=np.float64)
    idx = np.asarray(cluster_idx)
    n, k = lat.size, len(labels)
    if not lat.shape == lon.shape == idx.shape == (n,) or n == 0:
        raise ValueError("latitude, longitude, cluster_idx must be 1-D, of one length, not empty")
    if not (np.abs(lat) <= 90.0).all() or not (np.abs(lon) <= 180.0).all():
        raise ValueError("latitude must be within -90..90 and longitude within -180..180 degrees")
    if not np.issubdtype(idx.dtype, np.integer) or idx.min() < 0 or idx.max() >= k:
        raise ValueError(f"cluster_idx must hold integers from 0 to len(labels) - 1 = {k - 1}")

    idx = idx.astype(np.int64)
    counts = np.bincount(idx, minlength=k)
    points = _unit_vectors(lat, lon)
    sums = np.stack([np.bincount(idx, points[:, d], minlength=k) for d in range(3)], axis=1)
    centers = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    center_lat = np.degrees(np.arcsin(np.clip(centers[:, 2], -1.0, 1.0)))
    center_lon = np.degrees(np.arctan2(centers[:, 1], centers[:, 0]))

    clusters = [
        {"label": str(label), "count": int(count), "color": color, "lat": y, "lon": x}
        for label, count, color, y, x in zip(
            labels,
            counts,
            _colors(centers),
            center_lat.round(3).tolist(),
            center_lon.round(3).tolist(),
            strict=True,
        )
    ]
    # Cities go cluster by cluster, so that the counts alone say which city belongs where; each is
    # four bytes, its longitude and latitude in 65,535 steps (about 600 m and 300 m).
    order = np.argsort(idx, kind="stable")
    steps = np.stack([(lon[order] + 180.0) / 360.0, (lat[order] + 90.0) / 180.0], axis=1) * 65535.0
    packed = base64.b64encode(np.rint(steps).astype("<u2").tobytes()).decode("ascii")

    values = {
        "title": html.escape(title),
        "subtitle": html.escape(subtitle),
        "data": _json({"clusters": clusters, "loss": [float(value) for value in loss]}),
        "points": packed,
    }
    template = _TEMPLATE.read_text(encoding="utf-8")
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
    Path(path).write_text(page, encoding="utf-8")
