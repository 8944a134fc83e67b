"""Parquet and Arrow: which columns are read, their values and nulls, pieces, and what is refused.

That training on them gives the bits of the plain array is in tests/contract.
"""

from __future__ import annotations

import gc
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import write
from pyarrow import dataset, ipc, parquet

import shoal
from shoal import BadInputError
from shoal.sources.array import to_rows
from shoal.sources.columns import Columns
from shoal.sources.files import open_path
from shoal.sources.limits import USUAL, Limits

X = np.random.default_rng(6).normal(size=(60, 3)).astype(np.float32)


def grouped(suffix: str, rows: int) -> dict[str, int]:
    """How many rows a row group or a record batch of a file has."""
    return {"row_group_size" if suffix == ".parquet" else "chunksize": rows}


def named(rows: Any) -> dict[str, Any]:
    return {name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate("abc")}


def lists(values: Any, kind: Any = None) -> Any:
    return pa.array(values, kind or pa.list_(pa.float32(), 2))


def opened(
    path: Any, features: Any = None, weight: str | None = None, limits: Limits = USUAL
) -> Any:
    return open_path(path, Columns(features, weight), limits=limits)


def whole(
    path: Any, features: Any = None, weight: str | None = None, limits: Limits = USUAL
) -> Any:
    """All rows, after a look at what pieces and pages say of themselves."""
    pages = opened(path, features, weight, limits)
    pieces = list(pages.stream())
    for parts in (pieces, [pages.read(page) for page in range(len(pages.lengths))]):
        assert [part.first for part in parts] == np.cumsum([0, *map(len, parts)])[:-1].tolist()
        assert {part.rows.dtype for part in parts} <= {pages.dtype}
        assert {part.rows.shape[1] for part in parts} <= {pages.dim}
    return np.concatenate([part.rows for part in pieces] or [np.empty((0, pages.dim))])


