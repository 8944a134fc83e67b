"""shoal.sklearn takes what the engine takes: the same rows of any kind give the same bits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from pyarrow import parquet
from sklearn.exceptions import NotFittedError

import shoal
from shoal.sklearn import BisectingKMeans, KMeans, MiniBatchKMeans, k_means, kmeans_plusplus

ROWS = np.random.default_rng(3).normal(size=(400, 3)) + np.repeat(np.eye(3) * 9, [200, 100, 100], 0)
WEIGHTS = np.random.default_rng(4).integers(1, 5, 400).astype(np.float64)
NAMES = ["a", "b", "c"]
NEW = ROWS[::7] + 0.25

Kinds = dict[str, Any]


def new(kind: type = KMeans, **more: Any) -> Any:
    return kind(n_clusters=4, random_state=7, **more)


def table(rows: np.ndarray[Any, Any], **more: Any) -> pa.Table:
    return pa.table({name: rows[:, i] for i, name in enumerate(NAMES)} | more)


@pytest.fixture
def kinds(tmp_path: Path) -> Callable[[np.ndarray[Any, Any]], Kinds]:
    def made(rows: np.ndarray[Any, Any]) -> Kinds:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        (folder / "parts").mkdir(parents=True)
        np.save(folder / "rows.npy", rows)
        parquet.write_table(table(rows), folder / "rows.parquet", row_group_size=50)
        half = len(rows) // 2
        parquet.write_table(table(rows[:half]), folder / "parts" / "1.parquet")
        parquet.write_table(table(rows[half:]), folder / "parts" / "2.parquet")
        pd.DataFrame(rows, columns=NAMES).to_csv(folder / "rows.csv", index=False)
        frame = table(rows)
        return {
            "list": rows.tolist(),
            "fortran": np.asfortranarray(rows),
            "pandas": pd.DataFrame(rows, columns=NAMES),
            "polars": pl.DataFrame(rows, schema=NAMES),
            "pyarrow": frame,
            "duckdb": duckdb.sql("SELECT * FROM frame"),
            "dict": {name: rows[:, i] for i, name in enumerate(NAMES)},
            "torch": torch.from_numpy(rows.copy()),
            "shards": [rows[:30], rows[30:]],
            "embeddings in pandas": pd.DataFrame({"e": list(rows)}),
            "npy": folder / "rows.npy",
            "text of a path": str(folder / "rows.npy"),
            "parquet": folder / "rows.parquet",
            "directory": folder / "parts",
            "pattern": str(folder / "parts" / "*.parquet"),
            "csv": folder / "rows.csv",
            "opened": shoal.open(folder / "rows.parquet"),
            "opened in other columns": shoal.open(folder / "rows.parquet", columns=NAMES),
            "csr": scipy.sparse.csr_array(rows),
        }

    return made


def same(one: Any, other: Any) -> bool:
    return (
        np.array_equal(one.cluster_centers_, other.cluster_centers_)
        and np.array_equal(one.labels_, other.labels_)
        and one.inertia_ == other.inertia_
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_any_kind_of_rows_gives_the_bits_of_an_array(
    kind: type, kinds: Callable[..., Kinds]
) -> None:
    expected = new(kind).fit(ROWS)
    mine, theirs = kinds(ROWS), kinds(NEW)
    for name, data in mine.items():
        model = new(kind).fit(data)
        assert same(model, expected), name
        assert model.labels_.dtype == np.int32
        assert np.array_equal(model.predict(theirs[name]), expected.predict(NEW)), name
        assert np.array_equal(model.transform(theirs[name]), expected.transform(NEW)), name
        assert model.score(theirs[name]) == expected.score(NEW), name
        assert new(kind).fit_predict(data).tolist() == expected.labels_.tolist(), name
        named = name not in {"list", "fortran", "torch", "shards", "npy", "text of a path", "csr"}
        columns = ["e"] if name == "embeddings in pandas" else NAMES
        if named:
            assert model.feature_names_in_.tolist() == columns, name
        else:
            assert not hasattr(model, "feature_names_in_"), name
        assert model.n_features_in_ == 3


def test_partial_fit_takes_any_kind_of_batch(kinds: Callable[..., Kinds]) -> None:
    expected = new(MiniBatchKMeans).partial_fit(ROWS).partial_fit(NEW)
    mine, theirs = kinds(ROWS), kinds(NEW)
    for name, data in mine.items():
        model = new(MiniBatchKMeans).partial_fit(data).partial_fit(theirs[name])
        assert same(model, expected), name
        assert model.n_steps_ == 2


def test_a_callable_that_gives_batches_is_read_again_and_again() -> None:
    def batches() -> Iterator[np.ndarray[Any, Any]]:
        return iter([ROWS[:100], ROWS[100:]])

    expected = new().fit(ROWS)
    model = new().fit(batches)
    assert same(model, expected)
    assert model.n_features_in_ == 3
    assert np.array_equal(model.predict(batches), expected.labels_)
    assert model.score(iter([ROWS[:10], ROWS[10:]])) == expected.score(ROWS)
    frames = new().fit(lambda: iter([pd.DataFrame(ROWS, columns=NAMES)]))
    assert frames.feature_names_in_.tolist() == NAMES


def test_batches_of_a_file_train_one_by_one(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    model = new(MiniBatchKMeans)
    for batch in shoal.open(tmp_path / "rows.npy", batch_size=100).batches():
        model.partial_fit(batch)
    expected = new(MiniBatchKMeans)
    for first in range(0, 400, 100):
        expected.partial_fit(ROWS[first : first + 100])
    assert same(model, expected)


def test_weights_are_an_array_a_column_or_beside_the_rows(tmp_path: Path) -> None:
    parquet.write_table(table(ROWS, w=WEIGHTS), tmp_path / "rows.parquet", row_group_size=64)
    source = shoal.open(tmp_path / "rows.parquet", weight="w")
    for kind in (KMeans, MiniBatchKMeans, BisectingKMeans):
        expected = new(kind).fit(ROWS, sample_weight=WEIGHTS)
        assert same(new(kind).fit(source), expected)
        assert same(new(kind).fit(table(ROWS), sample_weight=WEIGHTS), expected)
        assert same(new(kind).fit([ROWS[:50], ROWS[50:]], sample_weight=WEIGHTS), expected)
        assert expected.score(source) == expected.score(ROWS, sample_weight=WEIGHTS)
        parquet.write_table(table(ROWS), tmp_path / "alone.parquet", row_group_size=64)
        assert same(new(kind).fit(tmp_path / "alone.parquet", sample_weight=WEIGHTS), expected)
        assert same(new(kind).fit(shoal.Weighted(ROWS, WEIGHTS)), expected)
    with pytest.raises(ValueError, match="sample_weight"):
        new().fit(source, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="sample_weight"):
        new().fit(lambda: iter([ROWS]), sample_weight=WEIGHTS)


def test_labels_beside_rows_are_not_used_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match="labels as a rule"):
        model = new().fit((ROWS, np.arange(400)))
    assert same(model, new().fit(ROWS))


def test_columns_of_later_data_are_found_by_name(tmp_path: Path) -> None:
    turned = table(ROWS).select(["c", "a", "b"])
    parquet.write_table(turned, tmp_path / "rows.parquet")
    model = new().fit(pd.DataFrame(ROWS, columns=NAMES))
    for later in (turned, tmp_path / "rows.parquet", pl.from_arrow(turned)):
        assert np.array_equal(model.predict(later), model.labels_)
    with pytest.raises(ValueError, match="'c'"):
        model.predict(turned.drop_columns(["c"]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint8, np.int64, bool])
def test_centers_have_the_dtype_that_scikit_learn_would_give_them(dtype: Any) -> None:
    rows = (ROWS > 1).astype(dtype) if dtype is bool else np.abs(ROWS).astype(dtype)
    model = new().fit(rows)
    narrow = dtype in (np.float16, np.float32)
    assert model.cluster_centers_.dtype == (np.float32 if narrow else np.float64)
    assert model.transform(rows).dtype == model.cluster_centers_.dtype
    assert same(model, new().fit([rows[:30], rows[30:]]))


# ---- Refused ----


def bad(row: int, value: float) -> np.ndarray[Any, Any]:
    rows = ROWS.copy()
    rows[row, 1] = value
    return rows


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, BisectingKMeans])
@pytest.mark.parametrize("name", ["array", "shards", "pyarrow", "pandas", "csr"])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_a_value_that_is_no_number_is_named(kind: type, name: str, value: float, word: str) -> None:
    made = {
        "array": lambda x: x,
        "shards": lambda x: [x],
        "pyarrow": table,
        "pandas": lambda x: pd.DataFrame(x, columns=NAMES),
        "csr": scipy.sparse.csr_array,
    }[name]
    column = "'b'" if name in ("pyarrow", "pandas") else "1"
    model = new(kind).fit(made(ROWS))
    for call in (new(kind).fit, model.predict, model.transform, model.score, new(kind).fit_predict):
        with pytest.raises(ValueError, match=rf"contains {word}.*row 6, column {column}") as caught:
            call(made(bad(6, value)))
        assert "on_bad_rows" not in str(caught.value)


def test_streams_are_told_what_takes_them() -> None:
    once = iter([ROWS])
    with pytest.raises(ValueError, match=r"read once.*callable.*partial_fit"):
        new().fit(once)
    assert next(once) is ROWS  # none was used up
    for kind in (MiniBatchKMeans, BisectingKMeans):
        with pytest.raises(ValueError, match="stream of batches"):
            new(kind).fit(lambda: iter([ROWS]))
    with pytest.raises(ValueError, match=r"for batch in stream: model\.partial_fit"):
        new(MiniBatchKMeans).partial_fit(iter([ROWS]))


def test_what_cannot_be_read_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    model = new(MiniBatchKMeans).partial_fit(ROWS)
    centers = model.cluster_centers_.copy()
    for data in (
        tmp_path / "missing.npy",
        table(ROWS[:, :2].repeat(2, 1)[:, :3]).drop_columns("a"),
        {"a": [1.0]},
        [ROWS, ROWS[:, :2]],
        bad(3, np.nan),
        ROWS[:, :2],
        "x.csv",
    ):
        with pytest.raises((ValueError, OSError)):
            model.partial_fit(data)
        with pytest.raises((ValueError, OSError)):
            model.predict(data)
    assert np.array_equal(model.cluster_centers_, centers)
    assert model.n_steps_ == 1


def test_more_clusters_than_rows_and_centers_that_do_not_fit() -> None:
    with pytest.raises(shoal.TooFewRowsError, match="n_samples=3 should be >= n_clusters=4"):
        new().fit(ROWS[:3])
    with pytest.raises(ValueError, match="does not match the number of clusters 4"):
        new(init=ROWS[:3]).fit(ROWS)
    with pytest.raises(ValueError, match="does not match the number of features"):
        new(init=ROWS[:4, :2]).fit(ROWS)
    with pytest.raises(ValueError, match="'init' parameter"):
        new(init="kmeans").fit(ROWS)
    with pytest.raises(NotFittedError):
        new().predict(ROWS)


def test_a_callable_init_needs_rows_in_memory(tmp_path: Path) -> None:
    def first(rows: Any, k: int, random_state: Any) -> Any:
        assert len(rows) == 400
        return rows[:k] if random_state is not None else None

    np.save(tmp_path / "rows.npy", ROWS)
    parquet.write_table(table(ROWS), tmp_path / "rows.parquet")
    assert same(new(init=first, n_init=1).fit(ROWS), new(init=ROWS[:4]).fit(ROWS))
    with pytest.raises(ValueError, match="init is a callable"):
        new(init=first, n_init=1).fit(tmp_path / "rows.parquet")


def test_functions_agree_with_the_classes() -> None:
    centers, labels, inertia, steps = k_means(ROWS, 4, random_state=7, return_n_iter=True)
    model = new().fit(ROWS)
    assert np.array_equal(centers, model.cluster_centers_)
    assert np.array_equal(labels, model.labels_)
    assert (inertia, steps) == (model.inertia_, model.n_iter_)
    chosen, indices = kmeans_plusplus(ROWS, 5, random_state=1)
    assert np.array_equal(chosen, ROWS[indices])
    assert len(set(indices.tolist())) == 5


# ---- What scikit-learn does not have ----


def test_cosine_is_the_distance_of_unit_rows() -> None:
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    for kind in (KMeans, MiniBatchKMeans, BisectingKMeans):
        model = new(kind, metric="cosine").fit(ROWS)
        assert np.allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1)
        distances = 1 - unit @ model.cluster_centers_.T
        assert np.allclose(model.transform(ROWS), distances, atol=1e-12)
        if kind is not BisectingKMeans:
            assert np.array_equal(model.labels_, distances.argmin(axis=1))
            assert np.isclose(model.inertia_, distances.min(axis=1).sum())
            assert np.isclose(model.score(ROWS), -model.inertia_)


@pytest.mark.parametrize("init", ["k-mc2", "afk-mc2"])
def test_markov_chains_choose_first_centers(init: str) -> None:
    model = new(init=init, n_init=5).fit(ROWS)
    assert model.inertia_ <= 1.05 * new(n_init=5).fit(ROWS).inertia_
    assert same(model, new(init=init, n_init=5, n_threads=1).fit(ROWS))


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_threads_change_no_bit(kind: type) -> None:
    rows = np.random.default_rng(1).normal(size=(3000, 8))
    assert same(new(kind, n_threads=1).fit(rows), new(kind, n_threads=3).fit(rows))


def test_elkan_and_lloyd_are_one_result() -> None:
    assert same(new(algorithm="elkan").fit(ROWS), new(algorithm="lloyd").fit(ROWS))


def test_importing_the_face_without_scikit_learn_says_how_to_install_it() -> None:
    program = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "import shoal\n"
        "try:\n"
        "    import shoal.sklearn\n"
        "except shoal.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert "pip install 'shoal[sklearn]'" in done.stdout, done.stderr
