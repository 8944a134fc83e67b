"""Ray Data sets as pages: blocks in the object store, each fetched where its rows are read.

What the driver learns of a block is its length and its columns, which tasks tell where it lies.
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from shoal.errors import BadInputError, ClusterError
from shoal.sources.ahead import ahead
from shoal.sources.arrow import Layout, features_of, field_of, types_of
from shoal.sources.arrow_files import check_same
from shoal.sources.arrow_rows import Builder, pieces
from shoal.sources.columns import Columns
from shoal.sources.index import written_index
from shoal.sources.limits import Limits
from shoal.sources.rows import Rows

logger = logging.getLogger("shoal")

#: Seconds that a block may take to come: it may have to be computed again.
WAIT = 1800.0


@dataclass(frozen=True)
class Page:
    """Some rows of a block."""

    block: int
    start: int  # the first row, in the block, and
    first: int  # in the data set
    rows: int


class RayPages:
    """The rows of a data set that is computed already: Arrow tables by their references.

    Parameters
    ----------
    data
        A ``ray.data.dataset.MaterializedDataset``.
    columns
        Which columns to read.
    name
        What error messages call it.
    limits
        How much is decoded at a time.
    """

    resident = False

    def __init__(self, data: Any, columns: Columns, name: str, limits: Limits) -> None:
        with _in_our_words(name):
            refs = data.to_arrow_refs()
        about = _fetched([_tasks()[0].remote(ref) for ref in refs], name)
        there = [at for at, (rows, *_) in enumerate(about) if rows]
        if not there:
            raise BadInputError(f"{name} has no rows: give at least one")
        self.name = name
        self._refs: list[Any] = [refs[at] for at in there]  # None: of another share
        self._pages = _pages_of([about[at][:2] for at in there], limits.batch)
        self.lengths = [page.rows for page in self._pages]
        self._last = len(self._pages)
        self._layout = self._layout_of([about[at][2] for at in there], columns, limits)
        self.dim, self.dtype = self._layout.dim, self._layout.dtype
        self.columns: tuple[Any, ...] = self._layout.columns
        self.weight = self._layout.weight

    def read(self, page: int) -> Rows:
        """Some rows of a block; none where another share has it."""
        one = self._pages[page]
        if self._refs[one.block] is None:
            return Builder(self._layout, 0, one.first).rows()
        [rows] = self._read([one], one.rows)
        return rows

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, in bounded pieces; the next one is read ahead."""
        return ahead(self._read(self._pages[first : self._last]))

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces of ``size`` rows, read when they are asked for."""
        return self._read(self._pages[first : self._last], size)

    def check_unchanged(self, local: bool = False) -> None:
        """Nothing to look at: blocks do not change."""

    def only(self, first: int, last: int) -> RayPages:
        """The same, to be read from one page to another, without the references of others."""
        some = copy.copy(self)
        some._last = last
        mine = {page.block for page in self._pages[first:last]}
        some._refs = [ref if at in mine else None for at, ref in enumerate(self._refs)]
        return some

    def _read(self, pages: list[Page], size: int | None = None) -> Iterator[Rows]:
        start = pages[0].first if pages else 0
        total = sum(page.rows for page in pages)
        return pieces(self._batches(pages), self._layout, total, start, size)

    def _batches(self, pages: list[Page]) -> Iterator[Any]:
        """Record batches of pages: views of blocks, of which one is held at a time."""
        for block, inside in itertools.groupby(pages, key=lambda page: page.block):
            table = _fetched(self._refs[block], self.name).select(self._layout.used)
            for page in inside:
                yield from table.slice(page.start, page.rows).to_batches()

    def _layout_of(self, schemas: list[Any], columns: Columns, limits: Limits) -> Layout:
        """Layout by the first block; the others must have the same columns."""
        found = types_of(schemas[0], self.name)
        columns = columns.spelled(found)
        index = written_index(schemas[0].metadata)
        names = features_of(found, columns, self.name, leave_out=True, index=index)
        used = [*names, *([] if columns.weights is None else [columns.weights])]
        for at, schema in enumerate(schemas[1:], 1):
            if schema.equals(schemas[0]):
                continue
            others = types_of(schema, self.name)
            if not columns.named:
                others = {one: kind for one, kind in others.items() if one not in index}
            one = (f"block 0 of {self.name}", found)
            check_same(one, (f"block {at} of {self.name}", others), used, bool(columns.named))
        fields = (field_of(one, found[one], self._lists(one), self.name) for one in names)
        return Layout(tuple(fields), columns.weights, self.name, limits=limits)

    def _lists(self, name: str) -> Iterator[Any]:
        """Of each block, the first value of a column that is not null."""
        for ref in self._refs:
            yield from _fetched(_tasks()[1].remote(ref, name), self.name)


def materialized(data: Any, name: str) -> Any:
    """The data set, computed: its blocks are in the object store as long as this is used."""
    from ray.data.dataset import MaterializedDataset

    if not isinstance(data, MaterializedDataset):
        logger.info(
            "%s is a Ray data set that is not computed yet: it is now, and again at each call that "
            "it is given to. Pass x.materialize() to do so once",
            name,
        )
    with _in_our_words(name):
        return data.materialize()


def _pages_of(blocks: list[tuple[int, int]], most: int) -> list[Page]:
    """Pages of about ``most`` bytes, of blocks of so many rows and bytes."""
    pages, first = [], 0
    for block, (rows, size) in enumerate(blocks):
        step = max(1, most * rows // max(1, size))
        for start in range(0, rows, step):
            pages.append(Page(block, start, first, min(step, rows - start)))
            first += pages[-1].rows
    return pages


@cache
def _tasks() -> tuple[Any, Any]:
    """What is asked of a block where it lies: about it, and for the first value of a column.

    Workers may be yet to find shoal: functions inside of this one are sent to them as they are.
    """
    import ray

    def about(table: Any) -> tuple[int, int, Any]:
        return table.num_rows, table.nbytes, table.schema

    def first_of(table: Any, name: str) -> list[Any]:
        for chunk in table.column(name).chunks:
            storage = getattr(chunk, "storage", chunk)
            valid = storage.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
            if len(valid):
                return [storage.take([int(valid[0])])]
        return []

    no_room = ray.remote(num_cpus=0)  # processors may all be given to workers
    return no_room(about), no_room(first_of)


def _fetched(refs: Any, name: str) -> Any:
    """What references stand for, here."""
    import ray

    with _in_our_words(name):
        return ray.get(refs, timeout=WAIT)


@contextmanager
def _in_our_words(name: str) -> Iterator[None]:
    import ray
    from ray import exceptions

    try:
        if not ray.is_initialized():
            raise exceptions.RaySystemError("this process is not connected to it any more")
        yield
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, pa.ArrowException):
            raise BadInputError(f"{name} cannot be read: {error.cause}") from error
        raise
    except exceptions.RayError as error:
        why = next(iter(str(error).splitlines()), "")
        raise ClusterError(
            f"blocks of {name}, a Ray data set, are not to be had from its cluster: "
            f"{type(error).__name__}, {why}. Compute it again with .materialize(), or write it to "
            "files with .write_parquet(...)"
        ) from error
