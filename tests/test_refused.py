"""What no file, no matrix and no machine can have is refused in words, at each door."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import shoal
import shoal.sklearn
from shoal import BadInputError, TooFewRowsError
from shoal import KMeansClustering as Model

X = np.arange(20.0).reshape(-1, 2)

#: What calls a file or a directory by its path.
DOORS: dict[str, Callable[[Any], object]] = {
    "model_dir": lambda path: Model(2, model_dir=path).fit(X, steps=1),
    "checkpoint_path": lambda path: Model(None, initial_clusters=X[:2]).evaluate(
        X, checkpoint_path=path
    ),
    "save_model": lambda path: shoal.save_model(Model(2).fit(X, steps=1), path),
    "load_model": shoal.load_model,
    "export": lambda path: Model(2).fit(X, steps=1).export(path),
    "export_savedmodel": lambda path: Model(2).fit(X, steps=1).export_savedmodel(path),
    "export_onnx": lambda path: Model(2).fit(X, steps=1).export_onnx(path),
    "from_onnx": Model.from_onnx,
    "from_faiss_index": Model.from_faiss_index,
    "open": lambda path: shoal.open(path + ".npy"),
}

#: Paths that no file has.
PATHS = {"a NUL": "a\0b", "a long name": "a" * 300, "half a character": "a\ud800"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("door", DOORS)
def test_paths_that_no_file_has(
    door: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError):
        DOORS[door](PATHS[path])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [3, None, b"m", ["m"]])
@pytest.mark.parametrize("door", ["save_model", "load_model", "export", "from_onnx"])
def test_what_is_no_path(door: str, path: Any) -> None:
    with pytest.raises(BadInputError, match="path"):
        DOORS[door](path)


def matrix(**parts: Any) -> Any:
    """A sparse matrix of which some arrays are replaced behind its back."""
    made = scipy.sparse.csr_matrix(np.eye(6))
    for name, array in parts.items():
        setattr(made, name, array)
    return made


ONES, INDEX = np.ones(6), np.arange(6)

#: Arrays of a sparse matrix that scipy would not have made, and words of the message.
ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"data": ONES[:3]}, "not well formed.*number of its values"),
    ({"indices": INDEX[:3]}, "not well formed"),
    ({"indptr": np.arange(6)}, "not well formed.*a step for each row"),
    ({"indptr": np.arange(7)[::-1].copy()}, "not well formed"),
    ({"indptr": np.arange(7) + 100}, "not well formed"),
    ({"data": np.ones((6, 1))}, r"data of shape \(6, 1\).*x.copy\(\)"),
    ({"data": np.ones(12)[::2]}, r"data of shape.*strides.*x.copy\(\)"),
    ({"indices": np.repeat(INDEX, 2)[::2]}, "indices of shape.*strides"),
    *(
        ({part: np.arange(size).astype(dtype)}, f"{part} of dtype.*int32 or int64.*x.{part} = ")
        for part, size in (("indices", 6), ("indptr", 7))
        for dtype in ("i1", "i2", ">i4", ">i8", "u4", "u8", "f8")
    ),
]


@pytest.mark.parametrize(("parts", "words"), ARRAYS)
def test_arrays_of_a_sparse_matrix_that_are_none(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=f"(?s)x.*{words}"):
        Model(2, use_mini_batch=False).fit(matrix(**parts), steps=1)


def test_more_columns_than_centers_can_have() -> None:
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.coo_matrix):
        with pytest.raises(BadInputError, match=r"1000000000000 columns.*at most"):
            Model(1).fit(kind((2, 10**12)), steps=1)


#: Numbers that fit no machine, or no word of it.
NUMBERS: dict[str, Callable[[], object]] = {
    "num_threads": lambda: Model(2, num_threads=2**31),
    "memory_budget": lambda: Model(2, memory_budget=2**63),
    "kmc2_chain_length": lambda: Model(2, kmc2_chain_length=2**31 - 1),
    "kmeans_plus_plus_num_retries": lambda: Model(2, kmeans_plus_plus_num_retries=2**62),
    "random_seed": lambda: Model(2, random_seed=2**128 + 1),
    "num_clusters": lambda: Model(2**62).fit(X, steps=1),
    "n_threads": lambda: shoal.sklearn.KMeans(2, n_threads=2**40).fit(X),
    "k": lambda: shoal.choose_k(X, k=range(2, 2**62)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_beyond_every_machine(name: str) -> None:
    with pytest.raises((BadInputError, TooFewRowsError), match=name):
        NUMBERS[name]()


def test_whole_numbers_in_lists_that_float64_does_not_hold() -> None:
    with pytest.raises(BadInputError, match=r"x holds 9223372036854775809 in row 1, column 0.*2\*"):
        Model(1).fit([[1, 2], [2**63 + 1, -1]])
    assert Model(1, use_mini_batch=False).fit([[2.0**60, -1], [2.0**60, 1]]).clusters()[0, 1] == 0


@pytest.mark.parametrize("name", ["SHOAL_SIMD", "SHOAL_PLAN"])
def test_words_of_the_environment_that_are_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(BadInputError, match=f"{name}=x"):
        Model(2).fit(X, steps=1)


def test_states_that_are_none() -> None:
    model = Model(2)
    with pytest.raises(BadInputError, match="state is of type int; it must be a shoal"):
        model.restore(3)  # type: ignore[arg-type]
    trained = Model(2).fit(X, steps=1)
    with pytest.raises(BadInputError, match="columns is 'ab'; it must be a tuple"):
        model.restore(trained.state, "ab")  # type: ignore[arg-type]
    assert not model.is_fitted


def test_arrays_of_a_state_are_read_only_in_copies_too() -> None:
    state = Model(2).fit(X, steps=1).state
    for other in (state, pickle.loads(pickle.dumps(state)), copy.deepcopy(state), copy.copy(state)):
        for array in (other.clusters, other.clusters_updated, other.counts):
            assert not array.flags.writeable


def test_given_centers_take_the_place_of_a_seeding_that_is_half_done(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    expected = Model(None, initial_clusters=rows[:5]).fit(rows, steps=3).clusters()
    for folder in (None, str(tmp_path)):
        model = Model(5, model_dir=folder).partial_fit(rows[:2])
        if folder is None:
            model.set_params(initial_clusters=rows[:5])
        else:
            model = Model(5, model_dir=folder, initial_clusters=rows[:5])
        assert np.array_equal(model.fit(rows, steps=3).clusters(), expected)


def test_a_loss_or_weights_beyond_float64() -> None:
    model = Model(None, initial_clusters=np.full((1, 2), -1e150))
    weights = np.full(10, 1e308)
    with pytest.raises(BadInputError, match="leaves the range of float64"):
        model.score(shoal.Weighted(X * 1e-160, weights))
    far = np.full((1_000_000, 2), 1e150)
    assert model.score(far[:10]) == pytest.approx(8e301)
    wide = Model(None, initial_clusters=np.full((1, 100), -1e150))
    with pytest.raises(BadInputError, match="leaves the range of float64"):
        wide.evaluate(np.broadcast_to(np.full(100, 1e150), (1_000_000, 100)))
