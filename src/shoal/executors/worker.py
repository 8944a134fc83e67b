"""A process that holds a shard for whoever lends machines, and answers for it."""

from __future__ import annotations

import io
import os
import pickle
import socket
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from shoal.errors import BadInputError, ShoalError
from shoal.machine import available_threads
from shoal.shards.part import Part
from shoal.shards.shard import Shard
from shoal.version import __version__


class Said(NamedTuple):
    """What came of a message: a value, or the error that was raised."""

    went_well: bool
    value: Any

    def opened(self) -> Any:
        """The value; the error is raised."""
        if not self.went_well:
            raise self.value
        return self.value


class About(NamedTuple):
    """What a worker is, for messages and to share out the threads of its machine."""

    process: int
    host: str
    threads: int  # that it may use, of the whole machine
    version: str  # of shoal


class Packed(NamedTuple):
    """A part to be sent: its description, the memory of its arrays, and what it refers to."""

    content: bytes
    buffers: Sequence[Any]  # of bytes
    refs: Sequence[Any] = ()  # of what lies elsewhere, by whoever lends machines

    def part(self) -> Part:
        """The part; its arrays lie in the memory of ``buffers``, which is only read."""
        part: Part = _Unpickler(self).load()
        return part


class _Unpickler(pickle.Unpickler):
    """Puts references back where they were."""

    def __init__(self, packed: Packed) -> None:
        super().__init__(io.BytesIO(packed.content), buffers=packed.buffers)
        self._refs = packed.refs

    def persistent_load(self, number: Any) -> Any:
        return self._refs[number]


class Worker:
    """Holds a shard, or none, and gives its answers as values: errors do not leave it otherwise."""

    def __init__(self) -> None:
        self._shard: Shard | None = None

    def about(self) -> About:
        """What this is."""
        return About(os.getpid(), socket.gethostname(), available_threads(), __version__)

    def hold(self, sent: Packed | Part, threads: int) -> Said:
        """Make a shard of a part, which uses so many threads."""
        self.let_go()
        try:
            part = _unpacked(sent) if isinstance(sent, Packed) else sent
            self._shard = Shard(part._replace(threads=threads))
        except Exception as error:
            return Said(False, _to_be_sent(error))
        return Said(True, None)

    def let_go(self) -> None:
        """Hold nothing."""
        if self._shard is not None:
            self._shard.close()
        self._shard = None

    def answer(self, message: str, arguments: Sequence[Any]) -> Said:
        """What the shard says to a message, of which arguments may be what others have said."""
        try:
            opened = [one.opened() if isinstance(one, Said) else one for one in arguments]
            return Said(True, getattr(self._shard, message)(*opened))
        except Exception as error:
            return Said(False, _to_be_sent(error))


def _unpacked(sent: Packed) -> Part:
    try:
        return sent.part()
    except ImportError as error:
        raise BadInputError(
            f"a worker on {socket.gethostname()} cannot import what the data is made by: {error}. "
            "Install it on all machines, or define it in the script itself"
        ) from error


def _to_be_sent(error: Exception) -> Exception:
    """The error; of faults of programs, with where they arose, which does not travel otherwise."""
    if isinstance(error, (ShoalError, MemoryError, OSError)):
        return error
    where = f"in a worker on {socket.gethostname()}:\n{''.join(traceback.format_exception(error))}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{where}")
    if hasattr(error, "add_note"):  # since Python 3.11
        error.add_note(where)
    return error
