"""What is in .npz files: one matrix, a sparse one of scipy's, or arrays asked for by name."""

from __future__ import annotations

import logging
import math
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.columns import Columns

logger = logging.getLogger("shoal")

#: Names in a file of ``scipy.sparse.save_npz``, beside those of its arrays.
SPARSE = {"format", "shape", "data"}

Shapes = dict[str, tuple[int, ...] | None]  # None: no array


def of_npz(data: Any, columns: Columns, name: str) -> Any:
    """What ``np.load`` gives of such a file, read as its path is; all else as it is."""
    return read_arrays(data, columns, name) if isinstance(data, np.lib.npyio.NpzFile) else data


def read_arrays(content: Any, columns: Columns, name: str) -> Any:
    """The one array [n, d], the sparse matrix, or a dict of the arrays that are asked for by name.

    Only what is used is read.
    """
    if set(content.files) >= SPARSE:
        return _sparse(content, name)
    shapes: Shapes = {one: _shape(content, one, name) for one in content.files}
    weight = [] if columns.weights is None else [columns.weights]
    asked = [*(columns.features or (shapes if weight else ())), *weight]
    absent = [one for one in asked if shapes.get(one) is None]
    if absent and columns.needs_names():
        raise BadInputError(f"{name} has no array {absent[0]!r}; it has {_listed(shapes)}")
    if asked and not absent:
        return {one: _array(content, one, name) for one in asked}
    matrices = [one for one, shape in shapes.items() if shape is not None and len(shape) == 2]
    if len(matrices) != 1:
        raise BadInputError(
            f"{name} must hold one array of two dimensions; it holds {_listed(shapes) or 'none'}. "
            "Name those to use, which are taken side by side, with feature_columns, or give one "
            f"array of it, np.load(...)[{next(iter(shapes), 'x')!r}]"
        )
    if len(shapes) > 1:
        logger.warning(
            "%s: using %r alone of the arrays %s. To choose, name those to use: --columns on the "
            "command line, feature_columns in Python",
            name,
            matrices[0],
            _listed(shapes),
        )
    return _array(content, matrices[0], name)


def _listed(shapes: Shapes) -> str:
    return ", ".join(
        f"{one!r} " + ("that is no array" if shape is None else f"{shape}")
        for one, shape in shapes.items()
    )


def _shape(content: Any, one: str, name: str) -> tuple[int, ...] | None:
    """Shape of an array, by its header, which must fit what is stored; None of what is none."""
    members: dict[str, zipfile.ZipInfo] = {item.filename: item for item in content.zip.infolist()}
    member = members.get(f"{one}.npy") or members[one]
    with content.zip.open(member) as raw:
        if raw.read(len(npy_format.MAGIC_PREFIX)) != npy_format.MAGIC_PREFIX:
            return None
    with content.zip.open(member) as raw:
        version = npy_format.read_magic(raw)
        if version == (1, 0):
            shape, _, dtype = npy_format.read_array_header_1_0(raw)
        else:
            shape, _, dtype = npy_format.read_array_header_2_0(raw)
    size = math.prod(shape, start=dtype.itemsize)
    if not dtype.hasobject and member.file_size < size:
        raise BadInputError(
            f"{name} cannot be read: its array {one!r} of shape {shape} would be {size} bytes, and "
            f"{member.file_size} are there"
        )
    return tuple(shape)


def _array(content: Any, one: str, name: str) -> Any:
    try:
        return content[one]
    except MemoryError as error:
        raise BadInputError(
            f"{name} cannot be read: its array {one!r} does not fit into memory: {error}"
        ) from None


def _sparse(content: Any, name: str) -> Any:
    try:
        import scipy.sparse
    except ImportError:
        raise MissingExtraError(f"reading the sparse {name}", "scipy", "sparse") from None
    file = content.zip.fp
    file.seek(0)
    return scipy.sparse.load_npz(file)
