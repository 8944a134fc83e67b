"""Run the contract tests and print what they show as a table: sources by checks.

``python tests/contract/report.py`` prints a line per source, with the number of tests whose results
came out equal to the bit; exit code 1 if any did not. Needs no installed test plugin.
"""

from __future__ import annotations

import collections
import io
import sys
from collections.abc import Generator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import contract_table as table
import numpy as np
import pytest

import shoal

CHECKS = ("full batch", "mini-batch", "inference")


class Line:
    """What is known of a source."""

    def __init__(self) -> None:
        self.dtypes: dict[str, None] = {}
        self.seedings: dict[str, None] = {}
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.missing = ""

    def cells(self) -> list[str]:
        """The line as text."""
        every = set(self.seedings) == set(table.SEEDINGS)
        cells = [" ".join(self.dtypes), "all" if every else " ".join(self.seedings)]
        for check in CHECKS:
            count = self.counts[check]
            wrong = count["failed"]
            cells.append(f"{wrong} WRONG" if wrong else str(count["passed"] or ""))
        failed = any(count["failed"] for count in self.counts.values())
        return [*cells, "FAILED" if failed else self.missing or "passed"]


class Collector:
    """A plugin of pytest that counts outcomes by source."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.others: collections.Counter[str] = collections.Counter()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        """Count a test when it has been called, or when it failed before."""
        report = (yield).get_result()
        if report.when != "call" and report.outcome == "passed":
            return
        given = item.callspec.params if hasattr(item, "callspec") else {}
        source = getattr(given.get("source"), "name", given.get("kind"))
        if source is None:
            self.others[report.outcome] += 1
            return
        line = self.lines.setdefault(source, Line())
        function = item.name.partition("[")[0]
        mode = given.get("mode") or ("full" if "full_batch" in function else "mini")
        check = "full batch" if mode == "full" else "mini-batch"
        if "inference" in function:
            check = "inference"
        else:
            line.seedings[given.get("seeding", "given")] = None
        line.dtypes[str(np.dtype(given.get("dtype", np.float32)))] = None
        line.counts[check][report.outcome] += 1
        if report.outcome == "skipped":
            line.missing = f"skipped: {report.longrepr[2].partition('Skipped: ')[2]}"


def table_of(collector: Collector) -> str:
    """The lines side by side."""
    head = ["source", "dtypes", "seedings", *CHECKS, "same bits as the array"]
    lines = [head, *([name, *line.cells()] for name, line in collector.lines.items())]
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    text = [
        " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        for cells in lines
    ]
    return "\n".join(f"| {line} |" for line in text)


def main() -> int:
    """Run and print."""
    collector = Collector()
    said = io.StringIO()
    with redirect_stdout(said):
        code = pytest.main(["-q", str(Path(__file__).parent)], plugins=[collector])
    print(table_of(collector))
    total = sum(
        (sum(line.counts.values(), collections.Counter()) for line in collector.lines.values()),
        collections.Counter(),
    )
    print(
        f"\nall seedings: {', '.join(table.SEEDINGS)}\n"
        f"shoal {shoal.__version__}: {total['passed']} tests of {len(collector.lines)} sources and "
        f"{collector.others['passed']} more (weights, threads, instruction sets) passed, "
        f"{total['failed'] + collector.others['failed']} failed, {total['skipped']} skipped"
    )
    if code:
        print(said.getvalue()[-20_000:], file=sys.stderr)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
