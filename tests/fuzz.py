"""Many random cases at each door of shoal: ``python tests/fuzz.py --cases 100000 --seed 1``.

Cases are run a few hundred to a process, so that one which ends its process is told from the
others and is not the last. Prints what came out of each door; exit code 1 if anything but a right
answer or an error of shoal did.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_files
import fuzz_rows
import hypothesis
from hypothesis import strategies as st

import shoal

CHUNK = 500  # cases of one process
# Where there is a file system in memory, nobody waits for the disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def doors(folder: Path) -> dict[str, Callable[..., str]]:
    """Each door by its name; those of files write into ``folder``."""
    at = fuzz_files.Folder(folder / "case")
    found: dict[str, Callable[..., str]] = {
        door.__name__: door
        for door in (fuzz_rows.arrays, fuzz_rows.weights, fuzz_rows.tables, fuzz_rows.parameters)
    }
    for door in (
        fuzz_files.files, fuzz_files.models, fuzz_files.crafted,
        fuzz_files.directories, fuzz_files.commands,
    ):  # fmt: skip
        found[door.__name__] = partial(door, folder=at)
    return found


def outcome(door: Callable[..., str], draw: Any) -> str:
    """What one case ends in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return door(draw)
        except shoal.ShoalError as error:
            return f"{type(error).__name__}{'' if str(error).strip() else ' that says nothing'}"


def check(door: Callable[..., str], cases: int, seed: int, note: Callable[[str], None]) -> Any:
    """A hypothesis test of so many cases at a door."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.data())
    def test(data: Any) -> None:
        note(outcome(door, data.draw))

    return test


# ---- In a process of its own ----


def child(name: str, cases: int, seed: int, counts_file: Path) -> None:
    """Run cases of a door and write what they ended in, after each: the next may be the last."""
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        door = doors(Path(folder))[name]

        def note(what: str) -> None:
            counts[what] += 1
            counts_file.write_text(json.dumps(counts))

        check(door, cases, seed, note)()


# ---- All doors ----


def run(name: str, cases: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Cases of a door in processes of ``CHUNK``; what came out, and what failed."""
    counts: collections.Counter[str] = collections.Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, cases, CHUNK):
            at = Path(folder) / "counts.json"
            at.unlink(missing_ok=True)
            size, its_seed = min(CHUNK, cases - first), seed * 1_000_003 + first
            command = [sys.executable, __file__, "--child", name, "--cases", str(size)]
            command += ["--seed", str(its_seed), "--counts", str(at)]
            try:
                ran = subprocess.run(
                    command, capture_output=True, text=True, timeout=900, check=False
                )
                code, said = ran.returncode, ran.stderr + ran.stdout
            except subprocess.TimeoutExpired as late:
                code, said = -1, f"not done after 900 s: {late.stderr!r}"
            counts.update(json.loads(at.read_text()) if at.exists() else {})
            if code:
                failures.append(
                    f"{name}, seed {its_seed}, {size} cases: exit code {code}\n{said[-6000:]}"
                )
    return counts, failures


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000, help="of all doors together")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--door", help="this one only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--counts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable()
    os.environ.setdefault("COLUMNS", "100")
    if options.child:
        child(options.child, options.cases, options.seed, options.counts)
        return 0
    names = [options.door] if options.door else list(doors(Path()))
    print(f"seed {options.seed}", flush=True)
    failed = 0
    for name in names:
        began = time.monotonic()
        counts, failures = run(name, options.cases // len(names), options.seed)
        took = time.monotonic() - began
        found = ", ".join(f"{what} {count:,}" for what, count in counts.most_common())
        print(f"{name}: {sum(counts.values()):,} cases in {took:.0f} s: {found}", flush=True)
        failed += len(failures)
        for failure in failures:
            print(failure, flush=True)
    print(
        f"{failed} runs of cases failed"
        if failed
        else "every outcome is an answer or an error of shoal"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
