"""What the figures were measured on: the processor, the libraries and their instructions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks import peers
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
    """Describe the processor, the libraries and the instructions each of them uses."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "load_at_start": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
        "simd": {"shoal": _core.simd_target(), **_peer_simd()},
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in PACKAGES},
        },
    }


def describe(about: dict[str, Any]) -> str:
    """Return the lines that say where figures come from, with a warning where it is due."""
    simd = ", ".join(f"{name} {value}" for name, value in about["simd"].items())
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    line = (
        f"{about['cpu']}, {about['cpus']} CPUs, {about['threads']} threads, "
        f"load {about['load_at_start']} at start; SIMD: {simd}; {versions}"
    )
    return "\n".join(filter(None, [line, _handicap(about)]))


def _handicap(about: dict[str, Any]) -> str:
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
    if peers.threadpoolctl is not None:
        for pool in peers.threadpoolctl.threadpool_info():
            for folder in ("scipy.libs", "faiss_cpu.libs", "superkmeans.libs"):
                if pool["user_api"] == "blas" and folder in pool["filepath"]:
                    kernels = f"{pool['internal_api']} {pool.get('architecture')}"
                    found[f"{folder.split('.')[0]}'s BLAS"] = kernels
    if peers.faiss is not None:
        found["faiss"] = peers.faiss.get_compile_options().strip()
    if peers.torch is not None:
        found["torch"] = peers.torch.backends.cpu.get_cpu_capability()
    return found
