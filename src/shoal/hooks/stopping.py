"""Monitors that end a run early."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from shoal.checks import whole_number
from shoal.errors import BadInputError
from shoal.hooks.base import Context

logger = logging.getLogger("shoal")

MONITORED = ("loss_per_row", "loss")


class EarlyStopping:
    """End a run when a value has stopped falling.

    The run ends after the first step that makes ``patience`` steps in a row without a value below
    the lowest so far by more than ``min_delta``. The memory of it lasts for one run: it is not
    part of checkpoints, and a run that is resumed counts anew.

    Parameters
    ----------
    patience
        Steps without improvement.
    min_delta
        What counts as an improvement: a fall by more than this.
    monitor
        ``"loss_per_row"``, ``"loss"``, or a callable that takes the context and returns the value.

    Attributes
    ----------
    best
        The lowest value, None before the first step.
    stopped_step
        The step after which it ended the run, None if it did not.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> from shoal.hooks import EarlyStopping
    >>> x = np.random.default_rng(0).normal(size=(1000, 2))
    >>> model = shoal.KMeansClustering(5).fit(
    ...     x, batch_size=100, steps=10_000, monitors=[EarlyStopping(patience=20)]
    ... )
    >>> int(model.state.global_step) < 10_000
    True
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: str | Callable[[Context], float] = "loss_per_row",
    ) -> None:
        self._patience = whole_number("patience", patience, 1)
        if isinstance(min_delta, bool) or not isinstance(min_delta, (int, float)):
            raise BadInputError(f"min_delta is {min_delta!r:.80}; it must be a number >= 0")
        if not 0 <= min_delta < float("inf"):
            raise BadInputError(f"min_delta is {min_delta!r}; it must be finite and >= 0")
        if not callable(monitor) and monitor not in MONITORED:
            raise BadInputError(
                f"monitor is {monitor!r:.80}; allowed are {MONITORED} and a callable of the context"
            )
        self._min_delta = float(min_delta)
        self._monitor = monitor
        self.best: float | None = None
        self.stopped_step: int | None = None
        self._without = 0

    def begin(self, _context: Context) -> None:
        """Start anew."""
        self.best, self.stopped_step, self._without = None, None, 0

    def after_step(self, context: Context) -> bool:
        """Whether the value has not improved for long enough."""
        if callable(self._monitor):
            value = float(self._monitor(context))
        else:
            value = float(getattr(context, self._monitor))
        first = self.best is None and not math.isnan(value)
        if first or (self.best is not None and value < self.best - self._min_delta):
            self.best, self._without = value, 0
            return False
        self._without += 1
        if self._without < self._patience:
            return False
        self.stopped_step = context.step
        logger.info(
            "stopped after step %d: no improvement on %s for %d steps",
            context.step,
            "nothing" if self.best is None else f"{self.best:.6g}",
            self._patience,
        )
        return True
