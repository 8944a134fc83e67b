"""Columns of dicts and frames: which are used, and their values, read with NumPy alone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from shoal.dtypes import first_inexact, inexact, widened
from shoal.errors import BadInputError
from shoal.sources.foreign import to_array
from shoal.sources.index import without_index
from shoal.sources.sparse import is_sparse
from shoal.types import Array, Mask

logger = logging.getLogger("shoal")


#: Names that an error message lists at most.
MOST_LISTED = 20


class Columns(NamedTuple):
    """Which columns of named data are rows, and which one is the weight.

    ``learned`` are names that are known already: of a model, of initial centers, of the first part
    of a data set. Named data must have them, in any order; () are those of a model without names.
    """

    features: Sequence[Any] | None = None  # the user's choice, None: all but ``weight``
    weight: Any = None
    learned: tuple[Any, ...] | None = None
    owner: str = "the model"  # what has the learned names, for messages
    exact: bool = False  # the learned names are all there may be
    weigh: bool = True  # whether weights are needed: else their column may be missing
    dim: int | None = None  # columns of a trained model, for what messages advise

    def given(self) -> bool:
        """Whether any column was named."""
        return self.features is not None or self.weight is not None

    @property
    def named(self) -> tuple[Any, ...]:
        """Names of the columns to use, in order; () where the data says which there are."""
        return tuple(self.learned or self.features or ())

    @property
    def weights(self) -> Any:
        """Name of the column of weights to read, if any."""
        return self.weight if self.weigh else None

    def needs_names(self) -> bool:
        """Whether data without names cannot be read: what is asked for has no position."""
        return self.weights is not None or (self.features is not None and not self.learned)

    def following(self, names: tuple[Any, ...], owner: str) -> Columns:
        """The same for further parts of a data set, of which ``owner`` has these names."""
        if self.learned or not names:
            return self
        return self._replace(learned=names, owner=owner, exact=self.features is None)

    def spelled(self, present: Iterable[Any]) -> Columns:
        """The same with the data's own labels: files and Arrow have texts for 0, 1, 2 … of pandas.

        A number stands for the text that spells it, and the other way round, where there is no
        column of that very label.
        """
        labels = dict.fromkeys(present)
        asked = (*(self.learned or ()), *(self.features or ()), self.weight)
        if all(one in labels for one in asked if one is not None):
            return self
        texts = {str(one): one for one in labels if isinstance(one, (str, int, float))}

        def own(label: Any) -> Any:
            found = texts.get(str(label), label)
            if label in labels or isinstance(label, str) == isinstance(found, str):
                return label
            return found if isinstance(label, (str, int, float)) else label

        def owns(labels: Sequence[Any] | None) -> tuple[Any, ...] | None:
            return None if labels is None else tuple(map(own, labels))

        weight = None if self.weight is None else own(self.weight)
        return self._replace(
            features=owns(self.features), learned=owns(self.learned), weight=weight
        )

    def known(self, other: Columns) -> Columns:
        """The same where the names that ``other`` has learned are known."""
        return self._replace(learned=other.learned, owner=other.owner, exact=other.exact)


def check_labels(value: Any, argument: str) -> tuple[Any, ...] | None:
    """Labels of columns: a list, a tuple, an Index or an array of them, each once; or None."""
    if value is None:
        return None
    as_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    items = as_list() if as_list is not None and not isinstance(value, np.generic) else value
    if isinstance(items, (str, bytes)) or not isinstance(items, Sequence) or not items:
        raise BadInputError(f"{argument} is {value!r:.80}; it must be a list of names")
    labels = tuple(check_label(item, argument, value) for item in items)
    twice = next((label for label, times in Counter(labels).items() if times > 1), None)
    if twice is not None:
        raise BadInputError(f"{argument} names {twice!r} twice: name each column once")
    return labels


def check_label(value: Any, argument: str, of: Any = None) -> Any:
    """A label of a column, as text, number, tuple or whatever else the data has."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        value = value.item()
    try:
        hash(value)
    except TypeError:
        given, what = (value, "a name") if of is None else (of, "a list of names")
        raise BadInputError(f"{argument} is {given!r:.80}; it must be {what}") from None
    return value


def listed(names: Iterable[Any]) -> str:
    """Names for a message, which has no room for thousands."""
    names = list(names)
    shown = ", ".join(map(repr, names[:MOST_LISTED]))
    more = len(names) - MOST_LISTED
    return f"[{shown}, and {more} more]" if more > 0 else f"[{shown}]"


