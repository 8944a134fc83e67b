"""What stands on the page: findings as values of JSON, within limits of size."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.report.beside import Beside, Nothing, Table, as_text
from shoal.report.beyond import next_centers
from shoal.report.given import Subject, Wanted
from shoal.report.images import Painter
from shoal.report.picked import Picked
from shoal.report.profile import Difference, differences, in_short, top_terms
from shoal.report.reading import Seen
from shoal.sources.sparse import Matrix, dense
from shoal.sphere import from_sphere
from shoal.types import Floats

#: Columns of the source that are shown of a row, and of rows without other columns.
MOST_COLUMNS = 40
MOST_FEATURES = 12
#: Characters of all rows that are shown, and of one value where they would be more.
ROOM = 1_500_000
SHORTER = (300, 120, 60, 30)
#: Characters of all pictures.
ROOM_FOR_IMAGES = 1_500_000
#: Clusters of which rows and columns are shown: the largest.
MOST_DETAILED = 1000
#: Clusters in the table.
MOST_LISTED = 5000


@dataclass(frozen=True)
class Content:
    """What stands on the page."""

    clusters: list[dict[str, Any]]
    names: list[str]  # of the columns that differ anywhere, their mean and deviation
    mean: list[float | None]
    deviation: list[float | None]
    shown: list[str]  # names of the columns of rows
    texts: list[str]  # a few words on each cluster
    of_sample: list[str]  # names of the rows on the map
    terms: bool  # whether columns are terms
    colors: list[str] | None  # of clusters, where rows are pixels
    notes: list[str] = field(default_factory=list)


def rounded(value: Any) -> float | None:
    """A number of six digits; None where there is none."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


class Named:
    """The rows that are shown, with the columns of the source."""

    def __init__(self, seen: Seen, besides: Beside, wanted: Wanted) -> None:
        picked = (seen.sample, seen.near, seen.far)
        numbers = np.unique(np.concatenate([one.numbers for one in picked]))
        names = besides.names
        for name in [*(wanted.keep or ()), *filter(None, [wanted.name_column])]:
            if name not in names:
                of = f"; it has {names[:20]}" if names else ", which has no other columns"
                raise BadInputError(f"there is no column {name!r} beside the rows of the data{of}")
        self._at = {number: at for at, number in enumerate(numbers.tolist())}
        self._table: Table = besides.take(numbers)
        self.name = wanted.name_column or self._first_text()
        self.columns = names if wanted.keep is None else list(wanted.keep)
        self.left_out = len(self.columns[MOST_COLUMNS:])
        self.columns = self.columns[:MOST_COLUMNS]

    def _first_text(self) -> str | None:
        """The column that names rows: the first of text whose values differ."""
        fallback = None
        for name, values in self._table.items():
            known = [one for one in values if isinstance(one, str) and one]
            if len(known) > len(values) / 2 and not _are_numbers(known):
                if len(set(known)) > len(known) / 2:
                    return name
                fallback = fallback or name
        return fallback

    def name_of(self, number: int, most: int = 80) -> str:
        """What a row is called."""
        if self.name is None:
            return ""
        return as_text(self._table[self.name][self._at[number]], most)

    def cells(self, number: int, most: int) -> list[str]:
        """Columns of a row, as text."""
        at = self._at[number]
        return [as_text(self._table[name][at], most) for name in self.columns]


def _are_numbers(texts: Sequence[str]) -> bool:
    try:
        [float(text) for text in texts[:100]]
    except ValueError:
        return False
    return True


