"""A Ray cluster: the one place that speaks to Ray, and says its errors in our words."""

from __future__ import annotations

import io
import itertools
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import shoal.version
from shoal.errors import BadInputError, ClusterError, MissingExtraError
from shoal.executors.worker import Packed
from shoal.shards.part import UNPICKLABLE, Part, cannot_be_sent

#: The address that starts a cluster of this machine alone.
LOCAL = "local"

#: Seconds between two looks at whether the cluster is there still, and for how many it may be away:
#: Ray ends this process when it was away for 60.
LOOK = 5.0
AWAY = 30.0

#: What a worker is given of a machine, by Ray's names: options of its own, and others.
OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}

#: Folders of what is installed: where shoal lies there, workers find theirs by themselves.
INSTALLED = ("site-packages", "dist-packages")


class Gone(Exception):  # noqa: N818 - an event more than a mistake
    """A worker has ended, or an answer of it is lost."""


class Missing(Gone):
    """The worker is there, but an answer of another one that it was sent is lost."""


class Cluster:
    """Connected to Ray: makes workers, takes values, waits for answers.

    Parameters
    ----------
    address
        Of the cluster; None: the one this process is connected to, else the one that Ray finds
        (the variable RAY_ADDRESS), else one of this machine alone; "local": that.
    """

    def __init__(self, address: str | None) -> None:
        self._ray = ray = _load()
        self._names = itertools.count()
        self._run = secrets.token_hex(4)
        self._kind = ray.remote(_worker_class())
        self._pickler = _pickler_class(ray)
        self._seen = time.monotonic()
        self.connected = not ray.is_initialized()  # by this: whose work it is to disconnect
        if not self.connected:
            _check_address(ray, address)
            self._session = self._here()
            return
        try:
            _look_at(address if address is not None else os.environ.get("RAY_ADDRESS", LOCAL))
            ray.init(
                address=address,
                include_dashboard=None if address not in (None, LOCAL) else False,
                configure_logging=False,
                log_to_driver=False,
                namespace="shoal",
            )
        except TypeError:
            raise
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            raise ClusterError(
                f"address is {address!r}, and no Ray cluster can be reached there: "
                f"{_first(error)}. Start one with `ray start --head`, or use address='local' for "
                "this machine alone"
            ) from error

        self._session = self._here()

    def _here(self) -> tuple[Any, ...]:
        """What this process is connected to."""
        context = self._ray.get_runtime_context()
        return context.gcs_address, context.get_job_id()

    @property
    def current(self) -> bool:
        """Whether this process is connected to this cluster still, and not to none or another."""
        return self._ray.is_initialized() and self._here() == self._session

    def disconnect(self) -> None:
        """Leave the cluster; one that was started for this ends."""
        if self.connected and self.current:
            self._ray.shutdown()

    # --- workers ---------------------------------------------------------------------------

    def worker(self, resources: dict[str, float]) -> Any:
        """Ask for a worker, which is yet to come."""
        given: dict[str, Any] = {
            OPTIONS[name]: amount for name, amount in resources.items() if name in OPTIONS
        }
        given["resources"] = {
            name: amount for name, amount in resources.items() if name not in OPTIONS
        }
        with self._in_our_words():
            return self._kind.options(
                name=f"shoal {self._run} {next(self._names)}",
                scheduling_strategy="SPREAD",
                max_restarts=0,
                **given,
            ).remote(*_folder())

    def ask(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Call a method of a worker; arguments may be what ``put`` and ``ask`` have returned."""
        with self._in_our_words():
            return getattr(worker, method).remote(*arguments)

    def kill(self, worker: Any) -> None:
        """End a worker, whatever it does."""
        if self._ray.is_initialized():
            self._ray.kill(worker, no_restart=True)

    def resources(self, also: Iterable[str] = ()) -> str:
        """What of processors, and of other resources, the cluster has, and what is free."""
        with self._in_our_words():
            has, free = self._ray.cluster_resources(), self._ray.available_resources()
        names = dict.fromkeys(["CPU", *also])
        return ", ".join(f"{free.get(name, 0):g} of {has.get(name, 0):g} {name}" for name in names)

    # --- values ----------------------------------------------------------------------------

    def put(self, value: Any) -> Any:
        """Put a value where all workers can read it."""
        with self._in_our_words():
            return self._ray.put(value)

    def pack(self, part: Part) -> Any:
        """Put a part where its arrays need not be copied to be read: as content and buffers."""
        content, buffers, refs = io.BytesIO(), list[Any](), list[Any]()
        pickler = self._pickler(content, protocol=5, buffer_callback=buffers.append)
        pickler.refs = refs
        try:
            pickler.dump(part)
        except UNPICKLABLE as error:
            raise cannot_be_sent(part, error) from error
        arrays = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        return self.put(Packed(content.getvalue(), arrays, refs))

    def wait(self, answers: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for answers, no longer than so many seconds; returns those that are not there."""
        until = time.monotonic() + seconds
        waiting: list[Any] = list(dict.fromkeys(answers))
        while waiting:
            left = max(until - time.monotonic(), 0)
            with self._in_our_words():
                self._look()
                _, waiting = self._ray.wait(
                    waiting, num_returns=len(waiting), timeout=min(left, LOOK)
                )
            if waiting and left == 0:
                return waiting
        return []

    def first(self, answers: Sequence[Any], seconds: float) -> int | None:
        """Wait for one of some answers, no longer than so many seconds; its place."""
        until = time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), 0)
            with self._in_our_words():
                self._look()
                there, _ = self._ray.wait(list(answers), num_returns=1, timeout=min(left, LOOK))
            if there:
                return list(answers).index(there[0])
            if left == 0:
                return None

    def read(self, answer: Any) -> Any:
        """An answer, or a list of them, that are there.

        Raises Gone where the worker of one is gone, or what it has said.
        """
        with self._in_our_words():
            return self._ray.get(answer, timeout=AWAY)

    def _look(self) -> None:
        """Refuse to wait for a cluster that has been away for long."""
        now = time.monotonic()
        if now - self._seen < LOOK:
            return
        try:
            _look_at(self._ray.get_runtime_context().gcs_address)
            self._seen = time.monotonic()
        except OSError as error:
            if now - self._seen > AWAY:
                raise ConnectionError(str(error)) from error

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        errors = self._ray.exceptions
        full = (errors.ObjectStoreFullError, errors.OutOfDiskError)
        none = (errors.ActorUnschedulableError, errors.TaskUnschedulableError)
        gone = (errors.RaySystemError, errors.LocalRayletDiedError, errors.NodeDiedError)
        try:
            if not self._ray.is_initialized():
                raise errors.RaySystemError("this process is not connected to it any more")
            yield
        except full as error:
            raise ClusterError(
                "the object store of the cluster is full, and so is the disk that it spills to: "
                "give files, which workers read themselves, instead of arrays, or start Ray with a "
                f"larger object_store_memory ({_first(error)})"
            ) from error
        except none as error:
            raise ClusterError(f"the cluster has no place for a worker: {_first(error)}") from error
        except gone as error:
            raise ClusterError(
                f"the cluster is gone: {_first(error)}. With a model_dir, the same call goes on "
                "from the last checkpoint once there is a cluster again"
            ) from error
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, errors.RayError) or not isinstance(cause, Exception):
                raise Missing(_first(error)) from error
            raise cause from error
        except errors.RayError as error:
            raise Gone(_first(error)) from error
        except ConnectionError as error:
            raise ClusterError(f"the cluster is gone: {_first(error)}") from error


