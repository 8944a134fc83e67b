"""The command line: arguments to estimator, results to standard output; no maths."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import shoal
from shoal.checkpoint import has_checkpoints
from shoal.cli_arguments import MODEL_OPTIONS, add_arguments
from shoal.cli_output import (
    WRITERS,
    EverySecond,
    Result,
    in_words_of_the_user,
    messages_to_stderr,
    show_result,
    silence_stdout,
)
from shoal.errors import BadInputError
from shoal.export.npz import load_model, save_model, whole_file
from shoal.hooks import LogProgress, progress_monitor
from shoal.sources.array import Columns
from shoal.sources.files import open_path
from shoal.sources.pages import PagedSource, Pages

logger = logging.getLogger("shoal")

#: Options of ``fit`` that a command that goes on with it needs again (``--steps``: what is left).
RUN_OPTIONS = ("batch_size", "tolerance", "threads", "on_bad_rows")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for an error, 2 for wrong usage."""
    path: object = "the data"
    try:
        options = _parsed(arguments)
        path = getattr(options, "data", path)
        with messages_to_stderr(getattr(options, "quiet", False), path):
            result: Result = options.command(options)
        show_result(result, options.json)
    except BrokenPipeError:
        silence_stdout()
        return 1
    except KeyboardInterrupt as interrupt:
        return _fail(" ".join(["interrupted", *map(str, interrupt.args)]))
    except shoal.ShoalError as error:
        return _fail(f"error: {in_words_of_the_user(str(error), path)}")
    except OSError as error:
        return _fail(f"error: {error}")
    except ValueError as error:
        if not str(error).startswith("SHOAL_"):  # a variable of the environment that is wrong
            raise
        return _fail(f"error: {error}")
    return 1 if result.get("interrupted") else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    try:
        parser = argparse.ArgumentParser(
            prog="shoal", description="k-means clustering: exact, reproducible to the bit, fast."
        )
        add_arguments(parser, fit=fit, predict=predict, inspect=inspect)
        return parser.parse_args(arguments)
    except SystemExit:
        print(end="", flush=True)  # --help into a closed pipe fails here, not at exit
        raise


def _fail(message: str) -> int:
    print(f"shoal: {message}", file=sys.stderr)
    return 1


# --- the commands -------------------------------------------------------------------------------


def fit(options: argparse.Namespace) -> Result:
    """Train on a file and write the model, or checkpoints into a directory."""
    target = _target(options)
    model, data = (_resumed if options.resume else _new)(options)
    first_step = model.state.global_step if model.is_fitted else 0
    began = time.perf_counter()
    interrupted = False
    try:
        model.fit(
            data,
            steps=options.steps,
            max_steps=_last_step(options, model),
            batch_size=options.batch_size,
            monitors=_progress(options.quiet, model.get_params()["num_clusters"]),
        )
    except KeyboardInterrupt:
        if not model.is_fitted:
            raise KeyboardInterrupt("before the centers were chosen: nothing is written") from None
        interrupted = True
    seconds = time.perf_counter() - began
    if not options.model_dir:
        save_model(model, target)
    state, given = model.state, model.get_params()
    result: Result = {
        "columns": _trained_columns(model) or state.clusters.shape[1],
        "clusters": len(state.clusters),
        "metric": given["distance_metric"],
        "steps": state.global_step,
        "seconds": round(seconds, 3),
        "model": str(target),
    }
    if interrupted:
        _say_how_to_go_on(options, state.global_step - first_step)
        return {**result, "interrupted": True}
    try:
        measured = model.evaluate(data)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"after training: {target} is written") from None
    return {
        "rows": measured["num_rows"],
        **result,
        "loss": measured["scores"],
        "loss_per_row": measured["loss"],
    }


def _target(options: argparse.Namespace) -> Path:
    """Where the model goes; ``--resume`` on a directory without checkpoints begins there."""
    target = Path(options.model_dir or options.model)
    there = has_checkpoints(target) if options.model_dir else target.exists()
    if options.model_dir and options.force:
        raise BadInputError(
            f"--force replaces a model file, not checkpoints: remove {target}, or choose another "
            "directory"
        )
    if there and not (options.resume or options.force):
        how = "another --model-dir for a new one" if options.model_dir else "--force to replace it"
        raise BadInputError(f"{target} exists: pass --resume to train it further, or {how}")
    if not options.model_dir and not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} for the model")
    if options.resume and options.model_dir:
        options.resume, options.model = there, options.model_dir
    return target


def _last_step(options: argparse.Namespace, model: shoal.KMeansClustering) -> int | None:
    """``--max-steps``; a run in a directory that came to its end by itself is not begun again."""
    by_itself = options.model_dir and options.steps is options.max_steps is None
    if by_itself and model.is_fitted and not model.is_interrupted:
        logger.info("training has come to its end already; --steps trains further")
        return max(model.state.global_step, 1)
    return options.max_steps  # type: ignore[no-any-return]


