"""Arrays in mapped files, as a description: what is sent of them instead of their rows."""

from __future__ import annotations

import mmap
import socket
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.paths import changed, stamp_of


@dataclass(frozen=True)
class Mapped:
    """An array inside a file."""

    name: str
    stamp: tuple[Any, ...]  # of the file, when this was made
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int  # of the first value

    def opened(self) -> np.ndarray[Any, Any]:
        """The array, mapped again, wherever this is."""
        try:
            same = stamp_of(self.name) == self.stamp
            whole = np.memmap(self.name, np.uint8, "r")
        except OSError as error:
            raise BadInputError(
                f"{self.name} cannot be read on {socket.gethostname()}: {error}. Files are read "
                "where their rows live: keep them where all machines see them, by the same path"
            ) from error
        if not same:
            raise changed(f"{self.name} is not as it was when it was opened")
        return np.ndarray(self.shape, self.dtype, whole, self.offset, self.strides)


def described(array: Any) -> Any:
    """The description of an array in a file that is mapped to be read; other values as they are."""
    if not isinstance(array, np.ndarray) or array.size == 0:
        return array
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    read_only = isinstance(root, np.memmap) and root.mode == "r" and root.filename is not None
    if not read_only or not isinstance(root.base, mmap.mmap):
        return array
    name = str(root.filename)
    offset = root.offset + array.ctypes.data - root.ctypes.data
    try:
        stamp = stamp_of(name)
    except (OSError, BadInputError):  # gone since: what is mapped is all there is
        return array
    return Mapped(name, stamp, array.dtype, array.shape, array.strides, offset)
