"""A Ray cluster of this machine for tests, and what is left in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

ray = pytest.importorskip("ray")


def started(**options: Any) -> None:
    """Start a cluster of two processors, that this process is connected to."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    settings = {"address": "local", "num_cpus": 2, "object_store_memory": 200 << 20, **options}
    ray.init(
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
        namespace="shoal",
        **settings,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster for the tests of a module."""
    started()
    yield
    ray.shutdown()


def left() -> list[str]:
    """The workers that there are."""
    return [name for name in ray.util.list_named_actors() if name.startswith("shoal ")]


def assert_nothing_left(but: Sequence[str] = (), seconds: float = 20.0) -> None:
    """No worker, ``but`` these, and nothing in the object store; a while after they were let go."""
    until = time.monotonic() + seconds
    while True:
        has, free = ray.cluster_resources(), ray.available_resources()
        taken = {
            name: has[name] - free.get(name, 0)
            for name in ("CPU", "object_store_memory")
            if has[name] != free.get(name, 0)
        }
        if set(left()) <= set(but) and not taken:
            return
        assert time.monotonic() < until, f"left are {left()} and {taken}"
        time.sleep(0.1)
