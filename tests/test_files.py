"""Files read by NumPy and CSV files: what is read of them, to the bit, and what is refused."""

from __future__ import annotations

import csv
import io
import itertools
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write
from hypothesis import given, settings
from hypothesis import strategies as st

import shoal
from shoal import BadInputError
from shoal.sources import csv_parser, csv_records
from shoal.sources.columns import Columns
from shoal.sources.files import open_path
from shoal.sources.limits import USUAL, Limits
from shoal.sources.sparse import SparseRows

X = np.random.default_rng(5).normal(size=(20, 3))
#: Those of ``opened``, by the test that runs.
LIMITS = {"now": USUAL}


def opened(path: Path, features: Any = None, weight: str | None = None) -> Any:
    return open_path(path, Columns(features, weight), limits=LIMITS["now"])


def rows(path: Path, features: Any = None, weight: str | None = None) -> Any:
    return np.concatenate([piece.rows for piece in opened(path, features, weight).stream()])


def table(path: Path, features: Any = None, weight: str | None = None) -> dict[str, list[float]]:
    names = opened(path, features, weight).columns
    return dict(zip(names, rows(path, features, weight).T.tolist(), strict=True))


@pytest.fixture(params=["pyarrow", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What turns text into numbers."""
    if request.param == "Python":
        monkeypatch.setattr(csv_parser, "_parsed_fast", lambda *_: None)
    return str(request.param)


@pytest.fixture(params=["in memory", "page by page"])
def small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether CSV files count as too large to keep, and have pages of a few bytes."""
    if request.param == "page by page":
        monkeypatch.setitem(LIMITS, "now", Limits(csv_kept=0, csv_page=40))
    return bool(request.param == "page by page")


# ---- Arrays ----


def test_npy_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    [shard] = opened(tmp_path / "x.npy").stream()
    assert isinstance(shard.rows.base, np.memmap)
    assert shard.rows.tobytes() == X.tobytes()


def test_npz_of_one_matrix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert rows(write(tmp_path / "x.npz", {"rows": X})).tobytes() == X.tobytes()
    assert not caplog.messages
    found = rows(write(tmp_path / "xy.npz", {"rows": X, "y": X[:, 0]}))
    assert found.tobytes() == X.tobytes()
    assert "'rows'" in caplog.text
    assert "'y' (20,)" in caplog.text


@pytest.mark.parametrize("kind", ["csr", "coo"])
def test_npz_of_a_sparse_matrix(tmp_path: Path, kind: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    kept = X * (X > 0.5)
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(kept).asformat(kind))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = opened(tmp_path / "x.npz").read(0).rows
    assert [str(one.message)[:11] for one in said] == ([] if kind == "csr" else ["x is a spar"])
    assert isinstance(found, SparseRows)
    assert (found.toarray() == kept).all()


def test_npz_of_a_sparse_matrix_without_scipy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(X))
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(shoal.MissingExtraError, match=r"scipy.*shoal\[sparse\]"):
        shoal.open(tmp_path / "x.npz")


def test_npy_files_of_a_directory_are_shards(tmp_path: Path) -> None:
    for name, part in (("b", X[12:]), ("a", X[:12])):
        np.save(tmp_path / f"{name}.npy", part)
    assert opened(tmp_path).lengths == [12, 8]
    assert rows(tmp_path).tobytes() == X.tobytes()
    with pytest.raises(BadInputError, match=r"a\.npy has no names of columns"):
        opened(tmp_path, ["a"])


# ---- CSV ----


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_csv_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, small_pages: bool
) -> None:
    monkeypatch.setitem(LIMITS, "now", replace(LIMITS["now"], csv_records=chunk))
    lines = [",".join(map(repr, row)) for row in X.tolist()]
    path = write(tmp_path / "x.csv", "\n".join(["c,a,b", *lines, ""]))
    found = opened(path)
    assert found.resident != small_pages
    assert found.columns == ("c", "a", "b")
    assert rows(path).tobytes() == X.tobytes()
    if small_pages:
        assert len(found.lengths) > 5
        reads = [found.read(page) for page in range(len(found.lengths))]
        assert np.concatenate([part.rows for part in reads]).tobytes() == rows(path).tobytes()
        assert [part.first for part in reads] == np.cumsum([0, *found.lengths[:-1]]).tolist()


@pytest.mark.usefixtures("parser", "small_pages")
def test_csv_without_names_is_an_array(tmp_path: Path) -> None:
    wide = np.arange(48.0).reshape(4, 12)
    path = write(tmp_path / "x.csv", "\n".join(",".join(map(str, row)) for row in wide.tolist()))
    assert opened(path).columns == ()
    assert np.array_equal(rows(path), wide)
    assert table(path, ["10", "2"]) == {"10": wide[:, 10].tolist(), "2": wide[:, 2].tolist()}
    [*parts] = opened(path, weight="0").stream()
    found = np.concatenate([part.rows for part in parts])
    assert np.array_equal(found, wide[:, 1:])  # 10 and 11 come last
    assert np.concatenate([part.weights for part in parts]).tolist() == wide[:, 0].tolist()
    with pytest.raises(BadInputError, match=r"no column '12'"):
        opened(path, ["12"])
    with pytest.raises(BadInputError, match="no names of columns"):
        opened(path, ["a"])


