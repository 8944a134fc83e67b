"""Places on the Earth: degrees to points of the sphere and back, and kilometres."""

from __future__ import annotations

import doctest
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import shoal
from shoal import BadInputError, sphere

RNG = np.random.default_rng(11)
LAT = np.degrees(np.arcsin(RNG.uniform(-1, 1, 500)))
LON = RNG.uniform(-180, 180, 500)

#: Degrees of four cities, and kilometres between them by the haversine formula (R = 6371.0088).
BERLIN, PARIS, SYDNEY, AUCKLAND = (
    (52.52, 13.405),
    (48.8566, 2.3522),
    (-33.8688, 151.2093),
    (-36.8485, 174.7633),
)


def haversine(a: Any, b: Any) -> float:
    (lat1, lon1), (lat2, lon2) = np.radians(a), np.radians(b)
    h = np.sin((lat2 - lat1) / 2) ** 2
    h += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return float(2 * 6371.0088 * np.arcsin(np.sqrt(h)))


def test_known_places() -> None:
    found = shoal.to_sphere([0, 0, 90, -90, 0], [0, 90, 17, 0, 180])
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1], [-1, 0, 0]]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-15)
    np.testing.assert_allclose(shoal.to_sphere(0, 190), shoal.to_sphere([0], [-170]), atol=1e-15)


def test_there_and_back() -> None:
    points = shoal.to_sphere(LAT, LON)
    np.testing.assert_allclose((points**2).sum(axis=1), 1, rtol=1e-15)
    lat, lon = shoal.from_sphere(points)
    np.testing.assert_allclose(lat, LAT, atol=1e-12)
    np.testing.assert_allclose(lon, LON, atol=1e-12)
    again = shoal.from_sphere(points * 3.5)  # of any length
    np.testing.assert_allclose(again, (lat, lon), atol=1e-12)


def test_kilometres_are_those_of_the_haversine() -> None:
    cities = np.array([BERLIN, PARIS, SYDNEY, AUCKLAND])
    x = shoal.to_sphere(*cities.T)
    for metric, way in (
        ("cosine", haversine),
        ("squared_euclidean", lambda a, b: 2 * 6371.0088 * np.sin(haversine(a, b) / 2 / 6371.0088)),
    ):
        model = shoal.KMeansClustering(None, initial_clusters=x, distance_metric=metric)
        state = model.partial_fit(x, steps=1)
        found = shoal.sphere_km(state.transform(x), metric)
        expected = [[way(a, b) for b in cities] for a in cities]
        np.testing.assert_allclose(found, expected, atol=0.2)
    assert haversine(BERLIN, PARIS) == pytest.approx(877.5, abs=0.5)
    assert haversine(SYDNEY, AUCKLAND) == pytest.approx(2155, abs=3)
    assert float(shoal.sphere_km(2.0)) == pytest.approx(np.pi * 6371.0088)


def test_a_date_line_is_no_border() -> None:
    lat, lon = np.zeros(100), np.r_[np.full(50, 179.5), np.full(50, -179.5)]
    model = shoal.KMeansClustering(1, distance_metric="cosine", use_mini_batch=False)
    center = shoal.from_sphere(model.fit(shoal.to_sphere(lat, lon)).clusters())
    assert abs(center[0][0]) < 1e-12
    assert abs(abs(center[1][0]) - 180) < 1e-9


@pytest.mark.parametrize(
    ("lat", "lon", "words"),
    [
        ([1, 90.5], [0, 0], r"lat\[1\] is 90.5; it must be in degrees, from -90 to 90"),
        ([1, 2, 3], [0, 0, -181], r"lon\[2\] is -181; it must be in degrees, from -180 to 360"),
        ([np.inf], [0], r"lat\[0\] is inf"),
        ([1, 2], [0], "lat has 2 values and lon has 1"),
        ([[1, 2]], [[1, 2]], r"lat has shape \(1, 2\)"),
        (["north"], [0], "lat is no array of numbers"),
    ],
)
def test_no_places(lat: Any, lon: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        shoal.to_sphere(lat, lon)


def test_what_is_missing_is_missing() -> None:
    masked = np.ma.array([1.0, 1e20, 3.0], mask=[0, 1, 0])
    for lat in ([1, np.nan, 3], masked, pd.Series([1, None, 3]), [1, None, 3]):
        points = shoal.to_sphere(lat, [0, 0, 0])
        assert np.isnan(points).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: shoal.from_sphere(np.ones((2, 2))), r"points has shape \(2, 2\)"),
        (lambda: shoal.from_sphere([[1, 0, 0], [0, 0, 0]]), r"points\[1\] is the middle"),
        (lambda: shoal.from_sphere("x"), "points is no array"),
        (lambda: shoal.sphere_km([0.5, 2.5]), "scores holds 2.5; cosine distances .* from 0 to 2"),
        (lambda: shoal.sphere_km([-0.5]), "scores holds -0.5"),
        (lambda: shoal.sphere_km([np.nan]), "scores holds nan"),
        (lambda: shoal.sphere_km([1.0], "l1"), "l1"),
    ],
)
def test_no_points_and_no_distances(call: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        call()


PLACES = {"Lat": LAT, "LNG": LON}


@pytest.mark.parametrize(
    "data",
    [
        PLACES,
        pd.DataFrame(PLACES),
        pd.DataFrame({"pickup_latitude": LAT, "pickup_longitude": LON, "age": LAT}),
        lambda: iter([PLACES, PLACES]),
        [PLACES, PLACES],
    ],
    ids=["dict", "frame", "more columns", "stream", "shards"],
)
def test_the_cosine_of_degrees_is_warned_of(data: Any) -> None:
    for call in ("fit", "partial_fit"):
        model = shoal.KMeansClustering(3, distance_metric="cosine")
        with pytest.warns(UserWarning, match=r"degrees .* shoal\.to_sphere") as seen:
            getattr(model, call)(data)
        assert [one.filename for one in seen] == [__file__]


@pytest.mark.parametrize(
    "data", [{"lat": LAT, "b": LON}, {"plate": LAT, "salon": LON}, np.stack([LAT, LON], axis=1)]
)
def test_other_columns_are_not_warned_of(data: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shoal.KMeansClustering(3, distance_metric="cosine").fit(data)
        shoal.KMeansClustering(3).fit(PLACES)


def test_the_example_is_right() -> None:
    tried = doctest.testmod(sphere)
    assert tried.attempted > 5
    assert tried.failed == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "names", [("lat", "lon"), ("decimalLatitude", "decimalLongitude"), ("GPS_LAT", "GPS_LNG")]
)
def test_the_training_program_warns_of_degrees_under_cosine(
    names: tuple[str, str], stream: bool
) -> None:
    frame = pd.DataFrame(np.random.default_rng(3).uniform(1, 80, (20, 2)), columns=names)
    inputs = iter([frame, frame]) if stream else frame
    graph = shoal.KMeans(inputs, 2, distance_metric="cosine").training_graph()
    with pytest.warns(UserWarning, match=rf"to_sphere\({names[0]}, {names[1]}\)") as caught:
        graph.init_op()
    graph.training_op()  # a second one would be an error
    assert [one.filename for one in caught] == [__file__]


def test_words_that_hold_lat_or_lon_are_no_degrees() -> None:
    frame = pd.DataFrame(np.ones((4, 3)), columns=["plate", "balloon", "Platform"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shoal.KMeansClustering(1, distance_metric="cosine").fit(frame, steps=1)
