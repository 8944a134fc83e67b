"""Rows of any real dtype, and tensors: the same bits as from the same values in float32 or float64.

bfloat16, int8, uint8, bool, int16 and uint16 are computed as float32, wider whole numbers as
float64; float16, float32 and float64 have tests of their own (test_exact.py, test_same_bits.py).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from exact_helpers import each_target

import shoal
from shoal import BadInputError, KMeansClustering, _core
from shoal.sources.foreign import to_array

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SEEDINGS = ("random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2")
SHORT = ["bfloat16", "int8", "uint8", "bool", "int16", "uint16"]
LONG = ["int32", "uint32", "int64", "uint64"]
DTYPES = pytest.mark.parametrize("name", [*SHORT, *LONG])
METRICS = pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])

ORDERS: dict[str, Callable[[Any], Any]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every second row and column": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "not aligned": lambda x: in_records(x),
}


def in_records(x: Any) -> Any:
    """The same rows, each behind one byte."""
    records = np.zeros(len(x), [("byte", "u1"), ("row", x.dtype, x.shape[1:])])
    records["row"] = x
    return records["row"]


def dtype_of(name: str) -> np.dtype[Any]:
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def widened(x: Any) -> Any:
    return x.astype(np.float64 if x.dtype.name in LONG else np.float32)


def blobs(name: str, n: int = 300, d: int = 6, seed: int = 3) -> Any:
    """Rows around a few points, with a row of zeros and, for whole numbers, the extremes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 20, (5, d))[rng.integers(0, 5, n)] + rng.normal(0, 4, (n, d))
    dtype = dtype_of(name)
    if name == "bool":
        return x > 0
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        scale = max(1, min(high, 2**53) // 256)
        x = np.clip(np.rint(x), -128, 127) * scale
        x = (x if dtype.kind == "i" else np.abs(x)).astype(dtype)
        x[1, 0], x[2, 0] = max(low, -(2**53)), min(high, 2**53)
    x[0] = 0
    return x.astype(dtype)


def everything(x: Any, metric: str, init: str, mini: bool) -> dict[str, Any]:
    """What training and its model say of the rows."""
    model = KMeansClustering(5, None, init, metric, random_seed=7, use_mini_batch=mini)
    model.fit(x, steps=6, batch_size=64 if mini else None)
    found = model.predict(x, as_iterable=False)
    assert isinstance(found, dict)
    seen: list[Any] = []

    def metrics(rows: Any, *_: Any) -> float:
        seen.append(rows)
        return 0.0

    results = model.evaluate(x, metrics={"rows": metrics})
    assert seen[0].dtype == x.dtype
    return {
        **found,
        **{f"evaluate {key}": np.float64(value) for key, value in results.items()},
        "clusters": model.clusters(),
        "transform": model.transform(x),
        "score": np.float64(model.score(x)),
    }


def check_same(found: dict[str, Any], expected: dict[str, Any], about: str = "") -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, f"{key} {about}"
        assert found[key].tobytes() == value.tobytes(), f"{key} {about}"


# ---- The same bits ----


@DTYPES
@METRICS
@pytest.mark.parametrize("mini", [False, True], ids=["full batch", "mini-batch"])
def test_same_bits_as_the_wider_dtype(name: str, metric: str, mini: bool) -> None:
    x = blobs(name)
    for init in SEEDINGS:
        expected = everything(widened(x), metric, init, mini)
        float_dtype = np.float64 if name in LONG else np.float32
        assert expected["clusters"].dtype == expected["scores"].dtype == float_dtype
        orders = ORDERS if init == SEEDINGS[mini] else ["C"]
        for order in orders:
            check_same(everything(ORDERS[order](x), metric, init, mini), expected, order)


@DTYPES
@pytest.mark.parametrize("cosine", [False, True], ids=["squared_euclidean", "cosine"])
@pytest.mark.parametrize(("d", "k"), [(1, 4), (2, 9), (3, 20), (9, 30), (70, 3), (150, 40)])
def test_same_bits_from_every_kernel(name: str, cosine: bool, d: int, k: int) -> None:
    x = blobs(name, 400, d, seed=d)
    wide = widened(x)
    centers = np.ascontiguousarray(wide[3 : 3 + k])

    def results(rows: Any) -> list[Any]:
        labels, distances = np.full(400, -1, np.int32), np.empty(400)
        _, loss, _ = _core.assign(rows, None, centers, cosine, 2, labels, distances)
        every, magnitude = np.empty((400, k), wide.dtype), np.empty(d)
        _core.all_distances(rows, centers, cosine, 1, every)
        assert _core.scan(rows, 2, magnitude) == (-1, -1)
        return [loss, *(a.tobytes() for a in (labels, distances, every, magnitude))]

    for target in each_target():
        expected = results(wide)
        for order, lay in ORDERS.items():
            assert results(lay(x)) == expected, f"{target}, {order}"


@pytest.mark.parametrize("name", [*SHORT, "int32", "uint64"])
def test_shards_weights_and_batches(name: str) -> None:
    x = blobs(name)
    weights = np.random.default_rng(2).uniform(0, 2, len(x))
    for metric in ("squared_euclidean", "cosine"):
        for data in (
            lambda x: [x[:100], x[100:]],
            lambda x: [
                shoal.Weighted(x[:100], weights[:100]),
                shoal.Weighted(x[100:], weights[100:]),
            ],
            lambda x: lambda: iter([x[:100], x[100:]]),
            lambda x: {"a": x[:, 0], "b": x[:, 1:], "w": weights},
        ):
            weight = "w" if isinstance(data(x), dict) else None
            models = [
                KMeansClustering(
                    4, None, "kmeans_plus_plus", metric, 1, False, weight_column=weight
                )
                for _ in range(2)
            ]
            for model, rows in zip(models, (x, widened(x)), strict=True):
                model.fit(data(rows), steps=5)
            assert models[0].clusters().tobytes() == models[1].clusters().tobytes()


def test_callables_get_the_rows_as_they_are() -> None:
    for name in (*SHORT, *LONG):
        x = blobs(name)
        given: list[Any] = []

        def choose(inputs: list[Any], missing: int, given: list[Any] = given) -> Any:
            given.extend(inputs)
            return inputs[0][3 : 3 + missing]

        model = KMeansClustering(3, None, choose, use_mini_batch=False).fit(x, steps=1)
        assert given[0].dtype == x.dtype
        assert np.shares_memory(given[0], x)
        assert model.clusters().dtype == widened(x).dtype


@DTYPES
def test_given_centers_of_any_dtype(name: str) -> None:
    x = blobs(name)
    models = [
        KMeansClustering(None, None, x[3:6].astype(dtype), use_mini_batch=False).fit(x, steps=2)
        for dtype in (x.dtype, np.float64 if x.dtype.kind in "iub" else np.float32)
    ]
    check_same({"c": models[0].clusters()}, {"c": models[1].clusters()})


@DTYPES
def test_step_by_step(name: str) -> None:
    x = blobs(name)
    programs = [shoal.KMeans(rows, 4).training_graph() for rows in (x, widened(x))]
    for graph in programs:
        graph.init_op()
    losses = [graph.training_op() for graph in programs]
    assert losses[0] == losses[1]
    for operation in ("scores", "all_scores", "cluster_idx"):
        found, expected = (getattr(graph, operation)() for graph in programs)
        check_same({operation: found}, {operation: expected})


def test_memory_maps_and_files(tmp_path: Any) -> None:
    x = blobs("uint8")
    np.save(tmp_path / "x.npy", x)
    expected = KMeansClustering(3, use_mini_batch=False).fit(x, steps=3).clusters()
    for data in (np.load(tmp_path / "x.npy", mmap_mode="r"), tmp_path / "x.npy"):
        found = KMeansClustering(3, use_mini_batch=False).fit(data, steps=3).clusters()
        assert found.tobytes() == expected.tobytes()


def test_bfloat16_in_a_file_has_lost_its_name(tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", blobs("bfloat16"))
    loaded = np.load(tmp_path / "x.npy")
    for data in (loaded, tmp_path / "x.npy"):
        with pytest.raises(BadInputError, match=r"\.view\(ml_dtypes\.bfloat16\)"):
            KMeansClustering(2).fit(data)
    assert shoal.open(loaded.view(BFLOAT16)).held[0].rows.dtype == BFLOAT16


def test_columns_of_several_dtypes() -> None:
    x = blobs("int8")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"a": "int8", "b": "int8"}, "int8"),
        ({"a": "int8", "b": "uint8"}, "int16"),
        ({"a": "bool", "b": "bool"}, "bool"),
        ({"a": "bool", "b": "float16"}, "float16"),
        ({"a": "int16", "b": "float32"}, "float32"),
        ({"a": "int32", "b": "float32"}, "float64"),
        ({"a": "int64", "b": "int64"}, "float64"),
        ({"a": "int64", "b": "int32"}, "float64"),
        ({"a": ">i4", "b": ">i4"}, "int32"),
        ({"a": BFLOAT16, "b": BFLOAT16}, "bfloat16"),
        ({"a": BFLOAT16, "b": "int16"}, "float32"),
        ({"a": BFLOAT16, "b": "float16"}, "float32"),
        ({"a": BFLOAT16, "b": "int32"}, "float64"),
    ]
    for dtypes, expected in cases:
        data = {column: np.abs(x[:, 1:3]).astype(dtype) for column, dtype in dtypes.items()}
        rows = shoal.open(data).held[0].rows
        assert rows.dtype.name == expected, f"{dtypes}"
        assert (rows.astype(np.float64) == np.hstack([*map(widen_any, data.values())])).all()


