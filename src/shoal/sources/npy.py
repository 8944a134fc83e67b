"""Arrays in .npy and .npz files."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.columns import Columns
from shoal.sources.npz import read_arrays
from shoal.sources.paths import File


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


def read_npz(file: File, columns: Columns) -> Any:
    """The one array [n, d] of a file, its sparse matrix, or the arrays that are asked for."""
    with file.open() as raw:
        content = np.load(raw)
        if isinstance(content, np.ndarray):
            raise BadInputError(f"{file.name} holds one array without a name: name the file .npy")
        return read_arrays(content, columns, file.name)
