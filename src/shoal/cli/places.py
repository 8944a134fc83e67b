"""Latitudes and longitudes on the command line: columns in degrees, used as points of the sphere.

A model of places has one column, ``sphere(LAT,LON)``, of three numbers a row: its name is where the
model remembers what it was made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.pages import Pages
from shoal.sources.rows import Rows
from shoal.sphere import LATITUDES, LONGITUDES, first_outside, outside, points_of


def name_of_places(places: Sequence[str]) -> str:
    """Name of the column of points."""
    return f"sphere({','.join(places)})"


def names_of_places(columns: Sequence[Any] | None) -> list[str] | None:
    """Latitude and longitude where a model was trained on points of the sphere, else None."""
    if columns is None or len(columns) != 1:
        return None
    found = re.fullmatch(r"sphere\(([^,]+),([^,]+)\)", str(columns[0]))
    return list(found.groups()) if found else None


class OnSphere:
    """Pages of latitudes and longitudes as pages of points."""

    dim = 3
    dtype: np.dtype[Any] = np.dtype(np.float64)

    def __init__(self, pages: Pages, places: Sequence[str], column: str) -> None:
        self._pages = pages
        self._places = places
        self.resident = pages.resident
        self.name, self.lengths = pages.name, pages.lengths
        self.columns: tuple[Any, ...] = (column,)
        self.weight = getattr(pages, "weight", None)
        self.widths: dict[str, int | None] = {self.columns[0]: 3}

    def read(self, page: int) -> Rows:
        """A page."""
        return self._points(self._pages.read(page))

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on."""
        yield from map(self._points, self._pages.stream(first))

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces of at most ``size`` rows."""
        yield from map(self._points, self._pages.pieces(first, size))

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where the data is no longer what it was when it was opened."""
        self._pages.check_unchanged(local)

    def _points(self, given: Rows) -> Rows:
        if given.rows.shape[1] != 2:
            raise BadInputError(
                f"{given.name}: {' and '.join(map(repr, self._places))} are not one number a row "
                "each; they must be latitude and longitude in degrees"
            )
        lat, lon = np.asarray(given.rows, np.float64).T
        for name, values, allowed in zip(
            self._places, (lat, lon), (LATITUDES, LONGITUDES), strict=True
        ):
            known = np.where(np.isfinite(values), values, 0)
            if (bad := first_outside(known, allowed)) is not None:
                where, row = given.place(bad)
                raise BadInputError(
                    f"column {name!r} of {where}, row {row}, is {outside(values[bad], allowed)}"
                )
        points = points_of(*(np.where(np.isfinite(one), one, np.nan) for one in (lat, lon)))
        return replace(given, rows=points, columns=self.columns, widths=())
