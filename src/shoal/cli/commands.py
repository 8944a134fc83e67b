"""The command line: arguments to estimator, results to standard output; no maths."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import shoal
from shoal.cli.arguments import CHECKPOINT_OPTIONS, add_arguments
from shoal.cli.models import (
    is_among,
    new_model,
    readable,
    trained_columns,
    trained_further,
    trained_model,
    with_progress,
)
from shoal.cli.output import (
    EverySecond,
    Result,
    in_words_of_the_user,
    messages_to_stderr,
    show_result,
    silence_stdout,
)
from shoal.cli.writers import check_suffix, writing
from shoal.errors import BadInputError
from shoal.export.npz import load_model, save_model
from shoal.hooks import LogProgress, progress_monitor, rows_shown
from shoal.inference import ALL_SCORES, CLUSTER_IDX, ROW, SCORES
from shoal.model_dir import has_checkpoints
from shoal.sources.pages import PagedSource
from shoal.state import exact_sum, exact_to_float

Array = npt.NDArray[Any]

logger = logging.getLogger("shoal")

#: Options of ``fit`` that a command that goes on with it needs again (``--steps``: what is left).
RUN_OPTIONS = ("batch_size", "tolerance", "threads", "on_bad_rows", *CHECKPOINT_OPTIONS)


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
        add_arguments(parser, fit, predict, transform, evaluate, inspect)
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
    model, data = (trained_further if options.resume else new_model)(options)
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
        "columns": trained_columns(model) or state.clusters.shape[1],
        "clusters": len(state.clusters),
        "metric": given["distance_metric"],
        "steps": state.global_step,
        "seconds": round(seconds, 3),
        "model": str(target),
    }
    if interrupted:
        _say_how_to_go_on(options, state.global_step - first_step)
        return {**result, "interrupted": True}
    if options.no_evaluate:
        return result
    try:
        measured = model.set_params(config=with_progress(options)).evaluate(data)
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
    model, source = _to_apply(options)
    rows, loss, used = 0, 0, np.zeros(len(model.state.clusters), bool)
    names = {CLUSTER_IDX: CLUSTER_IDX, SCORES: SCORES}
    with closing(_written(options, model, source, names)) as batches:
        for batch in batches:
            rows += len(batch[SCORES])
            loss += exact_sum(batch[SCORES])
            used[batch[CLUSTER_IDX]] = True
    return {
        "rows": rows,
        "clusters_used": int(used.sum()),
        "loss": exact_to_float(loss),
        "output": options.output,
    }


def transform(options: argparse.Namespace) -> Result:
    """Write the distance of every row to every center."""
    model, source = _to_apply(options)
    flat = Path(options.output).suffix == ".csv"
    names = {ALL_SCORES: "d" if flat else "distances"}
    with closing(_written(options, model, source, names)) as batches:
        rows = sum(len(batch[ALL_SCORES]) for batch in batches)
    return {"rows": rows, "clusters": len(model.state.clusters), "output": options.output}


def _to_apply(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, PagedSource]:
    """A trained model and data, where the file of results can be written."""
    target = Path(options.output)
    check_suffix(target)
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} for {target.name}")
    if is_among(target, options.data) or is_among(target, options.model):
        raise BadInputError(f"{target} is read by this command: choose another file to write")
    return trained_model(options)


def _written(
    options: argparse.Namespace,
    model: shoal.KMeansClustering,
    source: PagedSource,
    names: dict[str, str],
) -> Generator[dict[str, Array], None, None]:
    """Batches of results, named as in the file, each when it has been written.

    Where rows may be left out, tables say which row of the data each line is.
    """
    if options.on_bad_rows != "error":
        names = {ROW: ROW, **names}
    found = model.predict(source, outputs=list(names), iterate_batches=True)
    assert not isinstance(found, dict)
    main = next(name for name in names.values() if name != ROW)
    with (
        rows_shown(with_progress(options), options.name, source.rows) as told,
        writing(Path(options.output), main) as writer,
    ):
        for batch in readable(found, options.data):
            writer.write({name: batch[output] for output, name in names.items()})
            told(len(next(iter(batch.values()))))
            yield batch


def evaluate(options: argparse.Namespace) -> Result:
    """Measure a trained model on data."""
    model, source = trained_model(options, weighted=True)
    measured = model.evaluate(source, name=options.eval_name)
    return {
        "model": options.model,
        "steps": measured["global_step"],
        "rows": measured["num_rows"],
        "loss": measured["scores"],
        "loss_per_row": measured["loss"],
    }


def inspect(options: argparse.Namespace) -> Result:
    """Say what a model file, or a directory of checkpoints, holds."""
    model = load_model(options.model)
    state, given = model.state, model.get_params()
    counts = np.sort(state.counts)[::-1]
    return {
        "model": str(options.model),
        "clusters": len(state.clusters),
        "columns": trained_columns(model) or state.clusters.shape[1],
        "dtype": str(state.clusters.dtype),
        "metric": given["distance_metric"],
        "training": "mini-batch" if given["use_mini_batch"] else "full batch",
        "steps": state.global_step,
        "seed": state.seed,
        "largest_counts": [round(float(count), 3) for count in counts[:5]],
        "smallest_count": round(float(counts[-1]), 3),
        **({"complete": not model.is_interrupted} if model.model_dir else {}),
    }


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
    switches = [name for name in ("no_evaluate", "quiet", "json") if getattr(options, name)]
    words += [f"--{name.replace('_', '-')}" for name in switches]
    _fail(f"interrupted after {done} steps; go on with: {shlex.join(words)}")
