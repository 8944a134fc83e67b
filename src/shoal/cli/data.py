"""Data of the command line: what DATA stands for, and which files must not be written over."""

from __future__ import annotations

import argparse
import fnmatch
import glob
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeVar

from shoal.cli.places import OnSphere, name_of_places, names_of_places
from shoal.errors import BadInputError
from shoal.sources.columns import Columns
from shoal.sources.csv_pages import open_csv
from shoal.sources.files import open_path
from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages, Pages
from shoal.sources.paths import File, find_files, local_path, stamp_of

logger = logging.getLogger("shoal")

Item = TypeVar("Item")

STANDARD = "-"
STANDARD_INPUT = "standard input"

#: Names that are shown of the columns in use.
MOST_SHOWN = 20


# --- opening ------------------------------------------------------------------------------------


def label(paths: Sequence[str]) -> str:
    """What messages call the data."""
    if list(paths) == [STANDARD]:
        return STANDARD_INPUT
    return paths[0] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def files_of(options: argparse.Namespace) -> list[File]:
    """The files that DATA stands for, in order; standard input as one."""
    if STANDARD not in options.data:
        return [file for path in options.data for file in find_files(path)]
    if len(options.data) > 1:
        raise BadInputError("- is standard input, which cannot be one of several: give it alone")
    if not hasattr(options, "standard_input"):
        options.standard_input = _spooled(options.at_end)
    return [options.standard_input]


def open_data(options: argparse.Namespace, columns: Columns) -> PagedSource:
    """Open DATA; where its columns are those of places, as points of the sphere."""
    trained = names_of_places(columns.named)
    places = options.sphere or trained
    asked = columns._replace(features=places, learned=None) if places else columns
    files, name = files_of(options), label(options.data)
    if name == STANDARD_INPUT:
        pages = open_csv(files, asked, name, options.limits)
    else:
        pages = open_path(options.data, asked, name, options.limits)
    if places:
        on_sphere = OnSphere(pages, places, name_of_places(trained or places))
        pages = on_sphere
        if on_sphere.resident:
            pages = ArrayPages(list(on_sphere.stream()), check=on_sphere.check_unchanged)
    source = PagedSource(pages, None, True, limits=options.limits)
    source.named = columns
    return source


class _Spooled:
    """A file system of one file: what standard input held."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def open(self, _name: str, _mode: str) -> IO[bytes]:
        """Open it, as often as it is wanted."""
        return open(self._file.name, "rb")

    def info(self, _name: str) -> dict[str, Any]:
        """Size and time: no one writes to it."""
        found = os.stat(self._file.name)
        return {"size": found.st_size, "mtime": found.st_mtime_ns}

    def invalidate_cache(self) -> None:
        """There is none."""

    def ls(self, *_: Any, **__: Any) -> None:
        """There is no folder."""


def _spooled(at_end: ExitStack) -> File:
    """Standard input, kept in a temporary file: training reads its data more than once."""
    if sys.stdin is None:
        raise BadInputError("standard input is closed: there is nothing to read")
    kept = tempfile.NamedTemporaryFile(prefix="shoal-", suffix=".csv")  # noqa: SIM115
    file = at_end.enter_context(kept)
    try:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        file.flush()
    except OSError as error:
        raise BadInputError(f"{STANDARD_INPUT} cannot be read: {error}") from error
    size = file.tell()
    logger.info("standard input: %s bytes, kept in a temporary file until the end", f"{size:,}")
    system = _Spooled(file)
    return File(STANDARD_INPUT, stamp_of(STANDARD_INPUT, system), system)


def readable(batches: Iterator[Item], name: str) -> Iterator[Item]:
    """The batches; where the system cannot read on, the error says so of the data."""
    try:
        yield from batches
    except OSError as error:
        raise BadInputError(f"{name} cannot be read: {error}") from error


def say_columns(pages: Pages, chosen: bool) -> None:
    """Say which columns are used, and warn of numbers beside lists that no one has chosen."""
    names = [str(name) for name in pages.columns or ()]
    if not names:
        logger.info("columns in use: %d, without names", pages.dim)
        return
    widths: dict[str, int | None] = getattr(pages, "widths", {})
    shown = [
        name if widths.get(name) is None else f"{name} ({widths[name]} numbers a row)"
        for name in names[:MOST_SHOWN]
    ]
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    logger.info("columns in use: %s%s", ", ".join(shown), more)
    lists = [name for name in names if widths.get(name) is not None]
    single = [name for name in names if name not in lists]
    if lists and single and not chosen:
        are = "is a feature like each number" if len(single) == 1 else "are features like those"
        logger.warning(
            "%s %s of %s. If there are ids among them, they decide the clusters: name the columns "
            "to use, --columns %s",
            ", ".join(single[:MOST_SHOWN]),
            are,
            ", ".join(lists[:MOST_SHOWN]),
            ",".join(lists[:MOST_SHOWN]),
        )


# --- what is not to be written over --------------------------------------------------------------


def is_read(target: Path, paths: Sequence[str]) -> bool:
    """Whether ``target`` is, or would be, one of the files that ``paths`` stand for.

    Links are followed, and hard links known: what counts is which file it is.
    """
    return any(_is_one_of(target, path) for path in paths)


def _is_one_of(target: Path, given: str) -> bool:
    if given == STANDARD:
        return _is_standard_input(target)
    given = local_path(given)
    if Path(given).is_dir():
        inside = target.resolve().is_relative_to(Path(given).resolve())
        return inside or _is_same_as_any(target, Path(given).rglob("*"))
    if _is_same_as_any(target, [Path(given)]):
        return True
    if not glob.has_magic(given) or Path(given).exists():
        return False
    named = (Path(name) for name in glob.iglob(given, recursive=True))
    return _is_same_as_any(target, named) or _would_match(target, given)


def _is_same_as_any(target: Path, others: Iterator[Path] | list[Path]) -> bool:
    return target.exists() and any(one.exists() and target.samefile(one) for one in others)


def _is_standard_input(target: Path) -> bool:
    try:
        return target.exists() and os.path.samestat(target.stat(), os.fstat(sys.stdin.fileno()))
    except (OSError, ValueError, AttributeError):  # it is no file
        return False


def _would_match(target: Path, pattern: str) -> bool:
    """Whether a pattern stands for a file that need not be there yet."""
    parts = Path(os.path.abspath(pattern)).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    start = Path(*parts[:fixed]).resolve()
    where = target.parent.resolve() / target.name
    return where.is_relative_to(start) and _matches(
        list(where.relative_to(start).parts), list(parts[fixed:])
    )


def _matches(names: list[str], parts: list[str]) -> bool:
    """Whether the names on a path are those that the parts of a pattern stand for."""
    if not parts:
        return not names
    if parts[0] == "**":
        return _matches(names, parts[1:]) or (bool(names) and _matches(names[1:], parts))
    if not names or (names[0].startswith(".") and not parts[0].startswith(".")):
        return False
    return fnmatch.fnmatch(names[0], parts[0]) and _matches(names[1:], parts[1:])
