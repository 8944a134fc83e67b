"""The protocol of monitors, what they see of a run, and several of them as one.

A monitor is any object with some of

- ``begin(context)``: the centers are chosen, the first step comes;
- ``before_step(context)``, ``after_step(context)``: around each step; a true answer of
  ``after_step`` ends the run after it;
- ``end(context)``: the run is over, whether it ended well or not;
- ``step_on_sample(context)``: a step was made on a sample, before ``begin`` (``start_on_sample``);
- ``progress(context)``: now and then while a long pass or the choice of centers is under way,
  also before ``begin``.

All are called in the thread that trains, in the order of the list; a monitor that lacks a method is
passed over. An exception in one ends the run: the model keeps the last completed step, ``end`` of
every monitor that was told anything is called (one that fails there does not keep it from the
others), and the exception goes to the caller.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError
from shoal.state import Partial, State

logger = logging.getLogger("shoal")

PROTOCOL = ("begin", "before_step", "after_step", "end", "progress", "step_on_sample")

#: What hooks and monitors of TensorFlow have instead of `before_step` and `after_step`.
OF_SESSIONS = ("before_run", "after_run", "step_begin", "step_end", "every_n_step_end")

READING = "reading"
SEEDING = "choosing centers"
ON_SAMPLE = "training on a sample"
TRAINING = "training"
EVALUATING = "evaluating"


class Context:
    """What a monitor sees of a run.

    Attributes
    ----------
    state
        The state after the last completed step, a value; None before there is one.
    total_steps
        The step at which the run will end, at the latest, where that is known, else None.
    last_epoch
        The epoch whose end ends the run, at the latest, where there is one, else None.
    loss
        Loss of the last step: the sum of distances at the centers before it. None before the first.
    rows
        Rows of the last step.
    cluster_sizes
        Weight (without weights: rows) that the last step gave to each cluster [k], read-only. None
        before the first.
    step_seconds
        How long the last step took, without the monitors. None before the first.
    staleness, largest_staleness
        In asynchronous training: how many steps were applied between the one whose centers the
        last step was made with, and itself; and the most of this run. Else None.
    on_sample
        Of a start on a sample: ``steps`` made on it so far and ``most`` steps, its ``rows``, the
        ``loss_per_row`` of the last step and the ``seconds`` of all. None where there was none.
    phase
        ``"choosing centers"``, ``"training on a sample"``, ``"reading"`` (the rows of a step),
        ``"training"`` or ``"evaluating"``.
    rows_done, rows_total
        Of the pass that is under way: rows read, and how many there are (None: not known).
    centers_found
        Centers chosen so far.
    error
        The exception that ends the run; None while it goes on and where it ended well.
    """

    def __init__(
        self,
        clusters: Callable[[State], npt.NDArray[Any]],
        state: State | None,
        announce: Callable[[Context], None] | None = None,
    ) -> None:
        self._clusters = clusters
        self._announce = announce
        self._began = self._step_began = self._sample_began = time.perf_counter()
        self._stop = False
        self.state = state
        self.total_steps: int | None = None
        self.last_epoch: int | None = None
        self.loss: float | None = None
        self.rows = 0
        self.cluster_sizes: npt.NDArray[np.float64] | None = None
        self.step_seconds: float | None = None
        self.staleness: int | None = None
        self.largest_staleness: int | None = None
        self.on_sample: dict[str, Any] | None = None
        self.phase = READING
        self.rows_done = 0
        self.rows_total: int | None = None
        self.centers_found = 0 if state is None else state.num_found
        self.error: BaseException | None = None

    @property
    def step(self) -> int:
        """Steps applied so far, over the life of the model (``global_step``)."""
        return 0 if self.state is None else self.state.global_step

    @property
    def epoch(self) -> int:
        """Passes of mini-batch training over data that it can reread (see State); else 0."""
        return 0 if self.state is None else self.state.epoch

    @property
    def loss_per_row(self) -> float | None:
        """Loss of the last step per row: per unit of weight where rows have weights."""
        if self.loss is None or self.cluster_sizes is None:
            return None
        weight = float(self.cluster_sizes.sum())
        return self.loss / weight if weight else 0.0

    @property
    def clusters(self) -> npt.NDArray[np.floating[Any]]:
        """The centers [k, d], read-only; those found so far while they are being chosen."""
        if self.state is None:
            return _read_only(np.empty((0, 0)))
        return _read_only(self._clusters(self.state))

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    @property
    def stop_requested(self) -> bool:
        """Whether a monitor asked to stop."""
        return self._stop

    def request_stop(self) -> None:
        """End the run after the step that is under way."""
        self._stop = True

    # --- for those who drive the run -------------------------------------------------------

    def enter(self, phase: str, rows_total: int | None) -> None:
        """Begin a phase of passes over ``rows_total`` rows."""
        if phase == ON_SAMPLE:
            self._sample_began = time.perf_counter()
        self.phase, self.rows_done, self.rows_total = phase, 0, rows_total

    def step_begins(self) -> None:
        """A step begins: its rows are asked for, which may need a look at all of them."""
        self._step_began = time.perf_counter()
        self.enter(READING, self.rows_total)

    def step_ends(
        self, state: State, loss: float, found: Partial, staleness: int | None = None
    ) -> None:
        """A step was applied, and left ``state``."""
        self.step_seconds = time.perf_counter() - self._step_began
        self.state, self.loss, self.rows = state, loss, found.rows
        self.cluster_sizes = _read_only(found.weights.view())
        self.staleness = staleness
        if staleness is not None:
            self.largest_staleness = max(self.largest_staleness or 0, staleness)

    def step_on_sample(self, state: State, loss: float, found: Partial, most: int) -> None:
        """A step was made on a sample: the state behind it, its loss, and how many there may be."""
        before = self.on_sample or {"steps": 0}
        weight = float(found.weights.sum())
        self.state = state
        self.on_sample = {
            "steps": before["steps"] + 1,
            "most": most,
            "rows": found.rows,
            "loss_per_row": loss / weight if weight else 0.0,
            "seconds": round(time.perf_counter() - self._sample_began, 6),
        }

    def evaluated(self, loss: float, rows: int) -> None:
        """So many rows were evaluated so far, and this is their loss."""
        self.loss, self.rows, self.rows_done = loss, rows, rows

    def read(self, rows: int) -> None:
        """Rows were read: called by whoever passes over the data, piece by piece."""
        self.rows_done += rows
        if self.rows_total and self.rows_done > self.rows_total:
            self.rows_done -= self.rows_total  # the next pass of the phase
        if self._announce is not None:
            self._announce(self)

    def chose(self, centers: int) -> None:
        """There are ``centers`` centers now."""
        self.centers_found = centers
        if self._announce is not None:
            self._announce(self)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


class Monitors:
    """Several monitors as one."""

    def __init__(self, monitors: Sequence[object]) -> None:
        self._monitors = list(monitors)
        self._told = [False] * len(self._monitors)

    def tell(self, event: str, context: Context) -> None:
        """Call ``event`` of every monitor that has it; a true answer of after_step stops."""
        if event == "end":
            self._end(context)
            return
        for i, monitor in enumerate(self._monitors):
            method = getattr(monitor, event, None)
            if event == "begin" or method is not None:
                self._told[i] = True
            if method is not None and method(context) and event == "after_step":
                context.request_stop()

    def _end(self, context: Context) -> None:
        """Tell the end to all that were told anything.

        The first exception goes on, at last, unless another one has ended the run.
        """
        first: BaseException | None = None
        for i, monitor in enumerate(self._monitors):
            told, self._told[i] = self._told[i], False
            method = getattr(monitor, "end", None)
            if not told or method is None:
                continue
            try:
                method(context)
            except BaseException as error:
                if first is None:
                    first = error
                else:
                    logger.exception("another monitor, %r, failed in end()", monitor)
        if first is not None and context.error is None:
            raise first
        if first is not None:  # it does not take the place of what ended the run
            logger.error("a monitor failed in end(): %r", first)


def check_monitors(monitors: object, name: str = "monitors") -> list[object]:
    """Return ``monitors`` as a list, each with at least one method of the protocol."""
    if monitors is None:
        return []
    if not isinstance(monitors, (list, tuple)):
        raise BadInputError(
            f"{name} is {type(monitors).__name__}; it must be a list of objects with any of "
            f"the methods {PROTOCOL}"
        )
    for i, monitor in enumerate(monitors):
        foreign = [old for old in OF_SESSIONS if callable(getattr(monitor, old, None))]
        if foreign and not any(callable(getattr(monitor, new, None)) for new in PROTOCOL[1:3]):
            raise BadInputError(
                f"{name}[{i}] is a {type(monitor).__name__} with {foreign[0]}, a hook of a session "
                "of TensorFlow: give it before_step(context) or after_step(context) instead, see "
                "shoal.hooks.base"
            )
        if not any(callable(getattr(monitor, name, None)) for name in PROTOCOL):
            raise BadInputError(
                f"{name}[{i}] is {monitor!r}, which has none of the methods {PROTOCOL}"
            )
    return list(monitors)
