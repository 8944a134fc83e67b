"""What a row costs in each format of the core's screens, and whether the choice is right.

``python -m benchmarks.costs measure`` times every format at every SIMD level of this machine and
writes ``costs.inc`` into the formats' folders; the lines of other levels stay.
``python -m benchmarks.costs check`` times passes with the format chosen and with every other, and
says how much longer than the best the choice took.

A pass takes about ``row + panels * panel`` nanoseconds for each row, both in proportion to columns,
with one panel for 16 centers: two lines for rows that are rounded as they come, and two for
training, where they are rounded once. Times are of the processor, not the clock, and of one thread.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import data, ours
from benchmarks.data import ROOT, Rows, first_centers
from shoal import _core

FOLDER = ROOT / "cpp" / "core" / "screens"
FORMATS = ("f32", "int8", "bf16", "bf16x2")
#: Of the rows and centers that are timed.
ROWS = 20_000
COLUMNS = (16, 32, 50, 96, 192, 384)
CENTERS = (8, 24, 48, 100, 256, 512)
FEW = (2, 4)
REPEATS = 3
STEPS = 5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """Rows and how many centers; times of passes over them are nanoseconds per row."""

    rows: Rows
    k: int

    @property
    def columns(self) -> int:
        """How many columns the rows have."""
        return int(self.rows.shape[1])


@contextmanager
def forced(simd: str, plan: str) -> Iterator[None]:
    """Hold the core to a SIMD level and to a format; empty: its own choice."""
    before = {name: os.environ.get(name) for name in ("SHOAL_SIMD", "SHOAL_PLAN")}
    os.environ.update(SHOAL_SIMD=simd, SHOAL_PLAN=plan)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def formats_of(simd: str) -> list[str]:
    """Return the formats that a level has: others fall back to f32, which keeps no rows."""
    found = ["f32"]
    for name in FORMATS[1:]:
        text = (FOLDER / name / "costs.inc").read_text("utf-8")
        if f'{{"{simd}",' in text:
            found.append(name)
    return found


def sample(columns: int) -> Rows | None:
    """Return rows of real data with so many columns, the first of GloVe's or of MiniLM's."""
    rows = data.glove() if columns <= 50 else data.minilm()
    if rows is None:
        return None
    chosen = rows[np.random.default_rng(0).choice(len(rows), ROWS, replace=False), :columns]
    return np.ascontiguousarray(chosen)


def seconds(run: Callable[[], object]) -> float:
    """Return the processor's time that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def once(cell: Cell) -> float:
    """Time a pass by itself."""
    labels = np.empty(len(cell.rows), np.int32)
    centers = first_centers(cell.rows, cell.k)
    return seconds(lambda: ours.assign(cell.rows, centers, labels, 1)) / len(cell.rows) * 1e9


def again(cell: Cell) -> float:
    """Time a pass of training but for the first, which rounds the rows."""
    centers = first_centers(cell.rows, cell.k)

    def least(steps: int) -> float:
        return min(seconds(lambda: ours.train(cell.rows, centers, steps, 1)) for _ in range(2))

    return max(least(STEPS + 1) - least(1), 0) / STEPS / len(cell.rows) * 1e9


def measure(simd: str, cells: list[Cell]) -> dict[str, tuple[Floats, Floats]]:
    """Return for each format of a level the times of cells, once and again."""
    formats = formats_of(simd)
    least = {name: np.full((2, len(cells)), np.inf) for name in formats}
    for _ in range(REPEATS):
        for c, cell in enumerate(cells):
            for name in formats:
                with forced(simd, name):
                    times = (once(cell), again(cell))
                least[name][:, c] = np.minimum(least[name][:, c], times)
    return {name: (times[0], times[1]) for name, times in least.items()}


