"""What this process may use of the machine: processors and memory, control groups included."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

#: Where the system tells; tests have a tree of their own.
ROOT = Path("/")


def available_threads() -> int:
    """CPUs this process may use: affinity and the quotas of cgroups v1 and v2 included."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cpus, _quota(ROOT))


@lru_cache  # a dozen small files, for each model that is made
def _quota(_root: Path) -> int:
    """CPUs that control groups leave this process, as far as it was when first asked."""
    cpus = sys.maxsize
    for folder in _groups("cpu"):
        quota, period = _words(folder / "cpu.max"), ["100000"]
        if quota:  # version 2
            quota, period = quota[:1], quota[1:] or period
        else:
            quota = _words(folder / "cpu.cfs_quota_us")
            period = _words(folder / "cpu.cfs_period_us") or period
        if quota and quota[0].isdecimal() and period[0].isdecimal():  # else "max", or -1
            cpus = min(cpus, max(1, -(-int(quota[0]) // max(int(period[0]), 1))))
    return cpus


def available_memory() -> int | None:
    """Bytes this process may use; None where the system does not say.

    What the machine has free or can free, the limits of cgroups v1 and v2, and what is left below
    the limit of the address space (``ulimit -v``), whichever is least.
    """
    found = [
        int(words[1]) << 10
        for line in _lines(ROOT / "proc/meminfo")
        if (words := line.split())[0] == "MemAvailable:"
    ]
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += [int(word) for word in _words(folder / name)[:1] if word.isdecimal()]
    if (space := _address_space_left()) is not None:
        found.append(space)
    return min(found, default=None)


def _address_space_left() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    used = _words(ROOT / "proc/self/statm")
    return max(0, limit - (int(used[0]) * resource.getpagesize() if used else 0))


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, and of those around them."""
    mounted = ROOT / "sys/fs/cgroup"
    for line in _lines(ROOT / "proc/self/cgroup") or ["0::/", f"1:{controller}:/"]:
        number, names, path = line.split(":", 2)
        if number == "0" and not names:
            top = mounted
        elif controller in names.split(","):
            top = mounted / controller
        else:
            continue
        inside = Path(path.strip("/"))
        yield from (top / part for part in (inside, *inside.parents))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
