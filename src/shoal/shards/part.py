"""A part of a data set: some rows, described, and how they are to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from shoal.shards.rows import Block, Blocks, FromPages, Held, Reread, ignore, make_block
from shoal.shards.workspace import Workspace
from shoal.sources.kept import kept
from shoal.sources.paged import PagedSource
from shoal.sources.rows import Rows
from shoal.sources.stream import StreamSource


class Batch(NamedTuple):
    """The rows at some places of an epoch: of a mini-batch, whose rows each shard finds itself."""

    seed: int
    epoch: int
    first: int
    last: int
    size: int  # of the batches of the epoch, of which the last may be shorter
    alone: bool = False  # of an epoch of the rows of the part, not of all


@dataclass(frozen=True)
class Part:
    """What a ``Shard`` is made of, wherever it lives: can be pickled.

    Parameters
    ----------
    rows
        Rows in memory; or a share of a source, which is read where the shard lives.
    metric, threads, on_bad_rows
        How rows are looked at.
    budget
        How many bytes may be kept beside the rows, from pass to pass, to make passes cheaper.
    keep
        Whether rows of files are kept in memory once they will be read again.
    progress
        Is called with the number of rows of each piece of a pass that is not in memory; stays in
        this process.
    workspace
        Of rows that are passed over once: ``rows`` in memory, and mini-batches of a source. Stays
        in this process.
    """

    rows: Sequence[Rows] | PagedSource | StreamSource
    metric: str
    threads: int
    on_bad_rows: str = "error"
    budget: int = 0
    keep: bool = False
    progress: Callable[[int], None] = ignore
    workspace: Workspace | None = None

    def __reduce__(self) -> Any:
        alone = (self.rows, self.metric, self.threads, self.on_bad_rows, self.budget, self.keep)
        return Part, alone

    def kept(self) -> Part:
        """The same, with rows of files decoded and kept in memory, if they are to be."""
        if not self.keep or not isinstance(self.rows, PagedSource) or self.rows.resident:
            return self
        return replace(self, rows=kept(self.rows, self.progress), keep=False)

    def of(self, rows: Sequence[Rows]) -> Part:
        """Other rows, looked at in the same way, and once."""
        alone = (self.metric, self.threads, self.on_bad_rows)
        return Part(rows, *alone, 0, self.keep, self.progress, self.workspace)

    def blocks(self) -> Blocks:
        """The rows, to be validated when they are read."""
        if isinstance(self.rows, StreamSource):
            return Reread(self._batches, self.progress)
        if not isinstance(self.rows, PagedSource):
            return Held(self.rows, self._validate)
        if self.rows.resident:
            return Held(list(self.rows.stream()), self._validate)
        return FromPages(self.rows, self._validate, self.progress)

    def _batches(self) -> Any:
        assert isinstance(self.rows, StreamSource)
        return (self._validate(one) for batch in self.rows.whole() for one in batch)

    def _validate(self, rows: Rows) -> Block:
        return make_block(rows, self.metric, self.threads, self.on_bad_rows)
