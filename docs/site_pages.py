"""Pages of the site that are made of what is measured and of what the program says of itself."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
MADE = HERE / "_made"
PEERS = ("sklearn lloyd", "sklearn elkan", "sklearnex", "faiss", "faiss super", "superkmeans")
NAMES = {"sklearn lloyd": "scikit-learn", "sklearnex": "Intel extension", "faiss": "faiss"}


def connect(app: Any) -> None:
    """Make the pages when a build begins."""
    app.connect("builder-inited", lambda _: write_pages())


def write_pages() -> None:
    """Write all pages; a file that is the same already keeps its time.

    The picture of speed is drawn again where there are new results.
    """
    import pictures

    if pictures.speed_is_new():
        pictures.speed()
    MADE.mkdir(exist_ok=True)
    pages = {"benchmarks.md": benchmarks(), "command-line.md": command_line()}
    pages |= {"changes.md": changes(), "contributing.md": contributing()}
    for name, text in pages.items():
        path = MADE / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


# --- benchmarks ---------------------------------------------------------------------------------


def results(name: str) -> dict[str, Any]:
    """What ``make bench`` has written."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def machine(found: dict[str, Any]) -> str:
    """One sentence about where figures come from."""
    of = found["machine"]
    versions = of.get("versions") or {}
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    simd = of["simd"]["shoal"]
    said = f"{of['cpu']}, {of['threads']} threads, shoal at SIMD level `{simd}`, {of['date']}"
    return f"{said}; {listed}." if listed else f"{said}."


def mean(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def training() -> str:
    """The table of whole runs."""
    found = results("train")
    rows = []
    for row in found["rows"]:
        times = row["ms"]
        peers = [_milliseconds(times.get(name)) for name in PEERS]
        ratio = f"**{row['ratio']:.1f}**"
        shape = f"{row['n']:,} × {row['d']}"
        rows.append([row["name"], shape, row["k"], _milliseconds(times["shoal"]), *peers, ratio])
    head = ["data", "n × d", "k", "shoal", *PEERS, "best peer / shoal"]
    ratios = [row["ratio"] for row in found["rows"]]
    slower = [row for row in found["rows"] if row["ratio"] < 1]
    said = f"Geometric mean {mean(ratios):.1f}; {len(slower)} of {len(ratios)} are slower."
    return f"{machine(found)}\n\n{table(head, rows)}\n{said}\n"


def grid() -> str:
    """What the grid says: means, and where shoal is slower."""
    found = results("grid")
    lines = []
    for what in ("train", "predict"):
        cells = [row for row in found["rows"] if row.get(what, {}).get("ratio")]
        ratios = [row[what]["ratio"] for row in cells]
        slower = sorted(
            (row[what]["ratio"], row["name"]) for row in cells if row[what]["ratio"] < 1
        )
        named = ", ".join(f"{name} ({ratio:.2f})" for ratio, name in slower)
        title = "Training" if what == "train" else "One pass"
        lines.append(
            f"- **{title}**: {len(cells)} cases, geometric mean {mean(ratios):.1f}. "
            f"Slower than the best peer in {len(slower)}: {named}."
        )
    return machine(found) + "\n\n" + "\n".join(lines) + "\n"


def simple(name: str) -> str:
    """A table of a result with times by library."""
    found = results(name)
    libraries = list(dict.fromkeys(key for row in found["rows"] for key in row["ms"]))
    head = ["case", "n × d", "k", *libraries, "ratio"]
    rows = [
        [
            row["name"],
            f"{row['n']:,} × {row['d']}",
            row["k"],
            *(_milliseconds(row["ms"].get(library)) for library in libraries),
            f"**{row['ratio']:.1f}**" if row.get("ratio") else "-",
        ]
        for row in found["rows"]
    ]
    return f"{machine(found)}\n\n{table(head, rows)}"


def benchmarks() -> str:
    """The page of benchmarks."""
    return f"""# Benchmarks

Made from the files in `benchmarks/results` when this site was built. `make bench` repeats them, and
`benchmarks/README.md` says how each figure is made and what to beware of. Ratios are a peer's time
divided by shoal's: above 1, shoal is faster.

```{{image}} ../pictures/speed.png
:alt: Time of the best peer divided by shoal's, for eight data sets
:width: 100%
```

## Whole runs of 20 iterations

From the same centers, rows in memory, float32, contenders in turn, minimum of at least three.

{training()}
## A grid of small cases, and where shoal is slower

d from 2 to 768, k from 2 to 4,096, three kinds of data.

{grid()}
```{{image}} ../grid-train.png
:alt: Heat map of the ratio for training, over columns and clusters
:width: 100%
```

```{{image}} ../grid-predict.png
:alt: Heat map of the ratio for one pass, over columns and clusters
:width: 100%
```

## One pass

As `predict` makes it.

{simple("predict")}
## Choosing first centers

{simple("seeding")}
"""


# --- what the program says of itself ------------------------------------------------------------


def command_line() -> str:
    """The page of commands, from ``--help``."""
    names = ["fit", "choose-k", "predict", "transform", "evaluate", "export", "inspect", "demo"]
    from shoal.cli.help import EXAMPLES

    names += [name for name in EXAMPLES if name not in names]
    parts = [
        "# Command line\n\nWhat `shoal --help` says, and that of each command. Results go to "
        "standard output, progress and messages to standard error.\n"
    ]
    for name in ["", *names]:
        title = f"shoal {name}".strip()
        parts.append(f"## {title}\n\n```text\n{_help(name)}```\n")
    return "\n".join(parts)


def _help(name: str) -> str:
    words = [sys.executable, "-m", "shoal", *([name] if name else []), "--help"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "88"}
    )
    return done.stdout


def changes() -> str:
    """The page of changes."""
    return (HERE.parent / "CHANGELOG.md").read_text("utf-8")


def contributing() -> str:
    """The page for contributors."""
    text = (HERE.parent / "CONTRIBUTING.md").read_text("utf-8")
    return text.replace("](docs/", "](../")