def widen_any(x: Any) -> Any:
    return x.astype(np.float64)


def test_lists_of_whole_numbers_are_floating_point() -> None:
    assert shoal.open([[1, 2], [3, 4]]).held[0].rows.dtype == np.float64


def test_long_doubles_are_refused() -> None:
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is float64 here")
    with pytest.raises(BadInputError, match=r"at most float64.*\.astype\(np\.float64\)"):
        KMeansClustering(2).fit(np.ones((4, 2), np.longdouble))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_bfloat16_is_named_or_skipped(value: float) -> None:
    x = blobs("bfloat16")
    x[37, 1] = value
    with pytest.raises(BadInputError, match=r"row 37, column 1.*finite"):
        KMeansClustering(2).fit(x, steps=2)
    with pytest.warns(UserWarning, match="dropped 1"):
        KMeansClustering(2, use_mini_batch=False, on_bad_rows="skip").fit(x, steps=2)


def test_long_whole_numbers_are_not_skipped() -> None:
    x = blobs("int64")
    x[37, 1] = 2**53 + 1
    with pytest.raises(BadInputError, match=r"row 37, column 1.*2\*\*53"):
        KMeansClustering(2, on_bad_rows="skip").fit(x, steps=2)


# ---- DLPack, without a library ----


class Tensor:
    """All that DLPack asks for; it can be iterated over, as tensors can."""

    def __init__(self, array: Any, device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array)


