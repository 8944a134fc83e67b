"""How much memory training will take, before it does."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.checks import whole_number
from shoal.config import (
    AFKMC2_INIT,
    KMC2_INIT,
    KMEANS_PARALLEL_INIT,
    KMEANS_PLUS_PLUS_INIT,
    Parameters,
)
from shoal.dtypes import check_dtype, is_double
from shoal.errors import BadInputError
from shoal.estimator import KMeansClustering
from shoal.feed import DEFAULT_BATCH_ROWS
from shoal.metric import is_cosine
from shoal.opening import is_input_fn, open_either
from shoal.settings import Settings
from shoal.shards.candidates import PIECES_MEASURED
from shoal.shards.kernels import planned_bytes
from shoal.sources.kept import bytes_of
from shoal.sources.limits import USUAL, Limits
from shoal.sources.mapped import Mapped, described
from shoal.sources.open import Source
from shoal.sources.sparse import SparseRows
from shoal.steps.chains import CHAIN_ROWS
from shoal.steps.order import rows_of_a_window

#: Buffers of a thread, and what the allocator and libraries hold, in bytes; measured.
THREAD_BYTES, OTHER_BYTES = 1 << 20, 4 << 20
#: What reading files takes beside the rows: pyarrow and its buffers, once it is loaded.
READER_BYTES = 60 << 20
#: What a column takes, whatever the number of centers, and what of it each thread has; measured.
COLUMN_BYTES, COLUMN_BYTES_OF_A_THREAD = 150, 50
#: What a center takes, whatever the number of columns; measured.
CENTER_BYTES = 128


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that training takes, by what takes them; see ``memory_estimate``.

    ``total`` is the peak: seeding and training follow each other, so the larger of the two counts.

    Examples
    --------
    >>> import shoal
    >>> model = shoal.KMeansClustering(100)
    >>> estimate = shoal.memory_estimate(model, rows=10**6, columns=50)
    >>> estimate.total == estimate.process + estimate.added
    True
    """

    process: int  # what this process holds now, arrays among it
    data: int  # rows that are not in memory yet and will be, or lie in mapped files
    reading: int  # pieces, windows and batches of rows under way
    centers: int  # the centers and their sums
    seeding: int  # while centers are chosen
    labels: int  # 4 bytes per row, for full batch; the rows of one, shuffled, for mini-batches
    kept: int  # beside the rows to save work, within memory_budget
    threads: int

    @property
    def training(self) -> int:
        """What steps take, beside rows and centers."""
        return self.labels + self.kept

    @property
    def added(self) -> int:
        """What training adds to what the process holds."""
        rest = self.data + self.reading + self.centers + self.threads
        return rest + max(self.seeding, self.training)

    @property
    def total(self) -> int:
        """The peak of the process."""
        return self.process + self.added

    def __str__(self) -> str:
        parts = [(field.name, getattr(self, field.name)) for field in fields(self)]
        lines = [f"{name:<9}{size / 2**20:>10.1f} MB" for name, size in parts]
        return "\n".join([*lines, f"{'total':<9}{self.total / 2**20:>10.1f} MB"])


