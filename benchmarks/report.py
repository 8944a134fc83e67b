"""Results as a table on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import describe, handicap

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]


def header(about: dict[str, Any]) -> str:
    """Return the lines that say where the figures come from."""
    return "\n".join(filter(None, [describe(about), handicap(about)]))


def text_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line of the table on the terminal."""
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def write(
    folder: Path, name: str, about: dict[str, Any], rows: Sequence[Row], columns: Sequence[Column]
) -> None:
    """Write NAME.json, with every value and every repetition, and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = json.dumps({"machine": about, "rows": list(rows)}, indent=1)
    (folder / f"{name}.json").write_text(whole + "\n")
    lines = [header(about).replace("\n", "\n\n"), ""]
    lines.append("| " + " | ".join(title for title, _ in columns) + " |")
    lines.append("|" + " ---: |" * len(columns))
    lines += ["| " + " | ".join(cell(row) for _, cell in columns) + " |" for row in rows]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


NOISE: Column = ("noise", lambda row: f"{row['noise']:.2f}")


def milliseconds(name: str) -> Column:
    """Return the column of a contender's best time."""
    return f"{name} ms", lambda row: f"{row['ms'][name]:.2f}" if name in row["ms"] else "-"


def ratio(name: str) -> Column:
    """Return the column of how many times longer a contender takes than shoal."""
    title = f"{name}/shoal"
    return title, lambda row: f"{row['ratio'][name]:.2f}" if name in row["ratio"] else "-"


def excess(name: str) -> Column:
    """Return the column of how far a contender's inertia is above shoal's, relatively."""

    def cell(row: Row) -> str:
        if name not in row["inertia"]:
            return "-"
        return f"{row['excess'][name]:+.0e}" if row["excess"][name] else "0"

    return f"{name} inertia", cell


def flag(value: bool | None) -> str:
    """Return yes, NO, or - where there is nothing to say."""
    return "-" if value is None else ("yes" if value else "NO")
