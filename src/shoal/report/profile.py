"""What makes a cluster different: its center's columns beside those of the whole data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from shoal.errors import BadInputError
from shoal.types import Floats

#: Columns that are shown of each cluster, those that differ most: of few clusters, and of many.
MOST_SHOWN = 24
FEWER_SHOWN = 10
MANY_CLUSTERS = 200
#: Terms, or columns, that stand for a cluster in the table.
TERMS = 8
COLUMNS = 3
#: Deviations from the mean, in standard deviations, from which on a column is worth a word.
WORTH = 0.5


class Difference(NamedTuple):
    """A column of a center, and how far from the mean it is, in standard deviations."""

    column: int
    center: float
    deviations: float


def differences(centers: Floats, mean: Floats, deviation: Floats) -> list[list[Difference]]:
    """Of each center the columns that differ most from the whole data, most first."""
    most = MOST_SHOWN if len(centers) <= MANY_CLUSTERS else FEWER_SHOWN
    found = []
    for center in centers.astype(np.float64):
        apart = np.divide(center - mean, deviation, out=np.zeros(len(mean)), where=deviation > 0)
        found.append(
            [
                Difference(column, float(center[column]), float(apart[column]))
                for column in _largest(np.abs(apart), most)
            ]
        )
    return found


def top_terms(values: Floats, vocabulary: Sequence[str]) -> list[str]:
    """The terms of the largest values, most first."""
    return [vocabulary[at] for at in _largest(values, TERMS) if values[at] > 0]


def in_short(of_cluster: Sequence[Difference], names: Sequence[str]) -> str:
    """The columns that differ most, with arrows: above the mean of the data, or below."""
    worth = [one for one in of_cluster[:COLUMNS] if abs(one.deviations) >= WORTH]
    arrows = {True: "\u00a0↑", False: "\u00a0↓"}
    return ", ".join(f"{names[one.column]}{arrows[one.deviations > 0]}" for one in worth)


def _largest(values: Floats, most: int) -> list[int]:
    """Indices of the largest values, most first; the first on equality."""
    if len(values) > 4 * most:
        some = np.sort(np.argpartition(-values, most)[:most])
    else:
        some = np.arange(len(values))
    return [int(at) for at in some[np.argsort(-values[some], kind="stable")][:most]]


def check_vocabulary(given: Any, columns: int) -> list[str] | None:
    """The term of each column, of a list or a mapping of terms to columns.

    Raises
    ------
    BadInputError
        If it is something else, or has another number of terms.
    """
    if given is None:
        return None
    if isinstance(given, str) or not hasattr(given, "__len__"):
        raise BadInputError(
            f"vocabulary is {given!r:.80}; it must be a list with the term of each column, or a "
            "dict of terms and their columns"
        )
    if len(given) != columns:
        raise BadInputError(
            f"vocabulary has {len(given):,} terms, and the model has {columns:,} columns: give one "
            "for each"
        )
    if not isinstance(given, Mapping):
        return list(map(str, given))
    terms: list[str] = [""] * columns
    for term, column in given.items():
        if not (isinstance(column, (int, np.integer)) and 0 <= column < columns):
            raise BadInputError(
                f"vocabulary has {term!r} in column {column!r}; columns are 0 to {columns - 1}"
            )
        terms[int(column)] = str(term)
    return terms
