"""Training an estimator, call after call: what its methods ask of the loop."""

from __future__ import annotations

import logging
import sys

from shoal.config import Parameters
from shoal.hooks.idle import IdleClusters
from shoal.loop import drive
from shoal.shards.workspace import Workspace
from shoal.sources.open import Source
from shoal.steps.algorithm import chosen
from shoal.steps.ending import Stop
from shoal.storage.home import Home
from shoal.task import Task

logger = logging.getLogger("shoal")


class Trainer:
    """Trains a model, and keeps what one call leaves to the next.

    Parameters
    ----------
    home
        Where the model lives.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._workspace = Workspace()  # of mini-batches
        self._idle = IdleClusters(streamed=True, whole=False)  # calls are steps of one stream

    def fit(self, source: Source, stop: Stop, monitors: list[object]) -> None:
        """Train until it is time to stop."""
        parameters, state = self._home.settings.parameters, self._home.state
        if not stop.given:
            _check_ends(source, parameters, monitors)
        if state is not None and state.initialized and state.global_step:
            logger.info("continuing from step %d", state.global_step)
        self._drive(source, self._task(parameters, source, stop, monitors))

    def fit_once(self, source: Source, monitors: list[object]) -> None:
        """Train by one pass."""
        settings = self._home.settings
        parameters = settings.parameters
        _check_ends(source, parameters, monitors)
        steps = 1 if chosen(parameters).takes_all else None
        stop = Stop(steps, relative_tolerance=settings.relative_tolerance)
        run = settings.run.replace(max_epochs=1, max_no_improvement=sys.maxsize)
        self._drive(source, self._task(parameters, source, stop, monitors)._replace(run=run))

    def partial_fit(self, source: Source, stop: Stop, monitors: list[object]) -> None:
        """Train by mini-batches of data that is a piece of more."""
        parameters = self._home.settings.parameters._replace(use_mini_batch=True)
        task = self._task(parameters, source, stop, monitors)
        self._drive(source, task._replace(monitors=[self._idle, *monitors], apart=True))

    def _task(
        self, parameters: Parameters, source: Source, stop: Stop, monitors: list[object]
    ) -> Task:
        settings = self._home.settings
        if not chosen(parameters).takes_all:
            monitors = [IdleClusters(not source.any_order), *monitors]
        # Taken, so that another thread that calls meanwhile has one of its own.
        workspace, self._workspace = self._workspace, Workspace()
        bad_rows = settings.on_bad_rows
        return Task(parameters, settings.run, stop, workspace, monitors, bad_rows)

    def _drive(self, source: Source, task: Task) -> None:
        drive(self._home, source, task)
        self._workspace = task.workspace


def _check_ends(source: Source, parameters: Parameters, monitors: list[object]) -> None:
    """Refuse to train by mini-batches for ever, with nothing that could end it."""
    if not (source.any_order or chosen(parameters).takes_all or monitors):
        source.must_end(
            "mini-batch training goes on until the data ends", "give steps= or max_steps="
        )
