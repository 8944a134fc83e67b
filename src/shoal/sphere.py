"""Places on the Earth as points of the unit sphere, and back; distances in kilometres."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.checks import warn_user
from shoal.errors import BadInputError
from shoal.metric import check_metric, is_cosine

Points = npt.NDArray[np.float64]

#: Mean radius of the Earth.
EARTH_RADIUS_KM = 6371.0088

#: Degrees that a latitude and a longitude may have; both ways of counting eastwards are in use.
LATITUDES = (-90.0, 90.0)
LONGITUDES = (-180.0, 360.0)

#: Words of a name: runs of letters, and what a capital begins.
_WORDS = re.compile("[A-Z]?[a-z]+|[A-Z]+")
#: What columns of latitudes and of longitudes are called.
LATITUDE_NAMES = {"lat", "latitude"}
LONGITUDE_NAMES = {"lon", "lng", "long", "longitude"}


def to_sphere(lat: Any, lon: Any) -> Points:
    """Places as points of the unit sphere, which k-means can average.

    Degrees are no coordinates for k-means: a degree of longitude is 111 km at the equator and
    nothing at the poles, and 179.9 is beside -179.9. On the points use
    ``distance_metric="cosine"``: distances are then those along the ground, and centers lie on it.

    Parameters
    ----------
    lat, lon
        Latitude and longitude in degrees, [n] each, or a number each; a longitude from -180 to 180
        or from 0 to 360. A place where one is NaN is three NaN, for ``on_bad_rows``.

    Returns
    -------
    ndarray
        [n, 3] float64: (cos lat · cos lon, cos lat · sin lon, sin lat).

    Raises
    ------
    BadInputError
        For degrees out of range, which are named with their index, or shapes that differ.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> lat, lon = np.array([52.52, 48.86, -33.87, -37.81]), np.array([13.40, 2.35, 151.21, 144.96])
    >>> x = shoal.to_sphere(lat, lon)
    >>> model = shoal.KMeansClustering(None, initial_clusters=x[[0, 2]], distance_metric="cosine",
    ...                                use_mini_batch=False).fit(x)
    >>> [c.round(1).tolist() for c in shoal.from_sphere(model.clusters())]
    [[50.8, -35.9], [7.7, 148.2]]
    >>> found = model.predict(x, outputs=["scores"], as_iterable=False)
    >>> shoal.sphere_km(found["scores"], "cosine").round().tolist()
    [439.0, 439.0, 357.0, 357.0]
    """
    latitude, longitude = degrees(lat, "lat"), degrees(lon, "lon")
    if latitude.shape != longitude.shape:
        raise BadInputError(
            f"lat has {len(latitude)} values and lon has {len(longitude)}: give one of each for "
            "every place"
        )
    for name, values, allowed in (("lat", latitude, LATITUDES), ("lon", longitude, LONGITUDES)):
        if (bad := first_outside(values, allowed)) is not None:
            raise BadInputError(f"{name}[{bad}] is {outside(values[bad], allowed)}")
    return points_of(latitude, longitude)


def from_sphere(points: Any) -> tuple[Points, Points]:
    """Latitude and longitude of points, in degrees: the way back from ``to_sphere``.

    Parameters
    ----------
    points
        [n, 3], of any length but zero: centers of any metric may be given.

    Returns
    -------
    tuple of ndarray
        Latitudes [n] from -90 to 90 and longitudes [n] from -180 to 180, float64.

    Raises
    ------
    BadInputError
        If there are not three columns, or a point is the middle of the sphere.

    Examples
    --------
    >>> import shoal
    >>> latitude, longitude = shoal.from_sphere(shoal.to_sphere([52.5], [13.4]))
    >>> float(latitude[0].round(3)), float(longitude[0].round(3))
    (52.5, 13.4)
    """
    try:
        xyz = np.asarray(points, np.float64)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"points is no array of numbers: {error}") from None
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise BadInputError(f"points has shape {xyz.shape}; it must be [n, 3], as to_sphere gives")
    middle = np.flatnonzero(~xyz.any(axis=1))
    if len(middle):
        raise BadInputError(f"points[{middle[0]}] is the middle of the sphere, which is no place")
    x, y, z = xyz.T
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def sphere_km(scores: Any, metric: str = "cosine") -> Points:
    """Distances between points of the unit sphere in kilometres on the Earth.

    Parameters
    ----------
    scores
        Distances as ``predict``, ``transform`` and ``scores`` give them, of any shape.
    metric
        ``"cosine"``: along the ground (great circle), R · 2 · arcsin(√(score / 2)).
        ``"squared_euclidean"``: straight (chord), R · √score; centers of this metric lie below the
        ground, so there is no way along it.

    Returns
    -------
    ndarray
        Kilometres, float64, R being 6371.0088 km. No sums: √ of a mean is no mean of √.

    Raises
    ------
    BadInputError
        For an unknown metric, or scores that are no distances between points of the unit sphere.

    Examples
    --------
    >>> import shoal
    >>> float(shoal.sphere_km(1.0, "cosine").round())  # a quarter of the way around
    10008.0
    """
    check_metric(metric)
    try:
        distance = np.asarray(scores, np.float64)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"scores is no array of numbers: {error}") from None
    most = 2.0 if is_cosine(metric) else 4.0
    wrong = ~((distance >= 0) & (distance <= most * (1 + 1e-6)))
    if wrong.any():
        raise BadInputError(
            f"scores holds {distance[wrong][0]}; {metric} distances between points of the unit "
            f"sphere are from 0 to {most:g}: give those of rows that to_sphere made, no sums"
        )
    if is_cosine(metric):
        return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(distance / 2, 1)))
    return EARTH_RADIUS_KM * np.sqrt(distance)


def degrees(values: Any, name: str) -> Points:
    """Values as float64 [n]; what is masked is NaN."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.atleast_1d(np.asarray(values, np.float64))
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{name} is no array of numbers: {error}") from None
    if array.ndim != 1:
        raise BadInputError(f"{name} has shape {array.shape}; it must be [n]: degrees of n places")
    return array


