"""Warnings come once for each call, and point at the line that called shoal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

import shoal

ROWS = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
BAD = ROWS.copy()
BAD[[7, 250, 251]] = np.nan

KINDS = ("array", "shards", "parquet", "callable", "generator", "callable of an array")
CALLS: dict[str, Callable[[shoal.KMeansClustering, Any], Any]] = {
    "fit": lambda model, data: model.fit(data, steps=4),
    "partial_fit": lambda model, data: model.partial_fit(data),
    "predict": lambda model, data: model.predict(data, as_iterable=False),
    "predict by row": lambda model, data: list(model.predict(data)),
    "predict_cluster_idx": lambda model, data: list(model.predict_cluster_idx(data)),
    "transform": lambda model, data: model.transform(data),
    "score": lambda model, data: model.score(data),
    "evaluate": lambda model, data: model.evaluate(data),
}


def data_of(kind: str, rows: Any, folder: Path) -> Any:
    if kind == "shards":
        return np.array_split(rows, 3)
    if kind == "parquet":
        table = pa.table({name: rows[:, i] for i, name in enumerate("abc")})
        pq.write_table(table, folder / "x.parquet", row_group_size=100)
        return folder / "x.parquet"
    batches = np.array_split(rows, 4)
    if kind == "callable":
        return lambda: iter(batches)
    if kind == "generator":
        return iter(batches)
    return rows if kind == "array" else lambda: rows


def warned(call: Callable[[], Any]) -> str:
    """The one warning of a call, which must point here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert [str(one.message) for one in caught] == [str(caught[0].message)]
    assert caught[0].filename == __file__
    return str(caught[0].message)


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_left_out_are_told_once_at_the_users_line(
    kind: str, method: str, tmp_path: Path
) -> None:
    model = shoal.KMeansClustering(3, on_bad_rows="skip").fit(ROWS, steps=1)
    message = warned(lambda: CALLS[method](model, data_of(kind, BAD, tmp_path)))
    assert "dropped 3 of 400 rows" in message or method == "partial_fit"
    assert message.startswith(("x", "input_fn", str(tmp_path)))


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize(
    "method", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_left_out_while_centers_are_chosen_and_trained_are_told_once(
    kind: str, method: str, mini: bool, tmp_path: Path
) -> None:
    if kind == "generator" and not mini:
        return  # refused
    model = shoal.KMeansClustering(
        3, initial_clusters=method, use_mini_batch=mini, on_bad_rows="skip"
    )
    message = warned(lambda: model.fit(data_of(kind, BAD, tmp_path)))
    assert "dropped 3 of 400 rows" in message


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_distinct_rows_are_told_once_at_the_users_line(kind: str, tmp_path: Path) -> None:
    model = shoal.KMeansClustering(5, initial_clusters="kmeans_plus_plus")
    rows = np.repeat(ROWS[:3], 30, axis=0)[np.random.default_rng(1).permutation(90)]
    message = warned(lambda: model.fit(data_of(kind, rows, tmp_path), steps=2))
    assert "2 of the 5 centers repeat others" in message


def test_a_conversion_of_sparse_rows_is_told_at_the_users_line() -> None:
    rows = scipy.sparse.csc_array(np.eye(4))
    assert "CSC format" in warned(lambda: shoal.KMeansClustering(2).fit(rows, steps=1))
    assert "CSC format" in warned(lambda: shoal.open(rows))
