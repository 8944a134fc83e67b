"""Timing of several contenders in turn, and a description of the machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shoal import _core

T = TypeVar("T")

# A library's threads spin for a while after its call. The next contender waits for them.
PAUSE = 0.02


@dataclass(frozen=True)
class Effort:
    """How long to measure: until every contender has taken `seconds`, within the limits."""

    least: int = 5
    most: int = 15
    seconds: float = 0.5


QUICK = Effort(least=3, most=3)


def interleave(
    contenders: dict[str, Callable[[], T]], effort: Effort
) -> tuple[dict[str, T], dict[str, list[float]]]:
    """Run A B C A B C and so on; return what each returned and the seconds of each call.

    One round comes first that is not timed: it starts threads and touches memory.
    """
    results = {name: call() for name, call in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(effort.most):
        if round_ >= effort.least and min(map(sum, seconds.values())) >= effort.seconds:
            break
        for name, call in contenders.items():
            time.sleep(PAUSE)
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return results, seconds


def noise(seconds: dict[str, list[float]]) -> float:
    """Return the largest ratio of a contender's median time to its best; 1 is undisturbed."""
    return max(statistics.median(times) / min(times) for times in seconds.values())


def available_threads() -> int:
    """Count the CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(threads: int) -> dict[str, Any]:
    """Describe the processor, the libraries and the instructions each of them uses."""
    versions = {"python": platform.python_version()}
    for package in ("shoal", "numpy", "scikit-learn", "faiss-cpu"):
        versions[package] = _version(package)
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "load_at_start": round(os.getloadavg()[0], 2),
        "simd": {"shoal": _core.simd_target(), **_peer_simd()},
        "versions": versions,
    }


def describe(about: dict[str, Any]) -> str:
    """Return one line from what `machine` returned."""
    simd = ", ".join(f"{name} {value}" for name, value in about["simd"].items())
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cpus']} CPUs, {about['threads']} threads, "
        f"load {about['load_at_start']} at start; SIMD: {simd}; {versions}"
    )


def handicap(about: dict[str, Any]) -> str:
    """Return a warning when the peers' BLAS leaves AVX-512 unused, else an empty string."""
    simd = about["simd"]
    narrow = [name for name, value in simd.items() if value.endswith(("Haswell", "Zen", "None"))]
    if not simd["shoal"].startswith("avx512") or not narrow:
        return ""
    return (
        f"note: AVX2 kernels in {' and '.join(narrow)} though the processor has AVX-512; "
        "OPENBLAS_CORETYPE=SkylakeX gives the peers theirs (see benchmarks/README.md)"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _peer_simd() -> dict[str, str]:
    """Name the kernels of the peers' matrix products (scikit-learn takes scipy's)."""
    found: dict[str, str] = {}
    if importlib.util.find_spec("threadpoolctl") is not None:
        import threadpoolctl

        for pool in threadpoolctl.threadpool_info():
            for folder in ("scipy.libs", "faiss_cpu.libs"):
                if pool["user_api"] == "blas" and folder in pool["filepath"]:
                    kernels = f"{pool['internal_api']} {pool.get('architecture')}"
                    found[f"{folder.split('.')[0]}'s BLAS"] = kernels
    if importlib.util.find_spec("faiss") is not None:
        import faiss

        found["faiss"] = faiss.get_compile_options().strip()
    return found
