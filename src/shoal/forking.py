"""What is done before this process forks."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress

#: Packages that are imported when they are first needed, by whichever thread that is.
LATE = ("shoal", "pyarrow", "fsspec")


def wait_for_imports() -> None:
    """Wait for what other threads are importing.

    A child has their locks and not the threads: it would wait for ever where it imports the same.
    """
    waited: set[str] = set()  # once for each: what this thread is importing is not to be waited for
    while waiting := {name for name in list(sys.modules) if _is_late(name)} - waited:
        waited |= waiting
        for name in waiting:
            with suppress(Exception):  # it is told to the thread that imports
                importlib.import_module(name)


def _is_late(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return name.partition(".")[0] in LATE and bool(getattr(spec, "_initializing", False))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=wait_for_imports)