def predict(options: argparse.Namespace) -> Result:
    """Write the nearest center of every row, and its distance."""
    target = Path(options.output)
    writer = WRITERS.get(target.suffix)
    if writer is None:
        raise BadInputError(f"{target} is of no known kind; files end in one of {tuple(WRITERS)}")
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} for {target.name}")
    if any(target.exists() and target.samefile(used) for used in (options.data, options.model)):
        raise BadInputError(f"{target} is read by this command: choose another file to write")
    model = load_model(options.model, num_threads=options.threads, weight_column=None)
    shown = shoal.RunConfig(progress=False if options.quiet else "auto")
    model.set_params(on_bad_rows=options.on_bad_rows, config=shown)
    features = _trained_columns(model)
    pages = open_path(options.data, Columns(learned=tuple(features) if features else None))
    if pages.columns and not features:
        raise _without_names(options)
    if not pages.columns:
        model.set_params(feature_columns=None)  # columns in the order of the model
    found = model.predict(_data(pages), outputs=("cluster_idx", "scores"), as_iterable=False)
    assert isinstance(found, dict)
    with whole_file(target) as beside:
        writer(beside, found)
    return {
        "rows": len(found["cluster_idx"]),
        "clusters_used": len(np.unique(found["cluster_idx"])),
        "loss": float(found["scores"].sum(dtype=np.float64)),
        "output": str(target),
    }


def inspect(options: argparse.Namespace) -> Result:
    """Say what a model file, or a directory of checkpoints, holds."""
    model = load_model(options.model)
    state, given = model.state, model.get_params()
    counts = np.sort(state.counts)[::-1]
    return {
        "model": str(options.model),
        "clusters": len(state.clusters),
        "columns": _trained_columns(model) or state.clusters.shape[1],
        "dtype": str(state.clusters.dtype),
        "metric": given["distance_metric"],
        "training": "mini-batch" if given["use_mini_batch"] else "full batch",
        "steps": state.global_step,
        "seed": state.seed,
        "largest_counts": [round(float(count), 3) for count in counts[:5]],
        "smallest_count": round(float(counts[-1]), 3),
        **({"complete": not model.is_interrupted} if model.model_dir else {}),
    }


# --- models and data ----------------------------------------------------------------------------


def _new(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, Any]:
    """An untrained model, and the data."""
    pages = open_path(options.data, Columns(options.columns, options.weight))
    given = {}
    for option, (parameter, default) in MODEL_OPTIONS.items():
        value = getattr(options, option)
        given[parameter] = default if value is None else value
    given["feature_columns"] = list(pages.columns) or None
    return shoal.KMeansClustering(**given, **_run_parameters(options)), _data(pages)


def _data(pages: Pages) -> Any:
    """What a model is given: what is in memory, or what is read page by page."""
    return list(pages.stream()) if pages.resident else PagedSource(pages, None, True)


def _resumed(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, Any]:
    """A model that is trained already, and the data; options that would change it are refused."""
    changes = _run_parameters(options)
    if options.tolerance is None:
        del changes["relative_tolerance"]  # the one saved
    model = load_model(options.model, **changes)
    given = {**model.get_params(), "feature_columns": _trained_columns(model)}
    for option, (parameter, _) in MODEL_OPTIONS.items():
        value, trained = getattr(options, option), given[parameter]
        if value is not None and value != trained:
            raise BadInputError(
                f"--{option.replace('_', '-')} is {_shown(value)}, but {options.model} was trained "
                f"with {_shown(trained)}: leave the option out to train it further, or train a new "
                "model"
            )
    features, weight = given["feature_columns"], given["weight_column"]
    pages = open_path(
        options.data, Columns(weight=weight, learned=tuple(features) if features else None)
    )
    if pages.columns and not features:
        raise _without_names(options)
    if not pages.columns and features:
        raise BadInputError(
            f"{options.data} has no names of columns; {options.model} was trained on "
            f"{_shown(features)}" + (f", with the weights {weight!r}" if weight else "")
        )
    return model, _data(pages)


def _run_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "model_dir": options.model_dir,
        "relative_tolerance": options.tolerance,
        "num_threads": options.threads,
        "on_bad_rows": options.on_bad_rows,
        "config": shoal.RunConfig(progress=False),
    }


def _trained_columns(model: shoal.KMeansClustering) -> list[str] | None:
    """Names of the columns, in the order of the centers; None where the data had none."""
    names = model.get_params()["feature_columns"] or model.columns
    return list(names) if names else None


def _without_names(options: argparse.Namespace) -> BadInputError:
    return BadInputError(
        f"{options.data} has named columns, but {options.model} was trained on data without names, "
        "so which is which is not known: train on a file with names (fit takes --columns), or give "
        "a file without names"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _progress(quiet: bool, clusters: int | None) -> list[object]:
    """A bar on a terminal, a line a second elsewhere."""
    if quiet:
        return []
    shown = progress_monitor(shoal.RunConfig(), clusters)
    return [EverySecond()] if any(isinstance(one, LogProgress) for one in shown) else shown


def _say_how_to_go_on(options: argparse.Namespace, done: int) -> None:
    """The command that goes on where this one was interrupted."""
    where = ["--model-dir", options.model_dir] if options.model_dir else ["--model", options.model]
    words = ["shoal", "fit", options.data, *where, "--resume"]
    for name in RUN_OPTIONS:
        value = getattr(options, name)
        if value is not None and value != "error":
            words += [f"--{name.replace('_', '-')}", str(value)]
    if options.max_steps is not None:
        words += ["--max-steps", str(options.max_steps)]
    if options.steps is not None:
        if options.steps == done:
            _fail("interrupted after the last step: the model is complete")
            return
        words += ["--steps", str(options.steps - done)]
    words += [f"--{name}" for name in ("quiet", "json") if getattr(options, name)]
    _fail(f"interrupted after {done} steps; go on with: {shlex.join(words)}")


if __name__ == "__main__":
    sys.exit(main())
