"""A part of a data set: some rows, described, and how they are to be looked at."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from shoal.errors import BadInputError
from shoal.shards.rows import Blocks, FromPages, Held, Reread, ignore, validated
from shoal.shards.workspace import Workspace
from shoal.sources.kept import kept
from shoal.sources.limits import USUAL, Limits
from shoal.sources.open import Source
from shoal.sources.rows import Rows

#: What pickle raises for what it cannot hold.
UNPICKLABLE = (TypeError, ValueError, AttributeError, pickle.PicklingError)


class Batch(NamedTuple):
    """The rows at some places of an epoch: of a mini-batch, whose rows each shard finds itself."""

    seed: int
    epoch: int
    first: int
    last: int
    size: int  # of the batches of the epoch, of which the last may be shorter
    alone: bool = False  # of an epoch of the rows of the part, not of all


class Sample(NamedTuple):
    """A sample of all rows: whether a row is in it depends on the seed and its index alone."""

    seed: int
    share: int  # of the rows, in units of 2**-53


class Part(NamedTuple):
    """What a ``Shard`` is made of, wherever it lives: can be pickled.

    Parameters
    ----------
    source
        The rows: a source or a share of one, which is read where the shard lives; None: ``rows``.
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
        Of rows that are passed over once: ``rows``, and mini-batches of a source. Stays in this
        process.
    rows
        Rows in memory, where there is no source.
    """

    source: Source | None
    metric: str
    threads: int
    on_bad_rows: str = "error"
    budget: int = 0
    keep: bool = False
    progress: Callable[[int], None] = ignore
    workspace: Workspace | None = None
    rows: Sequence[Rows] = ()

    def __reduce__(self) -> Any:
        looked = (self.metric, self.threads, self.on_bad_rows, self.budget, self.keep)
        return Part, (self.source, *looked, ignore, None, self.rows)

    @property
    def limits(self) -> Limits:
        """How much of the rows is in work at a time."""
        return USUAL if self.source is None else self.source.limits

    def kept(self) -> Part:
        """The same, with rows of files decoded and kept in memory, if they are to be."""
        source = self.source
        if not self.keep or source is None or not source.any_order or source.resident:
            return self
        return self._replace(source=kept(source, self.progress), keep=False)

    def of(self, rows: Sequence[Rows]) -> Part:
        """Other rows, looked at in the same way, and once."""
        alone = (self.metric, self.threads, self.on_bad_rows)
        return Part(None, *alone, 0, self.keep, self.progress, self.workspace, rows)

    def blocks(self) -> Blocks:
        """The rows, to be validated when they are read."""
        source = self.source
        if source is None or source.resident:
            return Held(self.rows if source is None else source.held, self._validate)
        if source.any_order:
            return FromPages(source, self._validate, self.progress)
        whole = source.whole
        return Reread(lambda: map(self._validate, chain.from_iterable(whole())), self.progress)

    def _validate(self, rows: Rows) -> Rows:
        return validated(rows, self.metric, self.threads, self.on_bad_rows)


def cannot_be_sent(part: Part, error: Exception) -> BadInputError:
    """The error for a part that cannot be pickled."""
    source = part.source
    if source is None or source.any_order:
        what, cure = "the data", "Give arrays, tables or files"
    else:
        what = source.name
        cure = (
            "It is called where the worker is: give a function that can be pickled, and let it "
            "open there what it reads"
        )
    return BadInputError(f"{what} cannot be sent to workers: {error}. {cure}")
