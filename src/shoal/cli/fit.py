"""``shoal fit``: train on data and write a model, or checkpoints into a directory."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from pathlib import Path

import shoal
from shoal.cli.arguments import CHECKPOINT_OPTIONS
from shoal.cli.data import STANDARD, is_read
from shoal.cli.models import new_model, trained_columns, trained_further, with_progress
from shoal.cli.output import Result, say
from shoal.errors import BadInputError
from shoal.hooks import progress_monitor
from shoal.saving import save_model
from shoal.sources.paths import kind_of, local_path
from shoal.storage.model_dir import has_checkpoints

logger = logging.getLogger("shoal")

#: Options of ``fit`` that a command that goes on with it needs again (``--steps``: what is left).
RUN_OPTIONS = (
    "batch_size",
    "tolerance",
    "threads",
    "on_bad_rows",
    "ray",
    "workers",
    "max_staleness",
    *CHECKPOINT_OPTIONS,
)


def fit(options: argparse.Namespace) -> Result:
    """Train on data and write the model, or checkpoints into a directory."""
    target = _target(options)
    model, data = (trained_further if options.resume else new_model)(options)
    _refuse_to_write_over_data(options, target)
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


def _refuse_to_write_over_data(options: argparse.Namespace, target: Path) -> None:
    """Refuse a model in the place of data, or where it would be taken for data the next time."""
    paths = [local_path(path) for path in options.data]
    if options.model_dir:
        if target.exists() and any(Path(one).exists() and target.samefile(one) for one in paths):
            raise BadInputError(f"{target} holds the data: choose another --model-dir")
        return
    folders = [one for one in paths if Path(one).is_dir()]
    files = [one for one in paths if one not in folders]
    if is_read(target, files) or (target.exists() and is_read(target, folders)):
        raise BadInputError(f"{target} is data of this command: choose another file for the model")
    if kind_of(target.name) and is_read(target, folders):
        raise BadInputError(
            f"{target} lies in a directory of data, of which it would be part the next time: "
            "choose another file for the model, with -m"
        )


def _last_step(options: argparse.Namespace, model: shoal.KMeansClustering) -> int | None:
    """``--max-steps``; a run in a directory that came to its end by itself is not begun again."""
    by_itself = options.model_dir and options.steps is options.max_steps is None
    if by_itself and model.is_fitted and not model.is_interrupted:
        logger.info("training has come to its end already; --steps trains further")
        return max(model.state.global_step, 1)
    return options.max_steps  # type: ignore[no-any-return]


def _progress(quiet: bool, clusters: int | None) -> list[object]:
    """A bar on a terminal; elsewhere lines by time, the more seldom the longer it takes."""
    by_time = shoal.RunConfig(log_step_count_steps=sys.maxsize)
    return [] if quiet else progress_monitor(by_time, clusters)


def _say_how_to_go_on(options: argparse.Namespace, done: int) -> None:
    """The command that goes on where this one was interrupted."""
    where = ["--model-dir", options.model_dir] if options.model_dir else ["--model", options.model]
    words = ["shoal", "fit", *options.data, *where, "--resume"]
    for name in RUN_OPTIONS:
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if options.max_steps is not None:
        words += ["--max-steps", str(options.max_steps)]
    if options.steps is not None:
        if options.steps == done:
            say("interrupted after the last step: the model is complete")
            return
        words += ["--steps", str(options.steps - done)]
    names = ("asynchronous", "no_evaluate", "quiet", "json")
    switches = [name for name in names if getattr(options, name)]
    words += [f"--{name.replace('_', '-')}" for name in switches]
    again = ", with the same standard input" if options.data == [STANDARD] else ""
    say(f"interrupted after {done} steps; go on{again} with: {shlex.join(words)}")