def is_frame(data: object) -> bool:
    """Whether ``data`` has named columns: a mapping, or a pandas- or polars-like frame."""
    if isinstance(data, np.ndarray) or is_sparse(data):  # some are mappings, too
        return False
    return isinstance(data, Mapping) or (
        hasattr(data, "__array__") and hasattr(data, "__getitem__") and hasattr(data, "columns")
    )


def is_table(data: object) -> bool:
    """Whether ``data`` speaks Arrow's C interface: polars, pyarrow, DuckDB and others.

    Not pandas, whose frames have an index beside their columns, nor what is read once.
    """
    kind = type(data)
    speaks = hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__")
    return speaks and not hasattr(kind, "__next__") and not kind.__module__.startswith("pandas")


def check_present(present: Iterable[Any], columns: Columns, name: str) -> None:
    """Refuse named data that lacks what is asked for, or has it twice; or has more than it may."""
    times = Counter(iter(present))
    for column in columns.named:
        if times[column] != 1:
            how = "more than one" if times[column] else "no"
            raise _other_columns(times.elements(), columns, name, f"has {how} column {column!r}")
    if columns.weights is not None and times[columns.weights] != 1:
        how = "more than one" if times[columns.weights] else "no"
        raise BadInputError(
            f"{name} has {how} column {columns.weights!r}, the weight; it has "
            f"{listed(times.elements())}"
        )
    if columns.learned and columns.exact:
        known = {*columns.learned, columns.weight}
        for column in times:
            if column not in known:
                raise _other_columns(times, columns, name, f"has a column {column!r} too many")


def _other_columns(present: Iterable[Any], columns: Columns, name: str, how: str) -> BadInputError:
    if not columns.learned:
        return BadInputError(f"{name} {how}; it has {listed(present)}")
    return BadInputError(
        f"{name} {how}; it has {listed(present)}, and {columns.owner} has "
        f"{listed(columns.learned)}: columns are matched by name, in any order. Rename them, "
        + (
            "or name those to use with feature_columns"
            if columns.exact
            else "or pass an array, whose columns are taken by their position"
        )
    )


def wanted_columns(present: Sequence[Any], columns: Columns, name: str) -> tuple[Any, ...]:
    """Names of the columns to use, each among those ``present`` once."""
    present = without_index(present, columns, name)
    check_present(present, columns, name)
    wanted = columns.named or tuple(one for one in present if one != columns.weight)
    if not wanted:
        raise BadInputError(f"{name} has no columns of data; it has {listed(present)}")
    if not columns.named:
        check_present(wanted, Columns(wanted), name)
        if columns.learned is not None:
            logger.warning(
                "%s has named columns, the model was trained on rows without names: they are taken "
                "by position, and remembered: %s",
                name,
                listed(wanted),
            )
    return wanted


def warn_left_out(where: object, names: Iterable[str]) -> None:
    """Say which columns are not used."""
    logger.warning(
        "%s: columns left out because they are not numbers: %s. To choose, name the "
        "columns to use: --columns on the command line, feature_columns in Python",
        where,
        ", ".join(names),
    )


def read_columns(
    data: Any, wanted: tuple[Any, ...], weight: Any, name: str
) -> tuple[list[Array], Array | None, Mask | None]:
    """Values [n, …] of each column, the weights [n], and which rows have a null (0 there)."""
    parts: list[Array] = []
    missing: list[Mask | None] = []
    for column in wanted:
        values, nulls = _values(data[column], column, name)
        if values.dtype == object and values.ndim == 1:
            values, nulls = _stacked(values, data[column], f"column {column!r} of {name}")
        shape = values.shape
        if values.ndim == 1:
            values = values[:, None]
        native = values.dtype if values.dtype.isnative else values.dtype.newbyteorder("=")
        if values.ndim != 2 or widened(native) is None:
            raise BadInputError(
                f"column {column!r} of {name} has dtype {_dtype(data[column], values)} and shape "
                f"{shape}; "
                "it must hold one number, or a fixed number of numbers, per row. "
                + _cure_of_column(values, column)
            )
        parts.append(values)
        missing.append(nulls)
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise BadInputError(
            f"the columns of {name} differ in length: "
            f"{ {c: len(p) for c, p in list(zip(wanted, parts, strict=True))[:MOST_LISTED]} }"
        )
    for column, part in zip(wanted, parts, strict=True):
        if (at := first_inexact(part)) is not None:
            row = at // part.shape[1]
            raise inexact(name, part.flat[at], f"row {row}, column {column!r}")
    weights: Array | None = None
    if weight is not None:
        weights, nulls = _values(data[weight], weight, name)
        missing.append(nulls)
    masks = [nulls for nulls in missing if nulls is not None]
    return parts, weights, np.logical_or.reduce(masks) if masks else None


