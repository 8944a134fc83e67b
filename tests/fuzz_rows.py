"""Doors of rows: arrays, tables, weights and parameters as nobody would write them on purpose.

Each door draws one case and ends in a right answer, whose kind it returns, or in one of shoal's
errors; anything else is a failure. ``fuzz.py`` runs them, ``test_fuzz.py`` some of each.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from helpers import distances
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import shoal

Draw = Callable[..., Any]

INTEGERS = [
    np.dtype(f"{order}{kind}{size}") for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)
]
FLOATS = [np.dtype(f"{order}f{size}") for order in "<>" for size in (2, 4, 8)]
OTHERS = [
    np.dtype(name) for name in ("?", "c8", "c16", "U3", "S3", "O", "M8[s]", "m8[ms]", "V4", "g")
]
ODD_VALUES = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-310, 1e-30, 1e19, 3e38, 1e100, 1e160, 1e308)


# ---- What a right answer is ----


def check_labels(rows: Any, centers: Any, labels: Any, metric: str) -> None:
    """Each label is that of a center that no other is nearer than, in float64."""
    assert labels.shape == (len(rows),)
    assert labels.dtype.kind == "i"
    if len(rows) == 0:
        return
    assert labels.min() >= 0
    assert labels.max() < len(centers)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        away = distances(np.asarray(rows, np.float64), np.asarray(centers, np.float64), metric)
        size = np.abs(rows.astype(np.float64)).max() + np.abs(centers).max()
    if not np.isfinite(away).all():
        return  # NumPy's own arithmetic cannot tell
    chosen = np.take_along_axis(away, labels[:, None].astype(np.int64), axis=1)[:, 0]
    rounding = 1e-12 if metric == "cosine" else 64 * np.finfo(np.float64).eps * size**2 + 5e-324
    assert (chosen <= away.min(axis=1) + rounding).all()


def answer(model: shoal.KMeansClustering, rows: Any, labels: Any, metric: str) -> str:
    """Check what a model says of plain rows [n, d]."""
    centers = model.clusters()
    assert np.isfinite(centers).all()
    check_labels(rows, centers, labels, metric)
    return "labels"


def labels_of(model: shoal.KMeansClustering, data: Any) -> Any:
    """The labels of all rows."""
    return np.array([row["cluster_idx"] for row in model.predict(data)], np.int64)


# ---- Arrays ----


def _arrays(draw: Draw) -> Any:
    dtype = draw(st.sampled_from(FLOATS * 4 + INTEGERS * 2 + OTHERS))
    rank = draw(st.sampled_from((2,) * 12 + (0, 1, 3)))
    shape = tuple(draw(st.sampled_from((0, 1, 2, 3, 4, 9, 12, 12, 12))) for _ in range(rank))
    if dtype.kind == "O":
        values: Any = st.sampled_from((1, 2.5, None, "a", decimal.Decimal(3), [1], float("nan")))
    elif dtype.kind in "fg":
        limit = float(np.finfo(dtype).max) if dtype.itemsize < 16 else 1e308
        odd = [v for v in ODD_VALUES if v <= limit]
        values = st.one_of(
            st.integers(-5, 5).map(float),
            st.sampled_from(odd),
            npst.from_dtype(dtype, allow_nan=draw(st.booleans())),
        )
    elif dtype.kind in "iu":
        values = st.one_of(st.integers(0, 5), npst.from_dtype(dtype))
    elif dtype.kind == "V":
        return np.zeros(shape, dtype)
    else:
        values = npst.from_dtype(dtype)
    array = draw(npst.arrays(dtype, shape, elements=values))
    return _lain(draw, array)


def _lain(draw: Draw, array: Any) -> Any:
    """The same values, lying in memory in another way."""
    way = draw(st.sampled_from(("C", "F", "reversed", "strided", "unaligned", "readonly", "zero")))
    if array.ndim != 2 or way == "C":
        return array
    if way == "F":
        return np.asfortranarray(array)
    if way == "reversed":
        return array[::-1, ::-1]
    if way == "readonly":
        array.flags.writeable = False
        return array
    if way == "zero":
        return np.broadcast_to(array[:1], array.shape) if len(array) else array
    if way == "unaligned" and array.dtype.kind != "O":
        room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
        room = room.reshape(array.shape)
        room[...] = array
        return room
    wide = np.zeros((2 * array.shape[0], 3 * array.shape[1]), array.dtype)
    wide[::2, ::3] = array
    return wide[::2, ::3]


def _model(draw: Draw) -> tuple[shoal.KMeansClustering, str]:
    metric = draw(st.sampled_from(("squared_euclidean", "cosine")))
    model = shoal.KMeansClustering(
        draw(st.integers(1, 6)),
        distance_metric=metric,
        initial_clusters=draw(st.sampled_from(("random", "kmeans_plus_plus", "kmc2", "afkmc2"))),
        use_mini_batch=draw(st.booleans()),
        on_bad_rows=draw(st.sampled_from(("error", "error", "skip"))),
        empty_clusters=draw(st.sampled_from(("relocate", "keep"))),
        random_seed=draw(st.integers(0, 3)),
        num_threads=1,
    )
    return model, metric


def arrays(draw: Draw) -> str:
    """An array of any dtype, shape and layout."""
    rows = _arrays(draw)
    model, metric = _model(draw)
    model.fit(rows, steps=draw(st.integers(1, 3)))
    labels = labels_of(model, rows)
    if len(labels) != len(rows):
        assert model.get_params()["on_bad_rows"] == "skip"
        rows = rows[np.isfinite(np.asarray(rows, np.float64)).all(axis=1)]
    return answer(model, np.asarray(rows), labels, metric)


# ---- Weights ----


def weights(draw: Draw) -> str:
    """Weights of any kind beside rows that are right."""
    rows = np.arange(24.0).reshape(12, 2) % 7
    kinds = ("array", "list", "text", "masked", "column", "column", "right", "right", "number")
    kind = draw(st.sampled_from(kinds))
    if kind == "array":
        given: Any = _arrays(draw)
    elif kind == "masked":
        given = np.ma.array(np.ones(12), mask=draw(npst.arrays(bool, 12)))
    elif kind == "column":
        given = draw(npst.arrays(np.float64, (12, 1), elements=st.floats(0, 3)))
    elif kind == "right":
        given = draw(npst.arrays(draw(st.sampled_from(FLOATS)), 12, elements=st.integers(0, 4)))
    elif kind == "text":
        given = draw(st.text(max_size=12))
    elif kind == "number":
        given = draw(st.floats())
    else:
        number = st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=1))
        given = draw(st.lists(number, min_size=10, max_size=13))
    model, metric = _model(draw)
    model.fit(rows, steps=2, sample_weight=given)
    return answer(model, rows, labels_of(model, rows), metric)


# ---- Tables ----

CELLS: tuple[Callable[[int], Any], ...] = (
    lambda i: float(i % 5),
    lambda i: i % 7,
    lambda i: None if i % 5 == 3 else float(i),
    lambda i: float("nan") if i % 6 == 2 else i / 4,
    lambda i: i % 2 == 0,
    lambda i: f"name {i}",
    lambda i: decimal.Decimal(i) / 4,
    lambda i: datetime.date(2020, 1, 1 + i % 28),
    lambda i: datetime.datetime(2020, 1, 1 + i % 28, tzinfo=datetime.timezone.utc),
    lambda i: datetime.timedelta(seconds=i),
    lambda i: [float(i), 1.0],
    lambda i: [1.0] * (i % 3),
    lambda i: {"a": i},
    lambda _: b"bytes",
    lambda _: None,
    lambda i: 2**63 + i if i % 2 else 3,
    lambda i: 10.0**i,
)
NAMES = (
    "a",
    "b",
    "c",
    "",
    " ",
    "0",
    "a.b",
    "cluster_idx",
    "x" * 300,
    "<b>",
    "é",
    "\x1b[31m",
    "a\nb",
    "__index_level_0__",
)
MAKERS: tuple[Callable[[dict[str, Any]], Any], ...] = (
    dict,
    pd.DataFrame,
    lambda columns: pl.DataFrame(columns, strict=False),
    pa.table,
    lambda columns: pa.table(columns).to_batches(),
    lambda columns: pd.DataFrame(columns).convert_dtypes(),
    lambda columns: pd.DataFrame(columns).set_index(next(iter(columns))),
    lambda columns: [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ],
    lambda columns: pd.concat([pd.DataFrame(columns)] * 2, axis=1),
)


def tables(draw: Draw) -> str:
    """A frame, table or dict with columns of any type and any name."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    count = draw(st.integers(0, 20))
    columns = {}
    for name in names:
        cell = draw(st.sampled_from(CELLS[:4] * 3 + CELLS))
        columns[name] = [cell(i) for i in range(count)]
    try:
        data = draw(st.sampled_from(MAKERS))(columns)
    except (ValueError, TypeError, OverflowError, pa.ArrowException, pl.exceptions.PolarsError):
        return "refused by its maker"
    some = st.lists(st.sampled_from(names), max_size=3)
    model, _ = _model(draw)
    model.set_params(feature_columns=draw(st.one_of(st.none(), st.none(), some)))
    model.fit(data, steps=2)
    labels = labels_of(model, data)
    assert len(labels) <= 2 * count
    assert np.isfinite(model.clusters()).all()
    return "labels"


