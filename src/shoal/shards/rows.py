"""Validated rows, and how they are read again: from memory, from a stream, page by page."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.dtypes import inexact, is_double
from shoal.errors import BadInputError
from shoal.metric import LARGEST_VALUE, SQUARED_EUCLIDEAN_DISTANCE, is_cosine
from shoal.sources.paged import PagedSource
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix, Scattered, SparseRows
from shoal.state import SAID_ROWS, Scan
from shoal.types import Floats, Indices

Validate = Callable[[Rows], Rows]


EMPTY_SCAN = Scan(0, np.zeros(0), 0.0, False, False)


def validated(given: Rows, metric: str, threads: int, on_bad_rows: str = "error") -> Rows:
    """Look at every value once: the door through which rows come in.

    Raises BadInputError for a NaN, an infinity or a missing value (the first bad row and column
    named), unless ``on_bad_rows="skip"``, which drops such rows: ``dropped`` says how many; and for
    a whole number that float64 may not hold.
    """
    rows, weights, name = given.rows, given.weights, given.name
    scan, largest, bad = _scan(rows, weights, threads)
    if bad is not None and bad[1] >= 0 and rows.dtype.kind in "iu":
        where, row = given.place(bad[0])
        raise inexact(where, rows[bad], f"row {row}, {given.column_of(bad[1])}")
    missing = given.missing is not None and bool(given.missing.any())
    left_out: tuple[str, ...] = ()
    found = given
    formed = bad is None or bad[1] >= 0
    if formed and (bad is not None or missing) and on_bad_rows == "skip":
        good = _finite(rows)
        if given.missing is not None:
            good &= ~given.missing
        kept = np.flatnonzero(good)
        lost = map(given.place, np.flatnonzero(~good)[:SAID_ROWS])
        left_out = tuple(f"{row} of {where}" for where, row in lost)
        found = replace(given.at(kept), kept=kept)
        rows, weights = found.rows, found.weights
        scan, largest, bad = _scan(rows, weights, threads)
    elif missing:
        assert given.missing is not None
        where, row = given.place(given.missing.argmax())
        gap = "" if given.gap is None else given.gap(given.index_of(given.missing.argmax()))
        raise BadInputError(
            f"{where} has a missing value (null) in row {row}{gap}: fill it, or pass "
            "on_bad_rows='skip' to drop such rows"
        )
    if bad is not None and bad[1] < 0:
        raise BadInputError(
            f"{name}, a sparse matrix, is not well formed: in row {given.place(bad[0])[1]} a "
            f"column comes twice, or is none of its columns. Call {name}.sum_duplicates(), or see "
            f"{name}.check_format()"
        )
    if bad is not None:
        where, row = given.place(bad[0])
        raise BadInputError(
            f"{where} holds {rows[bad]} in row {row}, {given.column_of(bad[1])}: every value must "
            "be finite. Clean the data, or pass on_bad_rows='skip' to drop such rows"
        )
    _check_range(scan, largest, metric, given)
    if found is not given:
        scan = replace(scan, dropped=len(given) - len(found), left_out=left_out)
    return found.looked_at(scan)


def _check_range(scan: Scan, largest: Floats, metric: str, given: Rows) -> None:
    name = given.name
    squared = metric == SQUARED_EUCLIDEAN_DISTANCE
    if scan.double and squared and largest.max(initial=0) > LARGEST_VALUE:
        column = int(largest.argmax())
        raise BadInputError(
            f"{name} holds values of magnitude {largest[column]:.3g} in "
            f"{given.column_of(column)}: their squares leave the range of float64. Scale the data "
            f"to below {LARGEST_VALUE:g}"
        )
    if scan.heaviest <= 1:
        return
    heavy = 1.0 if is_cosine(metric) else float(scan.magnitude.max(initial=0))
    if math.sqrt(scan.heaviest) * heavy > LARGEST_VALUE:
        raise BadInputError(
            f"the weights of {name} reach {scan.heaviest:.3g}: weighted squares leave the range of "
            "float64. Scale the weights down; only their ratios matter"
        )


def _finite(rows: Matrix) -> npt.NDArray[np.bool_]:
    """Whether all values of each row are finite."""
    if isinstance(rows, SparseRows):
        return rows.finite()
    return np.asarray(np.isfinite(rows).all(axis=1))


def _scan(
    rows: Matrix, weights: Floats | None, threads: int
) -> tuple[Scan, Floats, tuple[int, int] | None]:
    """The scan, the largest magnitude [d] of all rows, and the first bad row and column."""
    largest, *spread = magnitudes = np.empty((3, rows.shape[1]))
    bad = _core.scan(rows, threads, largest, weights, magnitudes[1:])
    positive, lightest = len(rows), 1.0
    heaviest = 1.0 if positive else 0.0
    if weights is not None:
        heaviest, positive = float(weights.max(initial=0.0)), int(np.count_nonzero(weights))
        lightest = float(weights.min(initial=np.inf, where=weights > 0))
    scan = Scan(
        len(rows),
        spread[0],
        heaviest,
        weights is not None,
        is_double(rows.dtype),
        positive,
        smallest=spread[1],
        lightest=lightest,
    )
    return scan, largest, None if bad[0] < 0 else bad


def ignore(_rows: int) -> None:
    """Take no notice of how many rows were read."""


class Blocks:
    """A sequence of blocks that can be read again and again, and is the same each time."""

    resident = False  # whether the rows stay where they are in memory

    def __init__(self) -> None:
        self._scan: Scan | None = None

    def read(self) -> Iterable[Rows]:
        """The blocks, from the first."""
        raise NotImplementedError

    def scan(self) -> Scan:
        """Size and magnitudes of the rows (one reading, the first time)."""
        if self._scan is None:
            total = None
            for block in self.read():
                total = block.seen if total is None else total.merge(block.seen)
            self._scan = EMPTY_SCAN if total is None else total
        return self._scan

    def __iter__(self) -> Iterator[Rows]:
        """Yield the blocks; a source that gives other data than at first is an error."""
        scan, rows = self.scan(), 0
        for block in self.read():
            rows += len(block.rows)
            known = block.scan is scan or scan.covers(block.seen)
            if rows <= scan.rows and not known:
                raise source_changed("other columns, another dtype or larger values now")
            if rows > scan.rows:
                break
            yield block
        if rows != scan.rows:
            more = "more" if rows > scan.rows else rows
            raise source_changed(f"{scan.rows} rows at first, {more} now")

    def take(self, indices: Indices) -> tuple[Matrix, Floats | None]:
        """Rows (and weights) by their index, in the order asked for."""
        out: Matrix | None = None
        weights: Floats | None = None
        sparse = Scattered()
        start, total = 0, self.scan().rows
        for block in self:
            rows = len(block.rows)
            if rows == total:  # all of them: no need to look which
                out = block.rows[indices]
                weights = None if block.weights is None else block.weights[indices]
                start += rows
                continue
            inside = np.flatnonzero((indices >= start) & (indices < start + rows))
            local = indices[inside] - start
            if weights is None and block.weights is not None:
                weights = np.ones(len(indices))
            if isinstance(block.rows, SparseRows):
                sparse.put(inside, block.rows[local])
            else:
                if out is None:
                    out = np.empty((len(indices), block.rows.shape[1]), block.rows.dtype)
                out[inside] = block.rows[local]  # type: ignore[index]
            if weights is not None and block.weights is not None:
                weights[inside] = block.weights[local]
            start += rows
        if out is None and start == 0:
            raise BadInputError("the data has no rows: give at least one")
        return sparse.rows() if out is None else out, weights

    def positive(self) -> Indices:
        """Indices of the rows that have a weight."""
        parts, start = [], 0
        for block in self:
            rows = len(block.rows)
            inside = np.arange(rows) if block.weights is None else np.flatnonzero(block.weights > 0)
            parts.append(start + inside)
            start += rows
        return np.concatenate(parts)


class Held(Blocks):
    """Rows in memory, which are looked at once."""

    resident = True

    def __init__(self, rows: Sequence[Rows], validate: Validate) -> None:
        super().__init__()
        self._rows = rows
        self._validate = validate
        self._blocks: list[Rows] | None = None

    def read(self) -> Iterable[Rows]:
        """The blocks."""
        if self._blocks is None:
            self._blocks = [self._validate(part) for part in self._rows]
        return self._blocks

    def __iter__(self) -> Iterator[Rows]:
        """Yield the blocks, which stay as they are."""
        return iter(self.read())


class Reread(Blocks):
    """The batches of a stream that can be begun again; compared with those of the first time.

    ``progress`` is called with the rows of each block when it has been used, here and below.
    """

    def __init__(
        self,
        begin: Callable[[], Iterable[Rows]],
        progress: Callable[[int], None] = ignore,
    ) -> None:
        super().__init__()
        self._begin = begin
        self._progress = progress
        self._checksums: list[int] = []

    def read(self) -> Iterator[Rows]:
        """Yield the blocks. What is kept of rows is kept by position: they must be the same."""
        for position, block in enumerate(self._begin()):
            checksum = _checksum(block.rows)
            if block.weights is not None:
                checksum = zlib.crc32(block.weights.data, checksum)
            if position == len(self._checksums):
                self._checksums.append(checksum)
            if checksum != self._checksums[position]:
                how = f"other rows in batch {position}, or the same in another order"
                raise source_changed(how)
            yield block
            self._progress(len(block.rows))


class FromPages(Blocks):
    """Pages that are not in memory, read in pieces.

    The first reading validates every value. The later ones need not, as long as the pages are
    unchanged, unless there are bad rows to leave out.
    """

    def __init__(
        self,
        source: PagedSource,
        validate: Validate,
        progress: Callable[[int], None] = ignore,
    ) -> None:
        super().__init__()
        self._source = source
        self._validate = validate
        self._progress = progress

    def read(self) -> Iterator[Rows]:
        """Yield the blocks."""
        self._source.pages.check_unchanged()
        scan = self._scan
        for piece in self._source.stream():
            if scan is None or scan.dropped:
                yield self._validate(piece)
            else:
                yield piece.looked_at(scan)
            self._progress(len(piece))
        self._source.pages.check_unchanged(local=True)

    def take(self, indices: Indices) -> tuple[Matrix, Floats | None]:
        """Rows by index: only the pages that hold them are read, if no row is left out."""
        if self.scan().dropped:
            return super().take(indices)
        self._source.pages.check_unchanged()
        order, back = np.unique(indices, return_inverse=True)
        taken = self._source.take(order + self._source.first)
        return taken.rows[back], None if taken.weights is None else taken.weights[back]


def _checksum(rows: Matrix) -> int:
    if isinstance(rows, SparseRows):
        return rows.checksum()
    return zlib.crc32(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)


def source_changed(how: str) -> BadInputError:
    """The error for a source that is not what it was at first."""
    return BadInputError(
        f"the source changed between two passes: {how}. Full-batch training reads the same data "
        "at each pass; a callable must return a new iterator over it each time"
    )