@pytest.fixture(params=[".parquet", ".feather"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---- Columns ----


COLUMNS = {
    "half": (np.arange(4, dtype=np.float16), np.float16),
    "single": (np.arange(4, dtype=np.float32), np.float32),
    "double": (np.arange(4.0), np.float64),
    "truth": (np.array([True, False, True, False]), bool),
    "bytes": (np.arange(4, dtype=np.uint8), np.uint8),
    "whole": (np.arange(-2, 2), np.int64),
    "fixed": (lists([[i, i + 0.5] for i in range(4)]), np.float32),
    "variable": (lists([[i, -i] for i in range(4)], pa.list_(pa.float64())), np.float64),
    "large": (lists([[i, -i] for i in range(4)], pa.large_list(pa.int32())), np.int32),
    "truths": (lists([[True, False]] * 4, pa.list_(pa.bool_(), 2)), bool),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_values_of_a_column(tmp_path: Path, suffix: str, name: str) -> None:
    column, dtype = COLUMNS[name]
    path = write(tmp_path / f"x{suffix}", {"text": list("pqrs"), name: column})
    expected = np.array(column.to_pylist() if isinstance(column, pa.Array) else column, dtype)
    expected = expected.reshape(4, -1)
    found = whole(path, [name])
    assert np.array_equal(found, expected)
    assert found.dtype == expected.dtype or expected.dtype.kind in "iub"
    [part] = opened(path, [name]).stream(0)
    assert np.array_equal(part.rows, expected)


def test_order_of_columns_and_a_weight(tmp_path: Path, suffix: str) -> None:
    columns = {"v": lists(X[:, :2].tolist()), "a": X[:, 2], "w": X[:, 0] ** 2}
    path = write(tmp_path / f"x{suffix}", columns)
    assert np.array_equal(whole(path, ["v", "a"]), X)
    assert np.array_equal(whole(path, ["a", "v"]), X[:, [2, 0, 1]])
    assert opened(path, weight="w").columns == ("v", "a")
    weights = [part.weights for part in opened(path, weight="w").stream()]
    assert np.array_equal(np.concatenate(weights), (X[:, 0] ** 2).astype(np.float64))


def test_names_with_dots(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"x{suffix}", {"a": X[:, 0], "a.b": X[:, 1], "a.b.c": X[:, 2]})
    assert np.array_equal(whole(path), X)
    assert np.array_equal(whole(path, ["a.b"]), X[:, 1:2])


def test_only_used_columns_are_read(tmp_path: Path) -> None:
    """A column whose bytes are damaged does no harm where it is not used."""
    path = write(tmp_path / "x.parquet", {"a": X[:, 0], "bad": X[:, 1]}, use_dictionary=False)
    content = bytearray(path.read_bytes())
    chunk = parquet.read_metadata(path).row_group(0).column(1)
    content[chunk.data_page_offset : chunk.data_page_offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    assert np.array_equal(whole(path, ["a"]), X[:, :1])
    with pytest.raises(BadInputError, match=r"x\.parquet cannot be read"):
        whole(path)


def test_tensors(tmp_path: Path, suffix: str) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(X))
    assert np.array_equal(whole(write(tmp_path / f"x{suffix}", {"t": tensors})), X)


# ---- Pieces and pages ----


@pytest.mark.parametrize("rows", [1, 7, 25, 1000])
@pytest.mark.parametrize("listed", [False, True])
def test_pieces_do_not_depend_on_row_groups(
    tmp_path: Path, suffix: str, rows: int, listed: bool
) -> None:
    columns = {"v": lists(X.tolist(), pa.list_(pa.float32(), 3))} if listed else named(X)
    for name, start, end, group in (("1", 0, 41, 9), ("2", 41, 41, 5), ("3", 41, 60, 60)):
        part = {one: column[start:end] for one, column in columns.items()}
        write(tmp_path / f"{name}{suffix}", part, **grouped(suffix, group))
    assert opened(tmp_path).lengths == [9, 9, 9, 9, 5, 19]
    limits = Limits(piece=rows * 12)
    assert np.array_equal(whole(tmp_path, limits=limits), X)
    pieces = list(opened(tmp_path, limits=limits).stream())
    assert [len(piece) for piece in pieces[:-1]] == [rows] * (len(pieces) - 1)
    later = list(opened(tmp_path, limits=limits).stream(3))
    assert later[0].first == 27
    assert np.array_equal(np.concatenate([piece.rows for piece in later]), X[27:])


def test_files_without_rows(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"x{suffix}", {n: c[:0] for n, c in named(X).items()})
    pages = opened(path)
    assert (pages.lengths, list(pages.stream())) == ([0], [])
    assert pages.read(0).rows.shape == (0, 3)
    with pytest.raises(shoal.TooFewRowsError, match="0 rows"):
        shoal.KMeansClustering(2).fit(path)


def test_a_column_of_lists_is_not_copied(tmp_path: Path) -> None:
    column = pa.FixedSizeListArray.from_arrays(np.ones(3000, np.float32), 3)
    path = write(tmp_path / "x.feather", {"v": column}, compression="uncompressed")
    before = pa.total_allocated_bytes()
    [piece] = opened(path).stream()
    assert pa.total_allocated_bytes() - before < 12_000  # it lies in the file that is mapped
    assert not piece.rows.flags.owndata
    assert np.shares_memory(to_rows(column, Columns()).rows, column.values.to_numpy())


def test_large_record_batches_that_are_mapped_are_several_pages(tmp_path: Path) -> None:
    limits = Limits(batch=7 * 12)
    for compression, pages in (("uncompressed", 9), ("lz4", 1)):
        path = write(tmp_path / "x.feather", named(X), compression=compression)
        assert len(opened(path, limits=limits).lengths) == pages
        assert np.array_equal(whole(path, limits=limits), X)


# ---- Reading ahead ----


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "shoal" in thread.name]


def test_no_thread_survives(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", named(X), row_group_size=9)
    pages = opened(path, limits=Limits(piece=60))

    def interrupted() -> None:
        for _ in pages.stream():
            raise KeyboardInterrupt

    stream = pages.stream()
    next(stream)
    assert len(readers()) == 1
    stream.close()
    assert readers() == []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    forgotten = pages.stream()
    next(forgotten)
    del forgotten
    gc.collect()
    assert readers() == []


def test_errors_of_the_reader_reach_the_user(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"x{suffix}", named(X), **grouped(suffix, 9))
    pages = opened(path, limits=Limits(piece=60))
    path.write_bytes(b"PAR1 something else")
    with pytest.raises(BadInputError, match=rf"x\{suffix} cannot be read"):
        list(pages.stream())
    with pytest.raises(BadInputError, match=rf"source changed between two passes.*x\{suffix}"):
        pages.check_unchanged()
    fewer = {name: column[:40] for name, column in named(X).items()}
    write(path, fewer, **grouped(suffix, 9))
    with pytest.raises(BadInputError, match=rf"source changed between two passes.*x\{suffix}"):
        list(pages.stream())
    assert readers() == []


# ---- What is refused ----


def test_lists_must_have_one_length(tmp_path: Path, suffix: str) -> None:
    ragged = [[1.0, 2.0]] * 5 + [[3.0]] + [[4.0, 5.0]] * 2
    path = write(tmp_path / f"x{suffix}", {"v": pa.array(ragged)})
    with pytest.raises(BadInputError, match=r"'v' of .*x\.\w+ has a list of 1 in row 5, .* 2"):
        list(opened(path).stream())
    with pytest.raises(BadInputError, match=r"'v' .* no list"):
        opened(write(tmp_path / f"y{suffix}", {"v": lists([None], pa.list_(pa.float64()))}))


BAD: list[tuple[Any, Any, str | None, tuple[str, ...]]] = [
    ({"a": ["p"], "b": ["q"]}, None, None, ("no columns of numbers", "['a', 'b']")),
    ({"a": [1], "b": ["q"]}, ["b"], None, ("'b'", "not numbers", "string")),
    ({"a": [1], "b": ["q"]}, None, "b", ("'b'", "the weight", "not numbers")),
    ({"a": [1], "b": [[1.0]]}, ["a"], "b", ("'b'", "the weight", "list<")),
    ({"a": [1]}, ["z"], None, ("no column 'z'", "['a']")),
    ({"a": [1]}, None, "z", ("no column 'z'", "['a']")),
    ({"a": [Decimal("1.5")], "b": [1]}, None, None, ("'a'", "decimal", "cast it to float64")),
    ({"a": [Decimal("1.5")], "b": [1]}, ["a"], None, ("'a'", "decimal", "cast it to float64")),
    ({"a": [1], "b": [-1.0]}, None, "b", ("weight of row 0", "-1.0", ">= 0")),
]


@pytest.mark.parametrize(("columns", "features", "weight", "words"), BAD)
def test_bad_columns(
    tmp_path: Path, suffix: str, columns: Any, features: Any, weight: str | None, words: Any
) -> None:
    path = write(tmp_path / f"x{suffix}", columns)
    for read in (
        lambda: list(opened(path, features, weight).stream()),
        lambda: to_rows(pa.table(columns), Columns(features, weight)),
    ):
        with pytest.raises(BadInputError) as caught:
            read()
        for word in words:
            if word != "no columns of numbers" and not word.startswith("["):
                assert word in str(caught.value)


def test_encoded_numbers_are_not_read(tmp_path: Path) -> None:
    columns = {"a": pa.array([1.5]).dictionary_encode(), "b": [1]}
    path = write(tmp_path / "x.feather", columns)
    for features in (None, ["a"]):
        with pytest.raises(BadInputError, match=r"'a' of .*x\.feather is dictionary.*cast it to"):
            opened(path, features)
        with pytest.raises(BadInputError, match=r"'a' of x is dictionary.*cast it to"):
            to_rows(pa.table(columns), Columns(features))
    assert opened(path, ["b"]).columns == ("b",)


def test_what_is_no_number_is_left_out_of_files_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {
        "a": [1.0, 2.0],
        "day": pa.array([1, 2], pa.date32()),
        "kind": pa.array(["p", "q"]).dictionary_encode(),
        "some": [{"x": 1}, {"x": 2}],
        "tags": [["p"], ["q"]],
    }
    for name in "12":
        write(tmp_path / f"{name}.parquet", columns)
    assert opened(tmp_path).columns == ("a",)
    assert [record.getMessage().split(". To")[0].split(": ")[-1] for record in caplog.records] == [
        "day, kind, some, tags"
    ]
    with pytest.raises(BadInputError, match=r"'day' of x is not numbers.*feature_columns"):
        to_rows(pa.table(columns), Columns())


MISMATCHES: list[tuple[Any, Any, str]] = [
    ({"a": [1.0]}, None, r"2\.parquet has no column 'b', which .*1\.parquet has"),
    ({"a": [1.0], "b": [1]}, None, r"'b' is double in .*1\.parquet and int64 in .*2\.parquet"),
    ({"a": [1.0], "b": [1.0], "c": [1]}, None, r"2\.parquet has a column 'c' .*1\.parquet has not"),
    ({"a": [1.0], "b": ["p"]}, ["a", "b"], r"'b' is double in .* and string in .*2\.parquet"),
]


@pytest.mark.parametrize(("columns", "features", "words"), MISMATCHES)
def test_files_of_other_columns(tmp_path: Path, columns: Any, features: Any, words: str) -> None:
    write(tmp_path / "1.parquet", {"a": [1.0, 2.0], "b": [3.0, 4.0]})
    write(tmp_path / "2.parquet", columns)
    with pytest.raises(BadInputError, match=words):
        opened(tmp_path, features)
    assert whole(tmp_path, ["a"]).tolist() == [[1.0], [2.0], [1.0]]


@pytest.mark.parametrize("compression", [None, "lz4"])
def test_streams_in_ipc_files(tmp_path: Path, compression: str | None) -> None:
    table = pa.table(named(X) | {"s": ["p"] * len(X)})
    options = ipc.IpcWriteOptions(compression=compression)
    with ipc.new_stream(tmp_path / "x.arrow", table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=25)
    assert opened(tmp_path / "x.arrow").lengths == [25, 25, 10]
    assert np.array_equal(whole(tmp_path), X)
    table = pa.table({"a": X[:, 0], "s": pa.array(["p"] * len(X)).dictionary_encode()})
    with ipc.new_stream(tmp_path / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(BadInputError, match=r"x\.arrow cannot be read: .*with dictionaries"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("stands_for", "advice"),
    [
        (lambda path: pytest.importorskip("polars").scan_parquet(path), "LazyFrame.*collect"),
        (lambda path: dataset.dataset(path), r"FileSystemDataset.*\.files"),
        (lambda path: dataset.dataset(path).scanner(), r"Scanner.*to_batches"),
        (parquet.ParquetFile, r"ParquetFile.*iter_batches"),
    ],
)
def test_what_only_stands_for_rows_is_refused_with_advice(
    tmp_path: Path, stands_for: Any, advice: str
) -> None:
    data = stands_for(write(tmp_path / "x.parquet", named(X)))
    with pytest.raises(BadInputError, match=advice):
        shoal.open(data)


def test_lists_that_lie_outside_of_a_damaged_file_are_refused(tmp_path: Path) -> None:
    table = pa.table({"v": pa.array([[1.0, 2.0]] * 50)})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, ipc.new_file(file, table.schema) as to:
        to.write_table(table)
    content = bytearray((tmp_path / "x.arrow").read_bytes())
    at = content.find(np.arange(0, 20, 2, dtype=np.int32).tobytes())
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "x.arrow").write_bytes(content)
    with pytest.raises(BadInputError, match=r"column 'v' of .*x\.arrow cannot be read"):
        shoal.KMeansClustering(2, use_mini_batch=False).fit(str(tmp_path / "x.arrow"), steps=1)
