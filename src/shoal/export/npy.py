"""Centers as a .npy file, which everything reads: an array [k, d] of float32 or float64."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from shoal.checks import path_of
from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.export.endings import check_ending
from shoal.export.shifted import users_centers
from shoal.sources.paths import READ_ERRORS
from shoal.state import State
from shoal.storage.files import whole_file
from shoal.types import Array

#: First bytes of its files.
MAGIC = b"\x93NUMPY"


def write(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    path: str | os.PathLike[str],
) -> None:
    """Write a file, which appears whole or not at all; names of columns have no place in it."""
    del columns
    check_ending(path, ".npy")
    with whole_file(path) as file:
        np.save(file, users_centers(state, parameters.distance_metric), allow_pickle=False)


def read(path: str | os.PathLike[str]) -> Array:
    """An array of numbers; BadInputError for any other file."""
    file = path_of("path", path)
    if not file.is_file():
        raise BadInputError(f"there is no file {file}")
    try:
        found = np.load(file, allow_pickle=False)
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror or error}") from error
    except READ_ERRORS as error:
        with open(file, "rb") as opened:  # NumPy takes every other file for a pickle
            why = error if opened.read(len(MAGIC)) == MAGIC else "it does not begin as one"
        raise BadInputError(f"{file} is no .npy file, or damaged: {why}") from None
    if not isinstance(found, np.ndarray):
        raise BadInputError(
            f"{file} holds several arrays, {found.files}, and centers are one: give the array"
        )
    return found
