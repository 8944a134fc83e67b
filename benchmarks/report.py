"""Results as a table on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]
NOISY = 1.25
RESULTS = Path(__file__).with_name("results")


class Table:
    """Columns, as wide as their title or more, and rows that are printed as they come."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        first = 22
        self._widths = [first] + [max(9, len(title)) for title, _ in columns[1:]]

    def header(self) -> str:
        """Return the line of titles."""
        return self._line([title for title, _ in self._columns])

    def line(self, row: Row) -> str:
        """Return the line of a row."""
        return self._line([cell(row) for _, cell in self._columns])

    def markdown(self, rows: Sequence[Row]) -> list[str]:
        """Return the table in Markdown."""
        return [
            "| " + " | ".join(title for title, _ in self._columns) + " |",
            "|" + " ---: |" * len(self._columns),
            *("| " + " | ".join(cell(row) for _, cell in self._columns) + " |" for row in rows),
        ]

    def _line(self, cells: Sequence[str]) -> str:
        return "  ".join(cell.rjust(width) for cell, width in zip(cells, self._widths, strict=True))


def write(
    folder: Path,
    name: str,
    about: dict[str, Any],
    rows: Sequence[Row],
    tables: Sequence[Sequence[Column]],
    notes: Sequence[str],
) -> None:
    """Write NAME.json, with every value and every repetition, and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    machine = json.dumps(about)
    (folder / f"{name}.json").write_text(f'{{"machine": {machine},\n"rows": [\n{lines}\n]}}\n')
    text = [describe(about).replace("\n", "\n\n")]
    for columns in tables:
        text += ["", *Table(columns).markdown(rows)]
    text += [line for note in notes for line in ("", note)]
    (folder / f"{name}.md").write_text("\n".join(text) + "\n")


def read(folder: Path, name: str) -> list[Row]:
    """Return the rows written before, or none."""
    path = folder / f"{name}.json"
    return list(json.loads(path.read_text())["rows"]) if path.is_file() else []


def read_machine(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what the rows written before were measured on."""
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_text())["machine"]) if path.is_file() else None


def verdict(rows: Sequence[Row]) -> list[str]:
    """Return what is to be said below any table: noise, goals."""
    lines = []
    noisy = sum(row.get("noise", 1) > NOISY for row in rows)
    if noisy:
        lines.append(f"{noisy} of {len(rows)} rows are noisy: repeat them on a quiet machine.")
    judged = [row["met"] for row in rows if row.get("met") is not None]
    if judged:
        lines.append(f"{sum(judged)} of {len(judged)} goals met.")
    if any(row.get("quick") for row in rows):
        return ["A quick look at few rows: no figure of it counts."]
    return lines


def text(key: str, title: str = "") -> Column:
    """Return the column of a value as it is."""
    return title or key, lambda row: "-" if row.get(key) is None else str(row[key])


def number(key: str, title: str = "", digits: int = 2) -> Column:
    """Return the column of a number."""
    return title or key, lambda row: _number(row.get(key), digits)


def milliseconds(name: str, digits: int = 1) -> Column:
    """Return the column of a contender's best time."""
    return f"{name} ms", lambda row: _number(row["ms"].get(name), digits)


def excess(name: str) -> Column:
    """Return the column of how far a contender's inertia is above shoal's, relatively."""

    def cell(row: Row) -> str:
        if name not in row["inertia"]:
            return "-"
        above = row["inertia"][name] / row["inertia"]["shoal"] - 1 if row["inertia"][name] else 0
        return f"{above:+.0e}" if above else "0"

    return f"{name} inertia", cell


def flag(value: bool | None) -> str:
    """Return yes, NO, or - where there is nothing to say."""
    return "-" if value is None else ("yes" if value else "NO")


NOISE = number("noise")
GOAL: Column = "goal", lambda row: "-" if row.get("goal") is None else f"{row['goal']:g}"
MET: Column = "met", lambda row: flag(row.get("met"))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
