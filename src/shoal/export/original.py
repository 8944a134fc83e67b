"""The original's ``export`` and ``export_savedmodel``, which are methods of ``KMeansClustering``.

Arguments that have no meaning any more are taken with a warning that says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from shoal.checks import one_of, path_of, warn_user, whole_number
from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.export import numbered, savedmodel
from shoal.export.folders import check_base
from shoal.export.numbered import Asked
from shoal.export.savedmodel import DESCRIPTION, OUTPUTS, SERVING_DEFAULT, Wishes
from shoal.inference import CLUSTER_IDX
from shoal.state import State

StrPath = str | os.PathLike[str]

#: Why arguments of `export` that had to do with parsing requests in the graph are not used.
PARSING = (
    "requests bring rows as they are; export_savedmodel(serving_input_fn=...) builds a graph that "
    "parses them"
)


class Exportable(Protocol):
    """A model that can be exported."""

    def _to_export(
        self, method: str, checkpoint_path: str | None
    ) -> tuple[State, Parameters, tuple[Any, ...] | None]: ...


def export_savedmodel(
    self: Exportable,
    export_dir_base: StrPath,
    serving_input_fn: Callable[[], Any] | None = None,
    default_output_alternative_key: str | None = None,
    assets_extra: Mapping[str, StrPath] | None = None,
    as_text: bool = False,
    checkpoint_path: str | None = None,
    graph_rewrite_specs: Any = None,
    strip_default_attrs: bool = False,
) -> str:
    """Write a TensorFlow SavedModel into a new directory, named by the time in seconds.

    Needs ``shoal[tensorflow]``. The directory appears whole or not at all, and its number is the
    largest in ``export_dir_base``: TensorFlow Serving, told of that, serves it.

    Parameters
    ----------
    export_dir_base
        Directory of exports; made where it is missing.
    serving_input_fn
        Builds the input of the graph, as the original's did: returns features and the tensors that
        requests fill. None: the input ``input``, rows [n, d] in the dtype of the centers.
    default_output_alternative_key
        Which signature ``serving_default`` is: ``"cluster_idx"`` (default), ``"scores"`` or
        ``"all_scores"``.
    assets_extra
        Files to copy into ``assets.extra``: the path of each there, and where it is.
    as_text
        Write the graph as text, ``saved_model.pbtxt``.
    checkpoint_path
        A checkpoint to export instead, as for ``evaluate``.
    graph_rewrite_specs
        Not used any more; a warning says so.
    strip_default_attrs
        Leave out attributes of operations that have their default value.

    Returns
    -------
    str
        The path of the directory.

    Raises
    ------
    NotFittedError
        Before training.
    MissingExtraError
        Without TensorFlow.
    BadInputError
        If it cannot be written, an argument has a wrong value, or ``serving_input_fn`` gives no
        rows of this model. Nothing is left then.
    """
    state, parameters, columns = self._to_export("export_savedmodel", checkpoint_path)
    base = check_base("export_dir_base", export_dir_base)
    wishes = Wishes(
        check_serving_input_fn(serving_input_fn),
        _default("default_output_alternative_key", default_output_alternative_key),
        check_assets(assets_extra),
        _flag("as_text", as_text),
        _flag("strip_default_attrs", strip_default_attrs),
    )
    if graph_rewrite_specs is not None:
        _unused("graph_rewrite_specs", "TensorFlow 2 has no tool that rewrites graphs")
    return savedmodel.export_savedmodel(state, parameters, columns, base, wishes)


def export_saved_model(
    self: Exportable,
    export_dir_base: StrPath,
    serving_input_receiver_fn: Callable[[], Any] | None = None,
    assets_extra: Mapping[str, StrPath] | None = None,
    as_text: bool = False,
    checkpoint_path: str | None = None,
) -> str:
    """``export_savedmodel``, by its later name."""
    return export_savedmodel(
        self,
        export_dir_base,
        serving_input_receiver_fn,
        assets_extra=assets_extra,
        as_text=as_text,
        checkpoint_path=checkpoint_path,
    )


def export(
    self: Exportable,
    export_dir: StrPath,
    input_fn: Any = None,
    input_feature_key: str | None = None,
    use_deprecated_input_fn: bool = True,
    signature_fn: Any = None,
    prediction_key: str | None = None,
    default_batch_size: int | None = 1,
    exports_to_keep: int | None = None,
    checkpoint_path: str | None = None,
) -> str:
    """Write the model into a directory numbered by its step, ``export_dir/00001200``.

    A SavedModel where TensorFlow is installed, else ``model.onnx``; the log says which.

    Parameters
    ----------
    export_dir
        Directory of exports; made where it is missing.
    prediction_key
        Which signature ``serving_default`` of a SavedModel is, as for ``export_savedmodel``.
    exports_to_keep
        Exports kept, those of the largest numbers; None: all.
    checkpoint_path
        A checkpoint to export instead, as for ``evaluate``.
    input_fn, input_feature_key, use_deprecated_input_fn, signature_fn, default_batch_size
        Not used any more; a warning says why.

    Returns
    -------
    str
        The path of the directory.

    Raises
    ------
    NotFittedError
        Before training.
    MissingExtraError
        Without ``shoal[tensorflow]`` and without ``shoal[onnx]``.
    BadInputError
        If it cannot be written, or this step was exported there already. Nothing is left then.
    """
    state, parameters, columns = self._to_export("export", checkpoint_path)
    base = check_base("export_dir", export_dir)
    if exports_to_keep is not None:
        exports_to_keep = whole_number("exports_to_keep", exports_to_keep, 1, or_none=True)
    default = _default("prediction_key", prediction_key)
    if input_fn is not None:
        _unused("input_fn", PARSING)
    if input_feature_key is not None:
        _unused("input_feature_key", PARSING)
    if use_deprecated_input_fn is not True:
        _unused("use_deprecated_input_fn", PARSING)
    if signature_fn is not None:
        _unused("signature_fn", f"the signatures are {SERVING_DEFAULT}, {', '.join(OUTPUTS)}")
    if default_batch_size not in (None, 1):
        _unused("default_batch_size", "a request may have any number of rows")
    return numbered.export(state, parameters, columns, base, Asked(exports_to_keep, default))


def check_serving_input_fn(given: Any) -> Any:
    """Return a callable or None."""
    if given is not None and not callable(given):
        raise BadInputError(
            f"serving_input_fn is {given!r:.80}; it must be a callable that builds the input of "
            "the graph, or None: rows as they are"
        )
    return given


def check_assets(given: object) -> dict[str, Path]:
    """Return the files to copy, by their path in ``assets.extra``."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadInputError(
            f"assets_extra is {given!r:.80}; it must be a dict of paths within assets.extra, each "
            "with the file to copy there"
        )
    return {_inside(name): _file(name, source) for name, source in given.items()}


def _inside(name: object) -> str:
    path = PurePosixPath(name) if isinstance(name, str) else None
    if path is None or path.is_absolute() or ".." in path.parts or not path.name:
        raise BadInputError(
            f"assets_extra has the name {name!r:.80}; it must be a path within assets.extra, with "
            "the name of the file"
        )
    if str(path) == DESCRIPTION:
        raise BadInputError(f"assets_extra has {DESCRIPTION!r}, where shoal describes the model")
    return str(path)


def _file(name: object, source: object) -> Path:
    path = path_of(f"assets_extra[{name!r}]", source)
    if not path.is_file():
        raise BadInputError(
            f"assets_extra[{name!r}] is {str(source)!r:.200}; it must be the path of a file"
        )
    return path


def _default(name: str, given: object) -> str:
    return CLUSTER_IDX if given is None else one_of(name, given, OUTPUTS)


def _flag(name: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise BadInputError(f"{name} is {given!r:.80}; it must be True or False")
    return given


def _unused(name: str, why: str) -> None:
    warn_user(f"{name} is not used: {why}")
