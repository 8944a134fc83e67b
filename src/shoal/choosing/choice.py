"""What fits over a range of k say: a table, and which k each index suggests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from shoal.choosing.plot import Curve, plot
from shoal.errors import BadInputError, MissingExtraError
from shoal.types import Floats, Ints

#: Columns of the table that are indices, and what they are called in text.
INDICES = {
    "inertia": "inertia",
    "simplified_silhouette": "simplified silhouette",
    "silhouette": "silhouette",
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin",
    "gap": "gap",
}

WHY = {
    "inertia": "the bend of the curve: it lies farthest below the line from the first to the last",
    "simplified_silhouette": "the largest: rows are near their center, far from the next one",
    "silhouette": "the largest, of the rows of the sample",
    "calinski_harabasz": "the largest: the variance between clusters over that within them",
    "davies_bouldin": "the smallest: clusters are tight for how far apart they are",
    "gap": "the first with a gap not below that of the next by more than its standard error",
}


class Suggestion(NamedTuple):
    """The k that an index suggests, and why."""

    k: int
    why: str


@dataclass(frozen=True)
class KChoice:
    """Fits over a range of k, a row each.

    Attributes
    ----------
    k
        Numbers of clusters [m].
    inertia
        Sum of weight times squared distance (cosine: distance) to the nearest center [m].
    simplified_silhouette
        With distances to centers in place of mean distances to rows, over all rows [m].
    silhouette
        Exact, of the rows of ``sample`` among themselves [m].
    calinski_harabasz, davies_bouldin
        Over all rows [m].
    gap, gap_error
        Gap statistic and its standard error [m]; None where it was not asked for.
    steps
        Steps of the run that was kept [m].
    sample
        Indices of the rows of which ``silhouette`` is.
    clusters
        The centers [k, d] of each k.

    Examples
    --------
    >>> import shoal
    >>> x = [[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]]
    >>> choice = shoal.choose_k(x, range(2, 5))
    >>> choice.clusters[3].shape
    (3, 1)
    """

    k: Ints
    inertia: Floats
    simplified_silhouette: Floats
    silhouette: Floats
    calinski_harabasz: Floats
    davies_bouldin: Floats
    gap: Floats | None
    gap_error: Floats | None
    steps: Ints
    sample: Ints
    clusters: dict[int, Floats]

    def columns(self) -> dict[str, Floats]:
        """The columns of the table: ``k``, the indices, ``steps``."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        del every["sample"], every["clusters"]
        return {name: column for name, column in every.items() if column is not None}

    @property
    def suggested(self) -> dict[str, Suggestion]:
        """The k that each index suggests, and why; not of an index that says nothing here."""
        found = {}
        for name in INDICES:
            column = getattr(self, name)
            at = None if column is None else self._best_of(name, column)
            if at is not None:
                found[name] = Suggestion(int(self.k[at]), WHY[name])
        return found

    def _best_of(self, name: str, column: Floats) -> int | None:
        if name == "inertia":
            return _bend(self.k, column)
        if np.isnan(column).all():
            return None
        if name == "davies_bouldin":
            return int(np.nanargmin(column))
        if name != "gap":
            return int(np.nanargmax(column))
        assert self.gap_error is not None
        enough = np.flatnonzero(column[:-1] >= column[1:] - self.gap_error[1:])
        return int(enough[0]) if len(enough) else None

    @property
    def best(self) -> int:
        """The k that most indices suggest; of several the smallest."""
        votes = Counter(one.k for one in self.suggested.values())
        if not votes:
            raise BadInputError("no index suggests a k here: give choose_k more numbers")
        return min(votes, key=lambda k: (-votes[k], k))

    def to_frame(self) -> Any:
        """The table as a frame of pandas, or of polars where pandas is not installed."""
        columns = self.columns()
        try:
            import pandas

            return pandas.DataFrame(columns).set_index("k")
        except ImportError:
            pass
        try:
            import polars

            return polars.DataFrame(columns)
        except ImportError:
            raise MissingExtraError("to_frame()", "pandas", "frames") from None

    def plot(self) -> Any:
        """Draw each index over k, with the k it suggests; returns the figure of matplotlib."""
        suggested = self.suggested
        curves = [
            Curve(
                title,
                values,
                suggested[name].k if name in suggested else None,
                self.gap_error if name == "gap" else None,
            )
            for name, title in INDICES.items()
            if (values := getattr(self, name)) is not None
        ]
        return plot(self.k, curves)

    def __str__(self) -> str:
        """The table, and what is suggested."""
        columns = self.columns()
        texts = [[name, *(_number(value) for value in column)] for name, column in columns.items()]
        widths = [max(map(len, column)) for column in texts]
        lines = [
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in zip(*texts, strict=True)
        ]
        suggested = self.suggested
        told = [
            "{}: {} ({})".format(title, *suggested[name])
            if name in suggested
            else f"{title}: suggests no k here"
            for name, title in INDICES.items()
            if getattr(self, name) is not None
        ]
        return "\n".join([*lines, f"silhouette: of {len(self.sample)} rows", *told])


def _number(value: Any) -> str:
    return str(value) if isinstance(value, np.integer) else f"{value:.6g}"


def _bend(k: Ints, inertia: Floats) -> int | None:
    """Where the curve lies farthest below the line from its first point to its last."""
    if len(k) < 3 or not inertia[0] > inertia[-1]:
        return None
    across = (k - k[0]) / (k[-1] - k[0])
    down = (inertia - inertia[-1]) / (inertia[0] - inertia[-1])
    below = 1 - across - down
    return int(below.argmax()) if below.max() > 0 else None
