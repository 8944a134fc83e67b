"""Nulls of Arrow data: rows with one are missing, named by their row in the data, or dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import write

import shoal
from shoal import BadInputError
from shoal.sources.array import to_rows
from shoal.sources.columns import Columns
from shoal.sources.files import open_path


def lists(values: Any, kind: Any = None) -> Any:
    return pa.array(values, kind or pa.list_(pa.float32(), 2))


NULLS = {
    "number": {"a": [0.0, 1.0, None, 3.0], "b": [0, 1, 2, 3]},
    "whole number": {"a": [0, 1, 2, 3], "b": [0, 1, None, 3]},
    "truth": {"a": [True, False, None, True], "b": [0, 1, 2, 3]},
    "list": {"a": lists([[1, 2], [3, 4], None, [5, 6]])},
    "in a list": {"a": lists([[1, 2], [3, 4], [5, None], [5, 6]])},
    "variable list": {"a": lists([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int16()))},
    "both": {
        "a": lists([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int16())),
        "b": [1, 2, None, 4],
    },
}


def no_nulls(path: Path, columns: Any, weight: str | None = None) -> None:
    """Row 2 is missing: an error names it, "skip" drops it."""
    [rows] = open_path(path, Columns(None, weight)).stream()
    assert rows.missing.tolist() == [False, False, True, False]
    assert not rows.rows[2].any()
    model = shoal.KMeansClustering(2, use_mini_batch=False, weight_column=weight)
    with pytest.raises(BadInputError, match=r"missing value .*row 2"):
        model.fit(path, steps=1)
    model.set_params(on_bad_rows="skip")
    with pytest.warns(UserWarning, match="dropped 1 of 4 rows"):
        model.fit(path, steps=1)
    table = pa.concat_tables([pa.table(columns)[i : i + 1] for i in (0, 1, 3)])
    other = shoal.KMeansClustering(2, use_mini_batch=False, weight_column=weight)
    assert np.array_equal(other.fit(table, steps=1).clusters(), model.clusters())


@pytest.mark.parametrize("kind", NULLS)
def test_nulls_are_missing_rows(tmp_path: Path, kind: str) -> None:
    try:
        path = write(tmp_path / "x.parquet", NULLS[kind])
    except pa.ArrowNotImplementedError:  # null lists of a fixed size, in older versions
        path = write(tmp_path / "x.feather", NULLS[kind])
    no_nulls(path, NULLS[kind])
    rows = to_rows(pa.table(NULLS[kind]), Columns())
    assert rows.missing is not None
    assert rows.missing.tolist() == [False, False, True, False]


def test_a_null_weight_is_a_missing_row(tmp_path: Path) -> None:
    columns = {"a": [1.0, 2, 3, 4], "w": [1, 2, None, 4]}
    no_nulls(write(tmp_path / "x.parquet", columns), columns, "w")


def test_a_null_is_named_by_its_file_and_row(tmp_path: Path) -> None:
    for i in range(3):
        columns = {
            "b": np.arange(60.0),
            "a": [None if (i, j) == (2, 33) else 1.0 for j in range(60)],
        }
        write(tmp_path / f"{i}.parquet", columns, row_group_size=20)
    for mini_batch, size in ((False, None), (True, 30)):
        model = shoal.KMeansClustering(2, use_mini_batch=mini_batch)
        with pytest.raises(BadInputError, match=r"2\.parquet has a missing value .* row 33"):
            model.fit(tmp_path, steps=20, batch_size=size)


def test_whole_numbers_beside_nulls_keep_every_bit() -> None:
    large = 2**53 - 1
    rows = to_rows(pa.table({"a": pa.array([large, None])}), Columns())
    assert int(rows.rows[0, 0]) == large
    with pytest.raises(BadInputError, match=r"holds 9007199254740993 in row 1, column 'a'"):
        to_rows(pa.table({"a": pa.array([None, 2**53 + 1])}), Columns())
