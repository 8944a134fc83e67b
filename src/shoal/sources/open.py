"""What is this data? The one place that decides which adapter reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeGuard

import numpy as np

from shoal.checks import whole_number
from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.array import to_parts, warn_of_labels
from shoal.sources.brought import prepared
from shoal.sources.columns import Columns, check_label, check_labels
from shoal.sources.foreign import is_ray_data, unwrapped
from shoal.sources.limits import USUAL, Limits
from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages
from shoal.sources.per_worker import is_per_worker, open_per_worker
from shoal.sources.stream import StreamSource, is_iterable_of_batches, what_never_ends

Source = PagedSource | StreamSource


def open_source(
    data: Any,
    batch_size: int | None = None,
    columns: Sequence[Any] | None = None,
    weight: Any = None,
    shuffle: bool = True,
    seed: int | None = None,
    *,
    name: str = "x",
    limits: Limits | None = None,
) -> Source:
    """Open data of any kind that shoal reads; also available as ``shoal.open``.

    Parameters
    ----------
    data
        An array [n, d] of float16, bfloat16 (of ``ml_dtypes``), float32, float64, bool or whole
        numbers (NumPy, or anything with ``__array__`` or ``__dlpack__``: torch tensors in the
        memory of the CPU, JAX arrays); a sparse matrix or array of scipy's (CSR; others are
        converted, with a warning), of which every answer has the bits of its ``toarray()``; a dict
        of columns, a data frame, or a table of polars, pyarrow or DuckDB; ``shoal.Weighted(rows,
        weights)`` of one of those; a list of those, the parts of one data set; a data set of Ray
        Data; an iterator, generator or iterable of batches of any of these kinds, but of Ray's; a
        torch ``DataLoader``; a callable that returns any of these, or one of ``(worker,
        num_workers)`` that returns an iterator of that worker's batches; of a tuple, as a batch or
        as data, the first item is the rows, and labels beside it are not used; a path, or a list
        of paths, to files (``.npy``, ``.npz``, ``.csv``, ``.parquet``, ``.arrow``, ``.feather``,
        ``.ipc``): of
        one, a directory, a pattern such as ``"days/*.parquet"``, a URL. Parquet,
        Arrow and large CSV files are read piece by piece, never as a whole.
    batch_size
        Rows per batch, for data in memory and files.
    columns
        Labels of the columns to use, in this order: a list, a tuple, an Index or an array of text,
        numbers or tuples (default: all but ``weight``, in the order in which the data has them).
        The parts of a list, of a directory and of a stream are matched by these labels.
    weight
        Label of the column of weights.
    shuffle
        Whether mini-batch training shuffles data that it can read in any order.
    seed
        Of that order; None: the model's ``random_seed``.
    name
        What error messages call the data.
    limits
        How much of the data is in memory or in work at a time (None: as
        ``shoal.sources.limits.Limits`` has it).

    Returns
    -------
    PagedSource or StreamSource
        With ``rows``, ``dim`` and ``columns`` (None where unknown), ``rereadable``, ``batches()``.

    Raises
    ------
    BadInputError
        If the data is of no such kind, or has the wrong shape or dtype.
    """
    if batch_size is not None:
        batch_size = whole_number("batch_size", batch_size, 1)
    if seed is not None:
        seed = whole_number("seed", seed, 0, 2**128)
    named = Columns(check_labels(columns, "columns"), check_label(weight, "weight"))
    if limits is not None and is_source(data):
        raise BadInputError(
            f"{name} is opened already: give its limits in the first shoal.open(...)"
        )
    source = open_named(data, named, batch_size, shuffle, name, check_limits(limits))
    if source.any_order and seed is not None:
        source.seed = seed
    return source


def check_limits(limits: object) -> Limits:
    """Return the limits that a user gave."""
    if limits is None:
        return USUAL
    if not isinstance(limits, Limits):
        raise BadInputError(
            f"limits is of type {type(limits).__name__}; it must be shoal.sources.limits.Limits"
        )
    return limits


def open_named(
    data: Any,
    named: Columns,
    batch_size: int | None,
    shuffle: bool,
    name: str,
    limits: Limits = USUAL,
) -> Source:
    """Open data, as ``open_source`` does, with its checked columns."""
    if isinstance(data, np.ndarray):
        return _in_memory(data, named, batch_size, shuffle, name, limits)
    if is_source(data):
        return _reopened(data, batch_size, named, shuffle, name)
    if is_path(data):
        from shoal.sources.files import open_path

        if name == "x" and not isinstance(data, list):  # nobody has called it otherwise
            name = os.fsdecode(data)
        on_disk = PagedSource(
            open_path(data, named, name, limits), batch_size, shuffle, limits=limits
        )
        on_disk.named, on_disk.read = named, partial(open_path, data, name=name, limits=limits)
        return on_disk
    if callable(data) and not hasattr(data, "__array__"):
        return _open_callable(data, named, batch_size, shuffle, name, limits)
    if isinstance(data, (list, tuple)) and data and is_ray_data(data[0]):
        raise BadInputError(
            f"{name} is a {type(data).__name__} of Ray data sets: make one of them, with "
            "one.union(other)"
        )
    if is_ray_data(data):
        return _of_ray(data, named, batch_size, shuffle, name, limits)
    data = prepared(unwrapped(data), name)
    if is_iterable_of_batches(data):
        _refuse_batch_size(batch_size, name)
        once = iter(data)
        if once is data:
            source = StreamSource(lambda: once, False, named, name, limits)
            source.endless = what_never_ends(once)
            return source
        source = StreamSource(lambda: iter(data), True, named, name, limits)
        source.endless = what_never_ends(data)
        with suppress(TypeError):  # no length
            source.num_batches = len(data)
        return source
    return _in_memory(data, named, batch_size, shuffle, name, limits)


def with_sample_weight(source: Source, weights: Any) -> PagedSource:
    """A source with the weights [n] that a method was given beside it."""
    if not source.any_order:
        raise BadInputError(
            f"sample_weight goes with rows whose number is known, and {source.name} comes in "
            "batches: give each batch as shoal.Weighted(rows, weights), or name a weight_column"
        )
    return source.weighted(weights, "sample_weight")


def _in_memory(
    data: Any, named: Columns, batch_size: int | None, shuffle: bool, name: str, limits: Limits
) -> Source:
    parts = to_parts(data, named, name)
    warn_of_labels(parts, name)
    source = PagedSource(ArrayPages(parts, name), batch_size, shuffle, limits=limits)
    source.named = named
    return source


def is_source(data: object) -> TypeGuard[Source]:
    """Whether data was opened before."""
    return isinstance(data, (PagedSource, StreamSource))


def _of_ray(
    data: Any, named: Columns, batch_size: int | None, shuffle: bool, name: str, limits: Limits
) -> Source:
    try:
        from shoal.sources.ray_data import RayPages, materialized
    except ImportError:
        raise MissingExtraError(f"reading {name}, a Ray data set,", "pyarrow", "parquet") from None
    there = materialized(data, name)
    pages = RayPages(there, named, name, limits)
    source = PagedSource(pages, batch_size, shuffle, limits=limits)
    source.named, source.read = named, partial(RayPages, there, name=name, limits=limits)
    return source


def is_path(data: object) -> bool:
    """Whether ``data`` is a path, or a list of paths."""
    if isinstance(data, list) and data:
        return all(isinstance(one, (str, os.PathLike)) for one in data)
    return isinstance(data, (str, os.PathLike))


def _reopened(
    data: Source, batch_size: int | None, named: Columns, shuffle: bool, name: str
) -> Source:
    """A source that was opened before; never changed, as it is the caller's.

    Where its columns are not those asked for, in their order, it is opened anew.
    """
    if not _opened_so(data, named):
        raise BadInputError(
            f"{name} is opened already: name its columns in shoal.open(..., columns=, weight=)"
        )
    if not data.any_order:
        _refuse_batch_size(batch_size, name)
        same = named.learned in (None, (), data.named.learned)
        return data if same else data.like(data.named.known(named))
    source = data.like(batch_size or data.batch_size, shuffle and data.shuffle)
    if data.columns and named.learned and data.columns != named.learned:
        return source.by(data.named.known(named))
    return source


def _opened_so(data: Source, named: Columns) -> bool:
    """Whether a source was opened with the columns that are asked for, as far as any are."""
    if named.weights is not None and named.weights != data.named.weight:
        return False
    if named.features is None or named.learned:
        return True
    return data.any_order and tuple(named.features) == data.columns


def _open_callable(
    data: Any,
    named: Columns,
    batch_size: int | None,
    shuffle: bool,
    name: str,
    limits: Limits,
) -> Source:
    if is_per_worker(data, name):
        _refuse_batch_size(batch_size, name)
        return open_per_worker(data, named, name, limits)
    result = data()
    if is_ray_data(result):
        return open_named(result, named, batch_size, shuffle, f"{name}()", limits)
    result = prepared(unwrapped(result), f"{name}()")
    if callable(result) and not hasattr(result, "__array__"):
        raise BadInputError(f"{name}() returned another callable; it must return data")
    if not is_iterable_of_batches(result):
        return open_named(result, named, batch_size, shuffle, f"{name}()", limits)
    _refuse_batch_size(batch_size, name)
    first: Iterator[Any] = iter(result)
    waiting = [first]  # what the first call gave is not thrown away

    def begin() -> Iterator[Any]:
        if waiting:
            return waiting.pop()
        again: Iterator[Any] = iter(prepared(unwrapped(data()), f"{name}()"))
        if again is first:
            raise BadInputError(
                f"{name}() returned the same iterator again: it must return a new one at each "
                "call, or pass the iterator itself as data that can be read once"
            )
        return again

    source = StreamSource(begin, True, named, name, limits)
    source.endless = what_never_ends(result) or what_never_ends(first)
    return source


def _refuse_batch_size(batch_size: int | None, name: str) -> None:
    if batch_size is not None:
        raise BadInputError(
            f"batch_size is {batch_size}, but {name} gives batches of its own: "
            "set their size there, and pass batch_size=None"
        )
