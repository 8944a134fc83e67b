"""Batches as they come: iterators, generators, callables and re-readable iterables."""

from __future__ import annotations

import itertools
import logging
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.array import to_parts, warn_of_labels
from shoal.sources.brought import refuse_single_row
from shoal.sources.columns import Columns, is_frame, is_table
from shoal.sources.limits import USUAL, Limits
from shoal.sources.rows import Rows, names_of
from shoal.sources.sparse import is_sparse

logger = logging.getLogger("shoal")

#: Seconds after which a first pass over a stream says how far it is; then twice as many, and so on.
FIRST_WORD = 60.0
#: Batches on end without a row to use, of data that never ends.
MOST_BARREN = 1000
#: The cardinality of a data set of tf.data that never ends.
INFINITE = -1


#: Why data must end, and what else can be done.
FULL_BATCH = (
    "full-batch training reads all of it in every step",
    "give the batches once, without .repeat(), or use use_mini_batch=True and steps=",
)


class StreamSource:
    """A sequence of batches, of a length that only reading it tells.

    Parameters
    ----------
    begin
        Starts reading: returns batches.
    rereadable
        Whether ``begin`` can be called again for the same batches.
    columns
        Columns of batches that are dicts or frames.
    name
        What error messages call the data.
    limits
        How much of it is in work at a time.
    """

    resident = False
    any_order: Literal[False] = False  # a type checker takes the answer for the type
    batched = True
    batch_size: int | None = None
    held: Sequence[Rows] = ()
    rows: int | None = None
    first = 0  # index of the first row
    dim: int | None = None
    dtype: np.dtype[Any] | None = None
    columns: tuple[Any, ...] | None = None  # names, known once a batch has been read
    num_batches: int | None = None  # of a pass, as far as the data says
    check: Callable[[], None] | None = None  # rows lie nowhere

    def __init__(
        self,
        begin: Callable[[], Iterable[Any]],
        rereadable: bool,
        columns: Columns,
        name: str = "x",
        limits: Limits = USUAL,
    ) -> None:
        self._begin = begin
        self.limits = limits
        self.named = columns
        self._warned = False  # of labels
        self.rereadable = rereadable
        self._ended = False  # a pass over all of it
        self.name = name
        self.endless: str | None = None  # what says that it never ends
        self.of_worker: Callable[[int, int], StreamSource] | None = None  # where each has its own

    def batches(self) -> Iterator[list[Rows]]:
        """Batches in order, each checked to have the columns and dtype of the first."""
        return _Batches(self)

    def begin(self) -> Iterator[Any]:
        """Start reading."""
        begun = self._begin()
        self.endless = self.endless or what_never_ends(begun)
        return iter(begun)

    @property
    def spreads(self) -> bool:
        """Whether workers can each read a share of it."""
        return self.of_worker is not None

    def split(self, number: int) -> list[StreamSource]:
        """So many shares, one for each worker, that can be sent away."""
        assert self.of_worker is not None
        shares = [self.of_worker(worker, number) for worker in range(number)]
        return [share.like(self.named) for share in shares]

    def in_pieces(self, size: int) -> StreamSource:
        """The same: its batches are the user's."""
        del size
        return self

    def as_it_comes(self) -> StreamSource:
        """The same."""
        return self

    def check_unchanged(self) -> None:
        """Nothing to look at: what comes, comes."""

    def must_end(self, why: str, cure: str) -> None:
        """Refuse data that says that it never ends, where all of it will be read."""
        if self.endless is not None:
            raise BadInputError(
                f"{self.name} never ends ({self.endless} says so), and {why}: {cure}"
            )

    def check_some(self, barren: int) -> None:
        """Refuse data that never ends and had no row to use in so many batches on end."""
        if self.endless is not None and barren >= MOST_BARREN:
            raise BadInputError(
                f"{self.name} never ends ({self.endless} says so), and {barren} batches on end had "
                "no row to use: they are empty, of weight 0, or left out (on_bad_rows='skip')"
            )

    def read(self, batch: Any, name: str) -> list[Rows]:
        """Shards of one batch."""
        refuse_single_row(batch, name)
        parts = to_parts(batch, self.named, name)
        names = names_of(parts)
        self.columns = self.columns or names
        self.named = self.named.following(names, name)
        self._warned = self._warned or warn_of_labels(parts, self.name)
        return parts

    def whole(self) -> Iterator[list[Rows]]:
        """The batches of a pass over all of it, which ends; the first time, the log says so far."""
        batches = self.batches()
        self.must_end(*FULL_BATCH)
        first = None if self._ended else FirstPass(self.name)
        for batch in batches:
            if first is not None:
                first.read(sum(map(len, batch)))
            yield batch
        self._ended = True

    def like(self, columns: Columns) -> StreamSource:
        """The same batches, read by other columns."""
        other = StreamSource(self._begin, self.rereadable, columns, self.name, self.limits)
        other.num_batches, other.endless = self.num_batches, self.endless
        other.of_worker = self.of_worker
        return other


