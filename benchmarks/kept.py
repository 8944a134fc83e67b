"""Files that fit into memory: CPU seconds of training on them, and of reading once and training.

``python -m benchmarks.kept`` writes 131 MB of embeddings in 50 Parquet files, then trains in
processes of their own: on an array that pyarrow read, on the path, and on the path with nothing
kept (``memory_budget=0``).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FILES, ROWS, COLUMNS, CLUSTERS = 50, 3_400, 192, 40
MODES: dict[str, dict[str, Any]] = {
    "mini-batch": {},
    "full batch": {"use_mini_batch": False},
    "k-means++": {"initial_clusters": "kmeans_plus_plus", "use_mini_batch": False},
}
WAYS = ("read once", "files", "files, nothing kept")


def generate(folder: Path) -> None:
    """Write blobs as a column of lists."""
    import pyarrow
    from pyarrow import parquet

    rng = np.random.default_rng(7)
    middle = rng.normal(size=(CLUSTERS, COLUMNS)).astype(np.float32)
    for number in range(FILES):
        rows = rng.standard_normal((ROWS, COLUMNS), dtype=np.float32)
        rows += middle[rng.integers(CLUSTERS, size=ROWS)]
        lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), COLUMNS)
        parquet.write_table(pyarrow.table({"embedding": lists}), folder / f"{number:02d}.parquet")


def job(folder: Path, way: str, mode: str) -> dict[str, Any]:
    """Train, in this process."""
    from pyarrow import parquet

    import shoal

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    began, cpu = time.perf_counter(), used()
    given = dict(MODES[mode])
    data: Any = folder
    if way == "read once":
        column = parquet.read_table(folder)["embedding"].combine_chunks()
        data = np.asarray(column.flatten()).reshape(-1, COLUMNS)
    elif way != "files":
        given["memory_budget"] = 0
    model = shoal.KMeansClustering(CLUSTERS, **given).fit(data)
    return {
        "cpu": used() - cpu,
        "wall": time.perf_counter() - began,
        "steps": model.state.global_step,
        "centers": float(np.abs(model.clusters()).sum(dtype=np.float64)),
    }


def main() -> None:
    """Run all jobs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(job(Path(options.job[0]), *options.job[1:])))
        return
    print(
        f"{FILES} Parquet files, {FILES * ROWS * COLUMNS * 4 / 1e6:.0f} MB of rows, k = {CLUSTERS}"
    )
    print(f"{'':<12}{'':<22}{'CPU s':>8}{'ratio':>8}{'wall s':>8}{'steps':>7}")
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        for mode in MODES:
            base = None
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.kept", "--job", folder, way, mode]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                base = base or found
                assert (found["steps"], found["centers"]) == (base["steps"], base["centers"])
                ratio = found["cpu"] / base["cpu"]
                print(
                    f"{mode:<12}{way:<22}{found['cpu']:>8.2f}{ratio:>8.2f}{found['wall']:>8.2f}"
                    f"{found['steps']:>7}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
