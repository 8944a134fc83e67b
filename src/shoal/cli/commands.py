"""The command line: arguments to estimator, results to standard output; no maths."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import shoal
from shoal.cli.arguments import add_arguments
from shoal.cli.choose import choose_k
from shoal.cli.completion import completion
from shoal.cli.data import STANDARD, files_of, is_read, label, readable
from shoal.cli.demo import demo
from shoal.cli.export import export
from shoal.cli.fit import fit
from shoal.cli.inspect import inspect
from shoal.cli.machines import executor_of
from shoal.cli.models import trained_columns, trained_model, with_progress
from shoal.cli.output import (
    Result,
    in_words_of_the_user,
    messages_to_stderr,
    say,
    show_result,
    silence_stdout,
)
from shoal.cli.parts import KM, PartFiles, check_directory, is_directory, write_parts
from shoal.cli.places import names_of_places
from shoal.cli.preview import preview
from shoal.cli.report import report
from shoal.cli.writers import check_suffix, writing
from shoal.errors import BadInputError
from shoal.hooks import rows_shown
from shoal.inference import ALL_SCORES, CLUSTER_IDX, ROW, SCORES
from shoal.shards.kernels import as_loss
from shoal.sources.carried import Carried, carried
from shoal.sources.limits import USUAL, Limits
from shoal.sources.paged import PagedSource
from shoal.sphere import sphere_km
from shoal.state import exact_sum
from shoal.types import Array

#: Exit codes beside 0, 1 for an error and 2 for wrong usage: 128 and the signal, as shells have it.
SIGNALLED = 128


def main(arguments: Sequence[str] | None = None, limits: Limits = USUAL) -> int:
    """Run a command; returns the exit code.

    0; 1 for an error; 2 for wrong usage; 130 for Ctrl-C, 143 for SIGTERM.
    """
    path: object = "the data"
    with _interruptions() as signals, ExitStack() as at_end:
        try:
            options = _parsed(arguments)
            options.at_end, options.limits = at_end, limits
            path = label(getattr(options, "data", None) or ["the data"])
            with messages_to_stderr(getattr(options, "quiet", False), path):
                command = preview if getattr(options, "preview", False) else options.command
                result: Result = command(options)
            _show(result, options)
        except BrokenPipeError:
            silence_stdout()
            return 1
        except KeyboardInterrupt as interrupt:
            say(" ".join(["interrupted", *map(str, interrupt.args)]))
            return SIGNALLED + signals[-1]
        except shoal.ShoalError as error:
            return _fail(in_words_of_the_user(str(error), path))
        except MemoryError as error:
            return _fail(f"there is not enough memory: {error}".rstrip(": "))
        except OSError as error:
            return _fail(str(error))
        except Exception as error:
            if str(error).startswith("SHOAL_"):  # a variable of the environment that is wrong
                return _fail(str(error))
            if os.environ.get("SHOAL_TRACEBACK"):
                raise
            kind = type(error).__name__
            return _fail(
                f"unexpected {kind}: {error}. This is a fault of shoal itself: please report it, "
                "with what SHOAL_TRACEBACK=1 shows before the same command"
            )
    return SIGNALLED + signals[-1] if result.get("interrupted") else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    try:
        parser = argparse.ArgumentParser(
            prog="shoal", description="k-means clustering: exact, reproducible to the bit, fast."
        )
        other = (export, report, inspect, demo, completion)
        add_arguments(parser, fit, choose_k, predict, transform, evaluate, *other)
        options = parser.parse_args(arguments)
        options.parser = parser
        return options
    except SystemExit:
        print(end="", flush=True)  # --help into a closed pipe fails here, not at exit
        raise


def _fail(message: str) -> int:
    say(f"error: {message}")
    return 1


def _show(result: Result, options: argparse.Namespace) -> None:
    """Print the result; to standard error, unless it is to be quiet, where the other has rows."""
    if not result:
        return
    if getattr(options, "output", None) != STANDARD or getattr(options, "preview", False):
        show_result(result, options.json)
    elif not options.quiet:
        show_result(result, options.json, to_stderr=True)


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """SIGTERM interrupts as Ctrl-C does; gives the signals so far, the last of which counts."""
    signals: list[int] = [signal.SIGINT]

    def interrupt(number: int, _frame: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before != signal.SIG_DFL:
        yield signals  # it is someone else's
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGTERM, before)


# --- the commands -------------------------------------------------------------------------------


def predict(options: argparse.Namespace) -> Result:
    """Write the nearest center of every row, and its distance."""
    model, source = _to_apply(options)
    names = {CLUSTER_IDX: CLUSTER_IDX, SCORES: SCORES}
    if is_directory(options.output):
        return _in_parts(options, model, source, names)
    rows, loss, used = 0, 0, np.zeros(len(model.state.clusters), bool)
    with closing(_written(options, model, source, names)) as batches:
        for batch in batches:
            rows += len(batch[SCORES])
            loss += exact_sum(batch[SCORES])
            used[batch[CLUSTER_IDX]] = True
    return {
        "rows": rows,
        "clusters_used": int(used.sum()),
        "loss": as_loss(loss),
        "output": options.output,
    }


def transform(options: argparse.Namespace) -> Result:
    """Write the distance of every row to every center."""
    model, source = _to_apply(options)
    if is_directory(options.output):
        return _in_parts(options, model, source, {ALL_SCORES: "distances"})
    flat = options.output == STANDARD or Path(options.output).suffix == ".csv"
    names = {ALL_SCORES: "d" if flat else "distances"}
    with closing(_written(options, model, source, names)) as batches:
        rows = sum(len(batch[ALL_SCORES]) for batch in batches)
    return {"rows": rows, "clusters": len(model.state.clusters), "output": options.output}


def _to_apply(options: argparse.Namespace) -> tuple[shoal.KMeansClustering, PagedSource]:
    """A trained model and data, where the file of results can be written."""
    keeps = options.keep or options.keep_all
    if options.output != STANDARD and is_directory(options.output):
        check_directory(options)
    elif options.output != STANDARD:
        target = Path(options.output)
        check_suffix(target)
        if keeps and target.suffix == ".npy":
            raise BadInputError(f"{target} has no room for columns to keep: write .csv or .parquet")
        if not target.parent.is_dir():
            raise BadInputError(f"there is no directory {target.parent} for {target.name}")
        if is_read(target, [*options.data, options.model]):
            raise BadInputError(f"{target} is read by this command: choose another file to write")
        if target.exists() and not options.force:
            raise BadInputError(f"{target} exists: pass --force to replace it")
    return trained_model(options)


def _in_parts(
    options: argparse.Namespace,
    model: shoal.KMeansClustering,
    source: PagedSource,
    named: dict[str, str],
) -> Result:
    """Write results as the files of a directory."""
    places = names_of_places(trained_columns(model)) is not None
    metric = model.get_params()["distance_metric"] if places else None
    executor = executor_of(options)
    parts = 1 if executor is None else executor.num_parts
    folder = str(Path(options.output).absolute())
    files = PartFiles(folder, named, parts, metric, options.limits)
    return write_parts(options, model, source, files)


@contextmanager
def _kept(options: argparse.Namespace, results: Sequence[str]) -> Iterator[Carried | None]:
    """The columns of the data that are to be written too."""
    if not (options.keep or options.keep_all):
        yield None
        return
    typed = options.output.endswith(".parquet")
    files, limits = files_of(options), options.limits
    with closing(carried(files, options.keep, results, typed, limits)) as columns:
        yield columns


def _written(
    options: argparse.Namespace,
    model: shoal.KMeansClustering,
    source: PagedSource,
    named: dict[str, str],
) -> Generator[dict[str, Array], None, None]:
    """Batches of results, named as in the file, each when it has been written.

    Where rows may be left out, tables say which row of the data each line is.
    """
    skips = model.get_params()["on_bad_rows"] != "error"
    in_km = SCORES in named and names_of_places(trained_columns(model)) is not None
    metric = model.get_params()["distance_metric"]
    results = [*([ROW] if skips else []), *named.values(), *([KM] if in_km else [])]
    rows = source.rows or 0
    found = model.predict(source, outputs=[ROW, *named], iterate_batches=True)
    assert not isinstance(found, dict)
    with (
        _kept(options, results) as columns,
        rows_shown(with_progress(options), options.name, rows) as progress,
        writing(options.output, next(iter(named.values())), options.limits) as writer,
    ):
        for batch in readable(found, label(options.data)):
            table: dict[str, Any] = {ROW: batch[ROW]} if skips else {}
            if columns is not None:
                table |= columns.take(batch[ROW])
            table |= {name: batch[output] for output, name in named.items()}
            if in_km:
                table[KM] = sphere_km(batch[SCORES], metric)
            writer.write(table)
            progress(len(batch[ROW]))
            yield batch
        if columns is not None:
            columns.finish(rows)


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
