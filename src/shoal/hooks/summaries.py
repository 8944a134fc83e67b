"""What a run writes of itself: one line of metrics.jsonl per so many steps, or a list in memory."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from shoal.checks import whole_number
from shoal.config import RunConfig
from shoal.hooks.base import Context
from shoal.hooks.tensorboard import EventFile, wants_tensorboard
from shoal.storage.jsonl import append_json, truncate_after

logger = logging.getLogger("shoal")

METRICS_FILE = "metrics.jsonl"


def record_of(context: Context) -> dict[str, Any]:
    """What is worth keeping of a step.

    ``step``, ``epoch``, ``loss``, ``loss_per_row`` (per unit of weight), ``rows``,
    ``step_seconds`` and ``rows_per_second`` of the step, ``cluster_sizes`` (``min``, ``median``,
    ``max`` of the weights of the clusters in the step, and how many were ``empty``), and the
    ``time`` in seconds since 1970. Of asynchronous training also ``staleness`` (of the step) and
    ``largest_staleness`` (of the run so far), in steps. Of a run that started on a sample,
    ``on_sample``: ``steps``, ``rows``, ``loss_per_row`` and ``seconds`` of that.
    """
    sizes, seconds = context.cluster_sizes, context.step_seconds
    assert sizes is not None
    assert seconds is not None
    aged: dict[str, Any] = {}
    if context.staleness is not None:
        aged = {
            "staleness": context.staleness,
            "largest_staleness": context.largest_staleness,
        }
    if context.on_sample is not None:
        aged["on_sample"] = context.on_sample
    return {
        "step": context.step,
        "epoch": context.epoch,
        "loss": context.loss,
        "loss_per_row": context.loss_per_row,
        "rows": context.rows,
        "step_seconds": round(seconds, 6),
        "rows_per_second": round(context.rows / max(seconds, 1e-9), 1),
        "cluster_sizes": {
            "min": float(sizes.min()),
            "median": float(np.median(sizes)),
            "max": float(sizes.max()),
            "empty": int(np.count_nonzero(sizes == 0)),
        },
        **aged,
        "time": round(time.time(), 3),
    }


class History:
    """Keeps a record of each step in memory.

    Parameters
    ----------
    every
        Steps between records.

    Attributes
    ----------
    records
        Dicts like the lines of ``metrics.jsonl`` (see ``record_of``), in order; they stay when the
        monitor is used for a further run.

    Examples
    --------
    >>> import shoal
    >>> from shoal.hooks import History
    >>> history = History()
    >>> x = [[0.0], [1.0], [10.0], [11.0]]
    >>> model = shoal.KMeansClustering(2).fit(x, steps=3, monitors=[history])
    >>> len(history.records) > 0
    True
    """

    def __init__(self, every: int = 1) -> None:
        self._every = whole_number("every", every, 1)
        self.records: list[dict[str, Any]] = []

    def after_step(self, context: Context) -> None:
        """Keep the record, if it is time."""
        if context.step % self._every == 0:
            self.records.append(record_of(context))

    @property
    def losses(self) -> list[float]:
        """The loss of each record."""
        return [record["loss"] for record in self.records]


class Summary(Protocol):
    """A form that summaries are written in."""

    def begin(self, step: int) -> None:
        """Go on behind ``step``: what was written beyond it is void."""

    def write(self, record: dict[str, Any], context: Context) -> None:
        """Write the summary of a step."""

    def close(self) -> None:
        """Let go of the file."""


class JsonLines:
    """The lines of ``metrics.jsonl``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / METRICS_FILE

    def begin(self, step: int) -> None:
        """Cut off lines beyond ``step``."""
        if dropped := truncate_after(self._path, step):
            logger.info(
                "%s: dropped %d lines beyond step %d, which this run goes on from",
                self._path,
                dropped,
                step,
            )

    def write(self, record: dict[str, Any], _context: Context) -> None:
        """Append a line."""
        append_json(self._path, record)

    def close(self) -> None:
        """Nothing is open between lines."""


class SummarySaver:
    """Writes a summary every so many steps into a directory.

    Steps that ``every`` divides, and the last of the run, are written to ``metrics.jsonl`` and,
    where wanted, to a TensorBoard event file. A run that goes on continues the file: lines beyond
    the step it goes on from are cut off, so steps rise from line to line.

    Parameters
    ----------
    directory
        Made if it is not there.
    every
        Steps between summaries.
    tensorboard
        ``"auto"``: also write TensorBoard files where the extra ``shoal[tensorboard]`` is
        installed; True: an error where it is not; False: never.
    last
        Whether to write the last step of the run, whatever its number.

    Raises
    ------
    MissingExtraError
        For ``tensorboard=True`` without the extra.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every: int = 100,
        tensorboard: bool | str = "auto",
        last: bool = True,
    ) -> None:
        self._directory = Path(directory)
        self._every = whole_number("every", every, 1)
        self._last = last
        self._written: int | None = None
        self._forms: list[Summary] = [JsonLines(self._directory)]
        if wants_tensorboard(tensorboard):
            self._forms.append(EventFile(self._directory, must=tensorboard is True))

    def begin(self, context: Context) -> None:
        """Continue the files."""
        self._written = context.step
        for form in self._forms:
            form.begin(context.step)

    def after_step(self, context: Context) -> None:
        """Write the step, if it is time."""
        if context.step % self._every == 0:
            self._write(context)

    def end(self, context: Context) -> None:
        """Write the last step, and close the files."""
        try:
            if self._last and context.step != self._written:
                self._write(context)
        finally:
            for form in self._forms:
                form.close()

    def _write(self, context: Context) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        record = record_of(context)
        for form in self._forms:
            form.write(record, context)
        self._written = context.step


def summary_monitors(
    run: RunConfig, directory: str | os.PathLike[str], last: bool = True
) -> list[object]:
    """The monitors that write summaries into ``directory`` as ``run`` wants them."""
    if run.save_summary_steps is None:
        return []
    return [SummarySaver(directory, run.save_summary_steps, run.tensorboard, last)]
