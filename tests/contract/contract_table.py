"""What the contract tests run over: sources of the same rows, seedings, metrics, modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contract_arrow as arrow
import contract_others as others
import ml_dtypes
import numpy as np

import shoal
from shoal.executors import PickledExecutor

ROWS, COLUMNS, CLUSTERS = 240, 5, 6
SEEDINGS = ("given", "random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2", "callable")
# Drawing rows in proportion to weight uses other random numbers than drawing them evenly.
PAGED_SEEDINGS = ("given", "kmeans_plus_plus", "kmeans_parallel", "afkmc2")
WEIGHTED_SEEDINGS = tuple(name for name in SEEDINGS if name != "random")


def make_rows(dtype: Any = np.float32) -> Any:
    """Overlapping blobs, so that labels keep changing for a while.

    Values are those of float16, bfloat16 or float32, or whole numbers.
    """
    rng = np.random.default_rng(20240)
    middle = rng.normal(size=(CLUSTERS, COLUMNS)) * 2
    rows = middle[rng.integers(CLUSTERS, size=ROWS)] + rng.normal(size=(ROWS, COLUMNS))
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rows > 0
    if kind.kind in "iu":
        rows = np.round(rows * 10.0 ** (1 + 2 * (kind.itemsize // 2)))
        rows -= rows.min() if kind.kind == "u" else 0
        assert np.iinfo(kind).min <= rows.min() < rows.max() <= np.iinfo(kind).max
        return rows.astype(kind)
    return rows.astype(np.float32).astype(dtype)


def as_floats(rows: Any) -> Any:
    """The same values as rows that NumPy users would have made of them, if they are no floats."""
    if rows.dtype in (np.float16, np.float32, np.float64):
        return rows
    return rows.astype(np.float32 if rows.dtype.itemsize <= 2 else np.float64)


# ---- Sources in memory: make(rows, folder) gives what fit() is given ----


@dataclass(frozen=True)
class Source:
    """A way to hand over the same rows."""

    name: str
    make: Callable[[Any, Path], Any]
    dtypes: tuple[Any, ...] = (np.float32,)
    needs: str | None = None  # an optional package
    seedings: tuple[str, ...] = SEEDINGS  # for which the bits are those of the array
    warns: str | None = None  # what it warns of


class HasArray:
    """An object of a foreign library that NumPy can read."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self._rows, dtype=dtype, copy=True if copy is None else copy)


def strided(rows: Any, _folder: Path) -> Any:
    wide = np.full((2 * len(rows), 3 * rows.shape[1]), np.nan, rows.dtype)
    wide[::2, ::3] = rows
    return wide[::2, ::3]


def backwards(rows: Any, _folder: Path) -> Any:
    return np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1]


def unaligned(rows: Any, _folder: Path) -> Any:
    return np.frombuffer(b"\0" + rows.tobytes(), rows.dtype, rows.size, 1).reshape(rows.shape)


def read_only(rows: Any, _folder: Path) -> Any:
    copy = rows.copy()
    copy.setflags(write=False)
    return copy


def uneven_shards(rows: Any, _folder: Path) -> list[Any]:
    """One of a single row, one of none, one in another memory order."""
    return [rows[:1], rows[1:1], np.asfortranarray(rows[1:100]), rows[100:]]


def rows_and_ones(rows: Any, _folder: Path) -> Any:
    return shoal.Weighted(rows, np.ones(len(rows)))


def columns(rows: Any, _folder: Path | None = None) -> dict[str, Any]:
    """In their order, with names that would sort the other way round."""
    last = rows.shape[1] - 1
    return {f"c{last - i}": rows[:, i] for i in range(last + 1)}


def two_dicts(rows: Any, _folder: Path) -> list[dict[str, Any]]:
    """Shards, the second with its columns in another order."""
    return [columns(rows[:70]), dict(reversed(columns(rows[70:]).items()))]


def wide_columns(rows: Any, _folder: Path) -> dict[str, Any]:
    return {"c": rows[:, :3], "b": rows[:, 3], "a": rows[:, 4:]}


def frame(rows: Any, _folder: Path) -> Any:
    import pandas

    return pandas.DataFrame(columns(rows))


def npy_file(rows: Any, folder: Path) -> Any:
    np.save(folder / "rows.npy", rows)
    return folder / "rows.npy"


def fortran_npy_file(rows: Any, folder: Path) -> str:
    np.save(folder / "rows.npy", np.asfortranarray(rows))
    return str(folder / "rows.npy")


def csv_file(rows: Any, folder: Path) -> Any:
    lines = [",".join(["name", *columns(rows)])]
    lines += [",".join([f"row {i}", *map(repr, row)]) for i, row in enumerate(rows.tolist())]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "rows.csv"


def csv_without_header(rows: Any, folder: Path) -> Any:
    text = "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    (folder / "rows.csv").write_text(text, "utf-8")
    return folder / "rows.csv"


def sparse(rows: Any, _folder: Path | None = None) -> Any:
    import scipy.sparse

    return scipy.sparse.csr_matrix(rows)


