"""Rows of files that are decoded once and kept, where there is room for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages, Pages
from shoal.sources.rows import Rows


def bytes_of_rows(pages: Pages) -> int:
    """What the rows take in memory, with their weights and what says which have nulls."""
    weighted = getattr(pages, "weight", None) is not None
    return bytes_of(sum(pages.lengths), pages.dim, pages.dtype, weighted)


def bytes_of(rows: int, dim: int, dtype: np.dtype[Any], weighted: bool) -> int:
    """The same, of rows of this form."""
    return rows * (dim * dtype.itemsize + 1 + 8 * weighted)


def kept(source: PagedSource, progress: Callable[[int], None]) -> PagedSource:
    """Decode all rows into one array, in order; ``progress`` hears of each piece how long it is.

    Of a share, those that are its own. The same batches come of it. Files that change are an error
    still.
    """
    pages = source.pages
    total = source.given
    rows = np.empty((total, pages.dim), pages.dtype)
    weights = missing = None
    first: Rows | None = None
    done = 0
    pages.check_unchanged()
    for piece in source.stream():
        here = slice(done, done + len(piece))
        first = piece if first is None else first
        rows[here] = piece.rows
        if piece.weights is not None:
            weights = np.ones(total) if weights is None else weights
            weights[here] = piece.weights
        if piece.missing is not None:
            missing = np.zeros(total, bool) if missing is None else missing
            missing[here] = piece.missing
        done += len(piece)
        progress(len(piece))
    made = first or Rows(rows, weights, pages.name, pages.columns)
    made = replace(made, rows=rows, weights=weights, missing=missing, index=None)
    made = replace(made, first=source.first)

    def check() -> None:
        pages.check_unchanged(local=True)

    how = (source.batch_size, source.shuffle, source.seed)
    if total == source.rows:
        held = ArrayPages([made], pages.name, check)
        return PagedSource(held, *how, limits=source.limits)
    none = made.between(0, 0)
    held = ArrayPages([none, made, none], pages.name, check)
    held.lengths = [source.first, total, (source.rows or 0) - source.last]
    return PagedSource(held, *how, (1, 2), source.limits)
