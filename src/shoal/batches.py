"""Rows that this process holds: looked at, and made into data that steps can ask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.executors.data import Data
from shoal.executors.local import LocalExecutor
from shoal.executors.shards import Shards
from shoal.machine import available_memory
from shoal.shards.part import Part
from shoal.shards.rows import validated
from shoal.shards.workspace import Workspace
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix
from shoal.state import State

logger = logging.getLogger("shoal")

#: A sample while it is used, and how many rows there are in all.
Sampling = AbstractContextManager[tuple[Data, int]]


class Batch(NamedTuple):
    """One batch, ready to be assigned, and the position in the source behind it."""

    data: Any  # Data; of asynchronous training, what a worker found
    inputs: Callable[[], list[Matrix]]  # the rows themselves, for seeding by a callable
    position: tuple[int, int] | None = None  # epoch and row, for shuffled data in memory
    number: int = 0  # of a stream that can be read again: batches read, this one included
    of_rows: int | None = None  # rows of the pass that it is from
    workers: tuple[tuple[int, int], ...] = ()  # epoch and row of each, of asynchronous training
    turns: tuple[int, ...] = ()  # of workers' own streams: batches of each, this one included

    def behind(self, state: State) -> State:
        """The state with the position behind this batch."""
        there = self.number == state.batches and self.workers == state.workers
        if self.position is None and there and self.turns == state.turns:
            return state
        epoch, row = self.position or (state.epoch, state.row)
        at: dict[str, Any] = {"batches": self.number, "workers": self.workers, "turns": self.turns}
        return state.replace(epoch=epoch, row=row, **at)


def look_at(shard: Rows, parameters: Parameters, on_bad_rows: str = "error") -> Rows:
    """Validate the rows of one shard."""
    return validated(shard, parameters.distance_metric, parameters.num_threads, on_bad_rows)


def shards_of(
    source: Source, parameters: Parameters, on_bad_rows: str, executor: Executor
) -> Shards:
    """Shards of all rows of a source, which are yet to read them, to be passed over once."""
    part = Part(source, parameters.distance_metric, parameters.num_threads, on_bad_rows)
    shares = source.split(executor.num_parts)
    return Shards(executor, [part._replace(source=share) for share in shares])


def make_data(
    rows: list[Rows],
    parameters: Parameters,
    workspace: Workspace,
    on_bad_rows: str = "error",
    executor: Executor | None = None,
) -> Data:
    """One batch of rows, to be passed over once: in this process, or where it is sent."""
    metric, threads = parameters.distance_metric, parameters.num_threads
    if executor is None:
        part = Part(None, metric, threads, on_bad_rows, workspace=workspace, rows=rows)
        return Data.of(LocalExecutor(), [part])
    part = Part(None, metric, threads, on_bad_rows)
    shares = PagedSource(ArrayPages(rows), None, False).split(executor.num_parts)
    return Data.of(executor, [part.of(share.held) for share in shares])


@contextmanager
def sampled(
    whole: Data, source: Source, parameters: Parameters, state: State, fraction: float
) -> Iterator[tuple[Data, int]]:
    """A sample of all rows of a source, where they are, and how many there are in all."""
    scan = whole.scan()
    check_columns(state, len(scan.magnitude), source.name)
    room = None
    if not source.resident:  # as much as would be kept of files
        room = parameters.memory_budget
        room = (available_memory() or 0) // 4 if room is None else room
    with whole.sample(state.seed, fraction, room) as data:
        width = 8 if source.dtype is None else source.dtype.itemsize
        size = data.scan().rows * len(scan.magnitude) * width
        if room is not None and size > room:
            logger.warning(
                "%s: the sample takes about %.1f MB, more than may be kept (memory_budget): each "
                "step on it reads all rows, as a step on all rows does",
                source.name,
                size / 1e6,
            )
        yield data, scan.rows


def check_columns(state: State, columns: int, name: str = "the data") -> None:
    """Refuse rows that the centers cannot be compared with."""
    if state.clusters.shape[1] != columns:
        raise BadInputError(
            f"{name} has {columns} columns, the centers (initial_clusters, or those trained "
            f"before) have {state.clusters.shape[1]}: they must agree"
        )