def sparse_shards(rows: Any, _folder: Path) -> Any:
    """Arrays, one with 64-bit indices, one without rows."""
    import scipy.sparse

    shards = [scipy.sparse.csr_array(part) for part in (rows[:1], rows[1:1], rows[1:90], rows[90:])]
    shards[2].indices = shards[2].indices.astype(np.int64)
    shards[2].indptr = shards[2].indptr.astype(np.int64)
    return shards


BOTH = (np.float32, np.float64)
ALL = (np.float16, *BOTH)
BFLOAT16 = ml_dtypes.bfloat16
WHOLE = (np.bool_, np.int8, np.uint8, np.uint16, np.int32, np.int64)
FEW = ("given", "kmeans_plus_plus")
GIVEN = ("given",)
IN_MEMORY = (
    Source("F array", lambda rows, _: np.asfortranarray(rows), ALL),
    Source("strided view", strided, ALL),
    Source("backward view", backwards, BOTH),
    Source("read-only", read_only, BOTH),
    Source("2 shards", lambda rows, _: np.array_split(rows, 2), BOTH),
    Source("5 shards", lambda rows, _: np.array_split(rows, 5)),
    Source("uneven shards", uneven_shards, BOTH),
    Source("dict of columns", columns, ALL),
    Source("dict of wide columns", wide_columns),
    Source("sparse", sparse, BOTH, "scipy"),
    Source("sparse shards", sparse_shards, BOTH, "scipy"),
    Source("list of dicts", two_dicts),
    Source("pandas frame", frame, BOTH, "pandas"),
    Source("__array__", lambda rows, _: HasArray(rows)),
    Source("DLPack", lambda rows, _: others.HasDLPack(rows), ALL),
    Source(
        "DLPack, shards", lambda rows, _: [others.HasDLPack(rows[:99]), others.HasDLPack(rows[99:])]
    ),
    Source("torch tensor", others.torch_tensor, ALL, "torch"),
    Source("JAX array", others.jax_array, (np.float16, np.float32), "jax"),
    Source("rows and ones", rows_and_ones, BOTH, seedings=WEIGHTED_SEEDINGS),
    Source("callable, array", lambda rows, _: lambda: rows),
    Source("callable, shards", lambda rows, _: lambda: [rows[:9], rows[9:]]),
    Source("opened", lambda rows, _: shoal.open(rows)),
    Source(".npy", npy_file, ALL),
    Source(".npy, F order", fortran_npy_file),
    Source(".csv", csv_file, (np.float64,)),
    Source(".csv, no header", csv_without_header, (np.float64,)),
    Source("pyarrow tables", arrow.tables, ALL, "pyarrow"),
    Source("pyarrow column", arrow.column_of_lists, BOTH, "pyarrow"),
    Source("polars frame", arrow.polars_frame, BOTH, "polars"),
    Source("polars embeddings", arrow.polars_embeddings, BOTH, "polars"),
    Source("DuckDB relation", arrow.duckdb_relation, BOTH, "duckdb"),
    Source("array of other dtypes", lambda rows, _: rows, (BFLOAT16, *WHOLE), None, FEW),
    Source(
        "F array of other dtypes",
        lambda rows, _: np.asfortranarray(rows),
        (BFLOAT16, np.uint8, np.int32),
        None,
        GIVEN,
    ),
    Source("memory map", others.memory_map, (np.float32, np.uint8), None, ("given", "kmc2")),
    Source(".npz", others.npz_file, BOTH, None, GIVEN),
    Source(".npy directory", others.npy_directory, (np.float32,), None, FEW),
    Source("list of paths", others.npy_paths, (np.float32,), None, FEW),
    Source("file:// URL", others.file_url, (np.float32,), None, GIVEN),
    Source(".csv directory", others.csv_directory, (np.float64,), None, FEW),
    Source("sparse of whole numbers", sparse, (np.int8, np.int32), "scipy", GIVEN),
    Source("sparse, CSC", others.csc, BOTH, "scipy", GIVEN, warns="in CSC format"),
    Source("frame of whole numbers", frame, (np.uint8, np.int64), "pandas", GIVEN),
    Source(
        "torch tensor of other dtypes",
        others.torch_tensor,
        (BFLOAT16, np.uint8, np.int64),
        "torch",
        GIVEN,
    ),
    Source("JAX array of other dtypes", others.jax_array, (BFLOAT16, np.int8), "jax", GIVEN),
    Source("Arrow C stream", others.arrow_stream, BOTH, "pyarrow", GIVEN),
)
# Read page by page: a callable is not given all rows at once.
ON_DISK = (
    Source(".parquet", arrow.parquet_file, ALL, "pyarrow", PAGED_SEEDINGS),
    Source(".parquet of lists", arrow.parquet_of_lists, ALL, "pyarrow", PAGED_SEEDINGS),
    Source("Parquet directory", arrow.parquet_directory, BOTH, "pyarrow", PAGED_SEEDINGS),
    Source("Parquet pattern", arrow.parquet_pattern, (np.float32,), "pyarrow", ("given",)),
    Source("Parquet URL", arrow.parquet_url, (np.float32,), "fsspec", ("given",)),
    Source(".arrow", arrow.ipc_file, BOTH, "pyarrow", ("given", "kmc2")),
    Source(".feather of lists", arrow.feather_of_lists, BOTH, "pyarrow", ("given", "kmc2")),
    Source(".parquet of whole numbers", arrow.parquet_file, (np.uint8, np.int32), "pyarrow", GIVEN),
    Source("Arrow streams in files", others.stream_in_a_file, (np.float32,), "pyarrow", GIVEN),
)