def test_dlpack() -> None:
    x = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    assert np.shares_memory(to_array(Tensor(x), "x"), x)
    expected = KMeansClustering(3, use_mini_batch=False).fit(x, steps=3)
    model = KMeansClustering(3, use_mini_batch=False).fit(Tensor(x), steps=3)
    assert model.clusters().tobytes() == expected.clusters().tobytes()
    assert model.score(Tensor(x), sample_weight=Tensor(np.ones(100))) == expected.score(x)
    assert model.score([Tensor(x[:30]), Tensor(x[30:])]) == expected.score(x)
    assert model.score(iter([Tensor(x[:30]), Tensor(x[30:])])) == expected.score(x)
    given = KMeansClustering(None, None, Tensor(x[:3]), use_mini_batch=False).fit(x, steps=1)
    assert given.clusters().shape == (3, 3)


def test_dlpack_elsewhere_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"x is a Tensor on a device.*\.cpu\(\)"):
        KMeansClustering(3).fit(Tensor(np.ones((9, 3)), device=2))


# ---- A DataLoader, without torch ----


class DataLoader:
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch.utils.data")
    module.DataLoader = DataLoader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.data", module)


@pytest.mark.usefixtures("loaders")
def test_the_first_item_of_a_loaders_batches_is_the_rows() -> None:
    x = blobs("int16")
    expected = KMeansClustering(3, use_mini_batch=False).fit(x, steps=3).clusters()
    y = np.arange(len(x))
    for batches in (
        [x[:100], x[100:]],
        [[x[:100]], [x[100:]]],
        [[x[:100], y[:100]], [x[100:], y[100:]]],
        [(x[:100], y[:100], None), (x[100:], y[100:], None)],
        [{"a": x[:100, :2], "b": x[:100, 2:]}, {"a": x[100:, :2], "b": x[100:, 2:]}],
    ):
        for data in (DataLoader(batches), lambda batches=batches: DataLoader(batches)):
            labelled = len(batches[0]) > 1 and isinstance(batches[0], (list, tuple))
            told = pytest.warns(UserWarning, match="labels as a rule, is not used")
            with told if labelled else contextlib.nullcontext():
                model = KMeansClustering(3, use_mini_batch=False).fit(data, steps=3)
            assert model.clusters().shape == expected.shape
            same = model.predict(x, as_iterable=False)
            with told if labelled else contextlib.nullcontext():
                check_same(model.predict(data, as_iterable=False), same)