class Composer:
    """Makes the content of what was found."""

    def __init__(self, subject: Subject, wanted: Wanted, seen: Seen, names: list[str]) -> None:
        self._subject, self._wanted, self._seen = subject, wanted, seen
        self._names = names
        self._notes: list[str] = []
        self._painter: Painter | None = None
        self._room = ROOM_FOR_IMAGES
        if wanted.image_shape is not None and seen.sample.rows is not None:
            self._painter = Painter(wanted.image_shape, seen.sample.rows)

    def made(self, besides: Beside) -> Content:
        """The content; ``besides``: the columns of the source."""
        seen, wanted = self._seen, self._wanted
        named = Named(seen, besides, wanted)
        if named.left_out:
            self._notes.append(
                f"Rows are shown with {MOST_COLUMNS} columns of the source; {named.left_out} more "
                "are left out (keep= chooses)."
            )
        features = isinstance(besides, Nothing) and not besides.names
        examples = self._examples(named, features)
        centers = self._subject.centers
        none: list[list[Difference]] = [[] for _ in centers]  # x, y and z of places say nothing
        apart = none if seen.unit else differences(centers, seen.mean, seen.deviation)
        terms = wanted.vocabulary is not None
        texts = []
        clusters = []
        following = self._following()
        for at, center in enumerate(centers):
            texts.append(self._in_short(center, apart[at]))
            clusters.append(self._numbers(at) | {"text": texts[-1], "next": following[at]})
            near = examples[0].get(at, [])
            if near:
                clusters[-1]["name"] = near[0]["name"]
        detailed = np.argsort(-seen.sizes, kind="stable")[:MOST_DETAILED]
        if len(centers) > MOST_DETAILED:
            self._notes.append(
                f"Columns, rows and pictures are shown of the {MOST_DETAILED:,} largest clusters."
            )
        self._add_images(clusters, detailed.tolist(), centers)
        for at in detailed.tolist():
            clusters[at]["columns"] = [
                [one.column, rounded(one.center), rounded(one.deviations)] for one in apart[at]
            ]
            clusters[at]["near"], clusters[at]["far"] = (few.get(at, []) for few in examples)
        if len(clusters) > MOST_LISTED:
            largest = set(np.argsort(-seen.sizes, kind="stable")[:MOST_LISTED].tolist())
            clusters = [one for one in clusters if one["id"] in largest]
            self._notes.append(f"The table has the {MOST_LISTED:,} largest clusters.")
        every = [one for cluster in clusters for one in cluster.get("columns", ())]
        used = sorted({one[0] for one in every})
        places = {column: at for at, column in enumerate(used)}
        for one in every:
            one[0] = places[one[0]]
        return Content(
            clusters=clusters,
            names=[self._names[at] for at in used],
            mean=[rounded(seen.mean[at]) for at in used],
            deviation=[rounded(seen.deviation[at]) for at in used],
            shown=self._shown(named, features),
            texts=[
                one.get("name") or text
                for one, text in zip(_by_id(clusters, len(texts)), texts, strict=True)
            ],
            of_sample=[named.name_of(one) for one in seen.sample.numbers.tolist()],
            terms=terms,
            colors=self._colors(centers),
            notes=self._notes,
        )

    def _in_short(self, center: Floats, apart: list[Difference]) -> str:
        """A few words on a cluster."""
        if self._seen.unit:
            return _degrees(center)
        if self._wanted.vocabulary is not None:
            return ", ".join(top_terms(center.astype(np.float64), self._names))
        return in_short(apart, self._names)

    def _numbers(self, at: int) -> dict[str, Any]:
        seen = self._seen
        found = {
            "id": at,
            "rows": int(seen.sizes[at]),
            "share": rounded(seen.weights[at] / seen.weight),
            "within": rounded(seen.within[at]),
            "beyond": rounded(seen.beyond[at]),
            "farthest": rounded(seen.farthest[at]),
            "silhouette": rounded(seen.silhouettes[at]),
        }
        return found | ({"weight": rounded(seen.weights[at])} if seen.weighted else {})

    def _following(self) -> list[int | None]:
        """The center next to each."""
        subject = self._subject
        clusters = subject.state.clusters
        if len(clusters) < 2:
            return [None] * len(clusters)
        own = np.arange(len(clusters), dtype=np.int32)
        threads = subject.parameters.num_threads
        return [
            int(one) for one in next_centers(clusters, own, clusters, subject.metric, threads)[0]
        ]

    # --- rows ------------------------------------------------------------------------------

    def _shown(self, named: Named, features: bool) -> list[str]:
        if not features:
            return named.columns
        if self._wanted.vocabulary is not None:
            return ["top terms"]
        if self._painter is not None or len(self._names) > MOST_FEATURES:
            return []
        return self._names

    def _examples(self, named: Named, features: bool) -> list[dict[int, list[dict[str, Any]]]]:
        """Nearest and farthest rows by cluster, with as long texts as there is room for."""
        seen = self._seen
        for most in SHORTER:
            found = [self._of(picked, named, features, most) for picked in (seen.near, seen.far)]
            size = len(json.dumps(found))
            if size <= ROOM:
                break
        if most < SHORTER[0]:
            self._notes.append(
                f"Values of rows are cut after {most} characters, so that the page stays small."
            )
        while size > ROOM:  # then fewer rows
            longest = max(len(rows) for few in found for rows in few.values())
            found = [{at: rows[: longest - 1] for at, rows in few.items()} for few in found]
            size = len(json.dumps(found))
            if size <= ROOM:
                self._notes.append(
                    f"Of each cluster {longest - 1} rows are shown, so that the page stays small."
                )
        return found

    def _of(
        self, picked: Picked, named: Named, features: bool, most: int
    ) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for at, (number, label) in enumerate(
            zip(picked.numbers.tolist(), picked.labels.tolist(), strict=True)
        ):
            row = {
                "row": number,
                "at": at,
                "distance": rounded(picked.distances[at]),
                "name": named.name_of(number),
                "cells": self._features(picked.rows, at) if features else named.cells(number, most),
            }
            found.setdefault(label, []).append(row)
        return found

    def _features(self, rows: Matrix | None, at: int) -> list[str]:
        """Values of a row whose source has no other columns."""
        if rows is None or not self._shown_features():
            return []
        values = dense(rows[at : at + 1])[0].astype(np.float64)
        if self._wanted.vocabulary is not None:
            return [", ".join(top_terms(values, self._names))]
        return [as_text(float(value)) for value in values]

    def _shown_features(self) -> bool:
        if self._wanted.vocabulary is not None:
            return True
        return self._painter is None and len(self._names) <= MOST_FEATURES

    # --- pictures --------------------------------------------------------------------------

    def _add_images(
        self, clusters: list[dict[str, Any]], largest: list[int], centers: Floats
    ) -> None:
        """Pictures of the centers, then of rows, as long as there is room."""
        if self._painter is None:
            return
        for at in largest:
            if not self._paint(clusters[at], centers[at]):
                return

    def _colors(self, centers: Floats) -> list[str] | None:
        """The colors that the centers are, where rows are pixels."""
        if self._painter is None or self._wanted.image_shape != (1, 1, 3):
            return None
        return [self._painter.color(center) for center in centers]

    def paint_rows(self, content: Content) -> None:
        """Pictures of the rows that are shown, while there is room; large clusters first."""
        if self._painter is None:
            return
        order = sorted(content.clusters, key=lambda one: -int(one["rows"]))
        for name, picked in (("near", self._seen.near), ("far", self._seen.far)):
            for cluster in order:
                for row in cluster.get(name, ()):
                    assert picked.rows is not None
                    values = dense(picked.rows[row["at"] : row["at"] + 1])[0]
                    if not self._paint(row, values):
                        return

    def _paint(self, target: dict[str, Any], values: Floats) -> bool:
        assert self._painter is not None
        picture = self._painter.png(values)
        self._room -= len(picture)
        if self._room < 0:
            note = "Not all rows have pictures, so that the page stays small."
            if note not in self._notes:
                self._notes.append(note)
            return False
        target["image"] = picture
        return True


def _degrees(center: Floats) -> str:
    """Where a center lies."""
    if not np.any(center):
        return ""
    (lat,), (lon,) = from_sphere(center[None])
    north, east = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    return f"{abs(lat):.1f}° {north}, {abs(lon):.1f}° {east}"


def _by_id(clusters: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(number)]
    for one in clusters:
        found[one["id"]] = one
    return found
