"""Which instructions the contenders may use: what the processor has, AVX-512 for shoal, or AVX2.

``python -m benchmarks.levels`` makes the table of training runs at all three, one after the other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.data import ROOT

#: Says, in the processes of a benchmark, at which level it runs.
IN_FORCE = "SHOAL_BENCH_LEVEL"
#: What a shell may hold libraries to, which would be no level of ours.
OURS = (
    "SHOAL_SIMD",
    "SHOAL_PLAN",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "FAISS_SIMD_LEVEL",
)
#: oneDAL has no setting for its own kernels: it asks this function, here in place of its own.
SHIM = "int _Z22__daal_serv_cpu_detecti(int enable) { (void)enable; return 4; }\n"
#: The answer 4 is AVX2 to it.
ONEDAL = {0: "SSE2", 2: "SSE4.2", 4: "AVX2", 6: "AVX512"}
#: What OpenBLAS, oneDAL, torch and faiss call kernels with AVX-512, and with AVX2.
CORES = ("SkylakeX", "Cooperlake", "SapphireRapids")
WIDE = (*CORES, "AVX512", "AVX512_SPR", "AVX512_VPOPCNT")
NARROW = ("Haswell", "AVX2")
#: The one of OpenBLAS that every version knows.
KNOWN = "SkylakeX"


@dataclass(frozen=True)
class Level:
    """Environment variables of the processes, and what the contenders must then say they use."""

    suffix: str  # of the names of results
    variables: dict[str, str] = field(default_factory=dict)
    narrow: bool = False  # the peers, too, are held to AVX2


LEVELS = {
    "all": Level(""),
    "avx512": Level("-avx512", {"SHOAL_SIMD": "avx512vnni"}),
    "avx2": Level(
        "-avx2",
        {
            "SHOAL_SIMD": "avx2",
            "OPENBLAS_CORETYPE": "Haswell",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "FAISS_SIMD_LEVEL": "AVX2",
        },
        narrow=True,
    ),
}


def current() -> Level:
    """Return the level in force."""
    return LEVELS[os.environ.get(IN_FORCE, "all")]


def enforce(name: str) -> None:
    """Start this program anew at a level, unless it runs at it."""
    if os.environ.get(IN_FORCE) == name:
        return
    given = {key: value for key, value in os.environ.items() if key not in OURS}
    environment = {**given, **LEVELS[name].variables, IN_FORCE: name}
    if LEVELS[name].narrow:
        environment["LD_PRELOAD"] = str(_shim())
    _again(environment)


def widen(cores: dict[str, str]) -> None:
    """Start anew with AVX-512 kernels, where an OpenBLAS does not know the processor."""
    old = [name for name, core in cores.items() if core not in CORES]
    if not old or current().narrow or "OPENBLAS_CORETYPE" in os.environ:
        return
    named = ", ".join(f"{name} {cores[name]}" for name in old)
    print(f"OPENBLAS_CORETYPE={KNOWN}: by itself OpenBLAS takes old kernels ({named})", flush=True)
    _again({**os.environ, "OPENBLAS_CORETYPE": KNOWN})


def _again(environment: dict[str, str]) -> None:
    sys.stdout.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, environment)


def _shim() -> Path:
    """Compile what holds oneDAL to AVX2, with the system's C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("--level avx2 needs a C compiler (cc), to hold oneDAL to AVX2")
    folder = Path(tempfile.mkdtemp(prefix="shoal-bench-"))
    source, made = folder / "onedal.c", folder / "onedal.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source], check=True)
    return made


def main() -> None:
    """Make the table of training runs at each level, or more of the grid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.levels", description=__doc__)
    parser.add_argument("--levels", default=",".join(LEVELS), help="which; default: all three")
    parser.add_argument("--only", default="train", help="the benchmark: train (default) or grid")
    parser.add_argument(
        "--minutes",
        type=float,
        help="of the grid, for all levels together; goes on at the next call where it ended",
    )
    args, further = parser.parse_known_args()
    names = args.levels.split(",")
    begin = time.monotonic()
    for place, name in enumerate(names):
        command = [sys.executable, "-m", "benchmarks.run", "--only", args.only, "--level", name]
        if args.minutes is not None:
            left = args.minutes - (time.monotonic() - begin) / 60
            minutes = max(left, 0) / (len(names) - place)
            command += ["--resume", "--grid-minutes", f"{minutes:.2f}"]
        print(f"\n== level {name} ==", flush=True)
        subprocess.run([*command, *further], cwd=ROOT, check=True)
    print(f"{(time.monotonic() - begin) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
