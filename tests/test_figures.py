"""README and docs say what was measured last: each figure is looked up in benchmarks/results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import figures  # noqa: E402


@pytest.mark.parametrize("said", list(figures.said()), ids=lambda said: said.text[:60])
def test_a_figure_is_the_measured_one(said: figures.Said) -> None:
    assert said.is_there(), f"{said.document} should say: {said.text}"


def test_other_results_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures.rows_of

    def halved(name: str) -> dict[str, Any]:
        return {case: {**row, **_halved(row)} for case, row in before(name).items()}

    monkeypatch.setattr(figures, "rows_of", halved)
    wrong = [said for said in figures.said() if not said.is_there()]
    assert {said.document for said in wrong} == {"README.md", "docs/scale.md"}
    assert len(wrong) >= 5


def _halved(row: dict[str, Any]) -> dict[str, Any]:
    """The same measurement, twice as slow for shoal."""
    found: dict[str, Any] = {}
    if "ms" in row:
        found["ms"] = {**row["ms"], "shoal": 2 * row["ms"]["shoal"]}
    if row.get("ratio"):
        found["ratio"] = row["ratio"] / 2
    for what in ("train", "predict"):
        if what in row:
            found[what] = {**row[what], "ratio": row[what]["ratio"] / 2}
    return found
