"""Models and data of the command line: what its options say, checked against each other."""

from __future__ import annotations

import argparse
from typing import Any

import shoal
from shoal.cli.arguments import CHECKPOINT_OPTIONS, MODEL_OPTIONS
from shoal.cli.data import open_data, say_columns
from shoal.cli.machines import check_asynchronous, executor_of
from shoal.cli.places import name_of_places, names_of_places
from shoal.config import ON_BAD_ROWS
from shoal.errors import BadInputError
from shoal.metric import COSINE_DISTANCE
from shoal.saving import load_model
from shoal.sources.columns import Columns
from shoal.sources.paged import PagedSource


def new_model(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, Any]:
    """An untrained model, and the data."""
    source = open_data(options, Columns(options.columns, options.weight))
    given = {}
    for option, (parameter, default) in MODEL_OPTIONS.items():
        value = getattr(options, option)
        given[parameter] = default if value is None else value
    if options.sphere and options.metric is None:
        given["distance_metric"] = COSINE_DISTANCE
    given["on_bad_rows"] = options.on_bad_rows or ON_BAD_ROWS[0]
    say_columns(source.pages, bool(options.columns or options.sphere))
    run = _run_parameters(options)
    if options.mini_batch:
        check_asynchronous(options, run["config"].executor)
    return shoal.KMeansClustering(**given, **run), source


def trained_further(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, Any]:
    """A model that is trained already, and the data; options that would change it are refused."""
    changes = _run_parameters(options)
    if options.tolerance is None:
        del changes["relative_tolerance"]  # the one saved
    if options.on_bad_rows is not None:
        changes["on_bad_rows"] = options.on_bad_rows
    if options.sphere:
        options.columns = [name_of_places(options.sphere)]
    check_asynchronous(options, changes["config"].executor)
    model = load_model(options.model, **changes)
    given = {**model.get_params(), "feature_columns": trained_columns(model)}
    for option, (parameter, _) in MODEL_OPTIONS.items():
        value, trained = getattr(options, option), given[parameter]
        if option == "columns" and trained:
            trained = [str(one) for one in trained]  # as they are written on a command line
        if value is not None and value != trained:
            if option == "columns" and options.sphere:
                option = "sphere"
            raise BadInputError(
                f"--{option.replace('_', '-')} is {_shown(value)}, but {options.model} was trained "
                f"with {_shown(trained)}: leave the option out to train it further, or train a new "
                "model"
            )
    named = Columns(weight=given["weight_column"], learned=tuple(given["feature_columns"] or ()))
    source = open_data(options, named)
    say_columns(source.pages, True)
    return model, source


def _run_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "model_dir": options.model_dir,
        "relative_tolerance": options.tolerance,
        "num_threads": options.threads,
        "config": shoal.RunConfig(
            progress=False,
            executor=executor_of(options),
            asynchronous=bool(options.asynchronous),
            max_staleness=options.max_staleness,
            **_checkpoint_parameters(options),
        ),
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
    """A RunConfig that shows progress, unless it is to be quiet, and has rows where they live."""
    progress = False if options.quiet else "auto"
    return shoal.RunConfig(progress=progress, executor=executor_of(options))


def trained_model(
    options: argparse.Namespace, weighted: bool = False
) -> tuple[shoal.KMeansClustering, PagedSource]:
    """A trained model and data to apply it to; ``weighted``: with its weights."""
    model = load_model(options.model, num_threads=options.threads)
    trained = weight = model.get_params()["weight_column"]
    if weighted and (options.weight is not None or options.no_weight):
        weight = options.weight
    bad_rows = options.on_bad_rows or model.get_params()["on_bad_rows"]
    model.set_params(weight_column=weight, on_bad_rows=bad_rows, config=with_progress(options))
    features = trained_columns(model)
    if options.sphere and not names_of_places(features):
        raise BadInputError(
            f"--sphere is {','.join(options.sphere)}, but {options.model} was not trained on "
            "places: train with fit --sphere"
        )
    named = Columns(weight=weight, learned=tuple(features or ()), weigh=weighted)
    try:
        return model, open_data(options, named)
    except BadInputError as error:
        if not weighted or weight is None or weight != trained or options.weight is not None:
            raise
        raise BadInputError(
            f"{error} ({options.model} was trained with the weights {weight!r}: --no-weight "
            "measures without, --weight names another column)"
        ) from None


def with_centers(path: str) -> shoal.KMeansClustering:
    """A model from a file or directory, refused if it has no centers yet."""
    model = load_model(path)
    if not model.is_fitted:
        raise BadInputError(
            f"{path} was saved before all of its centers were chosen: train it further, with fit "
            "--resume"
        )
    return model


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