@pytest.mark.usefixtures("loaders")
def test_loader_errors() -> None:
    with pytest.raises(BadInputError, match="empty batches"):
        KMeansClustering(3).fit(DataLoader([[]]))
    with pytest.raises(BadInputError, match="batches of its own"):
        KMeansClustering(3).fit(DataLoader([np.ones((9, 2))]), batch_size=3)
    with pytest.raises(BadInputError, match=r"batch 0 is a tuple.*as its 9 rows.*shape \(9, 6\)"):
        KMeansClustering(3).fit(DataLoader([[np.ones((9, 2)), np.ones((9, 6))]]))


# ---- The real libraries, where they are installed ----


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    t = torch.from_numpy(x)
    leaf = t.clone().requires_grad_(True)
    for tensor in (t, t.T.contiguous().T, t[::2], leaf, torch.nn.Parameter(t.clone())):
        array = to_array(tensor, "x")
        assert array.ctypes.data == tensor.data_ptr()
        found = KMeansClustering(3, use_mini_batch=False).fit(tensor, steps=3)
        same = KMeansClustering(3, use_mini_batch=False).fit(np.array(array), steps=3)
        assert found.clusters().tobytes() == same.clusters().tobytes()
    for dtype in (torch.bfloat16, torch.float16, torch.uint8, torch.int8, torch.bool, torch.int64):
        tensor = t > 0 if dtype == torch.bool else (t * 9).to(dtype)
        found = KMeansClustering(3, use_mini_batch=False).fit(tensor, steps=3)
        wide = tensor.double() if dtype == torch.int64 else tensor.float()
        same = KMeansClustering(3, use_mini_batch=False).fit(wide, steps=3)
        assert found.clusters().tobytes() == same.clusters().tobytes(), f"{dtype}"
    assert to_array(t.bfloat16(), "x").dtype == BFLOAT16


def test_torch_tensors_that_cannot_be_read() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    t = torch.ones((9, 3))
    for tensor, words in (
        (t.to("meta"), r"on meta.*\.cpu\(\)"),
        (t.to_sparse(), r"layout.*\.to_dense\(\)"),
        (t.to(torch.float8_e4m3fn), r"float8.*\.float\(\)"),
        (t.to(torch.complex64), "complex64.*real numbers"),
    ):
        with pytest.raises(BadInputError, match=words):
            KMeansClustering(2).fit(tensor)


def test_torch_bfloat16_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(shoal.MissingExtraError, match=r"ml_dtypes.*shoal\[bfloat16\]"):
        KMeansClustering(2).fit(torch.ones((9, 3), dtype=torch.bfloat16))


def test_torch_loaders() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils.data import DataLoader, TensorDataset

    x = torch.from_numpy(np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32))
    labels = torch.arange(100)
    expected = KMeansClustering(3, use_mini_batch=False, initial_clusters=x[:3]).fit(x, steps=4)
    for dataset in (x, TensorDataset(x), TensorDataset(x, labels), [{"a": row} for row in x]):
        loader = DataLoader(dataset, batch_size=32)
        found = KMeansClustering(3, use_mini_batch=False, initial_clusters=x[:3])
        labelled = isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1
        told = pytest.warns(UserWarning, match="labels") if labelled else contextlib.nullcontext()
        with told:
            found.fit(loader, steps=4)
        assert found.clusters().tobytes() == expected.clusters().tobytes()
    shuffled = DataLoader(x, batch_size=32, shuffle=True)
    KMeansClustering(3).fit(shuffled, steps=9)
    with pytest.raises(BadInputError, match="the source changed between two passes"):
        KMeansClustering(3, use_mini_batch=False).fit(shuffled, steps=4)


def test_jax_arrays() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    x = np.random.default_rng(1).normal(0, 9, size=(100, 3)).astype(np.float32)
    for dtype in ("float32", "bfloat16", "float16", "int8", "uint8", "int32", "bool"):
        array = jax.numpy.asarray(x > 0 if dtype == "bool" else x).astype(dtype)
        seen = to_array(array, "x")
        assert seen.ctypes.data == array.unsafe_buffer_pointer()
        found = KMeansClustering(3, use_mini_batch=False).fit(array, steps=3)
        same = KMeansClustering(3, use_mini_batch=False).fit(np.array(seen), steps=3)
        assert found.clusters().tobytes() == same.clusters().tobytes(), dtype

    def inside(array: Any) -> Any:
        with pytest.raises(BadInputError, match="without values"):
            KMeansClustering(2).fit(array)
        return array

    jax.jit(inside)(jax.numpy.asarray(x))
