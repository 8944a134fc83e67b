"""What rows are, however they came; at the bottom of all sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.sources.mapped import Mapped, described
from shoal.sources.places import Places
from shoal.sources.sparse import Matrix, stacked
from shoal.sources.weights import given_twice, weights_of_parts
from shoal.state import Scan
from shoal.types import Floats, Indices


@dataclass(frozen=True)
class Rows:
    """Rows [n, d] of any dtype of ``dtypes``, in any order or sparse, and weights [n] or None."""

    rows: Matrix
    weights: Floats | None = None
    name: str = "x"  # what error messages call them
    columns: tuple[Any, ...] = ()  # names, of a dict or a frame, and
    widths: tuple[int, ...] = ()  # values of each in a row, where one has several
    missing: npt.NDArray[np.bool_] | None = None  # [n] rows with a null, whose values say nothing
    first: int = 0  # index of the first row, and
    index: npt.NDArray[np.int64] | None = None  # [n] of each where they do not follow each other
    places: Places | None = None  # the files they come from
    labelled: bool = False  # something came beside them, which is not used
    gap: Callable[[int], str] | None = None  # says where the value is that a row misses
    scan: Scan | None = None  # what a look at every value found; None: not looked at yet
    kept: Indices | None = None  # [n] which of the rows given these are, where some were left out

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent of them: of rows in a mapped file, where they are."""
        return {**vars(self), "rows": described(self.rows)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rows = state["rows"]
        vars(self).update(state, rows=rows.opened() if isinstance(rows, Mapped) else rows)

    def looked_at(self, scan: Scan) -> Rows:
        """The same, once every value has been looked at."""
        return self._with(scan=scan)

    @property
    def seen(self) -> Scan:
        """What a look at them found."""
        assert self.scan is not None
        return self.scan

    @property
    def dropped(self) -> int:
        """Rows that were left out."""
        return self.seen.dropped

    def pieces(self, size: int) -> Iterator[Rows]:
        """The same rows, ``size`` at a time: views."""
        return (self.between(at, at + size) for at in range(0, max(len(self), 1), size))

    def numbers(self) -> Indices:
        """Number of each row in the data set, of which ``first`` is the first given."""
        return self.first + (np.arange(len(self)) if self.kept is None else self.kept)

    def index_of(self, row: Any) -> int:
        """Index of a row in the data set."""
        return int(self.first + row if self.index is None else self.index[row])

    def place(self, row: Any) -> tuple[str, int]:
        """What a row comes from, and its number there, for messages."""
        index = self.index_of(row)
        return (self.name, index) if self.places is None else self.places.find(index)

    def column_of(self, value: Any) -> str:
        """What column a value of a row belongs to, for messages."""
        if not self.columns:
            return f"column {value}"
        ends = np.cumsum(self.widths or [1] * len(self.columns))
        at = int(np.searchsorted(ends, value, side="right"))
        width = self.widths[at] if self.widths else 1
        inside = f", value {value - int(ends[at]) + width} of {width}" if width > 1 else ""
        return f"column {self.columns[at]!r}{inside}"

    def select(self, names: tuple[Any, ...]) -> Rows:
        """A copy with some columns, in this order."""
        widths = self.widths or (1,) * len(self.columns)
        fields = zip(np.cumsum(widths).tolist(), widths, strict=True)
        ends = dict(zip(self.columns, fields, strict=True))
        chosen = [ends[name] for name in names]
        at = np.concatenate([np.arange(end - width, end) for end, width in chosen])
        widths = tuple(width for _, width in chosen) if self.widths else ()
        return replace(self, rows=self.rows[:, at], columns=names, widths=widths)

    def copy(self) -> Rows:
        """The same rows and weights in arrays of their own."""
        weights = None if self.weights is None else self.weights.copy()
        return replace(self, rows=self.rows.copy(), weights=weights)

    def between(self, start: int, end: int) -> Rows:
        """A view of rows ``start`` … ``end`` - 1."""
        if start == 0 and end >= len(self):
            return self
        part = slice(start, end)
        scan = self.scan
        if scan is not None:
            scan = replace(scan, rows=len(range(*part.indices(len(self)))))
            if start > 0:  # what was left out is told with the first
                scan = replace(scan, dropped=0, left_out=())
        return replace(
            self,
            rows=self.rows[part],
            weights=None if self.weights is None else self.weights[part],
            missing=None if self.missing is None else self.missing[part],
            first=self.first + (start if self.kept is None else 0),
            index=None if self.index is None else self.index[part],
            kept=None if self.kept is None else self.kept[part],
            scan=scan,
        )

    def at(self, indices: npt.NDArray[np.int64]) -> Rows:
        """A copy of some rows."""
        return self._with(
            rows=self.rows[indices],
            weights=None if self.weights is None else self.weights[indices],
            missing=None if self.missing is None else self.missing[indices],
            index=self.first + indices if self.index is None else self.index[indices],
        )

    def _with(self, **changes: Any) -> Rows:
        """As replace() makes it, at less of a cost: batches are many."""
        changed = object.__new__(Rows)
        vars(changed).update(vars(self), **changes)
        return changed


def joined(parts: list[Rows]) -> Rows:
    """Rows one after the other; a copy, unless there is one part."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part) for part in parts]

    def all_of(given: list[Any], default: Any) -> Any:
        if all(one is None for one in given):
            return None
        made = [default(n) if one is None else one for one, n in zip(given, sizes, strict=True)]
        return np.concatenate(made)

    return replace(
        parts[0],
        rows=stacked([part.rows for part in parts]),
        weights=all_of([part.weights for part in parts], np.ones),
        missing=all_of([part.missing for part in parts], lambda n: np.zeros(n, bool)),
        index=np.concatenate(
            [
                np.arange(part.first, part.first + len(part)) if part.index is None else part.index
                for part in parts
            ]
        ),
    )


def names_of(parts: list[Rows]) -> tuple[Any, ...]:
    """Names of the columns, of the first shard that has any."""
    return next((part.columns for part in parts if part.columns), ())


def with_weights(parts: list[Rows], given: Any, name: str, what: str | None = None) -> list[Rows]:
    """The shards with weights: one vector for all rows, or one for each shard."""
    if any(part.weights is not None for part in parts):
        raise given_twice(name, "shoal.Weighted" if what is None else what)
    weights = weights_of_parts(given, list(map(len, parts)), name, what)
    return [replace(part, weights=one) for part, one in zip(parts, weights, strict=True)]
