"""Peak memory of one assignment pass, in a process of its own (Linux)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.data import ROOT, Rows
from shoal import _core


def assign_growth(rows: Rows, centers: Rows, threads: int) -> float | None:
    """Return by how many MB a pass raises the peak beyond rows, centers and labels."""
    if not Path("/proc/self/status").is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("rows.npy", "centers.npy")]
        for path, array in zip(paths, (rows, centers), strict=True):
            np.save(path, array)
        command = [sys.executable, "-m", "benchmarks.memory", *paths, str(threads)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _main(rows_path: str, centers_path: str, threads: str) -> None:
    rows, centers = np.load(rows_path), np.load(centers_path)
    labels = np.full(len(rows), -1, np.int32)  # written now, so that its pages count as X's do
    # Lowers the recorded peak to what is in use now. Where refused, the answer is an upper bound.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    _core.assign(rows, None, centers, False, int(threads), labels, None)
    print(_status_mb("VmHWM") - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
