"""Files that survive: written whole or not at all, and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import socket
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from shoal.errors import BadInputError, CheckpointError, ModelDirLockedError

#: File systems that know no locks answer so.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
PART = ".part"
#: Seconds in which a part may not be held yet.
YOUNG = 60
#: What may have come from others, a directory with a model in it, leads nowhere else.
NO_LINKS = os.O_NOFOLLOW | os.O_CLOEXEC
A_LINK = "a symbolic link, which is not followed from inside of a model_dir"

#: Descriptors of the locks that this process holds. A forked child closes them, so that a lock
#: ends with the process that took it.
_held: set[int] = set()


def _let_go() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


def write_whole(path: Path, parts: Iterable[Any]) -> None:
    """Write ``parts`` beside ``path``, wait until they are stored, then give them its name.

    Whatever interrupts it, there is the old file or the new one. Raises OSError, naming ``path``.
    """
    with _beside(path) as descriptor:
        for part in parts:
            rest = memoryview(part)
            while len(rest):
                rest = rest[os.write(descriptor, rest) :]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write, which appears at ``path`` whole or not at all.

    Raises
    ------
    BadInputError
        If it cannot be written there.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} to write {target.name} in")
    _remove_abandoned(target)
    try:
        with _beside(target) as descriptor, open(descriptor, "wb", closefd=False) as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInputError(f"{target} cannot be written: {reason}") from error


@contextmanager
def _beside(path: Path) -> Iterator[int]:
    """Give the descriptor of a new file, which is stored and then named ``path``."""
    # A name of its own: several processes may write at once.
    beside = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with suppress(FileNotFoundError):
            os.unlink(beside)  # of a process of the same number that was killed, or put there
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS, 0o666)
        try:
            hold(descriptor)
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(beside)
        if isinstance(error, OSError) and error.errno is not None:
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def is_abandoned(part: Path, now: float) -> bool:
    """Whether nobody writes a part any more: its writer, who holds it, was killed.

    Where that cannot be told, and of what is younger than a minute, False.
    """
    try:
        if now - part.lstat().st_mtime < YOUNG:
            return False
        descriptor = os.open(part, os.O_RDONLY | NO_LINKS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def hold(descriptor: int) -> None:
    """Tell others that a part is being written, until ``descriptor`` is closed."""
    with suppress(OSError):  # a file system without locks: nobody will find it abandoned
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_abandoned(path: Path) -> None:
    """Remove parts of ``path`` that killed processes have left."""
    now = time.time()
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        if is_abandoned(part, now):
            with suppress(OSError):
                os.unlink(part)


def open_no_link(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file for writing, but not through a symbolic link: OSError, which says so."""
    try:
        return os.open(path, flags | NO_LINKS, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(error.errno, f"{A_LINK}: remove it", os.fspath(path)) from None


def check_no_link(folder: Path) -> None:
    """OSError where a directory inside of a model's is a symbolic link."""
    if folder.is_symlink():
        raise OSError(
            errno.ELOOP, f"{A_LINK}: let the model_dir itself be on the other disk", str(folder)
        )


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are stored."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_LOCKS:  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for writing; ModelDirLockedError where another process does.

    The lock belongs to the open file and goes with the process, however that ends. What is written
    in the file only says who holds it.
    """
    path = folder / ".lock"
    descriptor = open_no_link(path, os.O_RDWR | os.O_CREAT)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise _locked(folder, descriptor, error) from None
            warnings.warn(
                f"the file system of {folder} has no locks: take care that only one process "
                "trains there",
                UserWarning,
                stacklevel=3,
            )
        holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)


def _locked(folder: Path, descriptor: int, error: OSError) -> Exception:
    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
        return CheckpointError(f"{folder} cannot be locked: {error.strerror}")
    who = "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads(os.pread(descriptor, 4096, 0))
        pid, host = int(holder["pid"]), str(holder["host"])
        here = pid == os.getpid() and host == socket.gethostname()
        who = f"process {pid} on {host}" + (", this one" if here else "")
    return ModelDirLockedError(
        f"model_dir {folder} is being trained by {who}: wait for it to end or stop it, or use "
        "another model_dir. Reading (predict, evaluate, clusters) needs no lock"
    )
