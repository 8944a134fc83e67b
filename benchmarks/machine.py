"""What the figures were measured on: the processor, the libraries and their instructions."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks import levels, peers
from shoal import _core

PACKAGES = (
    "shoal",
    "numpy",
    "scikit-learn",
    "scikit-learn-intelex",
    "faiss-cpu",
    "superkmeans",
    "fastkmeans",
    "torch",
)


def machine(threads: int) -> dict[str, Any]:
    """Describe the processor, the libraries, the instructions and the threads of each of them."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "load_at_start": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
        "simd": {"shoal": _core.simd_target(), **_peer_simd()},
        "threads_of": _peer_threads(),
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in PACKAGES},
        },
    }


def describe(about: dict[str, Any]) -> str:
    """Return the line that says where figures come from."""
    simd = ", ".join(f"{name} {value}" for name, value in about["simd"].items())
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cpus']} CPUs, {about['threads']} threads, "
        f"load {about['load_at_start']} at start; SIMD: {simd}; {versions}"
    )


def faults(about: dict[str, Any], level: levels.Level) -> list[str]:
    """Say what keeps the contenders from being compared: other threads, other instructions."""
    found = [
        f"{name} has {threads} threads instead of {about['threads']}"
        for name, threads in about["threads_of"].items()
        if threads != about["threads"]
    ]
    wanted = level.variables.get("SHOAL_SIMD", about["simd"]["shoal"])
    if about["simd"]["shoal"] != wanted:
        found.append(f"shoal uses {about['simd']['shoal']} instead of {wanted}")
    if not has_avx512():
        return found
    allowed = levels.NARROW if level.narrow else levels.WIDE
    return found + [
        f"{name} uses {value} instead of {' or '.join(allowed)}"
        for name, value in about["simd"].items()
        if name != "shoal" and value not in allowed
    ]


def cores() -> dict[str, str]:
    """Return the kernels that each peer's OpenBLAS has chosen (scikit-learn takes scipy's)."""
    found: dict[str, str] = {}
    if peers.threadpoolctl is None:
        return found
    for pool in peers.threadpoolctl.threadpool_info():
        for folder in ("scipy.libs", "faiss_cpu.libs", "superkmeans.libs"):
            if pool["user_api"] == "blas" and folder in pool["filepath"]:
                found[folder.split(".")[0]] = str(pool.get("architecture"))
    return dict(sorted(found.items()))


def has_avx512() -> bool:
    """Whether the processor does."""
    try:
        return "avx512vl" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


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
    """Name the instructions that each peer says it uses."""
    found = {f"{name}'s BLAS": core for name, core in cores().items()}
    if peers.faiss is not None:
        config = getattr(peers.faiss, "SIMDConfig", None)
        options = peers.faiss.get_compile_options().strip()
        found["faiss"] = options if config is None else config.get_level_name()
    if peers.torch is not None:
        found["torch"] = peers.torch.backends.cpu.get_cpu_capability()
    if (onedal := _onedal()) is not None:
        found["oneDAL"] = onedal
    return found


def _onedal() -> str | None:
    """Ask oneDAL which of its kernels it takes."""
    if peers.sklearnex is None:
        return None
    paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    preloaded = ctypes.CDLL(None)
    for path in sorted(path for path in paths if "libonedal_core" in path):
        name = "_Z22__daal_serv_cpu_detecti"
        library = preloaded if hasattr(preloaded, name) else ctypes.CDLL(path)
        number = getattr(library, name)(0)
        return levels.ONEDAL.get(number, f"level {number}")
    return None


def _peer_threads() -> dict[str, int]:
    found: dict[str, int] = {}
    if peers.faiss is not None:
        found["faiss"] = peers.faiss.omp_get_max_threads()
    if peers.torch is not None:
        found["torch"] = peers.torch.get_num_threads()
    if peers.daal4py is not None:
        found["oneDAL"] = peers.daal4py.num_threads()
    for pool in peers.threadpoolctl.threadpool_info() if peers.threadpoolctl else ():
        folder = next((part for part in Path(pool["filepath"]).parts if ".libs" in part), "torch")
        found[f"{folder.split('.')[0]}'s {pool['internal_api']}"] = pool["num_threads"]
    return dict(sorted(found.items()))
