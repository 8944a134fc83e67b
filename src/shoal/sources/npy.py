"""Arrays in .npy and .npz files, and sparse matrices in those that scipy writes."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.paths import File

logger = logging.getLogger("shoal")

#: Names in a file of ``scipy.sparse.save_npz``, beside those of its arrays.
SPARSE = {"format", "shape", "data"}


def read_npy(file: File) -> Any:
    """The array of a file: mapped, where the file is local."""
    if file.system is None:
        array = np.load(file.name, mmap_mode="r")
    else:
        with file.open() as content:
            array = np.load(content)
    if not isinstance(array, np.ndarray):
        array.close()
        raise BadInputError(f"{file.name} holds several arrays: name it .npz")
    return array


def read_npz(file: File) -> Any:
    """The one array [n, d] of a file, or its sparse matrix."""
    matrices, found = [], []
    with file.open() as raw:
        content = np.load(raw)
        if isinstance(content, np.ndarray):
            raise BadInputError(f"{file.name} holds one array without a name: name the file .npy")
        if set(content.files) >= SPARSE:
            return _read_sparse(file, raw)
        for name in content.files:
            array = content[name]
            found.append(f"{name!r} {array.shape}")
            if array.ndim == 2:
                matrices.append((name, array))
    if len(matrices) != 1:
        raise BadInputError(
            f"{file.name} must hold one array of two dimensions; it holds "
            f"{', '.join(found) or 'none'}"
        )
    name, matrix = matrices[0]
    if len(found) > 1:
        logger.warning("%s: using %r alone of the arrays %s", file.name, name, ", ".join(found))
    return matrix


def _read_sparse(file: File, raw: Any) -> Any:
    try:
        import scipy.sparse
    except ImportError:
        raise MissingExtraError(f"reading the sparse {file.name}", "scipy", "sparse") from None
    raw.seek(0)
    return scipy.sparse.load_npz(raw)
