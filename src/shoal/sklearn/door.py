"""The door: what scikit-learn takes is validated by it, everything else is opened by shoal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from shoal.config import Parameters
from shoal.dtypes import check_dtype
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.prepared import Prepared
from shoal.shards.kernels import is_fine
from shoal.shards.workspace import Workspace
from shoal.sources.array import is_part_list
from shoal.sources.columns import Columns, is_table
from shoal.sources.open import Source, is_path, is_source, open_named, with_sample_weight
from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages
from shoal.sources.rows import Rows
from shoal.sources.sparse import from_scipy, is_sparse
from shoal.sources.weights import Weighted
from shoal.types import Floats


def opened(estimator: Any, data: Any, sample_weight: Any, reset: bool) -> Source:
    """Rows as they lie, whatever their dtype, order and kind, and weights if there are any.

    Parameters
    ----------
    estimator
        What asks: ``n_features_in_`` and ``feature_names_in_`` are its own.
    data
        The ``X`` of its method.
    sample_weight
        [n] or None.
    reset
        Whether the number and the names of the columns are learned, or have to be as before.
    """
    if _is_plain(estimator, data, reset):
        estimator.n_features_in_ = data.shape[1]
        return in_memory(data, weights_of(sample_weight, len(data)))
    if is_shoals(data):
        source = _opened(estimator, data, reset)
        return source if sample_weight is None else with_sample_weight(source, sample_weight)
    rows = validate_data(
        estimator,
        data,
        accept_sparse="csr",
        dtype="numeric",
        order=None,
        copy=False,
        ensure_all_finite=False,  # the core says which row it is
        reset=reset,
    )
    if rows.dtype == np.longdouble and rows.dtype.itemsize > 8:
        rows = rows.astype(np.float64)
    check_dtype(rows.dtype, "X")
    names = tuple(getattr(estimator, "feature_names_in_", ()))
    return in_memory(rows, weights_of(sample_weight, rows.shape[0]), names)


def _is_plain(estimator: Any, data: Any, reset: bool) -> bool:
    """Whether ``validate_data`` would find nothing to say: it takes longer than small rows do."""
    return (
        type(data) is np.ndarray
        and data.ndim == 2
        and data.size > 0
        and data.dtype.kind in "fiub"
        and data.dtype.itemsize <= 8
        and data.dtype.isnative
        and not hasattr(estimator, "feature_names_in_")
        and (reset or data.shape[1] == estimator.n_features_in_)
    )


def is_as_fitted(estimator: Any, data: Any, metric: str) -> bool:
    """Whether nobody would find anything to say of an array that a fitted estimator is given."""
    return (
        hasattr(estimator, "n_features_in_")
        and _is_plain(estimator, data, False)
        and is_fine(data, metric)
    )


def in_memory(rows: Any, weights: Floats | None = None, names: tuple[str, ...] = ()) -> PagedSource:
    """A checked array, or a sparse matrix, as a source."""
    matrix = from_scipy(rows, "X") if is_sparse(rows) else rows
    return PagedSource(ArrayPages([Rows(matrix, weights, "X", names)]), None, True)


def weights_of(sample_weight: Any, rows: int) -> Floats | None:
    """Weights [n] float64, checked as scikit-learn does it."""
    if sample_weight is None:
        return None
    weights: Floats = _check_sample_weight(sample_weight, np.empty((rows, 1)), dtype=np.float64)
    if len(weights) and weights.min() < 0:
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: {weights.min()}; weights must be "
            ">= 0"
        )
    return weights


def is_shoals(data: Any) -> bool:
    """Whether scikit-learn has no word for this kind of data."""
    if isinstance(data, np.ndarray) or is_sparse(data):
        return False
    if isinstance(data, tuple):
        return is_part_list([data])  # rows, and something beside them
    if isinstance(data, list):
        return is_path(data) or is_part_list(data)
    if is_source(data) or is_path(data) or isinstance(data, (Rows, Weighted, Mapping)):
        return True
    if is_table(data) or _holds_lists(data):
        return True
    if hasattr(data, "__dlpack__"):
        return True
    if hasattr(data, "__array__") or hasattr(data, "__array_function__"):
        return False
    return callable(data) or (hasattr(data, "__iter__") and not hasattr(data, "__len__"))


def _holds_lists(data: Any) -> bool:
    """Whether it is a frame of pandas with lists, such as embeddings, in a column."""
    if not hasattr(data, "iloc") or not hasattr(data, "columns") or not len(data):
        return False
    columns = [i for i, dtype in enumerate(data.dtypes) if dtype.kind == "O"]
    firsts = (data.iloc[:, column].iloc[0] for column in columns)
    return any(isinstance(first, (list, tuple, np.ndarray)) for first in firsts)


def _opened(estimator: Any, data: Any, reset: bool) -> Source:
    learned = None if reset else tuple(getattr(estimator, "feature_names_in_", ()))
    source = open_named(data, Columns(None, None, learned), None, True, "X")
    name = type(estimator).__name__
    if reset and source.dim is not None:
        remember(estimator, source, source.dim)
    elif source.dim is not None and source.dim != estimator.n_features_in_:
        raise BadInputError(
            f"X has {source.dim} features, but {name} is expecting {estimator.n_features_in_} "
            "features as input."
        )
    return source


def remember(estimator: Any, source: Source, columns: int) -> None:
    """Keep number and names of the columns; of a stream they are known when it has been read."""
    estimator.n_features_in_ = columns
    names = source.columns or ()
    if names and all(isinstance(name, str) for name in names):
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def paged(source: Source, method: str, instead: str) -> PagedSource:
    """The source, if its rows can be read in any order."""
    if source.any_order:
        return source
    raise BadInputError(
        f"X is a stream of batches, and {method} reads rows in any order. {instead}"
    )


def repeatable(source: Source, instead: str) -> Source:
    """The source, if it can be read more than once."""
    if source.rereadable:
        return source
    raise BadInputError(
        "X is an iterator, which can be read once, and training reads the rows again and again: "
        f"pass a callable that returns a new iterator at each call. {instead}"
    )


#: What the engine advises, and what there is here.
WORDS = {
    "the data has no rows": "X has no rows",
    "all weights are zero": "sample_weight is zero everywhere",
}


@contextmanager
def other_words() -> Iterator[None]:
    """What the engine refuses, as people who came from scikit-learn know it."""
    try:
        yield
    except BadInputError as error:
        text = str(error)
        for ours, theirs in WORDS.items():
            text = text.replace(ours, theirs)
        kind = "NaN" if " holds nan " in text else "infinity" if "inf in row" in text else None
        if kind is None and text == str(error):
            raise
        told = text if kind is None else f"Input X contains {kind}. {text}"
        raise type(error)(told) from None


@contextmanager
def prepared_of(
    source: Source,
    parameters: Parameters,
    workspace: Workspace | None = None,
    executor: Executor | None = None,
) -> Iterator[Prepared]:
    """``Prepared.of``, which refuses rows in other words."""
    with other_words(), Prepared.of(source, parameters, workspace, executor) as prepared:
        yield prepared
