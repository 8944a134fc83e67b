"""What training will take is said before: within a fifth of what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.sources.limits import Limits

RUN = """
import json, logging, sys
import numpy as np
import shoal

given = json.loads(sys.argv[1])
rng = np.random.default_rng(1)
n, d = given["rows"], given["columns"]
if given["kind"] == "array":
    x = np.empty((n, d), given["dtype"])
    for i in range(0, n, 50_000):
        x[i : i + 50_000] = rng.standard_normal((min(50_000, n - i), d)) * 20
elif given["kind"] == "map":
    x = sys.argv[2] + ".npy"
    np.lib.format.open_memmap(x, "w+", np.float32, (n, d))[:] = 3
elif given["kind"] == "arrow":
    import pyarrow
    x = sys.argv[2] + ".arrow"
    columns = {f"c{i:03d}": rng.standard_normal(n, dtype=np.float32) for i in range(d)}
    table = pyarrow.table(columns)
    with pyarrow.OSFile(x, "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=100_000)
    del columns, table
    pyarrow.default_memory_pool().release_unused()
else:
    import pyarrow
    from pyarrow import parquet
    x = sys.argv[2]
    schema = pyarrow.schema([(f"c{i:03d}", pyarrow.float32()) for i in range(d)])
    with parquet.ParquetWriter(x, schema, use_dictionary=False) as file:
        group = given.get("group", 100_000)
        for i in range(0, n, group):
            size = min(group, n - i)
            columns = [rng.standard_normal(size, dtype=np.float32) for _ in range(d)]
            file.write_table(pyarrow.table(columns, schema=schema), row_group_size=group)
    del columns
    pyarrow.default_memory_pool().release_unused()
if given.get("weighted"):
    x = shoal.Weighted(x, rng.uniform(0.5, 2, n))
model = shoal.KMeansClustering(given["k"], num_threads=2, random_seed=1, **given["parameters"])
open("/proc/self/clear_refs", "w").write("5")
estimate = shoal.memory_estimate(model, x, batch_size=given.get("batch_size"))
model.fit(x, steps=3, batch_size=given.get("batch_size"))
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
print(json.dumps([estimate.total, peak, str(estimate)]))
"""

FULL = {"use_mini_batch": False, "initial_clusters": "random"}
CASES: dict[str, dict[str, Any]] = {
    "full batch": {"rows": 1_000_000, "columns": 32, "k": 64, "parameters": FULL},
    "bytes": {"rows": 200_000, "columns": 128, "k": 256, "parameters": FULL},
    "boxes": {"rows": 2_000_000, "columns": 3, "k": 64, "parameters": FULL},
    "no budget": {
        "rows": 400_000,
        "columns": 64,
        "k": 300,
        "parameters": {**FULL, "memory_budget": 0},
    },
    "float64": {"rows": 400_000, "columns": 32, "k": 64, "dtype": "float64", "parameters": FULL},
    "uint8": {"rows": 1_500_000, "columns": 64, "k": 64, "dtype": "uint8", "parameters": FULL},
    "many centers": {"rows": 100_000, "columns": 200, "k": 4000, "parameters": FULL},
    "mini-batch": {
        "rows": 3_000_000,
        "columns": 16,
        "k": 100,
        "batch_size": 65536,
        "parameters": {"initial_clusters": "kmc2"},
    },
    "k-means++": {
        "rows": 600_000,
        "columns": 64,
        "k": 20,
        "parameters": {"initial_clusters": "kmeans_plus_plus", "use_mini_batch": False},
    },
    "k-means||": {
        "rows": 3_000_000,
        "columns": 4,
        "k": 50,
        "parameters": {"initial_clusters": "kmeans_parallel", "use_mini_batch": False},
    },
    "k-means||, many candidates": {
        "rows": 200_000,
        "columns": 100,
        "k": 2000,
        "parameters": {"initial_clusters": "kmeans_parallel", "use_mini_batch": False},
    },
    "AFK-MC²": {
        "rows": 2_000_000,
        "columns": 8,
        "k": 20,
        "parameters": {"initial_clusters": "afkmc2", "use_mini_batch": False},
    },
    "file, full batch": {
        "kind": "file",
        "rows": 2_000_000,
        "columns": 32,
        "k": 64,
        "parameters": FULL,
    },
    "AFK-MC², weights": {
        "rows": 3_000_000,
        "columns": 4,
        "k": 20,
        "weighted": True,
        "parameters": {"initial_clusters": "afkmc2", "use_mini_batch": False},
    },
    "many columns": {"rows": 20, "columns": 2_000_000, "k": 5, "parameters": FULL},
    "very many centers": {"rows": 200_000, "columns": 4, "k": 100_000, "parameters": FULL},
    "mapped": {"kind": "map", "rows": 1_000_000, "columns": 32, "k": 20, "parameters": FULL},
    "Arrow, mapped": {
        "kind": "arrow",
        "rows": 1_500_000,
        "columns": 32,
        "k": 20,
        "parameters": {**FULL, "memory_budget": 0},
    },
    "one row group": {
        "kind": "file",
        "rows": 1_500_000,
        "columns": 32,
        "group": 1_500_000,
        "k": 20,
        "parameters": {**FULL, "memory_budget": 0},
    },
    "file, mini-batch": {
        "kind": "file",
        "rows": 2_000_000,
        "columns": 32,
        "k": 64,
        "parameters": {"initial_clusters": "kmc2"},
    },
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_within_a_fifth_of_the_estimate(name: str, tmp_path: Path) -> None:
    case = {"kind": "array", "dtype": "float32", **CASES[name]}
    if case["kind"] in ("file", "arrow"):
        pytest.importorskip("pyarrow")
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(case), str(tmp_path / "x.parquet")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    estimate, peak, text = json.loads(done.stdout)
    print(f"{name}: estimate {estimate >> 20} MB, peak {peak >> 20} MB\n{text}")
    assert abs(estimate - peak) <= peak / 5


def test_a_shape_stands_for_data_that_is_not_there_yet() -> None:
    model = shoal.KMeansClustering(64, use_mini_batch=False)
    array = shoal.memory_estimate(model, rows=10_000_000, columns=32, dtype="float16")
    assert array.data == 10_000_000 * 32 * 2
    assert array.labels == 40_000_000
    assert 0 < array.kept <= 256 << 20
    model = shoal.KMeansClustering(64, use_mini_batch=False, memory_budget=256 << 20)
    disk = shoal.memory_estimate(model, rows=10_000_000, columns=32, on_disk=True)
    assert disk.data == 0
    assert disk.reading > 0
    assert array.total > array.added > array.data
    small = shoal.KMeansClustering(64, use_mini_batch=False, memory_budget=0)
    assert shoal.memory_estimate(small, rows=10_000_000, columns=32).kept == 0
    assert "total" in str(array)


def test_mapped_files_count_as_data(tmp_path: Path) -> None:
    path = str(tmp_path / "x.npy")
    np.save(path, np.zeros((1000, 4), np.float32))
    for given in (path, np.load(path, mmap_mode="r")):
        assert shoal.memory_estimate(shoal.KMeansClustering(3), given).data == 16_000


def test_limits_of_the_data_count(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1.5,2\n" * 1000)
    model = shoal.KMeansClustering(3, use_mini_batch=False, memory_budget=0)
    few = Limits(piece=1 << 20, csv_kept=0)
    usual = shoal.memory_estimate(model, shoal.open(path, limits=Limits(csv_kept=0)))
    assert usual.reading - shoal.memory_estimate(model, shoal.open(path, limits=few)).reading == (
        5 * (15 << 20)
    )


def test_given_centers_take_nothing_to_choose() -> None:
    for given in (np.zeros((3, 4)), lambda inputs, remaining: inputs[0][:remaining]):
        model = shoal.KMeansClustering(3, initial_clusters=given)
        assert shoal.memory_estimate(model, rows=1000, columns=4).seeding == 0


def test_an_array_is_there_already() -> None:
    x = np.zeros((1000, 4), np.float32)
    estimate = shoal.memory_estimate(shoal.KMeansClustering(3), x)
    assert estimate.data == 0
    assert estimate.total == estimate.process + estimate.added


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "neither of x and a shape"),
        ({"x": np.ones((2, 2)), "rows": 2, "columns": 2}, "both of x and a shape"),
        ({"x": iter([np.ones((2, 2))])}, "does not tell how many rows"),
        ({"rows": 3}, "columns is None"),
        ({"rows": 3, "columns": 0}, "columns is 0"),
        ({"rows": 3, "columns": 2, "dtype": "complex64"}, "dtype has dtype complex64"),
    ],
)
def test_what_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        shoal.memory_estimate(shoal.KMeansClustering(3), **given)
