"""Directories of exports: each appears whole or not at all, under a number that only grows."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.checks import path_of
from shoal.errors import BadInputError
from shoal.storage.files import PART, hold, is_abandoned, sync_folder

logger = logging.getLogger("shoal")

#: What programs that serve take for a version.
NUMBER = re.compile(r"\d+")
#: What an export is called until it is whole.
ABANDONED = re.compile(r"\.([0-9]+\.)?[0-9a-f]{8}" + re.escape(PART))
TAKEN = (errno.EEXIST, errno.ENOTEMPTY)

#: What writes the files of an export into a directory that is there, and empty.
Writer = Callable[[Path], None]


def check_base(name: str, given: object) -> Path:
    """Return the directory that exports are written in; it need not be there."""
    path = path_of(name, given, "a directory").absolute()
    text = str(given)
    if not text or "://" in text:
        raise BadInputError(
            f"{name} is {text!r}; it must be the path of a directory of this machine"
        )
    if path.exists() and not path.is_dir():
        raise BadInputError(f"{name} is {text!r}, which is not a directory")
    return path


def numbers(base: Path) -> dict[int, Path]:
    """The directories with a number for a name."""
    found = sorted(path for path in base.iterdir() if NUMBER.fullmatch(path.name))
    return {int(path.name): path for path in found if path.is_dir()}


def write_stamped(base: Path, write: Writer) -> Path:
    """Write an export into ``base/SECONDS``, whole or not at all.

    The number is the time in seconds since 1970, or one more than the largest that is there: what
    is served is always the last.
    """
    with _beside(base) as part:
        write(part)
        while True:
            number = max(int(time.time()), max(numbers(base), default=0) + 1)
            if _renamed(part, base / str(number)):
                return base / str(number)


def write_numbered(base: Path, name: str, write: Writer) -> Path:
    """Write an export into ``base/name``, whole or not at all; refuse one that is there."""
    path = base / name
    if not path.exists():
        with _beside(base) as part:
            write(part)
            if _renamed(part, path):
                return path
    raise BadInputError(
        f"{path} is there already, and what may be in use is not overwritten: train further, or "
        "export to another directory"
    )


def remove_oldest(base: Path, keep: int, newest: Path, is_export: Callable[[Path], bool]) -> None:
    """Remove all exports but the ``keep`` of the largest numbers; never ``newest``."""
    exports = [path for _, path in sorted(numbers(base).items()) if is_export(path)]
    for path in exports[: max(len(exports) - keep, 0)]:
        if path == newest:
            continue
        gone = base / f".{path.name}.{secrets.token_hex(4)}{PART}"  # nobody reads half of one
        try:
            os.rename(path, gone)
            shutil.rmtree(gone)
        except OSError as error:
            logger.warning("the export %s cannot be removed: %s", path, error.strerror)


@contextmanager
def _beside(base: Path) -> Iterator[Path]:
    """Give an empty directory in ``base`` that is gone afterwards, unless it was renamed.

    Raises
    ------
    BadInputError
        If something cannot be written there.
    """
    part = base / f".{secrets.token_hex(4)}{PART}"
    made = [path for path in (base, *base.parents) if not path.exists()]
    written = False
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(base)
        part.mkdir()
        with _held(part):
            yield part
        written = True
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInputError(f"an export cannot be written to {base}: {reason}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if not written:
            with suppress(OSError):  # others may have put something there
                for path in made:
                    path.rmdir()


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Tell others that somebody writes into a directory."""
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        hold(descriptor)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(base: Path) -> None:
    """Remove what exports that were killed have left."""
    now = time.time()
    for path in base.iterdir():
        if ABANDONED.fullmatch(path.name) and is_abandoned(path, now):
            shutil.rmtree(path, ignore_errors=True)


def _renamed(part: Path, path: Path) -> bool:
    """Wait until the files are stored, then give the directory its name; False if it is taken."""
    for folder, _, files in os.walk(part, topdown=False):
        for name in files:
            descriptor = os.open(Path(folder, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))
    if path.exists():  # an empty directory would be replaced
        return False
    try:
        os.rename(part, path)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    sync_folder(path.parent)
    return True
