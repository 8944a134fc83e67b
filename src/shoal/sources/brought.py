"""What people bring as data: made one of the kinds that are read, or refused with what to do."""

from __future__ import annotations

import array
import io
import mmap
import os
import sys
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np

from shoal.errors import BadInputError


class Numbered:
    """Batches of what has a length and items by number, as Keras' sequences do: read in order."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        return (self._data[i] for i in range(len(self._data)))


def prepared(data: Any, name: str) -> Any:
    """Return data of a kind that is read.

    Parameters
    ----------
    data
        Anything but a path or a callable.
    name
        What error messages call it.

    Returns
    -------
    object
        ``data`` itself; or an array of the memory of a buffer; a dict of the fields of a structured
        array; a list of the rows in a tuple; batches of a sequence that has no iterator.

    Raises
    ------
    BadInputError
        If it is of a kind that is not read, of which it is known what its owner has to do.
    """
    if isinstance(data, np.ndarray):
        return _fields(data, name) if data.dtype.names else data
    if isinstance(data, (memoryview, array.array)):
        return np.asarray(data)
    if isinstance(data, (list, tuple)):
        return _listed(data, name)
    if isinstance(data, Mapping):
        return data
    if isinstance(data, type):
        raise BadInputError(f"{name} is the class {data.__name__}; it must be data, or a path")
    if advice := _advice(data):
        raise BadInputError(f"{name} is {_kind(data)}, which is not read: {advice}")
    return Numbered(data) if _is_numbered(data) else data


def _kind(data: object) -> str:
    if is_image(data):
        return "an image"
    return "an open file" if hasattr(data, "readline") else f"of type {type(data).__name__}"


def _fields(data: Any, name: str) -> dict[str, Any]:
    """Columns of a structured array."""
    if data.ndim != 1:
        cure = "use .reshape(1)" if data.ndim == 0 else "use .ravel() if each is a row"
        raise BadInputError(
            f"{name} is a structured array of shape {data.shape}; it must have one dimension, rows "
            f"with named fields: {cure}"
        )
    return {field: data[field] for field in data.dtype.names}


def _listed(data: Any, name: str) -> Any:
    if not data:
        return data
    first = data[0]
    if is_image(first):
        raise BadInputError(
            f"{name} is a list of images, which are not read: for a row of each image of one size, "
            "use np.stack([np.asarray(image).ravel() for image in images]); for a row of each "
            f"pixel, np.concatenate([{_pixels(first)} for image in images])"
        )
    if isinstance(first, Mapping) and first and all(map(_is_value, first.values())):
        raise BadInputError(
            f"{name} is a list of rows that are dicts, which is not read: use pandas.DataFrame(...)"
            " of it, or polars.DataFrame(...), or a dict of columns"
        )
    if isinstance(data, tuple) and all(map(_is_row, data)):
        return list(data)
    if isinstance(data, tuple) and len(data) > 1 and all(getattr(x, "ndim", 0) == 1 for x in data):
        raise BadInputError(
            f"{name} is a tuple of arrays of one dimension; it must be rows and columns: use "
            "np.stack(...) if these are rows, np.column_stack(...) if they are columns, and "
            ".reshape(-1, 1) for rows of one number with something beside them"
        )
    return data


def _is_value(item: object) -> bool:
    return item is None or (np.isscalar(item) and not isinstance(item, (str, bytes)))


def _is_row(item: object) -> bool:
    """Whether this is numbers in a list or a tuple."""
    return isinstance(item, (list, tuple)) and len(item) > 0 and all(map(_is_value, item))


def is_image(data: object) -> bool:
    """Whether this is an image of PIL (Pillow)."""
    return type(data).__module__.startswith("PIL.") and hasattr(data, "getbands")


def _pixels(image: Any) -> str:
    if image.mode == "P":
        return "np.asarray(image.convert('RGB')).reshape(-1, 3)"
    return f"np.asarray(image).reshape(-1, {len(image.getbands())})"


def _advice(data: Any) -> str | None:
    """What to do with things that stand for data but cannot be read as they are."""
    if is_image(data):
        return f"for a row of each pixel, use {_pixels(data)}"
    if isinstance(data, (bytes, bytearray, mmap.mmap)):
        return (
            "a path is text; for numbers in memory, use np.frombuffer(data, dtype).reshape(-1, "
            "columns)"
        )
    if isinstance(data, io.IOBase) or (hasattr(data, "read") and hasattr(data, "seek")):
        return _of_file(data)
    if isinstance(data, (set, frozenset)):
        return "it has no order; use a list, or an array, of rows and columns"
    if isinstance(data, (range, type({}.keys()), type({}.values()), type({}.items()))):
        return "use np.array(list(...)), with rows and columns"
    module = type(data).__module__
    if _is_a(data, "torch.utils.data", "Dataset"):
        return (
            "it gives examples one by one; wrap it: torch.utils.data.DataLoader(dataset, "
            "batch_size=1024)"
        )
    if module.partition(".")[0] == "pandas" and hasattr(data, "groups"):
        return "use the frame itself, or [group for _, group in groups] for a list of shards"
    if module.startswith("ray.data."):
        return "give the data set itself, alone (of several, one.union(other)), or .iter_batches()"
    if module.startswith(("pyspark.", "dask.bag")):
        return "write it as Parquet and give the path, or use .toPandas()"
    return _BY_NAME.get(type(data).__name__)


#: The same by the name of the type.
_BY_NAME = {
    "LazyFrame": "use .collect(), or give the path of the files",
    "FileSystemDataset": "give .files, which are read piece by piece, or use .to_table()",
    "GroupBy": "use the frame itself, or [group for _, group in groups] for a list of shards",
    "Scanner": "use .to_table(), or .to_batches()",
    "ParquetFile": "give the path itself, or use .iter_batches()",
}


def _of_file(file: Any) -> str:
    path = getattr(file, "name", None)
    if isinstance(path, str) and not path.startswith("<"):
        return f"give its path, {path!r}"
    return "give the path of a file, or read it first, as pandas.read_csv(file) or np.load(file) do"


def _is_a(data: object, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(data, kind)


def _is_numbered(data: object) -> bool:
    """Whether this has a length and items by number, but no iterator, nor values of its own."""
    kind = type(data)
    if any(hasattr(kind, one) for one in ("__iter__", "__array__", "__dlpack__", "__next__")):
        return False
    if hasattr(kind, "__arrow_c_stream__") or hasattr(data, "columns"):
        return False
    return isinstance(data, Sized) and hasattr(kind, "__getitem__")


# --- what has too few or too many dimensions ----------------------------------------------------


def of_other_shape(data: Any, array: Any, name: str, columns: int | None) -> BadInputError:
    """The error for what is no matrix; ``columns`` are those of a trained model."""
    must = f"{name} has shape {array.shape}; it must have two dimensions, rows and columns."
    if array.ndim == 1:
        return BadInputError(f"{must} {_of_line(data, len(array), columns)}")
    cure = f"Use .reshape({len(array)}, -1) for a row of each {name}[i]"
    if array.shape[-1] <= 4:
        cure += f", .reshape(-1, {array.shape[-1]}) for a row of each pixel"
    return BadInputError(f"{must} {cure}")


def _of_line(data: Any, length: int, columns: int | None) -> str:
    """What to do with one row, or one column."""
    row, column = "Use .reshape(1, -1) for one row", "Use .reshape(-1, 1) for one column"
    if not isinstance(data, np.ndarray):
        if type(data).__module__.partition(".")[0] == "pandas":
            row, column = "Use .to_frame().T for one row", "Use .to_frame() for one column"
        elif isinstance(data, (list, tuple)):
            row, column = "Use [x] for one row", "Use np.reshape(x, (-1, 1)) for one column"
    if columns is not None:
        if length == columns != 1:
            return f"{row}: the model has {columns} columns; {column[4:]}"
        if columns == 1:
            return column
    return f"{column}, {row[4:]}"


def ragged(data: Any, name: str, error: Exception) -> BadInputError:
    """The error for a list whose items have no common shape."""
    return BadInputError(f"{name} is not a rectangular array: {_odd_item(data, name) or error}")


def _odd_item(data: Any, name: str) -> str | None:
    """Which item of a list is not as the first one, and what to do."""
    shapes: list[tuple[int, ...]] = []
    for item in data if isinstance(data, (list, tuple)) else ():
        this = f"{name}[{len(shapes)}]"
        if isinstance(item, (str, bytes, os.PathLike)):
            return f"{this} is text, {item!r:.60}; a list is one of paths alone, or of rows alone"
        try:
            shapes.append(np.shape(item))
        except ValueError:
            return _odd_item(item, this)
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is None:
        return None
    first, other = shapes[0], shapes[odd]
    if len(first) < 2 and len(other) < 2:
        return (
            f"{name}[{odd}] is {_length(other)}, where {name}[0] is {_length(first)}: all rows "
            "must have one length"
        )
    return (
        f"{name}[{odd}] has shape {other}, and {name}[0] has {first}: each part of a list must "
        "have two dimensions, rows and columns. Labels are no part of the data"
    )


def _length(shape: tuple[int, ...]) -> str:
    return f"a row of {shape[0]}" if shape else "a single value"


def of_no_dimension(data: Any, value: Any, name: str) -> BadInputError:
    """The error for an array that is one value."""
    if value.dtype == object:
        inside = type(value.item()).__name__
        return BadInputError(
            f"{name} is an array of no dimension that holds one {inside}; it must be rows and "
            "columns: use .item(), if that is rows"
        )
    return BadInputError(
        f"{name} is of type {type(data).__name__} and of no dimension, a single value; it must "
        f"be rows and columns: [[{value.item()!r}]] is one row of one column"
    )


def refuse_single_row(batch: Any, name: str) -> None:
    """Refuse a row, or a value, where a batch of rows is due."""
    if isinstance(batch, list) and batch and all(isinstance(one, str) for one in batch):
        batch = ", ".join(batch)
    if isinstance(batch, (str, bytes)):
        raise BadInputError(
            f"{name} is text, {batch!r:.60}; it must be rows of numbers. Give the path of a file "
            "itself, and texts as numbers that stand for them"
        )
    shape: tuple[int, ...] | None = getattr(batch, "shape", None)
    if isinstance(batch, (list, tuple)) and batch and all(map(_is_value, batch)):
        shape = (len(batch),)
    elif shape is None and _is_value(batch) and batch is not None:
        shape = ()
    if shape is None or len(shape) > 1 or hasattr(batch, "columns"):
        return
    if shape and getattr(getattr(batch, "dtype", None), "kind", "") == "O":
        return  # perhaps of lists
    what = f"has shape {shape}" if shape else f"is of type {type(batch).__name__}"
    raise BadInputError(
        f"{name} {what}; a batch must have two dimensions, rows and columns, and this is a single "
        f"{'row' if shape else 'number'}: np.array(list(...)) makes one array of all of them"
    )