@dataclass(frozen=True)
class _Shape:
    rows: int
    dim: int
    dtype: np.dtype[Any]
    held: bool  # in memory
    batch_size: int | None
    shuffle: bool = True
    weighted: bool = False
    sparse: int | None = None  # bytes of all rows, where they are sparse
    packed: bool = True  # no gaps between the columns of a row
    mapped: int = 0  # bytes of files that are mapped, which the system may take back
    page: int = 0  # rows of the largest row group or the like, which are read together
    limits: Limits = USUAL

    @property
    def bytes(self) -> int:
        return self.rows * self.dim * self.dtype.itemsize if self.sparse is None else self.sparse

    @property
    def row(self) -> int:
        """Bytes of a row, about."""
        return -(-self.bytes // max(self.rows, 1))


def memory_estimate(
    model: KMeansClustering,
    x: Any = None,
    *,
    rows: int | None = None,
    columns: int | None = None,
    dtype: npt.DTypeLike = np.float32,
    on_disk: bool = False,
    batch_size: int | None = None,
) -> MemoryEstimate:
    """Predict the memory that ``model.fit`` will take.

    Parameters
    ----------
    model
        An estimator with the parameters of the run; it is not trained.
    x
        The data, as for ``fit``. It is opened, and not read.
    rows, columns, dtype, on_disk
        The shape of the data instead of ``x``; ``on_disk``: in Parquet files or the like, in row
        groups of usual size, instead of an array that is yet to be made.
    batch_size
        Rows per mini-batch, as for ``fit``.

    Returns
    -------
    MemoryEstimate
        Bytes, by what takes them; ``total`` is the peak of this process.

    Raises
    ------
    BadInputError
        If neither or both of ``x`` and a shape are given, or ``x`` does not tell how many rows it
        has.

    Examples
    --------
    >>> import shoal
    >>> model = shoal.KMeansClustering(100, use_mini_batch=False)
    >>> estimate = shoal.memory_estimate(model, rows=1_000_000, columns=64)
    >>> estimate.data, estimate.labels
    (256000000, 4000000)
    """
    settings = Settings.checked(model.get_params())
    planned = settings.parameters
    shape = _shape_of_numbers(rows, columns, dtype, on_disk, batch_size)
    if (x is None) == (shape is None):
        given = "neither" if x is None else "both"
        raise BadInputError(f"{given} of x and a shape given: pass x, or rows and columns")
    if shape is None:
        shape = _shape_of_source(_opened(model, settings, x, batch_size))
        data = shape.mapped if shape.held else 0  # else it is there, or stays where it is
    else:
        data = shape.bytes if shape.held else 0
    reading = _reading(planned, shape)
    size = bytes_of(shape.rows, shape.dim, shape.dtype, shape.weighted)
    if not shape.held and planned.keeps(size):  # decoded, and then as if it had been there
        data, shape = size, dataclasses.replace(shape, held=True)
        reading = READER_BYTES + 5 * shape.limits.piece + _reading(planned, shape)
        planned = planned.without(size)
    k, d = planned.num_clusters, shape.dim
    double = is_double(shape.dtype)
    levels = 2 if double or shape.weighted else 1
    # The state before and after and what filters make of it; sums of each thread, of all, and a
    # copy where a cluster is empty.
    cell = 4 * (8 if double else 4) + 4 + 8 * levels * (planned.num_threads + 2)
    if shape.sparse is not None:  # centers as float64 and as a table; sums, a copy; measured
        cell = 3 * (8 if double else 4) + (28 if levels == 1 else 56) + 6 * planned.use_mini_batch
    return MemoryEstimate(
        process=_resident(),
        data=data,
        reading=reading,
        centers=k * ((d + 1) * cell + CENTER_BYTES)
        + d * (COLUMN_BYTES + COLUMN_BYTES_OF_A_THREAD * planned.num_threads),
        seeding=_seeding(planned, shape),
        labels=_labels(planned, shape),
        kept=_kept(planned, shape),
        threads=planned.num_threads * THREAD_BYTES + OTHER_BYTES,
    )


def _shape_of_numbers(
    rows: int | None, columns: int | None, dtype: npt.DTypeLike, on_disk: bool, size: int | None
) -> _Shape | None:
    if rows is None and columns is None:
        return None
    n, d = whole_number("rows", rows, 1), whole_number("columns", columns, 1)
    kind = np.dtype(dtype)
    check_dtype(kind, "dtype")
    return _Shape(n, d, kind, not on_disk, size)


def _opened(model: KMeansClustering, settings: Settings, x: Any, batch_size: int | None) -> Source:
    """The data, as ``fit`` would open it."""
    dim = model.state.clusters.shape[1] if model.is_fitted else None
    named = settings.named._replace(learned=model.columns, dim=dim)
    data, input_fn = (None, x) if is_input_fn(x) else (x, None)
    return open_either(data, input_fn, batch_size, named, True, None)


def _shape_of_source(source: Source) -> _Shape:
    if not source.any_order:
        raise BadInputError(
            f"{source.name} is a stream, which does not tell how many rows it has: pass rows, "
            "columns and on_disk=True instead"
        )
    pages, dtype = source.pages, np.dtype(source.pages.dtype)
    weighted = any(part.weights is not None for part in source.held)
    weighted = weighted or getattr(pages, "weight", None) is not None
    sparse = [part.rows.nbytes for part in source.held if isinstance(part.rows, SparseRows)]
    dense = [part.rows for part in source.held if not isinstance(part.rows, SparseRows)]
    inside = sum(rows.nbytes for rows in dense if isinstance(described(rows), Mapped))
    return _Shape(
        source.rows or 0,
        pages.dim,
        dtype,
        source.resident,
        source.batch_size,
        source.shuffle,
        weighted,
        sum(sparse) if sparse else None,
        all(rows.strides[1] == rows.itemsize for rows in dense),
        inside or getattr(pages, "mapped", 0),
        max(pages.lengths, default=0),
        source.limits,
    )


def _reading(planned: Parameters, shape: _Shape) -> int:
    """Rows under way: pieces of what is not in memory, or copies of batches."""
    batch = _batch(planned, shape) * shape.row
    if shape.held:
        return 2 * batch if planned.use_mini_batch else 0
    piece = shape.limits.piece
    # Rows that are chosen by their index are read with all of their page.
    page = min(shape.page * shape.row, shape.bytes)
    window = min(rows_of_a_window(shape.dim) * shape.row, shape.bytes)
    if shape.mapped:  # of which rows are copied
        use = 2 * window + 2 * batch if planned.use_mini_batch else 2 * piece
        return READER_BYTES + shape.mapped + use
    if not planned.use_mini_batch:
        return READER_BYTES + page + 5 * piece  # being read, read ahead, in use, and decoded
    # In use, read ahead, what it is decoded and put together from, and what eight readers hold.
    return READER_BYTES + page + 8 * window + 2 * batch


def _labels(planned: Parameters, shape: _Shape) -> int:
    if not planned.use_mini_batch:
        return 4 * shape.rows
    return 32 * _batch(planned, shape) if shape.shuffle else 0  # its rows as drawn, and sorted


def _kept(planned: Parameters, shape: _Shape) -> int:
    if planned.use_mini_batch or shape.sparse is not None:
        return 0
    budget = planned.budget(shape.bytes if shape.held else 0)
    floats = shape.dtype.kind == "f" and shape.packed
    as_they_lie = floats and not is_cosine(planned.distance_metric)
    dims = (shape.rows, shape.dim)
    return planned_bytes(dims, planned.num_clusters, budget, shape.held, as_they_lie)


def _seeding(planned: Parameters, shape: _Shape) -> int:
    """What the choice of first centers takes at its peak."""
    n, d, row = shape.rows, shape.dim, shape.row
    given = planned.initial_clusters
    method = given if isinstance(given, str) else None
    weights = 8 * n if shape.weighted and not shape.held else 0
    if method == KMEANS_PLUS_PLUS_INIT:
        if shape.sparse is not None:
            return 20 * n + weights + (64 + 64 * planned.num_threads) * d
        budget = planned.budget(shape.bytes if shape.held else 0)
        return 20 * n + weights + min(budget, (d + 12) * n)
    if method == KMEANS_PARALLEL_INIT:
        rounds = planned.kmeans_parallel_rounds * planned.kmeans_parallel_oversampling
        candidates = min(n, int(rounds * planned.num_clusters) + 1)
        # Distances and labels, also of the rows under way; rows noted and as candidates, wide, and
        # what weighs them.
        under_way = 17 * min(n, PIECES_MEASURED * shape.limits.candidate_rows)
        return 12 * n + under_way + weights + candidates * (2 * row + 32 * d)
    if method == AFKMC2_INIT:
        masses = 8 * n if shape.weighted else 0  # of all rows by their weight
        return 16 * n + masses + weights + CHAIN_ROWS * row
    if method == KMC2_INIT:
        return weights + CHAIN_ROWS * 2 * row
    return weights


def _batch(planned: Parameters, shape: _Shape) -> int:
    """Rows of a mini-batch."""
    return min(shape.rows, shape.batch_size or _default_batch(planned))


def _default_batch(planned: Parameters) -> int:
    return max(DEFAULT_BATCH_ROWS, 8 * planned.num_clusters)


def _resident() -> int:
    """Bytes of memory that this process holds."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak_so_far()


def _peak_so_far() -> int:
    """What stands in where a system does not say; more than is held now, if anything."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