@pytest.mark.usefixtures("parser", "small_pages")
def test_csv_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert table(write(tmp_path / "x.csv", b"\xef\xbb\xbfa,b\n1,2\n")) == {"a": [1], "b": [2]}
    assert rows(write(tmp_path / "y.csv", b"\xef\xbb\xbf1,2\n")).tolist() == [[1, 2]]


@settings(deadline=None)
@given(st.text('a1",\n\r', max_size=60), st.integers(1, 20))
def test_blocks_are_whole_records(content: str, size: int) -> None:
    """Whatever the text, it is read in blocks as it would be at once, or a quote is left open."""
    reading = csv_records.blocks_of(io.BytesIO(content.encode()), size)
    if list(csv.reader([*io.StringIO(content, newline=""), "end"]))[-1] != ["end"]:
        with pytest.raises(csv.Error, match="a quote is opened in line"):
            list(reading)
        return
    blocks = list(reading)
    assert b"".join(block for _, block in blocks).decode() == content
    starts = itertools.accumulate((len(block) for _, block in blocks), initial=0)
    assert [offset for offset, _ in blocks] == list(starts)[:-1]
    records = [record for _, block in blocks for record in csv_records.records_of(block)]
    assert records == [r for r in csv.reader(io.StringIO(content, newline="")) if r]


FORMS = [
    ('"a", b \r\n"1",2e3\r\n\r\n-0.5, 7 \r\n', {"a": [1, -0.5], "b": [2000, 7]}),
    ('a,"b\nc"\n1,2\n3,4', {"a": [1, 3], "b\nc": [2, 4]}),
    ("a,b\r1,2\r3,4\r", {"a": [1, 3], "b": [2, 4]}),
    ("\n\na,b\n\n+1,.5\n\n5.,1E2\n\n\n", {"a": [1, 5], "b": [0.5, 100]}),
    ('a,"b"\n"1","2"\n' * 1 + '"3","4"\n' * 40, {"a": [1] + [3] * 40, "b": [2] + [4] * 40}),
    ("a\n" + "\n".join(map(str, range(99))), {"a": list(range(99))}),
]


@pytest.mark.usefixtures("parser", "small_pages")
@pytest.mark.parametrize(("content", "expected"), FORMS)
def test_csv_of_many_forms(tmp_path: Path, content: str, expected: Any) -> None:
    assert table(write(tmp_path / "x.csv", content)) == expected


@pytest.mark.usefixtures("parser", "small_pages")
def test_lines_inside_quoted_text(tmp_path: Path) -> None:
    lines = [f'"one\n{i},""two"", 3",{i}' for i in range(30)]
    found = table(write(tmp_path / "x.csv", "\n".join(["s,a", *lines])))
    assert found == {"a": list(range(30))}


@pytest.mark.usefixtures("parser", "small_pages")
def test_quotes_inside_of_text(tmp_path: Path) -> None:
    """They stand for themselves, and do not hide the end of a line."""
    lines = [f'{i},5" wide, and 3" high'.replace(", ", " ") + '"' * (i % 3) for i in range(60)]
    found = table(write(tmp_path / "x.csv", "\n".join(["a,s", *lines, '60,"q\nr"', "61,s"])))
    assert found == {"a": list(range(62))}


@pytest.mark.usefixtures("parser", "small_pages")
def test_values_that_are_not_finite_are_refused_with_their_row(tmp_path: Path) -> None:
    lines = [f"{i},{i}" for i in range(30)]
    lines[17] = "nan,17"
    path = write(tmp_path / "x.csv", "\n".join(["a,b", *lines]))
    assert np.isnan(rows(path)[17, 0])
    with pytest.raises(BadInputError, match=r"x\.csv holds nan in row 17, column 'a'"):
        shoal.KMeansClustering(2).fit(path)
    lines[17] = "17,nan"
    path = write(tmp_path / "y.csv", "\n".join(["a,b", *lines]))
    with pytest.raises(BadInputError, match=r"weight of row 17 of .*y\.csv is nan"):
        list(shoal.open(path, weight="b").batches())


