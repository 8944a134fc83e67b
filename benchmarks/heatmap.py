"""The grid as a picture: one panel per kind of data, colour for the ratio to the best peer."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

TITLES = {
    "train": "Training runs: time of the best peer / time of shoal",
    "predict": "One cold pass: time of the best peer / time of shoal",
}
LIMIT = 8.0  # ratios from 1/LIMIT to LIMIT have a colour of their own
DPI = 110


def draw(rows: Sequence[report.Row], what: str, path: Path, kinds: Sequence[str]) -> Path | None:
    """Write the picture; None where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        print("skipped: the heat map: matplotlib is not installed", flush=True)
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    dims = sorted({row["d"] for row in rows})
    ks = sorted({row["k"] for row in rows})
    figure, panels = pyplot.subplots(
        1, len(kinds), figsize=(max(9, 0.4 * len(ks) * len(kinds) + 2), 0.3 * len(dims) + 1.6),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    image: Any = None
    for panel, kind in zip(panels[0], kinds, strict=True):
        image = panel.imshow(
            _matrix(rows, what, kind, dims, ks),
            norm=LogNorm(1 / LIMIT, LIMIT),
            cmap="RdBu",
            aspect="auto",
        )
        panel.set_title(kind, fontsize=10)
        panel.set_xticks(range(len(ks)), [str(k) for k in ks], fontsize=7)
        panel.set_yticks(range(len(dims)), [str(d) for d in dims], fontsize=7)
        panel.set_xlabel("centers k", fontsize=8)
        _numbers(panel, _matrix(rows, what, kind, dims, ks))
    panels[0][0].set_ylabel("columns d", fontsize=8)
    ticks = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]
    bar = figure.colorbar(image, ax=panels[0].tolist(), ticks=ticks, extend="both", pad=0.01)
    bar.ax.set_yticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"], fontsize=7)
    bar.ax.minorticks_off()
    figure.suptitle(TITLES[what] + " (blue: shoal is faster)", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)
    return path


def _matrix(
    rows: Sequence[report.Row], what: str, kind: str, dims: list[int], ks: list[int]
) -> Any:
    """Return the ratios [d, k] of one kind; NaN where a cell was not measured."""
    found = np.full((len(dims), len(ks)), np.nan)
    for row in rows:
        if row["kind"] == kind:
            found[dims.index(row["d"]), ks.index(row["k"])] = row[what]["ratio"]
    return found


def _numbers(panel: Any, ratios: Any) -> None:
    """Write each ratio into its cell; those below 1 bold."""
    for (y, x), ratio in np.ndenumerate(ratios):
        if np.isnan(ratio):
            continue
        dark = abs(np.log(ratio)) > 0.6 * np.log(LIMIT)
        panel.text(
            x,
            y,
            f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}",
            ha="center",
            va="center",
            fontsize=6,
            weight="bold" if ratio < 1 else "normal",
            color="white" if dark else "black",
        )