def first_outside(values: Points, allowed: tuple[float, float]) -> int | None:
    """Index of the first value that is out of range; NaN is not."""
    bad = np.flatnonzero((values < allowed[0]) | (values > allowed[1]))
    return int(bad[0]) if len(bad) else None


def outside(value: float, allowed: tuple[float, float]) -> str:
    """What is wrong with a value, for a message."""
    return f"{value:g}; it must be in degrees, from {allowed[0]:g} to {allowed[1]:g}"


def points_of(latitude: Points, longitude: Points) -> Points:
    """Points [n, 3] of degrees that are in range."""
    lat, lon = np.radians(latitude), np.radians(longitude)
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    points[np.isnan(lat) | np.isnan(lon)] = np.nan
    return points


def warn_of_degrees(columns: Iterable[object], metric: str) -> None:
    """Warn where the cosine of latitudes and longitudes is asked for, which says nothing."""
    names = list(map(str, columns))
    if is_cosine(metric) and (places := places_among(names)) is not None:
        lat, lon = (names[at] for at in places)
        warn_user(
            f"distance_metric is 'cosine' on the columns {lat!r} and {lon!r}: degrees are no "
            "directions, so places far apart count as near. Train on "
            f"shoal.to_sphere({lat}, {lon}), points of the sphere, whose cosine distance is that "
            f"along the ground (on the command line: --sphere {lat},{lon})"
        )


def places_among(names: Sequence[str]) -> tuple[int, int] | None:
    """Which columns are called latitude and longitude, if any are."""
    words = [{word.lower() for word in _WORDS.findall(name)} for name in names]
    lat = next((at for at, said in enumerate(words) if said & LATITUDE_NAMES), None)
    lon = next((at for at, said in enumerate(words) if said & LONGITUDE_NAMES), None)
    return None if lat is None or lon is None or lat == lon else (lat, lon)