class _Batches:
    """One pass. Not a generator: an error or an interruption does not end it."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._given = source.begin()
        self._number = self._empty = 0
        self._first: tuple[int, Any] | None = None

    def __iter__(self) -> Iterator[list[Rows]]:
        return self

    def __next__(self) -> list[Rows]:
        while True:
            batch = next(self._given)
            name = f"{self._source.name}: batch {self._number}"
            self._number += 1
            parts = self._source.read(batch, name)
            this = (parts[0].rows.shape[1], parts[0].rows.dtype)
            first = self._first = self._first or this
            if this != first:
                raise BadInputError(
                    f"{name} has {this[0]} columns of {this[1]}, the batches before had "
                    f"{first[0]} of {first[1]}: all must agree"
                )
            self._empty = 0 if any(map(len, parts)) else self._empty + 1
            if not self._empty:
                return parts
            self._source.check_some(self._empty)


def is_iterable_of_batches(data: Any) -> bool:
    """Whether data is none that is read at once, and can be iterated over."""
    if isinstance(data, (list, tuple, Rows)) or hasattr(data, "__array__") or is_frame(data):
        return False
    if hasattr(data, "__dlpack__") or is_table(data):
        return False
    if is_sparse(data):  # a sparse matrix, which iterates over its rows
        return False
    if isinstance(data, (str, bytes, dict, set, frozenset)):
        return False
    return hasattr(data, "__iter__") or hasattr(data, "__next__")


def what_never_ends(data: Any) -> str | None:
    """What says that batches go on for ever, where anything does.

    Iterators of ``itertools``, and data sets with a ``cardinality()`` as those of tf.data.
    """
    if isinstance(data, itertools.cycle):
        return "itertools.cycle"
    if isinstance(data, itertools.repeat):
        return "itertools.repeat" if operator.length_hint(data, -1) < 0 else None
    cardinality = getattr(data, "cardinality", None)
    if not callable(cardinality):
        return None
    try:
        return "its cardinality" if int(cardinality()) == INFINITE else None
    except (TypeError, ValueError):  # something else of this name
        return None


class FirstPass:
    """Says in the log how far the first pass over a stream is, which may never end.

    Parameters
    ----------
    name
        What messages call the data.
    clock
        Seconds, from whenever.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._began = clock()
        self._next = FIRST_WORD
        self._batches = self._rows = 0

    def read(self, rows: int) -> None:
        """A batch was read."""
        self._batches += 1
        self._rows += rows
        elapsed = self._clock() - self._began
        if elapsed < self._next:
            return
        while elapsed >= self._next:
            self._next *= 2
        logger.warning(
            "%s: the first pass has read %d batches of %d rows in %.0f s, and goes on. All of them "
            "are one pass: data that never ends needs use_mini_batch=True and steps=",
            self._name,
            self._batches,
            self._rows,
            elapsed,
        )
