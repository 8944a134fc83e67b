"""Tables in memory: pyarrow, polars, DuckDB, pandas; their nulls, lists and slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import shoal
from shoal import BadInputError
from shoal.sources.array import to_rows
from shoal.sources.columns import Columns

X = np.random.default_rng(6).normal(size=(60, 3)).astype(np.float32)


def named(rows: Any) -> dict[str, Any]:
    return {name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate("abc")}


def frames() -> dict[str, Callable[[dict[str, Any]], Any]]:
    import duckdb
    import pandas
    import polars

    return {
        "pyarrow": pa.table,
        "polars": polars.DataFrame,
        "pandas": lambda columns: pandas.DataFrame(columns, index=range(5, 5 + len(columns["b"]))),
        "DuckDB": lambda columns: duckdb.connect().from_arrow(pa.table(columns)),
    }


@pytest.mark.parametrize("library", ["pyarrow", "polars", "pandas", "DuckDB"])
def test_tables_in_memory(library: str) -> None:
    make = frames()[library]
    columns = {"b": X[:, 0], "w": X[:, 1] ** 2, "a": X[:, 2]}
    rows = to_rows(make(columns), Columns(weight="w"))
    assert np.array_equal(rows.rows, X[:, [0, 2]])
    assert rows.rows.dtype == np.float32
    assert rows.columns == ("b", "a")
    assert rows.weights is not None
    assert np.array_equal(rows.weights, columns["w"].astype(np.float64))
    with pytest.raises(BadInputError, match="no column 'z'"):
        to_rows(make(columns), Columns(["z"]))
    with pytest.raises(BadInputError, match="'s' of x"):
        to_rows(make(columns | {"s": ["p"] * len(X)}), Columns())
    with pytest.raises(BadInputError, match=r"weight of row 3 of x is -1\.0"):
        to_rows(make(columns | {"w": np.where(np.arange(60) == 3, -1.0, 1)}), Columns(weight="w"))


@pytest.mark.parametrize(
    ("library", "with_pyarrow"),
    [
        ("pyarrow", True),
        ("polars", True),
        ("polars", False),
        ("pandas", True),
        ("pandas", False),
        ("DuckDB", True),
    ],
)
def test_nulls_of_tables_in_memory(
    library: str, with_pyarrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas

    make = frames()[library]
    whole_numbers: Any = [1, None, 3]
    if library == "pandas":
        whole_numbers = pandas.array(whole_numbers, dtype="Int64")
    table = make({"b": whole_numbers, "a": [0.5, 1.5, 2.5]})
    if not with_pyarrow:
        monkeypatch.setattr("shoal.sources.array.find_spec", lambda _: None)
    rows = to_rows(table, Columns())
    assert rows.missing is not None
    assert rows.missing.tolist() == [False, True, False]
    assert rows.rows.tolist() == [[1, 0.5], [0, 0], [3, 2.5]]
    with pytest.raises(BadInputError, match=r"missing value .*row 1"):
        shoal.KMeansClustering(1).fit(table)


def test_lists_in_pandas() -> None:
    import pandas

    column = pandas.Series([[1.0, 2.0], None, np.array([3.0, 4.0])])
    rows = to_rows(pandas.DataFrame({"v": column}), Columns())
    assert rows.rows.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert rows.missing is not None
    assert rows.missing.tolist() == [False, True, False]
    column[1] = [1.0]
    with pytest.raises(BadInputError, match="'v' of x has a list of 1 in row 1"):
        to_rows(pandas.DataFrame({"v": column}), Columns())


def test_sparse_columns_of_pandas() -> None:
    import pandas

    frame = pandas.DataFrame(named(X)).astype(pandas.SparseDtype(np.float32, 0.0))
    with pytest.raises(BadInputError, match=r"column 'a' of x is sparse.*to_coo\(\)\.tocsr\(\)"):
        to_rows(frame, Columns())
    pytest.importorskip("scipy")
    matrix = frame.sparse.to_coo().tocsr()
    assert np.array_equal(to_rows(matrix, Columns()).rows.toarray(), X)


def test_a_reader_is_read_once() -> None:
    table = pa.table(named(X))
    kwargs: dict[str, Any] = {"num_clusters": 3, "initial_clusters": X[:3], "use_mini_batch": True}
    expected = shoal.KMeansClustering(**kwargs).fit(iter([X[i : i + 20] for i in range(0, 60, 20)]))
    reader = table.to_reader(max_chunksize=20)
    assert not shoal.open(reader).rereadable
    found = shoal.KMeansClustering(**kwargs).fit(reader)
    assert np.array_equal(found.clusters(), expected.clusters())
    again = shoal.KMeansClustering(**kwargs).fit(lambda: table.to_reader(max_chunksize=20))
    assert np.array_equal(again.clusters(), expected.clusters())


def test_slices_of_tables() -> None:
    """Offsets into buffers, at every level."""
    values = pa.array([None, 9.0, *X.ravel().tolist()], pa.float32())[2:]
    fixed = pa.FixedSizeListArray.from_arrays(values, 3)
    kinds = [fixed, fixed.cast(pa.list_(pa.float32())), fixed.cast(pa.large_list(pa.float32()))]
    truths = pa.array([True] * 3 + [bool(i % 3) for i in range(60)])[3:]
    for column in kinds:
        table = pa.table({"v": column, "t": truths}).slice(7, 31).slice(2)
        rows = to_rows(table, Columns(["t", "v"])).rows
        assert np.array_equal(rows[:, 1:], X[9:38])
        assert rows[:, 0].tolist() == [bool(i % 3) for i in range(9, 38)]


def test_a_column_without_lists_is_no_table() -> None:
    with pytest.raises(BadInputError, match="one column of float"):
        to_rows(pa.chunked_array([X[:, 0]]), Columns())
