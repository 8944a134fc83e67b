"""The command line: arguments to estimator, results to standard output; no maths."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import shoal
from shoal.cli_output import (
    WRITERS,
    EverySecond,
    Result,
    in_words_of_the_user,
    messages_to_stderr,
    show_result,
    silence_stdout,
)
from shoal.config import EMPTY_CLUSTERS, ON_BAD_ROWS, SEEDINGS
from shoal.errors import BadInputError
from shoal.export.npz import load_model, save_model, whole_file
from shoal.hooks import LogProgress, progress_monitor
from shoal.metric import METRICS
from shoal.sources.array import Columns
from shoal.sources.files import open_path
from shoal.sources.pages import PagedSource, Pages

#: Options of ``fit`` that make a model what it is: the parameter of each, and its default.
MODEL_OPTIONS: dict[str, tuple[str, Any]] = {
    "clusters": ("num_clusters", 8),
    "metric": ("distance_metric", METRICS[0]),
    "init": ("initial_clusters", "kmeans_plus_plus"),
    "seed": ("random_seed", 0),
    "mini_batch": ("use_mini_batch", False),
    "empty_clusters": ("empty_clusters", EMPTY_CLUSTERS[0]),
    "columns": ("feature_columns", None),
    "weight": ("weight_column", None),
}

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
        return _parser().parse_args(arguments)
    except SystemExit:
        print(end="", flush=True)  # --help into a closed pipe fails here, not at exit
        raise


def _fail(message: str) -> int:
    print(f"shoal: {message}", file=sys.stderr)
    return 1


# --- the commands -------------------------------------------------------------------------------


def fit(options: argparse.Namespace) -> Result:
    """Train on a file and write the model."""
    model_file = Path(options.model)
    if model_file.exists() and not (options.resume or options.force):
        raise BadInputError(
            f"{model_file} exists: pass --resume to train it further, or --force to replace it"
        )
    if not model_file.parent.is_dir():
        raise BadInputError(f"there is no directory {model_file.parent} for the model")
    model, data = (_resumed if options.resume else _new)(options)
    first_step = model.state.global_step if model.is_fitted else 0
    began = time.perf_counter()
    interrupted = False
    try:
        model.fit(
            data,
            steps=options.steps,
            batch_size=options.batch_size,
            monitors=_progress(options.quiet, model.get_params()["num_clusters"]),
        )
    except KeyboardInterrupt:
        if not model.is_fitted:
            raise KeyboardInterrupt("before the centers were chosen: nothing is written") from None
        interrupted = True
    seconds = time.perf_counter() - began
    save_model(model, model_file)
    state, given = model.state, model.get_params()
    result: Result = {
        "columns": _trained_columns(model) or state.clusters.shape[1],
        "clusters": len(state.clusters),
        "metric": given["distance_metric"],
        "steps": state.global_step,
        "seconds": round(seconds, 3),
        "model": str(model_file),
    }
    if interrupted:
        _say_how_to_go_on(options, state.global_step - first_step)
        return {**result, "interrupted": True}
    try:
        measured = model.evaluate(data)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"after training: {model_file} is written") from None
    return {
        "rows": measured["num_rows"],
        **result,
        "loss": measured["scores"],
        "loss_per_row": measured["loss"],
    }


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
    """Say what a model file holds."""
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
    words = ["shoal", "fit", options.data, "--model", options.model, "--resume"]
    for name in RUN_OPTIONS:
        value = getattr(options, name)
        if value is not None and value != "error":
            words += [f"--{name.replace('_', '-')}", str(value)]
    if options.steps is not None:
        if options.steps == done:
            _fail("interrupted after the last step: the model is complete")
            return
        words += ["--steps", str(options.steps - done)]
    words += [f"--{name}" for name in ("quiet", "json") if getattr(options, name)]
    _fail(f"interrupted after {done} steps; go on with: {shlex.join(words)}")


# --- arguments ----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shoal", description="k-means clustering: exact, reproducible to the bit, fast."
    )
    parser.add_argument("--version", action="version", version=f"shoal {shoal.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("fit", help="train on a file and write a model")
    one.set_defaults(command=fit)
    _add_fit_options(one)

    two = commands.add_parser("predict", help="write the nearest center of every row")
    two.set_defaults(command=predict)
    two.add_argument("data", help=DATA)
    two.add_argument("-m", "--model", default="model.npz", help="model file (model.npz)")
    two.add_argument("-o", "--output", required=True, help="a .npy, .csv or .parquet file")

    three = commands.add_parser("inspect", help="say what a model file holds")
    three.set_defaults(command=inspect)
    three.add_argument("model", help="model file")

    for command, skipped in ((one, "does not train on them"), (two, "writes fewer rows")):
        command.add_argument(
            "--on-bad-rows",
            choices=ON_BAD_ROWS,
            default=ON_BAD_ROWS[0],
            help=f"rows with values that are not finite: an error, or skip, which {skipped}",
        )
        command.add_argument("--threads", type=int, help="threads (default: all there are)")
        command.add_argument("-q", "--quiet", action="store_true", help="no progress")
    for command in (one, two, three):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


DATA = (
    "a .npy, .npz, .csv, .parquet, .arrow, .feather or .ipc file, a directory or a pattern of "
    "such files, or a URL (Parquet and Arrow need shoal[parquet], URLs shoal[remote])"
)


def _add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Options of ``fit``; those of MODEL_OPTIONS have no default, to know which were given."""
    add = fit.add_argument
    defaults = {option: default for option, (_, default) in MODEL_OPTIONS.items()}
    add("data", help=DATA)
    add("-k", "--clusters", type=int, help=f"number of clusters ({defaults['clusters']})")
    add("-m", "--model", default="model.npz", help="file to write (model.npz)")
    add("--metric", choices=METRICS, help=f"distance ({defaults['metric']})")
    add("--init", choices=SEEDINGS, help=f"choice of first centers ({defaults['init']})")
    add("--seed", type=int, help=f"seed of every random choice ({defaults['seed']})")
    add("--mini-batch", action="store_const", const=True, help="train by mini-batches")
    add("--batch-size", type=int, help="rows per mini-batch")
    add("--steps", type=int, help="steps to train (default: until converged)")
    add("--tolerance", type=float, help="stop when the loss changes by less")
    add(
        "--empty-clusters",
        choices=EMPTY_CLUSTERS,
        help=f"what to do with clusters without rows ({defaults['empty_clusters']})",
    )
    add("--columns", type=_names, help="columns to use: a,b,c (all numeric ones)")
    add("--weight", help="column of row weights")
    add("--resume", action="store_true", help="train the model file further, as it was trained")
    add("--force", action="store_true", help="replace an existing model file")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no column")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a column twice")
    return names


if __name__ == "__main__":
    sys.exit(main())
