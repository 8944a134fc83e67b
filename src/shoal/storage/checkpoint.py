"""State ⇄ file: checkpoints that are whole and checked, each with all that is needed to go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.config import Parameters
from shoal.errors import CheckpointError
from shoal.state import State
from shoal.storage import safetensors
from shoal.storage.jsonl import json_object, plain
from shoal.storage.values import (
    names_from,
    parameters_from,
    state_from_parts,
    state_to_parts,
)
from shoal.version import __version__

#: Versions of the format up to this one can be read.
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A model at one step, as it is kept."""

    state: State
    parameters: dict[str, Any]
    columns: tuple[Any, ...] | None

    def check_fits(
        self, where: Path, parameters: Parameters, features: Sequence[Any] | None
    ) -> None:
        """Refuse to be the past of a model of other centers; the other parameters may differ."""
        kept, dim = self.parameters, self.state.clusters.shape[1]
        initial = getattr(parameters.initial_clusters, "shape", (0, dim))
        told: dict[str, tuple[Any, Any]] = {
            "num_clusters": (parameters.num_clusters, kept["num_clusters"]),
            "distance_metric": (parameters.distance_metric, kept["distance_metric"]),
            "the number of columns of initial_clusters": (initial[-1], dim),
        }
        if features is not None and self.columns:
            told["feature_columns"] = (list(features), list(self.columns))
        for name, (now, then) in told.items():
            if now != then:
                raise CheckpointError(
                    f"{name} is {now!r}, the checkpoints in {where} have {then!r}: they must "
                    "agree. Use another model_dir for another model"
                )


def to_parts(checkpoint: Checkpoint) -> list[Any]:
    """Return the parts of a file, in order."""
    arrays, fields = state_to_parts(checkpoint.state)
    content = {
        "format": FORMAT,
        "version": __version__,
        "state": fields,
        "parameters": checkpoint.parameters,
        "columns": plain(checkpoint.columns),
    }
    metadata = {"shoal": json.dumps(content)}
    metadata["crc32"] = safetensors.checksum(arrays, metadata)
    return safetensors.pack(arrays, metadata)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; FormatError where it is damaged, CheckpointError where it is too new."""
    arrays, metadata = safetensors.unpack(path.read_bytes())
    if "shoal" not in metadata:
        raise safetensors.FormatError("it is no checkpoint of shoal")
    found = metadata.pop("crc32", "missing")
    expected = safetensors.checksum(arrays, metadata)
    if found != expected:
        raise safetensors.FormatError(f"its checksum is {found}, that of its content is {expected}")
    try:
        content = json_object(metadata["shoal"])
    except ValueError as error:
        raise safetensors.FormatError(str(error)) from None
    check_format(path, content.get("format"), content.get("version"))
    try:
        state = state_from_parts(arrays, content["state"])
        parameters = parameters_from(content["parameters"], state)
        return Checkpoint(state, parameters, names_from(content["columns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise safetensors.FormatError(str(error)) from None


def check_format(path: Path, number: object, version: object) -> None:
    """Refuse what a later version of the library wrote in a way this one does not know."""
    if not isinstance(number, int) or number > FORMAT:
        raise CheckpointError(
            f"{path} has format {number!r}, written by shoal {version}; this is shoal "
            f"{__version__}, which reads formats up to {FORMAT}: upgrade shoal"
        )
