"""Exports numbered by their step, of which some are kept: the original's ``export``.

``export_dir/00001200`` holds a SavedModel where TensorFlow is installed, else ``model.onnx``.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple

from shoal.config import Parameters
from shoal.errors import MissingExtraError
from shoal.export import onnx, savedmodel
from shoal.export.folders import Writer, remove_oldest, write_numbered
from shoal.inference import CLUSTER_IDX
from shoal.state import State

logger = logging.getLogger("shoal")

NAME = "{:08d}"
ONNX_FILE = "model.onnx"


class Asked(NamedTuple):
    """What else a user may ask for."""

    keep: int | None = None  # exports
    default: str = CLUSTER_IDX  # which signature of a SavedModel is ``serving_default``


def export(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    base: Path,
    asked: Asked,
) -> str:
    """Write an export under the number of the step; return its path.

    Raises
    ------
    BadInputError
        If it cannot be written, or that step has been exported there.
    MissingExtraError
        Without TensorFlow and without onnx.
    """

    def savedmodel_into(part: Path) -> None:
        wishes = savedmodel.Wishes(default=asked.default)
        savedmodel.write(state, parameters, columns, part, wishes)

    def onnx_into(part: Path) -> None:
        dtype = state.clusters.dtype.name
        onnx.write(state, parameters, columns, part / ONNX_FILE, dtype=dtype)

    write: Writer = savedmodel_into
    form = "a SavedModel"
    if not _is_installed("tensorflow"):
        if not _is_installed("onnx"):
            raise MissingExtraError("export", "tensorflow (or onnx)", "tensorflow")
        write, form = onnx_into, f"{ONNX_FILE}, as TensorFlow is not installed"
        logger.warning("export writes %s: pip install 'shoal[tensorflow]' for SavedModels", form)
    path = write_numbered(base, NAME.format(state.global_step), write)
    logger.info("export wrote %s: %s", form, path)
    if asked.keep is not None:
        remove_oldest(base, asked.keep, path, is_export)
    return str(path)


def is_export(folder: Path) -> bool:
    """Whether ``export`` wrote a directory: others are not removed."""
    return savedmodel.is_savedmodel(folder) or (folder / ONNX_FILE).is_file()


def _is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None