def fit(cells: list[Cell], times: Floats, padded: int = 1) -> tuple[Floats, float]:
    """Return (row, row per column, panel, panel per column), none negative, and the median error.

    Relative errors count, so that small cells are as well described as large ones.
    """
    from scipy.optimize import nnls

    d = np.array([-(-cell.columns // padded) * padded for cell in cells], dtype=float)
    panels = np.array([-(-cell.k // 16) for cell in cells], dtype=float)
    terms = np.stack([np.ones_like(d), d, panels, panels * d], axis=1)
    seen = times > 0  # a difference of two times may be lost in the noise
    terms, times = terms[seen], times[seen]
    found, _ = nnls(terms / times[:, None], np.ones_like(times))
    error = np.abs(terms @ found / times - 1)
    return found, float(np.median(error))


def line_of(simd: str, fits: tuple[Floats, Floats]) -> str:
    """Return the line of a level: {once, again} as {row, panel} of {each, per column}."""
    parts = [f"{{{{{a:.4g}, {b:.4g}}}, {{{c:.4g}, {e:.4g}}}}}" for a, b, c, e in fits]
    return f'{{"{simd}", {", ".join(parts)}}},'


def write(path: Path, simd: str, line: str) -> None:
    """Put the line of a level in the place of the one before."""
    text = path.read_text("utf-8")
    pattern = re.compile(rf'^\{{"{re.escape(simd)}",.*$', re.MULTILINE)
    found = pattern.sub(lambda _: line, text)
    path.write_text(found if pattern.search(text) else text + line + "\n", "utf-8")


def cells_of(centers: tuple[int, ...]) -> list[Cell]:
    """Return cells of all numbers of columns whose data is there."""
    found = []
    for columns in COLUMNS:
        rows = sample(columns)
        if rows is not None:
            found += [Cell(rows, k) for k in centers]
    return found


def measure_level(simd: str) -> None:
    """Measure a level and write what was found."""
    few = cells_of(FEW)
    times = measure_few(simd, few)
    found = fit(few, times)[0]
    flat = np.array([found[0] + found[2], found[1] + found[3], 0, 0])
    write(FOLDER / "f32" / "few.inc", simd, line_of(simd, (flat, flat)))
    cells = cells_of(CENTERS)
    for name, (alone, trained) in measure(simd, cells).items():
        padded = 32 if name == "bf16x2" else 1
        fits = [fit(cells, alone, padded), fit(cells, trained, padded)]
        line = line_of(simd, (fits[0][0], fits[1][0]))
        write(FOLDER / name / "costs.inc", simd, line)
        print(f"{name}: {line} off by {fits[0][1]:.0%}, {fits[1][1]:.0%}", flush=True)


def measure_few(simd: str, cells: list[Cell]) -> Floats:
    """Return the times of cells of few centers, which float32 takes as they lie."""
    least = np.full(len(cells), np.inf)
    with forced(simd, "f32"):
        for _ in range(REPEATS):
            least = np.minimum(least, [once(cell) for cell in cells])
    return least


def check_level(simd: str, cells: list[Cell]) -> None:
    """Print where the format chosen takes longest beside the best one."""
    found = []
    formats = ["", *formats_of(simd)]
    for cell in cells:
        for kind in (once, again):
            least = dict.fromkeys(formats, np.inf)
            for _ in range(REPEATS):
                for name in formats:
                    with forced(simd, name):
                        least[name] = min(least[name], kind(cell))
            best = min(formats[1:], key=lambda name: least[name])
            found.append((least[""] / least[best] - 1, cell.columns, cell.k, kind.__name__, best))
    worst = sorted(found, reverse=True)[:5]
    good = sum(excess <= 0.1 for excess, *_ in found)
    print(f"{simd}: {good} of {len(found)} within 10 % of the best format; the worst:")
    for excess, columns, k, kind, best in worst:
        print(f"  d={columns} k={k} {kind}: {excess:+.0%}, best {best}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("measure", "check"))
    parser.add_argument("--levels", nargs="+", default=_core.simd_targets())
    given = parser.parse_args()
    for simd in given.levels:
        if given.what == "measure":
            measure_level(simd)
        else:
            check_level(simd, cells_of((8, 24, 100, 300)))


if __name__ == "__main__":
    main()
