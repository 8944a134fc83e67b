"""`labels`: the short way from data to the index of the nearest center of every row."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.sources.limits import Limits

CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
LABELS = np.array([2, 0, 0, 1, 2, 1, 0])
X = CENTERS[LABELS] + np.linspace(-1, 1, 14).reshape(7, 2)


def trained(**more: Any) -> shoal.KMeansClustering:
    model = shoal.KMeansClustering(None, initial_clusters=CENTERS, use_mini_batch=False, **more)
    return model.fit(CENTERS, steps=1)


def doors(x: np.ndarray[Any, Any], folder: Path) -> dict[str, Any]:
    """The same rows through doors of every kind."""
    np.save(folder / "x.npy", x)
    np.savetxt(folder / "x.csv", x, delimiter=",", header="a,b", comments="")
    return {
        "array": x,
        "Fortran order": np.asfortranarray(x),
        "shards": [x[:3], x[3:]],
        "dict": {"a": x[:, 0], "b": x[:, 1]},
        "npy": folder / "x.npy",
        "csv": str(folder / "x.csv"),
        "iterator": iter([x[:2], x[2:6], x[6:]]),
        "callable": lambda: (part for part in (x[:4], x[4:])),
    }


KINDS = ("array", "Fortran order", "shards", "dict", "npy", "csv", "iterator", "callable")


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_those_of_numpy_through_every_door(kind: str, tmp_path: Path) -> None:
    found = trained().labels(doors(X, tmp_path)[kind])
    assert found.dtype == np.int64
    assert found.tolist() == LABELS.tolist()


def test_labels_of_what_input_fn_gives() -> None:
    assert trained().labels(input_fn=lambda: iter([X[:5], X[5:]])).tolist() == LABELS.tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_labels_keep_the_order_of_rows_for_any_batch_size(batch_size: int, tmp_path: Path) -> None:
    model = trained()
    for kind in ("array", "shards", "npy"):
        found = model.labels(doors(X, tmp_path)[kind], batch_size=batch_size)
        assert found.tolist() == LABELS.tolist(), kind


def test_labels_of_many_rows_are_found_piece_by_piece() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(5_000, 2)).astype(np.float32)
    model = shoal.KMeansClustering(7).fit(x, steps=3)
    centers = model.clusters().astype(np.float64)
    truth = ((x.astype(np.float64)[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert (model.labels(shoal.open(x, limits=Limits(answer_rows=999))) == truth).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "csv"])
@pytest.mark.parametrize("bad", [[0], [2, 6], [0, 1], [6], [3, 4, 5, 6], list(range(7))], ids=str)
def test_rows_left_out_are_labelled_minus_one(kind: str, bad: list[int], tmp_path: Path) -> None:
    x, expected = X.copy(), LABELS.copy()
    x[bad, 1] = np.nan
    expected[bad] = -1
    model = trained(on_bad_rows="skip")
    with pytest.warns(UserWarning, match=f"dropped {len(bad)} of 7 rows"):
        found = model.labels(doors(x, tmp_path)[kind])
    assert found.tolist() == expected.tolist()


def test_labels_before_training_are_an_error() -> None:
    with pytest.raises(shoal.NotFittedError, match=r"labels\(\) needs trained centers"):
        shoal.KMeansClustering(3).labels(X)


def test_labels_need_data() -> None:
    with pytest.raises(shoal.BadInputError, match="neither of x and input_fn given"):
        trained().labels()


# ---- predict computes n x k distances, and says so where they are many ----


FEW = Limits(many_distances=7 * 3 * 8 - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_says_once_that_it_computes_many_distances(kind: str, tmp_path: Path) -> None:
    model, x = trained(), shoal.open(doors(X, tmp_path)[kind], limits=FEW)
    with pytest.warns(UserWarning, match=r"7 rows to each of 3 centers.*labels\(x\)") as said:
        found = model.predict(x, as_iterable=False)
    assert isinstance(found, dict)
    assert found["all_scores"].shape == (7, 3)
    assert [Path(one.filename) for one in said] == [Path(__file__)]


def test_predict_says_nothing_of_outputs_asked_for_or_taken_piece_by_piece() -> None:
    model, x = trained(), shoal.open(X, limits=FEW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(x, outputs=["all_scores"], as_iterable=False)
        model.predict(x, outputs="cluster_idx", as_iterable=False)
        assert len(list(model.predict(x))) == 7
        model.labels(x)


def test_predict_says_nothing_of_few_distances() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained().predict(X, as_iterable=False)
