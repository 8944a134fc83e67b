"""What an estimator is made with: its parameters, checked, as the parts behind it take them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shoal.checks import one_of, path_of, positive
from shoal.config import DEFAULT_CONFIG, ON_BAD_ROWS, Parameters, RunConfig
from shoal.errors import BadInputError
from shoal.sources.columns import Columns, check_label, check_labels
from shoal.storage.values import parameters_to_keep


class Settings(NamedTuple):
    """All parameters of a ``KMeansClustering``."""

    arguments: dict[str, Any]  # as the user gave them, by name
    parameters: Parameters  # of the algorithm
    named: Columns  # feature_columns and weight_column
    run: RunConfig
    folder: Path | None  # model_dir
    on_bad_rows: str
    relative_tolerance: float | None

    @classmethod
    def checked(cls, arguments: Mapping[str, Any]) -> Settings:
        """Check all of them; BadInputError for the first that is wrong."""
        known = Parameters.__annotations__
        algorithm = {name: value for name, value in arguments.items() if name in known}
        named = named_columns(arguments)
        parameters = Parameters.checked(named, **algorithm)
        folder = check_model_dir(arguments["model_dir"])
        if arguments["relative_tolerance"] is not None:
            positive("relative_tolerance", arguments["relative_tolerance"])
        run = arguments["config"]
        if run is not None and not isinstance(run, RunConfig):
            raise BadInputError(f"config is {run!r}; it must be a shoal.RunConfig or None")
        bad_rows = one_of("on_bad_rows", arguments["on_bad_rows"], ON_BAD_ROWS)
        return cls(
            dict(arguments),
            parameters,
            named,
            DEFAULT_CONFIG if run is None else run,
            folder,
            bad_rows,
            arguments["relative_tolerance"],
        )

    def shown(self, defaults: Mapping[str, inspect.Parameter]) -> str:
        """The arguments that differ from their defaults, as ``repr`` shows them."""
        shown = []
        for name, value in self.arguments.items():
            default = defaults[name].default
            if isinstance(shape := getattr(value, "shape", None), tuple) and len(shape) == 2:
                kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
                shown.append(f"{name}={kind}{shape}")
            elif name == "initial_clusters" and isinstance(value, Mapping):
                shape = len(next(iter(value.values()))), len(value)
                shown.append(f"{name}={type(value).__name__}{shape}")
            elif name == "feature_columns" and value is not None:
                shown.append(f"{name}={list(self.named.features or ())}")
            elif default is inspect.Parameter.empty or value != default:
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)

    @property
    def kept(self) -> dict[str, Any]:
        """The parameters as files hold them."""
        return to_keep(self.arguments, self.parameters.num_clusters)


def to_keep(arguments: Mapping[str, Any], num_clusters: int) -> dict[str, Any]:
    """Parameters, as the user gave them, as files hold them."""
    named = named_columns(arguments)
    columns = {"feature_columns": named.features, "weight_column": named.weight}
    return parameters_to_keep({**arguments, **columns}, num_clusters)


def named_columns(arguments: Mapping[str, Any]) -> Columns:
    """The columns that a user asks for."""
    return Columns(
        check_labels(arguments["feature_columns"], "feature_columns"),
        check_label(arguments["weight_column"], "weight_column"),
    )


def check_model_dir(path: object) -> Path | None:
    """Return the directory as an absolute path; it need not be there."""
    if path is None:
        return None
    folder = path_of("model_dir", path, "a directory").absolute()
    text = str(path)
    if not text or "://" in text:
        raise BadInputError(
            f"model_dir is {text!r}; it must be the path of a directory of this machine"
        )
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"model_dir is {text!r}, which is not a directory")
    return folder
