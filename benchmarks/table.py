"""The cases of the table of training runs; other benchmarks take rows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks import data
from benchmarks.data import Rows
from benchmarks.settings import Settings

ITERATIONS = 20
# Of the geometric mean over the table, by what shoal runs on.
MEAN_GOALS = {"amx": 8, "avx512vnni": 5.5, "avx2": 3.5}


@dataclass(frozen=True)
class Case:
    """Rows, a number of centers, and how many times faster than the best peer shoal must be."""

    name: str
    rows: Callable[[], Rows | None]
    k: int
    goal: float
    quick: bool = True

    def load(self, settings: Settings) -> Rows | None:
        """Return the rows, few of them for a quick look."""
        rows = self.rows()
        return None if rows is None else rows[: settings.quick_rows()]


CASES = (
    Case("china k=64", data.china, 64, 12),
    Case("cities k=1000", data.cities, 1000, 12),
    Case("glove k=100", data.glove, 100, 3.3),
    Case("glove k=1000", data.glove, 1000, 5),
    Case("minilm k=100", data.minilm, 100, 4),
    Case("minilm k=1000", data.minilm, 1000, 3.3),
    Case("blobs 16-d k=50", partial(data.blobs, 1_000_000, 16, 50), 50, 4.5),
    Case("blobs 128-d k=256", partial(data.blobs, 300_000, 128, 200), 256, 6),
)


def named(*names: str) -> list[Case]:
    """Return some of the cases."""
    return [case for case in CASES if case.name in names]
