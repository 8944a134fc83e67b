"""Training: fit and partial_fit, and the checkpoints they go on from."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from shoal.checks import whole_number
from shoal.config import Parameters, RunConfig
from shoal.errors import BadInputError, CheckpointError, ShoalError
from shoal.hooks import Monitors, check_monitors, progress_monitor, summary_monitors
from shoal.hooks.idle import IdleClusters
from shoal.hooks.saving import CheckpointSaver
from shoal.loop import train
from shoal.model import Model
from shoal.opening import learned_names
from shoal.shards.workspace import Workspace
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.sphere import warn_of_degrees
from shoal.state import State
from shoal.steps.ending import Stop
from shoal.storage.checkpoint import Checkpoint
from shoal.storage.jsonl import plain
from shoal.storage.model_dir import ModelDir
from shoal.task import Task

logger = logging.getLogger("shoal")

Self = TypeVar("Self", bound="Training")


class Training(Model):
    """A model that can be trained, and that is kept in a directory if it has one."""

    _workspace: Workspace  # of mini-batches: the next call goes on with it, and with this:
    _idle: IdleClusters  # of partial_fit, where each call is a few steps of a stream

    def fit(
        self: Self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[[], Any] | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        monitors: Sequence[object] | None = None,
        max_steps: int | None = None,
        *,
        sample_weight: Any = None,
    ) -> Self:
        """Train, from where the last call ended; with a ``model_dir``, from its last checkpoint.

        A trained model always starts warm, and the log says from which step: there is no
        ``warm_start`` to set. To start anew, make a new KMeansClustering, with a ``model_dir`` of
        its own.

        A run that was killed or interrupted goes on when ``fit`` is called with the same data and
        arguments, in a new process too, and ends with the same bits. ``steps`` counts from the
        checkpoint, ``max_steps`` from the beginning: use that in a program that may be killed. One
        that trains until it converges can ask ``is_interrupted`` whether there is anything to go on
        with.

        Parameters
        ----------
        x
            The data; see ``shoal.open`` for all kinds. Rows are of any real dtype, [n, d].
        y
            Not used; accepted for pipelines.
        input_fn
            A callable that returns the data, instead of ``x``.
        steps, max_steps
            Train for ``steps`` more steps, or until ``max_steps`` in total (reached already:
            nothing happens). Neither: until it converges (full batch: no label changes;
            mini-batch: the smoothed loss stops improving, see RunConfig), and by mini-batches of
            a stream until it ends.
        batch_size
            Rows per mini-batch, for data in memory and files (default: 4,096, or 8 k if that is
            more). Streams come in batches of their own.
        monitors
            Objects with any of ``begin``, ``before_step``, ``after_step`` (return True to stop),
            ``end`` and ``progress``, each called with a context: see ``shoal.hooks.base``.
        sample_weight
            A weight for each row of an array, a frame or files: [n] finite numbers >= 0, as an
            array, a list or a Series; a row of weight 2 counts as two. Batches of a stream carry
            theirs in ``shoal.Weighted(rows, weights)``.

        Returns
        -------
        KMeansClustering
            self

        Raises
        ------
        BadInputError, TooFewRowsError
            If the data cannot be used; the model is then as it was before the call. (With a
            ``model_dir``, where bad data can come after hours, it is as after the last good step.)
        CheckpointError
            If a checkpoint cannot be written, or ``model_dir`` holds another model. The model is
            then as after its last step, and the checkpoints before are there.
        ModelDirLockedError
            If another process is training in ``model_dir``.
        """
        del y
        stop = Stop(
            None if steps is None else whole_number("steps", steps, 1),
            None if max_steps is None else whole_number("max_steps", max_steps, 1),
            self._given["relative_tolerance"],
        )
        if steps is not None and max_steps is not None:
            raise BadInputError(f"steps is {steps} and max_steps is {max_steps}: give one of them")
        watching = check_monitors(monitors)
        state = self._current()
        if max_steps is not None and state is not None and state.global_step >= max_steps:
            self._save_at_last()
            return self
        source = self._open(x, input_fn, batch_size, training=True, sample_weight=sample_weight)
        if not stop.given:
            self._check_ends(source, watching)
        if state is not None and state.initialized and state.global_step:
            logger.info("continuing from step %d", state.global_step)
        self._drive(source, self._parameters, stop, watching)
        return self

    def _fit_once(
        self: Self, input_fn: Callable[[], Any], monitors: Sequence[object] | None
    ) -> Self:
        """Train by one pass over what ``input_fn`` gives."""
        stop = Stop(
            None if self._parameters.use_mini_batch else 1,
            relative_tolerance=self._given["relative_tolerance"],
        )
        watching = check_monitors(monitors, "hooks")
        self._current()
        run = self._run.replace(max_epochs=1, max_no_improvement=sys.maxsize)
        source = self._open(None, input_fn)
        self._check_ends(source, watching)
        self._drive(source, self._parameters, stop, watching, run=run)
        return self

    def _check_ends(self, source: Source, watching: list[object]) -> None:
        """Refuse to train by mini-batches for ever, with nothing that could end it."""
        if not source.any_order and self._parameters.use_mini_batch and not watching:
            source.must_end(
                "mini-batch training goes on until the data ends", "give steps= or max_steps="
            )

    def partial_fit(
        self: Self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[[], Any] | None = None,
        steps: int = 1,
        batch_size: int | None = None,
        monitors: Sequence[object] | None = None,
        *,
        sample_weight: Any = None,
    ) -> Self:
        """Train by mini-batch steps on the given data; successive calls continue.

        Data in memory is one batch (or batches of ``batch_size``, in order); so are files, which
        may be too large for that: give ``batch_size`` there. Centers are chosen
        first where needed; while the data seen so far is too little for that, the call only
        chooses centers. With a ``model_dir``, each call ends with a checkpoint.

        Parameters
        ----------
        x, y, input_fn, batch_size, monitors, sample_weight
            As for ``fit``.
        steps
            Number of steps.

        Returns
        -------
        KMeansClustering
            self

        Raises
        ------
        BadInputError
            If the data cannot be used; the model is then as it was before the call.
        """
        del y
        stop = Stop(whole_number("steps", steps, 1), None, None)
        watching = check_monitors(monitors)
        self._current()
        source = self._open(
            x, input_fn, batch_size, shuffle=False, training=True, sample_weight=sample_weight
        )
        if isinstance(source, PagedSource):
            source = source.like(source.batch_size or source.rows, shuffle=False)
        parameters = dataclasses.replace(self._parameters, use_mini_batch=True)
        self._drive(source, parameters, stop, watching, apart=True)
        return self

    def _drive(
        self,
        source: Source,
        parameters: Parameters,
        stop: Stop,
        monitors: list[object],
        *,
        apart: bool = False,
        run: RunConfig | None = None,
    ) -> None:
        """Run the loop, holding the state after each step.

        ``apart``: the data is not that of ``fit``, whose position in its own data stays.
        ``run``: how it behaves, where that is not as the model's own.
        """
        with self._writing() as saver:
            before, columns, known = self._state, self._columns, self._known()
            if self._dir is not None:
                plain(source.columns)  # names that cannot be saved are told now
            at: dict[str, Any] = {"epoch": 0, "row": 0, "batches": 0, "unfinished": None}
            first = before
            if apart and before is not None:
                first = before.replace(**at)
                at |= {"epoch": before.epoch, "row": before.row}
            bars = progress_monitor(self._run, parameters.num_clusters)
            if self._dir is not None:
                bars += summary_monitors(self._run, self._dir.path, last=not apart)
            if parameters.use_mini_batch:
                bars += [self._idle if apart else IdleClusters(not source.any_order)]
            shown = Monitors([*bars, *monitors, *saver])
            bad_rows = self._given["on_bad_rows"]
            # Taken, so that another thread that calls meanwhile has one of its own.
            workspace, self._workspace = self._workspace, Workspace()
            if source.columns:
                warn_of_degrees(source.columns, parameters.distance_metric)
            task = Task(parameters, run or self._run, stop, shown, bad_rows, apart, workspace)
            try:
                with closing(train(first, source, task)) as states:
                    for state in states:
                        if not apart:
                            self._state = state
                        elif before is None or _has_moved(before, state):
                            self._state = state.replace(**at)
                        news = self._columns is None and not source.any_order
                        self._columns = learned_names(known, self._named, source)
                        if news and self._columns:
                            warn_of_degrees(self._columns, parameters.distance_metric)
            except ShoalError:
                if not saver:
                    self._state, self._columns = before, columns
                raise
            self._workspace = workspace
            self._save()

    # --- checkpoints -----------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[list[object]]:
        """Be the one who writes into ``model_dir``; gives the monitor that saves, if any.

        However training ends, the last completed step is saved, if it can be.
        """
        if self._dir is None and self._run.save_checkpoints_steps is not None:
            self._dir = ModelDir(Path(tempfile.mkdtemp(prefix="shoal-")), temporary=True)
            logger.info("checkpoints are written to %s", self._dir.path)
        if self._dir is None:
            yield []
            return
        with self._dir.held():
            self._take(self._dir.news(self._check_found))
            try:
                yield [CheckpointSaver(self._save, self._run)]
            except CheckpointError:
                raise
            except BaseException:
                try:
                    self._save()
                except CheckpointError as error:
                    logger.error("%s", error)
                raise

    def _save(self) -> None:
        """Write a checkpoint, unless the state is in the directory already."""
        if self._dir is None or self._state is None or self._dir.holds(self._state):
            return
        checkpoint = Checkpoint(self._state, self._kept_parameters(), self._columns)
        self._dir.write(checkpoint, self._run.keep_checkpoint_max)

    def _save_at_last(self) -> None:
        """Save a state that could not be saved when it was reached."""
        if self._dir is not None and not self._dir.holds(self._state):
            with self._writing():
                self._save()

    def _attach(
        self, path: Path | None, parameters: Parameters, features: Sequence[Any] | None
    ) -> None:
        """Keep the model in ``path``, and go on from what is there."""
        if path is None:
            self._dir = self._dir if self._dir is not None and self._dir.temporary else None
            return
        if self._dir is not None and self._dir.path == path:
            return
        there = ModelDir(path)
        found = there.news(lambda checkpoint: checkpoint.check_fits(path, parameters, features))
        if found is not None and self._state is not None:
            raise CheckpointError(
                f"model_dir {path} holds a model, and this one is trained already: choose an empty "
                "directory, or make a new KMeansClustering"
            )
        self._take(found)
        self._dir = there

    @property
    def model_dir(self) -> str | None:
        """The directory of checkpoints.

        Without one, None; or, once training has begun with ``save_checkpoints_steps`` set, the
        temporary directory, which is not removed.
        """
        given: str | os.PathLike[str] | None = self._given["model_dir"]
        if given is not None:
            return os.fspath(given)
        return None if self._dir is None else str(self._dir.path)

    @property
    def is_interrupted(self) -> bool:
        """Whether the last ``fit`` did not come to its end: killed, interrupted, or failed.

        Calling ``fit`` again, with the same data and arguments, goes on with it. After a run that
        came to its end, ``fit`` would train further.
        """
        state = self._current()
        return state is not None and state.unfinished is not None


def _has_moved(before: State, state: State) -> bool:
    """Whether there is anything new to keep."""
    counted = (before.global_step, before.num_found, before.seeding_rounds)
    return counted != (state.global_step, state.num_found, state.seeding_rounds)


def check_model_dir(given: object) -> Path | None:
    """Return the directory as an absolute path; it need not be there."""
    if given is None:
        return None
    if not isinstance(given, (str, os.PathLike)) or isinstance(os.fspath(given), bytes):
        raise BadInputError(f"model_dir is {given!r:.80}; it must be the path of a directory")
    text = str(given)
    if not text or "://" in text:
        raise BadInputError(
            f"model_dir is {text!r}; it must be the path of a directory of this machine"
        )
    path = Path(text).absolute()
    if path.exists() and not path.is_dir():
        raise BadInputError(f"model_dir is {text!r}, which is not a directory")
    return path
