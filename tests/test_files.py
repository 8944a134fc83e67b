"""Files: what is read of them, to the bit, and what is refused, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import shoal
from shoal import BadInputError
from shoal.sources import files
from shoal.sources.array import Columns
from shoal.sources.files import read_file

X = np.random.default_rng(5).normal(size=(20, 3))


def write(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    """Text or bytes as they are; a dict as the table or the arrays that the suffix asks for."""
    if isinstance(content, str):
        path.write_text(content, "utf-8")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    else:
        parquet.write_table(pa.table(content), path)
    return path


def read(path: Path, features: Any = None, weight: str | None = None) -> Any:
    return read_file(path, Columns(features, weight))[0]


def lists(values: Any, kind: Any = None) -> Any:
    return pa.array(values, kind or pa.list_(pa.float32(), 2))


# ---- What is read ----


def test_npy_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    found = read(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    assert found.tobytes() == X.tobytes()


def test_npz_of_one_matrix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(write(tmp_path / "x.npz", {"rows": X})).tobytes() == X.tobytes()
    assert not caplog.messages
    found = read(write(tmp_path / "xy.npz", {"rows": X, "y": X[:, 0]}))
    assert found.tobytes() == X.tobytes()
    assert "'rows'" in caplog.text
    assert "'y' (20,)" in caplog.text


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_csv_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(files, "CSV_ROWS", chunk)
    lines = [",".join(map(repr, row)) for row in X.tolist()]
    table = read(write(tmp_path / "x.csv", "\n".join(["c,a,b", *lines, ""])))
    assert list(table) == ["c", "a", "b"]
    for i, values in enumerate(table.values()):
        assert values.dtype == np.float64
        assert values.tobytes() == X[:, i].tobytes()


def test_csv_without_names_is_an_array(tmp_path: Path) -> None:
    wide = np.arange(48.0).reshape(4, 12)
    path = write(tmp_path / "x.csv", "\n".join(",".join(map(str, row)) for row in wide.tolist()))
    assert np.array_equal(read(path), wide)
    assert np.array_equal(read(path, ["a"]), wide)  # as for .npy: the caller says it has no names
    table = read(path, ["10", "2"])
    assert {name: values.tolist() for name, values in table.items()} == {
        "2": wide[:, 2].tolist(),
        "10": wide[:, 10].tolist(),
    }
    source = shoal.open(path, weight="0")
    assert np.array_equal(source.shards[0].rows, wide[:, 1:])  # 10 and 11 come last
    assert np.array_equal(source.shards[0].weights, wide[:, 0])
    with pytest.raises(BadInputError, match=r"no column '12'"):
        read(path, ["12"])


def test_csv_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert list(read(write(tmp_path / "x.csv", b"\xef\xbb\xbfa,b\n1,2\n"))) == ["a", "b"]
    assert read(write(tmp_path / "y.csv", b"\xef\xbb\xbf1,2\n")).tolist() == [[1, 2]]


def test_csv_of_many_forms(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", '"a", b \r\n"1",2e3\r\n\r\n-0.5, 7 \r\n')
    assert {name: values.tolist() for name, values in read(path).items()} == {
        "a": [1.0, -0.5],
        "b": [2000.0, 7.0],
    }


def test_parquet_keeps_dtypes(tmp_path: Path) -> None:
    columns = {
        "d": np.arange(4.0),
        "f": np.arange(4, dtype=np.float32),
        "i": np.arange(4),
        "t": np.array([True, False, True, False]),
        "v": lists([[i, i + 0.5] for i in range(4)]),
        "tv": lists([[True, False]] * 4, pa.list_(pa.bool_(), 2)),
    }
    path = write(tmp_path / "x.parquet", columns)
    table = read(path)
    assert {name: str(values.dtype) for name, values in table.items()} == {
        "d": "float64",
        "f": "float32",
        "i": "int64",
        "t": "bool",
        "v": "float32",
        "tv": "bool",
    }
    assert table["v"].tolist() == [[i, i + 0.5] for i in range(4)]
    assert table["tv"].shape == (4, 2)


def test_parquet_in_row_groups(tmp_path: Path) -> None:
    table = pa.table({"v": lists(X[:, :2].tolist()), "a": X[:, 0]})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=7)
    found = read(tmp_path / "x.parquet")
    assert found["v"].tobytes() == X[:, :2].astype("f4").tobytes()
    assert found["a"].tobytes() == X[:, 0].tobytes()
    parquet.write_table(table[:0], tmp_path / "none.parquet")
    assert read(tmp_path / "none.parquet")["v"].shape == (0, 2)


def test_parquet_reads_only_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    whole = parquet.read_table
    monkeypatch.setattr(
        parquet,
        "read_table",
        lambda file, columns: asked.append(columns) or whole(file, columns=columns),
    )
    path = write(tmp_path / "x.parquet", {"name": ["p", "q"], "a": [1.0, 2.0], "b": [3.0, 4.0]})
    read(path)
    read(path, ["b"])
    read(path, ["b"], "a")
    assert asked == [["a", "b"], ["b"], ["a", "b"]]


# ---- Columns that are left out ----


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_is_left_out_with_one_warning(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        write(path, "id,a,town\np,1,Nan\n,2,inf\nq,3,Oslo\n")
    else:
        write(path, {"id": ["p", None, "q"], "a": [1, 2, 3], "town": ["Nan", "inf", "Oslo"]})
    assert list(read(path)) == ["a"]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("shoal", logging.WARNING)
    assert "id, town" in record.getMessage()
    assert "--columns" in record.getMessage()
    caplog.clear()
    assert list(read(path, ["a"])) == ["a"]
    model = shoal.KMeansClustering(2, feature_columns=["a"]).fit(path, steps=1)
    model.predict(path, as_iterable=False)
    assert not [r for r in caplog.records if "left out" in r.getMessage()]


def test_what_a_model_learned_is_what_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "x.csv", "a,b\n1,2\n3,5\n")
    model = shoal.KMeansClustering(2, use_mini_batch=False).fit(path)
    more = write(tmp_path / "more.csv", "c,b,a\n?,2,1\n7,5,3\n")  # c is mixed, and not used
    found = [model.predict(file, as_iterable=False)["scores"].tolist() for file in (path, more)]
    assert found == [[0, 0], [0, 0]]
    assert not caplog.messages


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_that_are_not_used_may_hold_anything(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        write(path, "a,b,c\n1,n/a,\n2,3.5,4\n")
    else:
        write(path, {"a": [1.0, 2.0], "b": [None, 3.5], "c": lists([None, [1, 2]])})
    assert read(path, ["a"])["a"].tolist() == [1, 2]
    for features in (None, ["b"], ["a", "c"]):
        with pytest.raises(BadInputError, match="row 0"):
            read(path, features)
    with pytest.raises(BadInputError, match=r"'b'.*row 0"):
        read(path, ["a"], "b")


# ---- What is refused ----

Content = str | bytes | dict[str, Any]
BAD: list[tuple[str, Content, Any, str | None, tuple[str, ...]]] = [
    ("x.csv", "a,b\nn/a,1\n3.1,2\n", None, None, ("'a'", "'n/a'", "row 0", "'3.1'", "row 1")),
    ("x.csv", "a,b\n1,2\n3,1_000\n", None, None, ("'b'", "'1_000'", "row 1")),
    ("x.csv", "a,b\n1,2\n3,\n", ["b"], None, ("'b'", "''", "row 1")),
    ("x.csv", "1,2\nx,4\n", None, None, ("'0'", "'x'", "row 1")),
    ("x.csv", "a,w\n1,p\n2,q\n", None, "w", ("'w'", "the weight", "not numbers", "'p' in row 0")),
    ("x.csv", "w,a\n1,p\n2,q\n", None, "w", ("no columns of numbers", "['w', 'a']")),
    ("x.csv", "a,b\n1,p\n", ["b"], None, ("column 'b'", "not numbers", "text", "'p' in row 0")),
    ("x.csv", "a,a\n1,p\n", ["a"], None, ("several columns of one name", "['a', 'a']")),
    ("x.csv", "a,b\n1,2\n", ["a", "z"], None, ("no column 'z'", "['a', 'b']")),
    ("x.csv", "a,b\n1,2\n", None, "z", ("no column 'z'", "['a', 'b']")),
    ("x.csv", "a,b\n1,2\n3,4,5\n", ["a"], None, ("row 1 has 3 fields", "2 columns")),
    ("x.csv", "\n\n", None, None, ("empty",)),
    ("x.csv", "a,b\n", ["a"], None, ("header", "no rows")),
    ("x.parquet", b"PAR1", None, None, ("cannot be read",)),
    ("x.parquet", {"a": ["p"], "b": ["q"]}, None, None, ("no columns of numbers", "['a', 'b']")),
    ("x.parquet", {"a": [1], "b": ["q"]}, ["b"], None, ("'b'", "not numbers", "string")),
    ("x.parquet", {"a": [1], "b": ["q"]}, None, "b", ("'b'", "the weight", "not numbers")),
    ("x.parquet", {"a": [[1.0, 2.0]]}, ["a"], None, ("'a'", "not numbers", "list<")),
    ("x.parquet", {"a": [1]}, ["z"], None, ("no column 'z'", "['a']")),
    ("x.parquet", {"a": [1, None, 2]}, None, None, ("'a' is null in row 1",)),
    ("x.parquet", {"a": lists([[1, 2], None])}, None, None, ("'a' is null in row 1",)),
    ("x.parquet", {"a": lists([[1, 2], [3, None]])}, None, None, ("'a'", "a null in row 1")),
    ("x.npz", b"", None, None, ("cannot be read",)),
    ("x.npz", {}, None, None, ("one array of two dimensions", "none")),
    ("x.npz", {"p": X, "q": X}, None, None, ("two dimensions", "'p' (20, 3)", "'q' (20, 3)")),
    ("x.npz", {"p": X[0]}, None, None, ("two dimensions", "'p' (3,)")),
    ("x.txt", "1,2\n", None, None, ("no known kind", ".npy", ".npz", ".csv", ".parquet")),
]


@pytest.mark.parametrize(("name", "content", "features", "weight", "words"), BAD)
def test_bad_files(
    tmp_path: Path,
    name: str,
    content: Content,
    features: Any,
    weight: str | None,
    words: tuple[str, ...],
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(BadInputError) as caught:
        read(path, features, weight)
    for word in (*words, str(path)):
        assert word in str(caught.value)


def test_directories_come_later(tmp_path: Path) -> None:
    (tmp_path / "parts.parquet").mkdir()
    for path in (tmp_path, tmp_path / "parts.parquet"):
        with pytest.raises(BadInputError, match=r"directory.*later"):
            read(path)


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("x.npy", lambda file: np.savez(file, p=X), "several arrays: name it .npz"),
        ("x.npz", lambda file: np.save(file, X), "one array without a name"),
        ("x.npy", lambda file: np.save(file, np.array([{}])), "cannot be read"),
    ],
)
def test_arrays_under_a_wrong_name(
    tmp_path: Path, name: str, save: Callable[[Any], object], words: str
) -> None:
    with open(tmp_path / name, "wb") as file:
        save(file)
    with pytest.raises(BadInputError, match=words):
        read(tmp_path / name)
