"""Summaries as TensorBoard event files, through tensorboardX."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import MissingExtraError
from shoal.hooks.base import Context

logger = logging.getLogger("shoal")

#: Bars of the histogram of cluster sizes.
BARS = 30
#: What asynchronous training records besides.
AGES = ("staleness", "largest_staleness")
#: Event files of one process that begin in the same second need different names.
_number = itertools.count()


def wants_tensorboard(wanted: bool | str) -> bool:
    """Whether event files are to be written; MissingExtraError where they must and cannot be."""
    if wanted is False:
        return False
    installed = importlib.util.find_spec("tensorboardX") is not None
    if wanted is True and not installed:
        raise MissingExtraError("tensorboard=True", "tensorboardX", "tensorboard")
    return installed


class EventFile:
    """One event file per run, begun at its first summary.

    Tags: ``loss/raw``, ``loss/per_row``, ``time/step_seconds``, ``time/rows_per_second``,
    ``cluster_sizes/min``, ``…/median``, ``…/max``, ``…/empty`` and ``cluster_sizes/histogram``; of
    asynchronous training ``asynchronous/staleness`` and ``…/largest_staleness``.
    """

    def __init__(self, directory: Path, must: bool) -> None:
        self._directory = directory
        self._must = must
        self._writer: Any = None
        self._broken = False
        self._from = 0

    def begin(self, step: int) -> None:
        """Remember what to void: the file is begun with its first summary."""
        self._from = step + 1

    def write(self, record: dict[str, Any], context: Context) -> None:
        """Write the scalars and the histogram of a step."""
        if self._writer is None and not self._broken:
            self._open()
        if self._writer is None:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import histogram, scalar

        sizes = context.cluster_sizes
        assert sizes is not None
        values = {
            "loss/raw": record["loss"],
            "loss/per_row": record["loss_per_row"],
            "time/step_seconds": record["step_seconds"],
            "time/rows_per_second": record["rows_per_second"],
            **{f"asynchronous/{name}": record[name] for name in AGES if name in record},
            **{f"cluster_sizes/{name}": value for name, value in record["cluster_sizes"].items()},
        }
        summary = Summary()
        for tag, value in values.items():
            summary.MergeFrom(scalar(tag, value))
        edges = np.linspace(0, max(float(sizes.max()), 1.0), BARS + 1)
        summary.MergeFrom(histogram("cluster_sizes/histogram", sizes, edges))
        event = Event(wall_time=record["time"], step=record["step"], summary=summary)
        self._writer.write_event(event)
        self._writer.flush()

    def _open(self) -> None:
        """Begin the file; readers void what files before it hold of the steps to come."""
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog
        except Exception as error:  # an installation that does not work, in whatever way
            if self._must:
                raise
            self._broken = True
            logger.warning(
                "no TensorBoard files are written: tensorboardX cannot be imported (%s). Repair "
                "it, or pass RunConfig(tensorboard=False)",
                error,
            )
            return
        # Written in this thread, without a queue: nothing outlives the run.
        suffix = f".{next(_number):06d}.{os.getpid()}"  # readers go by the order of names
        self._writer = EventsWriter(str(self._directory / "events"), suffix)
        started = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), step=self._from, session_log=started))

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
