"""Rows of files that fit into memory are decoded once; files that change are an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet
from test_pages import CUTS, Disk, X, same

import shoal
from shoal import machine
from shoal.sources.kept import bytes_of_rows
from shoal.sources.limits import Limits
from shoal.sources.paged import PagedSource

FIRST = X[:5].copy()


def opened(disk: Disk, **given: Any) -> PagedSource:
    return PagedSource(disk, given.pop("batch_size", None), True)


def spread(inputs: list[Any], remaining: int) -> Any:
    return inputs[0][:: max(1, len(inputs[0]) // 2)][:remaining]


def fit(disk: Disk, mini: bool, seeding: Any, budget: int | None, **given: Any) -> Any:
    model = shoal.KMeansClustering(
        5,
        initial_clusters=seeding,
        use_mini_batch=mini,
        kmc2_chain_length=20,
        memory_budget=budget,
        **given,
    )
    return model.fit(opened(disk), batch_size=32 if mini else None, steps=40 if mini else 6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize(
    "seeding",
    [
        pytest.param(FIRST, id="given"),
        *("random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2", spread),
    ],
)
def test_the_same_bits_kept_or_not(seeding: Any, mini: bool, weighted: bool) -> None:
    disks = Disk(X, CUTS), Disk(X, CUTS)
    if weighted:
        for disk in disks:
            disk.weights = np.random.default_rng(5).integers(0, 3, len(X)).astype(float)
    same(fit(disks[0], mini, seeding, None), fit(disks[1], mini, seeding, 0))
    assert disks[0].streams <= 1 + (seeding is spread)
    assert len(disks[0].reads) < len(disks[1].reads)


@pytest.mark.parametrize("mini", [False, True])
def test_bad_rows_are_left_out_kept_or_not(mini: bool) -> None:
    rows = X.copy()
    rows[205, 2] = np.nan
    disks = Disk(rows, CUTS), Disk(rows, CUTS)
    models = []
    for disk, budget in zip(disks, (None, 0), strict=True):
        disk.missing[207] = True
        with pytest.warns(UserWarning, match="disk: dropped 2 of 400 rows"):
            models.append(fit(disk, mini, "kmeans_plus_plus", budget, on_bad_rows="skip"))
    same(*models)


def test_what_fits_the_budget_is_kept_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "shoal")
    disk = Disk(X, CUTS)
    size = bytes_of_rows(disk)
    assert size == 400 * (4 * 4 + 1)
    fit(disk, False, "kmeans_plus_plus", size)
    assert disk.streams == 1
    assert "disk: its rows take 0.0 MB, and are kept in memory from now on" in caplog.text
    caplog.clear()
    disk = Disk(X, CUTS)
    fit(disk, False, "kmeans_plus_plus", size - 1)
    assert disk.streams > 10
    assert "more than may be kept (memory_budget)" in caplog.text


@pytest.mark.parametrize(
    ("memory", "streams"), [(400 * 17 * 4, 1), (400 * 17 * 4 - 1, 7), (None, 7)]
)
def test_without_a_budget_it_is_a_quarter_of_the_memory(
    memory: int | None, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.config.available_memory", lambda: memory)
    disk = Disk(X, CUTS)
    fit(disk, False, FIRST, None)
    assert disk.streams == streams


def test_mini_batches_that_read_no_row_twice_keep_none() -> None:
    disk = Disk(X, CUTS)
    model = shoal.KMeansClustering(5, initial_clusters=FIRST)
    model.fit(opened(disk), batch_size=100, steps=4)
    assert disk.streams == 0
    model.fit(opened(disk), batch_size=100, steps=40)
    assert disk.streams == 1


def test_the_estimate_counts_rows_that_are_kept(tmp_path: Path) -> None:
    parquet.write_table(pa.table({f"c{i}": X[:, i] for i in range(4)}), tmp_path / "x.parquet")
    for budget, data in ((None, 400 * 17), (400 * 17, 400 * 17), (400 * 17 - 1, 0), (0, 0)):
        model = shoal.KMeansClustering(5, use_mini_batch=False, memory_budget=budget)
        found = shoal.memory_estimate(model, tmp_path / "x.parquet")
        assert found.data == data
        assert found.kept <= (256 << 20 if budget is None else budget - data)


# ---- Files that change ----


def write(path: Path, rows: Any) -> None:
    table = pa.table({f"c{i}": rows[:, i] for i in range(4)})
    if path.name == "parts":
        path.mkdir(exist_ok=True)
        for i, part in enumerate(np.split(rows, 4)):
            write(path / f"{i}.parquet", part)
    elif path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=50, use_dictionary=False)
    elif path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        np.savez(path, x=rows)
    elif path.suffix == ".csv":
        np.savetxt(path, rows, fmt="%+.5e", delimiter=",")
    else:
        compressed = ipc.IpcWriteOptions(compression="lz4" if path.stem == "lz4" else None)
        make = ipc.new_stream if path.stem == "stream" else ipc.new_file
        with pa.OSFile(str(path), "wb") as out, make(out, table.schema, options=compressed) as to:
            to.write_table(table, 50)


def replaced(path: Path) -> None:
    """Another file of the same name, size and time."""
    if path.is_dir():
        path = path / "2.parquet"
    before = path.stat()
    other = path.with_name("other" + path.suffix)
    content = path.read_bytes()
    other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)


def overwritten(path: Path) -> None:
    """The same file with other rows."""
    if path.is_dir():
        path = path / "2.parquet"
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content)


def cut_short(path: Path) -> None:
    os.truncate(path / "2.parquet" if path.is_dir() else path, 100)


def gone(path: Path) -> None:
    os.unlink(path / "2.parquet" if path.is_dir() else path)


class At:
    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def after_step(self, context: Any) -> None:
        if context.step == self.step:
            self.act()


FILES = ["x.npy", "x.npz", "x.csv", "large.csv", "x.parquet", "parts", "x.arrow", "lz4.arrow"]


def opened_so(path: Path) -> Any:
    limits = Limits(csv_kept=0, csv_page=1000) if path.name == "large.csv" else None
    return shoal.open(path, limits=limits)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize("change", [replaced, overwritten, cut_short, gone])
@pytest.mark.parametrize("name", [*FILES, "stream.arrow"])
def test_a_file_that_changes_under_training_is_an_error(
    name: str,
    change: Callable[[Path], None],
    mini: bool,
    budget: int | None,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    write(path, X)
    data = opened_so(path)
    model = shoal.KMeansClustering(
        5, initial_clusters=FIRST, use_mini_batch=mini, memory_budget=budget
    )
    size = 100 if mini else None
    model.fit(data, steps=2, batch_size=size)
    before = model.state
    with pytest.raises(shoal.BadInputError, match="source changed between two passes"):
        model.fit(data, steps=60, batch_size=size, monitors=[At(5, lambda: change(path))])
    assert model.state is before


@pytest.mark.parametrize("name", [*FILES, "stream.arrow"])
def test_a_file_that_changes_under_predict_is_an_error(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, X)
    model = shoal.KMeansClustering(5, initial_clusters=FIRST).fit(X, steps=1)
    batches = model.predict(opened_so(tmp_path / name), batch_size=50, iterate_batches=True)
    next(batches)
    overwritten(tmp_path / name)
    with pytest.raises(shoal.BadInputError, match="source changed between two passes"):
        list(batches)


def test_a_file_that_is_added_belongs_to_the_next_run(tmp_path: Path) -> None:
    write(tmp_path / "parts", X)
    model = shoal.KMeansClustering(5, initial_clusters=FIRST, use_mini_batch=False, memory_budget=0)
    add = At(2, lambda: write(tmp_path / "parts" / "9.parquet", X))
    model.fit(tmp_path / "parts", steps=4, monitors=[add])
    same(
        model,
        shoal.KMeansClustering(5, initial_clusters=FIRST, use_mini_batch=False).fit(X, steps=4),
    )


@pytest.mark.parametrize("where", ["data/x.parquet", "data"])
def test_a_pipe_is_refused_and_not_waited_for(where: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "x.parquet")
    with pytest.raises(shoal.BadInputError, match=r"x\.parquet is no regular file but a pipe"):
        shoal.open(tmp_path / where)


# ---- What the process may use ----


def make_machine(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, "ascii")


@pytest.mark.parametrize(
    ("files", "memory", "threads"),
    [
        ({}, None, 64),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  8000 kB\n"}, 8000 << 10, 64),
        (
            {
                "proc/meminfo": "MemAvailable: 8000 kB\n",
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": "4096000\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            4096000,
            2,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 8000 kB\n",
                "proc/self/cgroup": "5:memory:/job\n4:cpu,cpuacct:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1048576\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            },
            1048576,
            3,
        ),
        (
            {  # inside a container, which sees its own group as the root
                "proc/self/cgroup": "4:memory:/docker/5\n3:cpu:/docker/5\n0::/docker/5\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2097152\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2097152,
            1,
        ),
    ],
)
def test_limits_of_control_groups(
    files: dict[str, str],
    memory: int | None,
    threads: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_machine(tmp_path, files)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(machine, "_address_space_left", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert machine.available_memory() == memory
    assert machine.available_threads() == threads


def test_a_limit_of_the_address_space_counts_less_what_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 40, 1 << 40))
    left = machine._address_space_left()
    assert left is not None
    assert 0 < left < 1 << 40
