"""Saving checkpoints while training runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from shoal.config import RunConfig
from shoal.hooks.base import Context


class CheckpointSaver:
    """A monitor: saves after seeding, then by steps and by seconds, whichever comes first.

    The end of a run is saved by who runs it, as it must be told from an interruption; so a run
    that another monitor ends is not saved here as one that goes on.
    """

    def __init__(self, save: Callable[[], None], run: RunConfig) -> None:
        self._save = save
        self._steps = run.save_checkpoints_steps
        self._seconds = run.save_checkpoints_secs
        self._step, self._time = 0, 0.0

    def begin(self, context: Context) -> None:
        """Save the first centers."""
        self._save_now(context)

    def step_on_sample(self, context: Context) -> None:
        """Save, if it is time."""
        made = context.on_sample
        by_steps = self._steps is not None and made is not None and made["steps"] % self._steps == 0
        if by_steps or self._is_late():
            self._save_now(context)

    def after_step(self, context: Context) -> None:
        """Save, if it is time."""
        if context.stop_requested:
            return
        by_steps = self._steps is not None and context.step - self._step >= self._steps
        if by_steps or self._is_late():
            self._save_now(context)

    def _is_late(self) -> bool:
        return self._seconds is not None and time.monotonic() - self._time >= self._seconds

    def _save_now(self, context: Context) -> None:
        self._save()
        self._step, self._time = context.step, time.monotonic()
