"""What people bring as data: read with the right values, or refused with what to do with it."""

from __future__ import annotations

import array
import contextlib
import csv
import decimal
import io
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import feather, parquet

import shoal
from shoal import BadInputError
from shoal.sources.array import to_rows
from shoal.sources.columns import Columns

X = np.random.default_rng(8).normal(size=(6, 3))


class Sequence:
    """As Keras has them: a length and items, no iterator."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Any:
        return X[2 * number : 2 * number + 2]


def rows_of(data: Any) -> Any:
    parts = [part for batch in shoal.open(data).batches() for part in batch]
    return np.concatenate([part.rows for part in parts])


RECORDS = np.zeros(6, [("a", ">f8"), ("b", "<f4"), ("c", "i2")])
for number, field in enumerate("abc"):
    RECORDS[field] = np.rint(X[:, number] * 8)

READ: list[tuple[str, Callable[[], Any], Any]] = [
    ("a memoryview", lambda: memoryview(X), X),
    ("records", lambda: RECORDS, np.rint(X * 8)),
    ("a recarray", lambda: RECORDS.view(np.recarray), np.rint(X * 8)),
    ("a tuple of rows", lambda: ((1, 2), (3, 4)), [[1, 2], [3, 4]]),
    ("three rows", lambda: ([1, 2], [3, 4], [5, 6]), [[1, 2], [3, 4], [5, 6]]),
    ("a Keras sequence", Sequence, X),
    ("a series of lists", lambda: pd.Series(X.tolist()), X),
    ("a series of arrays", lambda: pd.Series(list(X)), X),
    ("an array of lists", lambda: np.array([*X.tolist(), None], object)[:-1], X),
    ("polars' series of lists", lambda: pl.Series(X.tolist()), X),
    ("a masked array without a mask", lambda: np.ma.array(X), X),
]


@pytest.mark.parametrize(("make", "wanted"), [one[1:] for one in READ], ids=[r[0] for r in READ])
def test_what_is_read_has_the_values_of_numpy(make: Callable[[], Any], wanted: Any) -> None:
    found = rows_of(make())
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == np.shape(wanted)


def test_a_keras_sequence_is_read_pass_after_pass() -> None:
    source = shoal.open(Sequence())
    assert source.rereadable
    model = shoal.KMeansClustering(2, use_mini_batch=False, initial_clusters=X[:2]).fit(Sequence())
    other = shoal.KMeansClustering(2, use_mini_batch=False, initial_clusters=X[:2]).fit(X)
    np.testing.assert_array_equal(model.clusters(), other.clusters())


IMAGE = Image.fromarray(np.zeros((2, 3, 3), np.uint8))
REFUSED: list[tuple[str, Callable[[], Any], tuple[str, ...]]] = [
    ("an image", lambda: IMAGE, ("image", "np.asarray(image).reshape(-1, 3)")),
    ("a gray image", lambda: IMAGE.convert("L"), ("np.asarray(image).reshape(-1, 1)",)),
    ("a palette", lambda: IMAGE.convert("P"), (".convert('RGB')", "reshape(-1, 3)")),
    ("images", lambda: [IMAGE, IMAGE], ("list of images", "np.stack(", "np.concatenate(")),
    ("pixels", lambda: np.zeros((5, 4, 3)), (".reshape(5, -1)", ".reshape(-1, 3)")),
    ("three dimensions", lambda: np.zeros((5, 8, 8)), ("(5, 8, 8)", ".reshape(5, -1)")),
    ("no dimension", lambda: np.array(5.0), ("no dimension", "[[5.0]]")),
    ("a dict in an array", lambda: np.array({"a": X}), ("holds one dict", ".item()")),
    ("records in two dimensions", lambda: RECORDS[None], ("structured array", ".ravel()")),
    ("one record", lambda: RECORDS[:1].reshape(()), ("structured array", ".reshape(1)")),
    ("ragged tuples", lambda: ((1, 2), (3,)), ("not a rectangular array",)),
    ("a tuple of lines", lambda: (X[0], X[1]), ("np.stack(", "np.column_stack(")),
    ("array.array", lambda: array.array("d", [1, 2]), ("(2,)", ".reshape(-1, 1)")),
    (
        "an open file",
        lambda: Path(__file__).open(),  # noqa: SIM115 (closed below)
        ("an open file", "give its path", "test_brought.py"),
    ),
    ("bytes in memory", lambda: io.BytesIO(b"1,2"), ("an open file", "pandas.read_csv(file)")),
    ("bytes", lambda: b"x.csv", ("of type bytes", "a path is text", "np.frombuffer(")),
    ("numbers in a text", lambda: "1, 2, 3", ("taken as a path", "as an array")),
    ("texts", lambda: ["the cat sat", "dogs bark"], ("taken as a path", "embeddings")),
    ("a set", lambda: {(1, 2)}, ("no order", "list")),
    ("a range", lambda: range(5), ("np.array(list(",)),
    ("values of a dict", lambda: {"a": X}.values(), ("np.array(list(",)),
    ("a dict of numbers", lambda: {"a": 1.0, "b": 2.0}, ("'a'", "For one row write {'a': [")),
    ("dicts", lambda: [{"a": 1}, {"a": 2}], ("rows that are dicts", "pandas.DataFrame(")),
    ("cubes in a dict", lambda: {"a": np.zeros((4, 2, 2))}, ("'a'", ".reshape(4, -1)")),
    (
        "rows one by one",
        lambda: iter(X),
        ("batch 0 has shape (3,)", "single row", "np.array(list("),
    ),
    ("tuples one by one", lambda: zip([1, 2], [3, 4], strict=True), ("single row",)),
    ("numbers one by one", lambda: iter([1, 2]), ("batch 0", "single number")),
    ("text by lines", lambda: iter(["1,2"]), ("batch 0 is text, '1,2'", "path")),
    ("a CSV reader", lambda: csv.reader(["1,2"]), ("batch 0 is text", "path")),
    ("groups", lambda: pd.DataFrame({"g": [0], "a": [1]}).groupby("g"), ("[group for _, group",)),
    ("a lazy frame", lambda: pl.LazyFrame({"a": [1]}), ("LazyFrame", ".collect()")),
    ("a class", lambda: np.ndarray, ("the class ndarray",)),
    ("a series", lambda: pd.Series([1.0, 2]), (".to_frame()", ".to_frame().T for one row")),
    ("polars' series", lambda: pl.Series([1.0, 2]), ("one column of double", ".to_frame()")),
    ("a list of numbers", lambda: [1.0, 2], ("[x] for one row", "np.reshape(x, (-1, 1))")),
    ("a ragged series", lambda: pd.Series([[1.0, 2], [3]]), ("list of 1 in row 1", "first has 2")),
    ("a series with a gap", lambda: pd.Series([[1.0], None]), ("no list in row 1", ".dropna()")),
    ("float8", lambda: X.astype(ml_dtypes.float8_e5m2), ("float8_e5m2", ".astype(np.float32)")),
    ("a float8 more", lambda: X.astype(ml_dtypes.float8_e4m3fn), ("float8_e4m3fn", ".astype(")),
    (
        "Int128",
        lambda: pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)}),
        ("DataFrame that pyarrow cannot read", "Cast"),
    ),
]


@pytest.mark.parametrize(("make", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_is_not_read_says_what_to_do(make: Callable[[], Any], words: tuple[str, ...]) -> None:
    doors: list[Callable[[Any], object]] = [shoal.KMeansClustering(1).fit, trained().transform]
    for door in doors:
        data = make()
        with pytest.raises(BadInputError) as caught:
            door(data)
        for word in words:
            assert word in str(caught.value) or "model has" in str(caught.value)
        if isinstance(data, io.IOBase):
            data.close()


def trained() -> shoal.KMeansClustering:
    return shoal.KMeansClustering(2).fit(np.eye(4))


@pytest.mark.parametrize(
    ("row", "cure"),
    [
        (np.ones(4), ".reshape(1, -1) for one row: the model has 4 columns"),
        (pd.Series(np.ones(4)), ".to_frame().T for one row: the model has 4 columns"),
        ([1.0] * 4, "[x] for one row: the model has 4 columns"),
    ],
)
def test_a_row_for_a_trained_model_is_told_how_to_be_one(row: Any, cure: str) -> None:
    model = trained()
    for door in (model.predict, model.transform, model.score, model.evaluate):
        with pytest.raises(BadInputError) as caught:
            door(row)
        assert cure in str(caught.value)
    one_column = shoal.KMeansClustering(2).fit(np.eye(4)[:, :1])
    with pytest.raises(BadInputError, match=r"Use .* for one column$"):
        one_column.predict(row)


def test_a_torch_dataset_is_told_of_data_loaders() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.zeros(4, 2))
    with pytest.raises(BadInputError, match=r"DataLoader\(dataset, batch_size=1024\)"):
        shoal.open(data)


# ---- What is no measurement ----


@pytest.fixture
def filtered() -> pd.DataFrame:
    frame = pd.DataFrame(X, columns=list("abc"))
    return frame[[True, False, True, True, False, True]]


def index_is_left_out(data: Any, wanted: Any, log: pytest.LogCaptureFixture, *words: str) -> None:
    log.clear()
    model = shoal.KMeansClustering(
        2, use_mini_batch=False, initial_clusters=wanted.to_numpy()[:2]
    ).fit(data)
    assert model.columns == ("a", "b", "c")
    other = shoal.KMeansClustering(
        2, use_mini_batch=False, initial_clusters=wanted.to_numpy()[:2]
    ).fit(wanted.to_numpy())
    np.testing.assert_array_equal(model.clusters(), other.clusters())
    [record] = [one for one in log.records if one.levelno >= logging.WARNING]
    for word in ("index", "feature_columns", *words):
        assert word in record.getMessage()
    log.clear()
    model.predict(data, as_iterable=False)
    assert not [one for one in log.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", ["parquet", "feather", "table"])
def test_an_index_that_pandas_wrote_is_left_out(
    filtered: pd.DataFrame, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = filtered.set_index(pd.Index([7, 3, 9, 1]))
    levels = pd.MultiIndex.from_tuples([(0, 5), (0, 4), (1, 3), (1, 2)], names=["year", "month"])
    frames = {
        "'__index_level_0__'": mixed,
        "'id'": mixed.rename_axis("id"),
        "'year', 'month'": filtered.set_index(levels),
    }
    for names, frame in frames.items():
        table = pa.Table.from_pandas(frame)
        path = tmp_path / f"x.{kind}"
        if kind == "parquet":
            parquet.write_table(table, path)
        elif kind == "feather":
            feather.write_feather(table, str(path))
        data = table if kind == "table" else path
        where = "x: " if kind == "table" else str(path)
        index_is_left_out(data, filtered, caplog, names, where)
    parquet.write_table(
        pa.Table.from_pandas(filtered.reset_index(drop=True)), tmp_path / "r.parquet"
    )
    assert rows_of(tmp_path / "r.parquet").shape == (4, 3)
    assert not caplog.records
    asked = shoal.open(pa.Table.from_pandas(frames["'id'"]), columns=["id", "a"])
    assert asked.columns == ("id", "a")
    assert not caplog.records


def test_files_with_and_without_a_stored_index_are_one_data_set(
    filtered: pd.DataFrame, tmp_path: Path
) -> None:
    filtered.reset_index(drop=True).to_parquet(tmp_path / "1.parquet")
    filtered.set_index(pd.Index([7, 3, 9, 1])).to_parquet(tmp_path / "2.parquet")
    assert rows_of(tmp_path).shape == (8, 3)


def test_what_was_an_index_in_a_file_is_none_in_a_frame(
    filtered: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    frame = filtered.reset_index(drop=True)
    again = pd.read_csv(io.StringIO(frame.to_csv()))
    index_is_left_out(again, frame, caplog, "'Unnamed: 0'", "x: ")
    other = pl.read_csv(io.StringIO(frame.to_csv()))
    index_is_left_out(other, frame, caplog, "''", "x: ")
    index_is_left_out(dict(again), frame, caplog, "'Unnamed: 0'")
    index_is_left_out([again, again[:0]], frame, caplog, "'Unnamed: 0'")
    index_is_left_out(lambda: iter([again]), frame, caplog, "'Unnamed: 0'")
    stored = pl.from_arrow(pa.Table.from_pandas(frame.set_index(pd.Index([7, 3, 9, 1]))))
    index_is_left_out(stored, frame, caplog, "'__index_level_0__'")
    asked = shoal.open(again, columns=["Unnamed: 0", "a"])
    assert asked.columns == ("Unnamed: 0", "a")


def test_an_npz_file_is_read_alike_by_path_and_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "xy.npz"
    np.savez(path, x=X, y=np.arange(6), z=X[:, 0])
    for data, where in ((path, str(path)), (np.load(path), "x: ")):
        caplog.clear()
        np.testing.assert_array_equal(rows_of(data), X)
        [record] = caplog.records
        for word in (where, "'x' alone", "'y' (6,)", "feature_columns"):
            assert word in record.getMessage()
        side = shoal.open(data, columns=["z", "x"], weight="y")
        [[rows]] = side.batches()
        np.testing.assert_array_equal(rows.rows, np.column_stack([X[:, 0], X]))
        assert rows.weights is not None
        assert rows.weights.tolist() == [0, 1, 2, 3, 4, 5]
        with pytest.raises(BadInputError, match=r"no array 'q'; it has 'x' \(6, 3\)"):
            shoal.open(data, columns=["q"])
    np.savez(path, p=X, q=X)
    for data in (path, np.load(path)):
        with pytest.raises(BadInputError, match=r"one array of two dimensions.*'q' \(6, 3\).*Name"):
            rows_of(data)


def test_damaged_files_of_numpy_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=X)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("readme.txt", json.dumps({}))
    np.testing.assert_array_equal(rows_of(path), X)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 1000)}
    )
    for name, shape in (("x.npz", None), ("x.npy", "(10**30, 3)")):
        content = header.getvalue()
        if name == "x.npz":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("x.npy", content)
        else:
            text = content.replace(b"(1000000000, 1000)", b"(1" + b"0" * 14 + b", 3)")
            assert shape
            (tmp_path / name).write_bytes(text)
        with pytest.raises(BadInputError, match=f"{name} cannot be read"):
            rows_of(tmp_path / name)
    np.save(tmp_path / "y.npy", X)
    good = (tmp_path / "y.npy").read_bytes()
    for place in range(128):
        (tmp_path / "y.npy").write_bytes(
            good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :]
        )
        with contextlib.suppress(BadInputError):  # and nothing else
            rows_of(tmp_path / "y.npy")


# ---- Masks ----

VALUES = np.array([1.0, 2, 3, 1e6])
MASKED = np.ma.array(VALUES, mask=[0, 0, 0, 1])


@pytest.mark.parametrize(
    "data",
    [
        MASKED[:, None],
        [MASKED[:2, None], MASKED[2:, None]],
        {"a": MASKED},
        pd.DataFrame({"a": pd.array([1, 2, 3, None], dtype="Int64")}),
        np.ma.array(VALUES.view([("a", "f8")]), mask=[0, 0, 0, 1]),
        lambda: iter([MASKED[:, None]]),
    ],
    ids=["rows", "shards", "dict", "nullable", "records", "batches"],
)
def test_masked_values_are_missing(data: Any) -> None:
    with pytest.raises(BadInputError, match=r"missing value \(null\) in row"):
        shoal.KMeansClustering(1, use_mini_batch=False).fit(data)
    model = shoal.KMeansClustering(1, use_mini_batch=False, on_bad_rows="skip")
    with pytest.warns(UserWarning, match="dropped 1 of 4 rows"):
        assert model.fit(data).clusters().item() == 2
    assert VALUES[3] == 1e6, "what was given is as it was"


def test_a_masked_weight_in_a_column_leaves_its_row_out() -> None:
    model = shoal.KMeansClustering(1, use_mini_batch=False, on_bad_rows="skip", weight_column="w")
    with pytest.warns(UserWarning, match="dropped 1 of 4 rows"):
        model.fit({"a": np.array([5.0, 5, 8, 100]), "w": MASKED})
    assert model.clusters().item() == pytest.approx((5 + 10 + 24) / 6)


def test_masks_are_refused_where_there_is_no_row_to_leave_out() -> None:
    masked = np.ma.array([[1.0], [1e6]], mask=[[0], [1]])
    with pytest.raises(BadInputError, match=r"masked values in initial_clusters, .* \[1, 0\]"):
        shoal.KMeansClustering(None, initial_clusters=masked)
    chosen = shoal.KMeansClustering(2, initial_clusters=lambda *_: masked)
    with pytest.raises(BadInputError, match=r"masked values in initial_clusters\(\) result"):
        chosen.fit(VALUES[:, None])
    for weights in (MASKED, pd.array([1, 2, 3, None], dtype="Int64")):
        with pytest.raises(BadInputError, match=r"the weights of x|masked values"):
            shoal.KMeansClustering(1).fit(shoal.Weighted(VALUES[:, None], weights))


def test_rows_of_masks_in_a_list_keep_them() -> None:
    rows = to_rows([np.ma.array([1.0, 2], mask=[0, 1]), np.ma.array([3.0, 4])], Columns())
    assert rows.missing is not None
    assert rows.missing.tolist() == [True, False]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([[1, 2], [3]], r"x\[1\] is a row of 1, where x\[0\] is a row of 2"),
        (((1, 2), (3,)), r"x\[1\] is a row of 1"),
        ([np.ones(2), np.ones(3)], r"x\[1\] is a row of 3"),
        ([1, [2, 3]], r"x\[1\] is a row of 2, where x\[0\] is a single value"),
        ([[[1, 2], [3]], [[1, 2]]], r"x\[0\]\[1\] is a row of 1"),
        ([X, X[:, 0]], r"x\[1\] has shape \(6,\).*Labels are no part"),
        ([X, "x.npy"], r"x\[1\] is text, 'x.npy'; a list is one of paths alone"),
    ],
)
def test_ragged_lists_name_the_row(data: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        shoal.KMeansClustering(1).fit(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: pd.Series(rows.tolist()),
        lambda rows: pd.DataFrame({"e": list(rows.astype(np.float16))})["e"],
        lambda rows: pl.Series(rows.tolist()),
        lambda rows: np.array([*map(tuple, rows)], [("a", "f8"), ("b", "f8"), ("c", "f8")]),
        memoryview,
    ],
)
def test_given_centers_are_read_as_data_is(make: Callable[[Any], Any]) -> None:
    rows = np.rint(X[:2] * 8) / 8
    model = shoal.KMeansClustering(None, initial_clusters=make(rows))
    assert np.array_equal(model.clusters(), rows)


def test_given_centers_with_a_gap_or_of_several_lengths_are_refused() -> None:
    for series, words in (
        (pd.Series([[1.0], None]), "no list in row 1"),
        (pd.Series([[1.0], [1.0, 2.0]]), "a list of 2 in row 1"),
    ):
        with pytest.raises(BadInputError, match=f"initial_clusters .*{words}"):
            shoal.KMeansClustering(None, initial_clusters=series)


@pytest.mark.parametrize(
    ("rows", "cure"),
    [
        ("x.npy", "sample_weight= goes with a path"),
        (Path("x.npy"), "sample_weight= goes with a path"),
        (lambda: X, "sample_weight= goes with a callable"),
        (iter([X]), "each batch as shoal.Weighted"),
    ],
)
def test_weighted_takes_rows_in_memory(rows: Any, cure: str) -> None:
    with pytest.raises(BadInputError, match=f"x is shoal.Weighted of .*{cure}"):
        shoal.KMeansClustering(1).fit(shoal.Weighted(rows, np.ones(6)))


def test_columns_of_objects_are_told_how_to_be_numbers() -> None:
    for values, words in (
        ([decimal.Decimal(1), None], r"dtype object and shape \(2,\).*astype\(float\)"),
        (["1", "2"], "feature_columns"),
        (pd.Categorical(["a", "b"]), "dtype category"),
    ):
        with pytest.raises(BadInputError, match=f"column 'c' of x has .*{words}"):
            shoal.KMeansClustering(1).fit(pd.DataFrame({"c": values}))
