"""Weights of rows, and what is none of them: labels that come beside rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.dtypes import widened
from shoal.errors import BadInputError
from shoal.sources.foreign import to_array
from shoal.sources.places import Places
from shoal.types import Floats

#: How weights are given, for messages.
HOW = (
    "sample_weight= (of arrays, frames and files), weight_column (by name) and "
    "shoal.Weighted(rows, weights) (of batches and parts)"
)


@dataclass(frozen=True, eq=False)
class Weighted:
    """Rows and the weight of each, wherever rows are taken: as data, as a part of it, as a batch.

    A row of weight 2 counts as two rows. Beside rows in a tuple, weights would be taken for labels.

    Parameters
    ----------
    rows
        Rows in memory of any kind (see ``shoal.open``), or a list of those, the parts of one data
        set.
    weights
        [n] finite numbers >= 0: an array, a list, a Series. Of parts, also a list of those.

    Examples
    --------
    >>> import shoal
    >>> model = shoal.KMeansClustering(1, use_mini_batch=False)
    >>> model.fit(shoal.Weighted([[0.0], [4.0]], [3, 1])).clusters().tolist()
    [[1.0]]
    """

    rows: Any
    weights: Any


def check_rows(rows: object, name: str) -> None:
    """Refuse ``Weighted`` of what is not in memory: it may be as large as it likes."""
    if isinstance(rows, (str, os.PathLike)):
        cure = "sample_weight= goes with a path, and weight_column= with files that hold weights"
    elif callable(rows) and not hasattr(rows, "__array__"):
        cure = "sample_weight= goes with a callable, or let it return shoal.Weighted(rows, weights)"
    elif hasattr(rows, "__next__"):
        cure = "give each batch as shoal.Weighted(rows, weights)"
    else:
        return
    raise BadInputError(
        f"{name} is shoal.Weighted of {type(rows).__name__}, and takes rows in memory: {cure}"
    )


def weights_of(
    weights: object,
    rows: int,
    name: str,
    first: int = 0,
    what: str | None = None,
    *,
    places: Places | None = None,
) -> Floats:
    """Checked weights [rows] float64.

    Parameters
    ----------
    weights
        What was given.
    rows
        How many rows there are.
    name
        What messages call the rows.
    first
        Index of the first row.
    what
        What messages call the weights.
    places
        The files that the rows come from.
    """
    what = f"the weights of {name}" if what is None else f"the weights ({what})"
    if isinstance(weights, np.ma.MaskedArray) and np.ma.is_masked(weights):
        raise BadInputError(
            f"{what} have masked values: fill them, with .filled(0) to leave those rows out"
        )
    weights = to_array(weights, what)
    try:
        array = np.asarray(weights)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{what} are not an array: {error}") from None
    if array.dtype.kind not in "fiub" and widened(array.dtype) is None:
        raise BadInputError(f"{what} are of {array.dtype}; they must be real numbers")
    array = array.astype(np.float64, copy=False)
    if array.shape != (rows,):
        raise BadInputError(
            f"{what} have shape {array.shape}; {name} has {rows} rows, so it must be ({rows},)"
        )
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if len(bad):
        where, row = (places or Places((name,), (0,))).find(first + int(bad[0]))
        raise BadInputError(
            f"the weight of row {row} of {where} is {array[bad[0]]}; "
            "weights must be finite and >= 0"
        )
    return np.ascontiguousarray(array)


def weights_of_parts(
    given: Any, lengths: Sequence[int], name: str, what: str | None = None
) -> list[Floats]:
    """Checked weights of each part: from one vector for all, or from one for each."""
    by_part = isinstance(given, (list, tuple)) and all(map(_is_vector, given))
    if by_part and len(lengths) > 1:
        if len(given) != len(lengths):
            raise BadInputError(
                f"the weights of {name} are {len(given)} arrays, and it has {len(lengths)} parts: "
                "give one for each, or one for all rows"
            )
        return [
            weights_of(one, rows, f"{name}[{i}]", 0, None if what is None else f"{what}[{i}]")
            for i, (one, rows) in enumerate(zip(given, lengths, strict=True))
        ]
    whole = weights_of(given, sum(lengths), name, 0, what)
    return np.split(whole, np.cumsum(lengths)[:-1])


def given_twice(name: str, what: str) -> BadInputError:
    """The error for rows that have weights already."""
    return BadInputError(
        f"{name} has weights of its own (weight_column, or shoal.Weighted), and {what} is given "
        "too: give weights once"
    )


def check_labels(beside: tuple[Any, ...], rows: int, name: str) -> bool:
    """Whether anything comes beside rows: it is not used, and must look like labels of them."""
    for given in beside:
        if given is not None and _length_of_vector(given) != rows:
            shape = getattr(given, "shape", None)
            kind = type(given).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
            raise BadInputError(
                f"{name} is a tuple, of which the first item is taken as its {rows} rows; beside "
                f"them may come labels, a vector as long, but there is {kind}. Parts of a data set "
                f"are given as a list; weights by {HOW}"
            )
    return any(given is not None for given in beside)


def _is_vector(given: Any) -> bool:
    return _length_of_vector(given) is not None


def _length_of_vector(given: Any) -> int | None:
    """How many values there are; None where it is no vector."""
    shape = getattr(given, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) == 1 else None
    if isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__len__"):
        return None
    nested = any(
        isinstance(one, (list, tuple, Mapping)) or getattr(one, "ndim", 0) for one in given
    )
    return None if nested else len(given)
