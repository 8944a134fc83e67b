"""Models and data of the command line: what its options say, checked against each other."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import shoal
from shoal.cli.arguments import CHECKPOINT_OPTIONS, MODEL_OPTIONS
from shoal.errors import BadInputError
from shoal.export.npz import load_model
from shoal.sources.array import Columns
from shoal.sources.files import open_path
from shoal.sources.pages import PagedSource, Pages

Item = TypeVar("Item")


def new_model(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, Any]:
    """An untrained model, and the data."""
    named = Columns(options.columns, options.weight)
    pages = open_path(options.data, named)
    given = {}
    for option, (parameter, default) in MODEL_OPTIONS.items():
        value = getattr(options, option)
        given[parameter] = default if value is None else value
    return shoal.KMeansClustering(**given, **_run_parameters(options)), as_data(pages, named)


def as_data(pages: Pages, named: Columns) -> PagedSource:
    """What a model is given: an open source of these columns."""
    source = PagedSource(pages, None, True)
    source.named = named
    return source


def trained_further(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, Any]:
    """A model that is trained already, and the data; options that would change it are refused."""
    changes = _run_parameters(options)
    if options.tolerance is None:
        del changes["relative_tolerance"]  # the one saved
    model = load_model(options.model, **changes)
    given = {**model.get_params(), "feature_columns": trained_columns(model)}
    for option, (parameter, _) in MODEL_OPTIONS.items():
        value, trained = getattr(options, option), given[parameter]
        if value is not None and value != trained:
            raise BadInputError(
                f"--{option.replace('_', '-')} is {_shown(value)}, but {options.model} was trained "
                f"with {_shown(trained)}: leave the option out to train it further, or train a new "
                "model"
            )
    named = Columns(weight=given["weight_column"], learned=tuple(given["feature_columns"] or ()))
    return model, as_data(open_path(options.data, named), named)


def _run_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "model_dir": options.model_dir,
        "relative_tolerance": options.tolerance,
        "num_threads": options.threads,
        "on_bad_rows": options.on_bad_rows,
        "config": shoal.RunConfig(progress=False, **_checkpoint_parameters(options)),
    }


def _checkpoint_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """When to write into ``--model-dir``."""
    given = {}
    for option, parameter in CHECKPOINT_OPTIONS.items():
        if (value := getattr(options, option)) is not None:
            if options.model_dir is None:
                raise BadInputError(
                    f"--{option.replace('_', '-')} is {value}, and there is no directory to write "
                    "into: give --model-dir, or leave it out"
                )
            given[parameter] = value
    return given


def with_progress(options: argparse.Namespace) -> shoal.RunConfig:
    """A RunConfig that shows progress, unless it is to be quiet."""
    return shoal.RunConfig(progress=False if options.quiet else "auto")


def trained_model(
    options: argparse.Namespace, weighted: bool = False
) -> tuple[shoal.KMeansClustering, PagedSource]:
    """A trained model and data to apply it to; ``weighted``: with its weights."""
    model = load_model(options.model, num_threads=options.threads)
    trained = weight = model.get_params()["weight_column"]
    if weighted and (options.weight is not None or options.no_weight):
        weight = options.weight
    model.set_params(
        weight_column=weight, on_bad_rows=options.on_bad_rows, config=with_progress(options)
    )
    named = Columns(weight=weight, learned=tuple(trained_columns(model) or ()), weigh=weighted)
    try:
        return model, as_data(open_path(options.data, named), named)
    except BadInputError as error:
        if not weighted or weight is None or weight != trained or options.weight is not None:
            raise
        raise BadInputError(
            f"{error} ({options.model} was trained with the weights {weight!r}: --no-weight "
            "measures without, --weight names another column)"
        ) from None


def readable(batches: Iterator[Item], name: str) -> Iterator[Item]:
    """The batches; where the system cannot read on, the error says so of the data."""
    try:
        yield from batches
    except OSError as error:
        raise BadInputError(f"{name} cannot be read: {error}") from error


def is_among(target: Path, given: str) -> bool:
    """Whether ``target`` is, or would be, one of the files that ``given`` stands for."""
    if Path(given).is_dir():
        return target.resolve().is_relative_to(Path(given).resolve())
    names = [given, *(glob.iglob(given, recursive=True) if glob.has_magic(given) else ())]
    return target.exists() and any(Path(name).exists() and target.samefile(name) for name in names)


def trained_columns(model: shoal.KMeansClustering) -> list[str] | None:
    """Names of the columns, in the order of the centers; None where the data had none."""
    names = model.get_params()["feature_columns"] or model.columns
    return list(names) if names else None


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
