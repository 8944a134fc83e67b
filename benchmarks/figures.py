"""What README and docs say of speed, from the last results: ``python -m benchmarks.figures``.

Prints each line that a document should have and has not. A test asks for the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

Row = dict[str, Any]


class Said(NamedTuple):
    """A text that a document must have, whatever its line breaks."""

    document: str
    text: str

    def is_there(self) -> bool:
        """Whether it has."""
        return _plain(self.text) in _plain((ROOT / self.document).read_text("utf-8"))


def said() -> Iterator[Said]:
    """Yield what documents must say."""
    glove = rows_of("train")["glove k=1000"]
    rate = glove["n"] * glove["iterations"]["shoal"] / glove["ms"]["shoal"] / 1e3
    yield Said(
        "docs/scale.md", f"A core assigns {rate / glove['threads']:.1f} million rows a second"
    )
    seeding = rows_of("seeding")["greedy k-means++ 50k"]["ratio"]
    yield Said("README.md", f"n = 50,000, k = 500: {seeding:.0f} times scikit-learn's")
    grid = rows_of("grid").values()
    yield Said("README.md", f"On a grid of {len(grid)} small cases")
    for what, mean, slower in (
        ("train", "for training", "training is slower in {} of them"),
        ("predict", "for one pass", "one pass in {}"),
    ):
        ratios = sorted(row[what]["ratio"] for row in grid)
        yield Said("README.md", f"{_mean(ratios):.1f} {mean}")
        slow = [ratio for ratio in ratios if ratio < 1]
        if slow:
            numbers = f"({slow[0]:.2f} to {slow[-1]:.2f}"
            yield Said("README.md", f"{slower.format(len(slow))} {numbers}")


def rows_of(name: str) -> dict[str, Row]:
    """Return the rows of a result by their names; none where there is no such result."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return {}
    rows: list[Row] = json.loads(path.read_text("utf-8"))["rows"]
    return {row["name"]: row for row in rows}


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _plain(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    """Print what is to be written."""
    for one in said():
        if not one.is_there():
            print(f"{one.document}: {one.text}")


if __name__ == "__main__":
    main()