# ---- Parameters ----

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 10),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.sampled_from(
        (
            np.float32(2),
            np.int64(3),
            np.array(4),
            np.array([2]),
            [],
            (),
            {},
            set(),
            object,
            len,
            1j,
            ...,
            "random",
            "cosine",
            "relocate",
            "skip",
            "\0",
        )
    ),
    npst.arrays(np.float64, npst.array_shapes(max_dims=3, max_side=4)),
)
PARAMETERS = (
    "num_clusters",
    "initial_clusters",
    "distance_metric",
    "random_seed",
    "use_mini_batch",
    "mini_batch_steps_per_iteration",
    "kmeans_plus_plus_num_retries",
    "relative_tolerance",
    "config",
    "kmc2_chain_length",
    "kmeans_parallel_rounds",
    "kmeans_parallel_oversampling",
    "empty_clusters",
    "reassignment_ratio",
    "feature_columns",
    "weight_column",
    "on_bad_rows",
    "memory_budget",
    "num_threads",
)
OF_FIT = ("x", "y", "steps", "max_steps", "batch_size", "sample_weight", "monitors", "input_fn")
# Too much to wait for is not a mistake: these are asked for little more than once.
PATIENCE = {
    "steps": 50,
    "max_steps": 50,
    "kmc2_chain_length": 10_000,
    "kmeans_plus_plus_num_retries": 100,
    "kmeans_parallel_rounds": 50,
    "num_threads": 1000,
}


def _whole(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def parameters(draw: Draw) -> str:
    """Any value for any argument of the constructor and of ``fit``."""
    rows = np.arange(60.0).reshape(30, 2) % 11
    chosen = {"num_clusters": 3, "use_mini_batch": draw(st.booleans()), "num_threads": 1}
    for name in draw(st.lists(st.sampled_from(PARAMETERS), min_size=0, max_size=2)):
        chosen[name] = draw(ANYTHING)
    of_fit: dict[str, Any] = {"steps": 2}
    for name in draw(st.lists(st.sampled_from(OF_FIT), max_size=1)):
        of_fit[name] = draw(ANYTHING)
    for name, most in PATIENCE.items():
        for arguments in (chosen, of_fit):
            value = arguments.get(name)
            if _whole(value) and most < value < 2**62:  # type: ignore[operator]
                arguments[name] = most
    if of_fit.get("steps") is None and chosen.get("use_mini_batch"):
        of_fit["steps"] = 2
    model = shoal.KMeansClustering(**chosen)
    model.fit(**{"x": rows} | of_fit)
    labels = labels_of(model, rows)
    assert labels.shape == (30,)
    return "labels"