@pytest.mark.usefixtures("parser", "small_pages")
def test_csv_files_of_a_directory(tmp_path: Path) -> None:
    for name, part in (("2", X[9:]), ("1", X[:9])):
        lines = [",".join([name, *map(repr, row)]) for row in part.tolist()]
        write(tmp_path / f"{name}.csv", "\n".join(["id,c,a,b", *lines]))
    write(tmp_path / "3.csv", "id,c,a,b\n")  # no rows
    assert rows(tmp_path, ["c", "a", "b"]).tobytes() == X.tobytes()
    write(tmp_path / "4.csv", "b,id,c,a\n1,2,3,4\n")  # by name, in any order
    whole = np.concatenate([X, [[3, 4, 1]]])
    assert rows(tmp_path, ["c", "a", "b"]).tobytes() == whole.tobytes()
    assert opened(tmp_path).columns == ("id", "c", "a", "b")
    assert rows(tmp_path)[-1].tolist() == [2, 3, 4, 1]
    for header in ("id,c,b,d", "id,c,b", "id,c,b,a,d"):
        write(tmp_path / "4.csv", f"{header}\n{'1,' * header.count(',')}1\n")
        with pytest.raises(BadInputError, match=r"4\.csv has .* column '[ad]'.*\['id', 'c', 'b'"):
            opened(tmp_path)
    write(tmp_path / "4.csv", "id,c,a,b\n1,2,3,x\n")
    with pytest.raises(BadInputError, match=r"4\.csv: column 'b' holds 'x' in row 0.*1\.csv"):
        opened(tmp_path)


def test_csv_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a\n1\n2\n")
    found = open_path(path, Columns(), limits=Limits(csv_kept=0))
    found.check_unchanged()
    write(path, "a\n1\n2\n3\n")
    with pytest.raises(BadInputError, match=r"source changed between two passes.*x\.csv"):
        found.check_unchanged()
    path.unlink()
    with pytest.raises(BadInputError, match=r"source changed between two passes.*x\.csv"):
        found.check_unchanged()


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
    assert opened(path).columns == ("a",)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("shoal", logging.WARNING)
    assert "id, town" in record.getMessage()
    assert "--columns" in record.getMessage()
    caplog.clear()
    assert opened(path, ["a"]).columns == ("a",)
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


@pytest.mark.usefixtures("parser", "small_pages")
def test_columns_that_are_not_used_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a,b,c\n1,?,-\n2,3.5,4\n")
    assert table(path, ["a"]) == {"a": [1, 2]}
    for features in (None, ["b"], ["a", "c"]):
        with pytest.raises(BadInputError, match="row 0"):
            opened(path, features)
    with pytest.raises(BadInputError, match=r"'b'.*row 0"):
        opened(path, ["a"], "b")


# ---- What is refused ----

Content = str | bytes | dict[str, Any]
BAD: list[tuple[str, Content, Any, str | None, tuple[str, ...]]] = [
    ("x.csv", "a,b\nn.a.,1\n3.1,2\n", None, None, ("'a'", "'n.a.'", "row 0", "'3.1'", "row 1")),
    ("x.csv", "a,b\n1,2\n3,1_000\n", None, None, ("'b'", "'1_000'", "row 1")),
    ("x.csv", "a,b\n1,2\n3,?\n", ["b"], None, ("'b'", "'?'", "row 1")),
    ("x.csv", "1,2\nx,4\n", None, None, ("'0'", "'x'", "row 1")),
    ("x.csv", "a,w\n1,p\n2,q\n", None, "w", ("'w'", "the weight", "not numbers", "'p' in row 0")),
    ("x.csv", "w,a\n1,p\n2,q\n", None, "w", ("no columns of numbers", "['w', 'a']")),
    ("x.csv", "a,b\n1,p\n", ["b"], None, ("column 'b'", "not numbers", "text", "'p' in row 0")),
    ("x.csv", "a,a\n1,p\n", ["a"], None, ("several columns of one name", "['a', 'a']")),
    ("x.csv", "a,b\n1,2\n", ["a", "z"], None, ("no column 'z'", "['a', 'b']")),
    ("x.csv", "a,b\n1,2\n", None, "z", ("no column 'z'", "['a', 'b']")),
    ("x.csv", "a,b\n1,2\n3,4,5\n", ["a"], None, ("row 1 has 3 fields", "2 columns")),
    ("x.csv", "\n\n", None, None, ("empty",)),
    ("x.csv", "", None, None, ("empty",)),
    ("x.csv", "a,b\n", ["a"], None, ("header", "no rows")),
    ("x.csv", "a,b\n1,2\n".encode("utf-16"), None, None, ("cannot be read", "utf-8")),
    ("x.parquet", b"PAR1", None, None, ("cannot be read",)),
    ("x.arrow", b"ARROW1", None, None, ("cannot be read",)),
    ("x.feather", b"", None, None, ("cannot be read",)),
    ("x.npz", b"", None, None, ("cannot be read",)),
    ("x.npz", {}, None, None, ("one array of two dimensions", "none")),
    ("x.npz", {"p": X, "q": X}, None, None, ("two dimensions", "'p' (20, 3)", "'q' (20, 3)")),
    ("x.npz", {"p": X[0]}, None, None, ("two dimensions", "'p' (3,)")),
    ("x.txt", "1,2\n", None, None, ("no known kind", ".npy", ".npz", ".csv", ".parquet")),
]


@pytest.mark.usefixtures("parser")
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
        opened(path, features, weight)
    for word in (*words, str(path)):
        assert word in str(caught.value)


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
        opened(tmp_path / name)