# ---- Streams: make(batches) gives what fit() is given ----


class Again:
    """An iterable that can be read again and again."""

    def __init__(self, batches: list[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


REREADABLE: dict[str, Callable[[list[Any]], Any]] = {
    "callable, iterator": lambda batches: lambda: iter(batches),
    "callable, generator": lambda batches: lambda: (batch for batch in batches),
    "callable of a worker": lambda batches: lambda worker, n: iter(batches[worker::n]),
    "iterable": Again,
}
ONE_SHOT: dict[str, Callable[[list[Any]], Any]] = {
    "generator": lambda batches: (batch for batch in batches),
    "iterator": iter,
}
# Of other libraries, which make batches themselves: make(rows, size), its package, read again?
LIBRARIES: dict[str, tuple[Callable[[Any, int], Any], str, bool]] = {
    "torch DataLoader": (others.torch_loader, "torch", True),
    "pyarrow reader": (others.pyarrow_reader, "pyarrow", False),
}


def uneven_batches(rows: Any) -> list[Any]:
    """Batches of several sizes and kinds: one is empty, one comes in shards, one by column."""
    cuts = [50, 50, 57, 110, 170, 171, 200]
    parts = np.split(rows, cuts)
    return [
        *parts[:3],
        [parts[3][:20], parts[3][20:]],
        columns(parts[4]),
        np.asfortranarray(parts[5]),
        *parts[6:],
    ]


# ---- What is done with them ----


def spread(inputs: list[Any], remaining: int) -> Any:
    """Rows at even distances: a seeding of one's own that does not look at the shards."""
    dense = [part.toarray() if hasattr(part, "toarray") else part for part in inputs]
    rows = np.concatenate(dense)
    return rows[:: max(1, len(rows) // remaining)][:remaining]


def given(dtype: Any) -> Any:
    return as_floats(make_rows(dtype)[5::40].copy())


METRICS = ("squared_euclidean", "cosine")
MODES = {
    "full": {"use_mini_batch": False},
    "mini": {"use_mini_batch": True, "mini_batch_steps_per_iteration": 1},
    "mini-3": {"use_mini_batch": True, "mini_batch_steps_per_iteration": 3},
}


def parameters(seeding: str, metric: str, mode: str, dtype: Any) -> dict[str, Any]:
    """Arguments of KMeansClustering, and of KMeans."""
    initial = {"given": given(dtype), "callable": spread}.get(seeding, seeding)
    return {
        "num_clusters": CLUSTERS,
        "initial_clusters": initial,
        "distance_metric": metric,
        "random_seed": 11,
        "kmc2_chain_length": 20,
        **MODES[mode],
    }


@dataclass(frozen=True)
class Result:
    """What training ends with, as values that compare to the bit."""

    state: dict[str, tuple[str, bytes] | int]
    losses: tuple[float, ...]
    labels: tuple[int, ...]
    scores: tuple[str, bytes]


class Losses:
    """A monitor that keeps the loss of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, context: Any) -> None:
        self.seen.append(context.loss)


def bits(array: Any) -> tuple[str, bytes]:
    return str(array.dtype), array.tobytes()


def bits_of_state(state: Any) -> dict[str, tuple[str, bytes] | int]:
    arrays = {name: bits(getattr(state, name)) for name in ("clusters", "clusters_updated")}
    counters = {name: getattr(state, name) for name in ("update_in_steps", "global_step")}
    return {**arrays, "counts": bits(state.counts), **counters}


def bits_of_model(model: Any) -> dict[str, tuple[str, bytes] | int]:
    names = ("clusters", "clusters_updated", "counts", "update_in_steps", "global_step")
    values = {name: model.get_variable_value(name) for name in names}
    return {
        name: bits(value) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


#: Where rows live: in this process, or in parts that are spoken to through pickle alone.
EXECUTORS: dict[str, Callable[[], Any]] = {
    "local": lambda: None,
    "pickled": lambda: PickledExecutor(num_parts=3),
}


def train(
    data: Any, rows: Any, arguments: dict[str, Any], executor: Any = None, **fit: Any
) -> Result:
    """Fit on ``data``; labels and scores are those of ``rows``."""
    losses = Losses()
    config = shoal.RunConfig(executor=executor)
    model = shoal.KMeansClustering(config=config, **arguments)
    model.fit(data, monitors=[losses], **fit)
    found = model.predict(rows, outputs=["cluster_idx", "scores"], as_iterable=False)
    assert model.get_variable_value("global_step") == len(losses.seen)
    return Result(
        bits_of_model(model),
        tuple(losses.seen),
        tuple(found["cluster_idx"].tolist()),
        bits(found["scores"]),
    )
