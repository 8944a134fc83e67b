"""Weights, by every way to give them; and labels beside rows, which are none."""

from __future__ import annotations

import copy
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import shoal

Array = Any
RNG = np.random.default_rng(0)
X = np.vstack([RNG.normal(size=(50, 2)), RNG.normal(size=(50, 2)) + 10]).astype(np.float32)
Y = np.repeat([0, 1], 50)
MIXED = RNG.permutation(100)
X, Y = X[MIXED], Y[MIXED]
W = RNG.integers(0, 4, 100).astype(np.float64)
NAMES = ["a", "b"]


def frame() -> pd.DataFrame:
    return pd.DataFrame(X, columns=NAMES)


def batches(*given: Any) -> Iterator[Any]:
    """Batches of 25 rows, of tuples where there is more than rows."""
    for start in range(0, 100, 25):
        part = tuple(one[start : start + 25] for one in given)
        yield part[0] if len(part) == 1 else part


def model(mini: bool = False, **given: Any) -> shoal.KMeansClustering:
    given = {"initial_clusters": X[:2].copy(), **given}
    return shoal.KMeansClustering(None, use_mini_batch=mini, **given)


def trained(data: Any, mini: bool = False, **given: Any) -> bytes:
    steps = None if hasattr(data, "__next__") else 4
    return model(mini).fit(data, steps=steps, **given).clusters().tobytes()


# ---- Labels ----


class Tensor:
    """As TensorFlow's: an array behind ``__array__``, with a shape."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.shape = values.shape
        self.ndim = values.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self._values


class Dataset:
    """As of tf.data: iterated over anew each time."""

    def __iter__(self) -> Iterator[Any]:
        return ((Tensor(rows), Tensor(labels)) for rows, labels in batches(X, Y))


class DataLoader:
    """As torch's, which makes lists of what its data sets give."""

    def __iter__(self) -> Iterator[Any]:
        return map(list, batches(X, Y))


LABELLED: dict[str, Callable[[], Any]] = {
    "a tuple": lambda: (X, Y),
    "a frame and a Series": lambda: (frame(), pd.Series(Y)),
    "a polars frame": lambda: (pl.DataFrame(frame()), pl.Series(Y)),
    "a table": lambda: (pa.table(frame()), pa.array(Y)),
    "a dict of columns": lambda: ({"a": X[:, 0], "b": X[:, 1]}, Y.tolist()),
    "names of classes": lambda: (X, ["cat", "dog"] * 50),
    "labels and more": lambda: (X, Y, W),
    "parts": lambda: [(X[:40], Y[:40]), (X[40:], Y[40:])],
    "a callable of a tuple": lambda: lambda: (X, Y),
    "a generator": lambda: batches(X, Y),
    "a list of batches": lambda: iter(list(batches(X, Y))),
    "a callable of batches": lambda: lambda: batches(X, Y),
    "a callable of batches of parts": lambda: lambda: iter([[b] for b in batches(X, Y)]),
    "a data set": Dataset,
    "a data loader": DataLoader,
    "a callable of a data loader": lambda: DataLoader,
}


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    data = types.ModuleType("torch.utils.data")
    data.DataLoader = DataLoader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.data", data)