def _dtype(column: Any, values: Array) -> Any:
    """The dtype of a column as its owner knows it."""
    return getattr(column, "dtype", values.dtype)


def _cure_of_column(values: Array, column: Any) -> str:
    if values.ndim == 0 or (values.ndim == 1 and not len(values)):
        return f"For one row write {{{column!r}: [...], ...}}"
    if values.ndim > 2:
        return f"Use .reshape({len(values)}, -1) for all numbers of a row side by side"
    if values.dtype == object and all(
        one is None or isinstance(one, Number) for one in values.flat
    ):
        return "Use .astype(float), as these are numbers"
    return "Name the columns to use with feature_columns"


def _values(column: Any, label: Any, name: str) -> tuple[Array, Mask | None]:
    """Values of a column, 0 where they are null; NaN is a value."""
    dtype = getattr(column, "dtype", None)
    if hasattr(dtype, "subtype") and hasattr(dtype, "fill_value"):  # of pandas
        raise BadInputError(
            f"column {label!r} of {name} is sparse, which columns of frames cannot be: use "
            ".sparse.to_dense(), or pass a sparse matrix, .sparse.to_coo().tocsr() of the frame"
        )
    if isinstance(column, np.ma.MaskedArray):
        return unmasked(column)
    try:
        if hasattr(dtype, "na_value") and getattr(dtype, "kind", "") in "fiub":
            return _nullable(column)  # of pandas
        if hasattr(column, "null_count") and hasattr(column, "fill_null") and column.null_count():
            return np.asarray(column.fill_null(0)), np.asarray(column.is_null())  # of polars
        return np.asarray(to_array(column, f"column {label!r} of {name}")), None
    except (ValueError, TypeError) as error:
        raise BadInputError(f"column {label!r} of {name} is not an array: {error}") from None


def values_and_gaps(data: Any) -> tuple[Any, Mask | None]:
    """Rows, 0 where they are masked, and which rows have such a value, if any."""
    if isinstance(data, list) and any(isinstance(one, np.ma.MaskedArray) for one in data):
        with suppress(ValueError, TypeError):  # ragged: an error, which says so
            data = np.ma.stack(data)
    return unmasked(data) if isinstance(data, np.ma.MaskedArray) else (data, None)


def as_lists(array: Array, given: Any, name: str) -> Array:
    """Rows of a series or an array of lists of one length; what is something else as it is."""
    values, nulls = _stacked(array, given, name)
    if nulls is None or not nulls.any() or values.ndim != 2:
        return values
    raise BadInputError(
        f"{name} has no list in row {int(nulls.argmax())}: leave such rows out, with .dropna()"
    )


def unmasked(array: Any) -> tuple[Array, Mask | None]:
    """Values of a masked array, 0 where they are masked, and which rows have such a value."""
    mask = np.ma.getmaskarray(array)
    rows = np.asarray(mask.reshape(len(mask), -1).any(axis=1) if mask.ndim else mask)
    if not rows.any():
        return np.asarray(array.data), None
    return np.where(mask, np.zeros((), array.dtype), array.data), rows


def _nullable(column: Any) -> tuple[Array, Mask | None]:
    nulls = np.asarray(column.isna())
    values = np.asarray(column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=0))
    return values, nulls if nulls.any() else None


def _stacked(column: Array, given: Any, name: str) -> tuple[Array, Mask | None]:
    """Lists of numbers, all of one length, as a matrix; no list at all is a null."""
    isna = getattr(given, "isna", None)
    nulls = np.asarray(isna()) if isna else np.array([one is None for one in column], bool)
    lists = [one for one in column if isinstance(one, (list, tuple, np.ndarray))]
    if not lists or len(lists) + int(nulls.sum()) < len(column):
        return column, None  # something else
    wrong = [len(one) != len(lists[0]) for one in lists]
    if any(wrong):
        row = int(np.flatnonzero(~nulls)[wrong.index(True)])
        raise BadInputError(
            f"{name} has a list of {len(column[row])} in row {row}, where the "
            f"first has {len(lists[0])}: all must have one length"
        )
    values = np.array(lists)
    if values.ndim != 2 or not nulls.any():
        return values, None
    filled = np.zeros((len(column), values.shape[1]), values.dtype)
    filled[~nulls] = values
    return filled, nulls