def _load() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingExtraError("RayExecutor", "ray", "ray") from None
    return ray


def _look_at(address: str) -> None:
    """Raise OSError where no one answers at ``host:port``; Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK).close()


def _check_address(ray: Any, address: str | None) -> None:
    """Refuse another cluster than the one that this process is connected to."""
    here = ray.get_runtime_context().gcs_address
    if address not in (None, LOCAL, "auto", here):
        raise BadInputError(
            f"address is {address!r}, but this process is connected to the Ray cluster at {here}: "
            "leave address out to use that, or call ray.shutdown() before"
        )


def _worker_class() -> type[Any]:
    """The class of workers, which is sent to them: they may be yet to find shoal."""

    class ShoalWorker:
        def __init__(self, folder: str, own: bool) -> None:
            import importlib.util
            import os
            import sys

            there = os.path.isdir(os.path.join(folder, "shoal"))
            if there and (own or importlib.util.find_spec("shoal") is None):
                sys.path.insert(0, folder)
            from shoal.executors.worker import Worker

            self._worker = Worker()

        def about(self) -> Any:
            return self._worker.about()

        def hold(self, packed: Any, threads: int) -> Any:
            return self._worker.hold(packed, threads)

        def let_go(self) -> None:
            self._worker.let_go()

        def answer(self, message: str, *arguments: Any) -> Any:
            return self._worker.answer(message, arguments)

    return ShoalWorker


def _pickler_class(ray: Any) -> type[Any]:
    """What pickles all but references to the object store.

    Those are beside what it makes, not inside of its bytes, so that Ray sees them: it keeps what
    they refer to as long as they are there, and no longer.
    """

    class Pickler(ray.cloudpickle.CloudPickler):  # type: ignore[misc]
        refs: list[Any]

        def persistent_id(self, value: Any) -> int | None:
            if not isinstance(value, ray.ObjectRef):
                return None
            self.refs.append(value)
            return len(self.refs) - 1

    return Pickler


def _folder() -> tuple[str, bool]:
    """Where this shoal lies, and whether that is a place of its own, which workers do not know."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(shoal.version.__file__)))
    return folder, os.path.basename(folder) not in INSTALLED


def _first(error: BaseException) -> str:
    """The first line of what an error says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")