def warned_once(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    (one,) = caught
    text = str(one.message)
    assert one.filename == __file__
    assert "labels as a rule, is not used" in text
    assert all(way in text for way in ("sample_weight=", "weight_column", "shoal.Weighted"))
    return found


@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize("kind", LABELLED)
def test_labels_beside_rows_are_no_weights(kind: str, mini: bool) -> None:
    data = LABELLED[kind]()
    if hasattr(data, "__next__") and not mini:
        return  # refused
    streamed = hasattr(data, "__next__") or hasattr(data, "__iter__")
    streamed = (streamed or callable(data)) and not isinstance(data, (tuple, list))
    streamed = streamed and kind != "a callable of a tuple"
    rows: Any = (lambda: batches(X)) if streamed and mini else X
    wanted = model(mini).fit(rows, steps=4).clusters()
    found = warned_once(lambda: model(mini).fit(data, steps=4)).clusters()
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("kind", LABELLED)
def test_labels_are_left_out_by_every_method(kind: str) -> None:
    fitted = model().fit(X)
    methods: dict[str, Callable[[Any], Any]] = {
        "score": fitted.score,
        "evaluate": lambda data: fitted.evaluate(data)["loss"],
        "transform": lambda data: fitted.transform(data).tolist(),
        "labels": lambda data: fitted.labels(data).tolist(),
        "predict": lambda data: fitted.predict(data, as_iterable=False)["scores"].tolist(),
        "predict_cluster_idx": lambda data: list(fitted.predict_cluster_idx(data)),
    }
    for name, method in methods.items():
        wanted = method(X)
        data = LABELLED[kind]()
        found = warned_once(lambda method=method, data=data: method(data))
        assert found == wanted, name


def test_labels_are_left_out_by_partial_fit_and_the_training_program() -> None:
    wanted = model().partial_fit(X).clusters()
    assert warned_once(lambda: model().partial_fit((X, Y))).clusters().tobytes() == wanted.tobytes()
    plain = shoal.KMeans(X, 2).training_graph()
    graph = warned_once(lambda: shoal.KMeans((X, Y), 2)).training_graph()
    for one in (plain, graph):
        one.init_op()
    assert plain.training_op() == graph.training_op()
    opened = warned_once(lambda: shoal.open((X, Y)))
    assert trained(opened) == trained(X)


def test_nothing_beside_rows_is_told_of_no_one() -> None:
    assert trained((X, None)) == trained((X,)) == trained(X)
    assert trained(lambda: ((one, None) for one in batches(X))) == trained(X)


def test_labels_may_stand_beside_a_column_of_weights() -> None:
    data = frame().assign(w=W)
    wanted = model(weight_column="w").fit(data, steps=3).clusters()
    found = warned_once(lambda: model(weight_column="w").fit((data, Y), steps=3)).clusters()
    assert found.tobytes() == wanted.tobytes()
    assert trained(X, sample_weight=W) != trained(X)


# ---- Weights ----


def written(folder: Path) -> Path:
    for i, part in enumerate(np.array_split(X, 3)):
        table = pa.table({name: part[:, j] for j, name in enumerate(NAMES)})
        pq.write_table(table, folder / f"{i}.parquet", row_group_size=7)
    return folder


SHAPES: dict[str, Callable[[], Any]] = {
    "array": lambda: W,
    "list": W.tolist,
    "Series": lambda: pd.Series(W, index=range(100, 200)),
    "polars": lambda: pl.Series(W),
    "float32": lambda: W.astype("f4"),
    "whole numbers": lambda: W.astype(np.int8),
    "masked, with no mask": lambda: np.ma.array(W),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mini", [False, True])
def test_weights_of_any_kind_count_rows_so_often(shape: str, mini: bool) -> None:
    weights = SHAPES[shape]()
    given = {"batch_size": 100} if mini else {}
    repeated = np.repeat(X, W.astype(int), axis=0)
    many = {"batch_size": len(repeated)} if mini else {}
    wanted = model(mini).fit(repeated, steps=4, **many)
    found = model(mini).fit(X, steps=4, sample_weight=weights, **given)
    np.testing.assert_allclose(found.clusters(), wanted.clusters(), rtol=1e-6)
    same = trained(X, mini, sample_weight=W, **given)
    assert found.clusters().tobytes() == same
    assert trained(shoal.Weighted(X, weights), mini, **given) == same
    assert found.score(X, sample_weight=weights) == pytest.approx(found.score(repeated), rel=1e-12)
    evaluated = found.evaluate(X, sample_weight=weights)
    assert evaluated["scores"] == found.score(shoal.Weighted(X, weights))
    centers = found.clusters().astype(np.float64)
    distances = ((X[:, None].astype(np.float64) - centers) ** 2).sum(axis=2).min(axis=1)
    exact = sum(Fraction(w) * Fraction(d) for w, d in zip(W, distances, strict=True))
    assert evaluated["scores"] == float(exact)
    assert evaluated["loss"] == float(exact / Fraction(W.sum()))  # not rounded twice


ROWS: dict[str, Callable[[Path], Any]] = {
    "frame": lambda _: frame(),
    "dict": lambda _: dict(zip(NAMES, X.T, strict=True)),
    "table": lambda _: pa.table(frame()),
    "callable": lambda _: lambda: X,
    "opened": lambda _: shoal.open(X),
    "parts": lambda _: [X[:30], X[30:40], X[40:]],
    "files": written,
    "opened files": lambda folder: shoal.open(written(folder), batch_size=30),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_any_kind_take_sample_weight(kind: str, tmp_path: Path) -> None:
    data = ROWS[kind](tmp_path)
    found = model().fit(data, steps=4, sample_weight=W)
    assert found.clusters().tobytes() == trained(X, sample_weight=W)
    assert found.score(data, sample_weight=W) == found.score(X, sample_weight=W)
    for start in (0, 1):  # and seeding by weight
        seeds = ("random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2")
        for name in seeds:
            given: Any = {"initial_clusters": name, "random_seed": start}
            one = shoal.KMeansClustering(3, use_mini_batch=False, **given)
            two = shoal.KMeansClustering(3, use_mini_batch=False, **given)
            one.fit(data, steps=2, sample_weight=W)
            two.fit(X, steps=2, sample_weight=W)
            assert one.clusters().tobytes() == two.clusters().tobytes()
    step = model().partial_fit(data, batch_size=100, sample_weight=W)
    wanted = model().partial_fit(X, batch_size=100, sample_weight=W)
    assert step.clusters().tobytes() == wanted.clusters().tobytes()


def test_parts_take_one_vector_or_one_each() -> None:
    parts = [X[:30], X[30:40], X[40:]]
    each = [W[:30], W[30:40].tolist(), pd.Series(W[40:])]
    wanted = trained(X, sample_weight=W)
    assert trained(parts, sample_weight=each) == wanted
    assert trained(shoal.Weighted(parts, W)) == wanted
    assert trained(shoal.Weighted(parts, each)) == wanted
    assert trained([shoal.Weighted(x, w) for x, w in zip(parts, each, strict=True)]) == wanted
    with pytest.raises(shoal.BadInputError, match=r"weights \(sample_weight\[1\]\) have shape"):
        model().fit(parts, sample_weight=[W[:30], W[30:39], W[40:]])


def test_batches_are_weighted_by_themselves() -> None:
    def weighted() -> Iterator[Any]:
        return (shoal.Weighted(rows, weights) for rows, weights in batches(X, W))

    assert trained(weighted) == trained(X, sample_weight=W)
    pieces = model(mini=True)
    for rows, weights in batches(X, W):
        pieces.partial_fit(rows, sample_weight=weights)
    assert trained(weighted(), mini=True) == pieces.clusters().tobytes()
    graph = shoal.KMeans(shoal.Weighted(X, W), None, X[:2].copy()).training_graph()
    losses: list[float] = []
    found = model().fit(X, steps=1, sample_weight=W, monitors=[Losses(losses)])
    assert graph.training_op() == losses[0]
    assert found.state.global_step == 1


class Losses:
    def __init__(self, kept: list[float]) -> None:
        self.kept = kept

    def after_step(self, context: Any) -> None:
        self.kept.append(context.loss)


def test_weights_of_rows_left_out_are_left_out_with_them(tmp_path: Path) -> None:
    holes = X.copy()
    bad = [3, 50, 51]
    holes[bad] = np.nan
    good = np.delete(X, bad, axis=0)
    wanted = model().fit(good, steps=3, sample_weight=np.delete(W, bad)).clusters()
    table = pa.table(
        {name: pa.array(holes[:, j], from_pandas=True) for j, name in enumerate(NAMES)}
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=9)
    for data in (holes, [holes[:10], holes[10:]], tmp_path / "x.parquet"):
        with pytest.warns(UserWarning, match="dropped 3 of 100 rows"):
            found = model(on_bad_rows="skip").fit(data, steps=3, sample_weight=W)
        assert found.clusters().tobytes() == wanted.tobytes()


def test_a_mask_over_weights_is_no_weight() -> None:
    masked = np.ma.array(np.r_[np.ones(99), 1e9], mask=np.arange(100) == 99)
    for call in (
        lambda: model().fit(X, sample_weight=masked),
        lambda: model().fit(shoal.Weighted(X, masked)),
        lambda: model().fit(shoal.Weighted([X[:50], X[50:]], masked)),
    ):
        with pytest.raises(shoal.BadInputError, match=r"masked values.*\.filled\(0\)"):
            call()
    kept = model().fit(X, steps=2, sample_weight=masked.filled(0))
    assert kept.clusters().tobytes() == model().fit(X[:99], steps=2).clusters().tobytes()


def test_weighted_rows_travel() -> None:
    weighted = shoal.Weighted(X, W)
    for one in (pickle.loads(pickle.dumps(weighted)), copy.deepcopy(weighted)):
        assert trained(one) == trained(weighted)
