"""Exports numbered by their step, of which some are kept: the original's ``export``.

``export_dir/00001200`` holds a SavedModel.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from shoal.config import Parameters
from shoal.export import savedmodel
from shoal.export.folders import remove_oldest, write_numbered
from shoal.inference import CLUSTER_IDX
from shoal.state import State

logger = logging.getLogger("shoal")

NAME = "{:08d}"


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
        Without TensorFlow.
    """
    wishes = savedmodel.Wishes(default=asked.default)

    savedmodel.tensorflow("export")
    path = write_numbered(
        base,
        NAME.format(state.global_step),
        lambda part: savedmodel.write(state, parameters, columns, part, wishes),
    )
    logger.info("export wrote a SavedModel: %s", path)
    if asked.keep is not None:
        remove_oldest(base, asked.keep, path, is_export)
    return str(path)


def is_export(folder: Path) -> bool:
    """Whether ``export`` wrote a directory: others are not removed."""
    return savedmodel.is_savedmodel(folder)
