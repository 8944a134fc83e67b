"""What a path stands for: a file, the files of a directory, those that a pattern or a URL names.

Files are in the order of their paths. Local files are opened as they are, others through fsspec,
or through the file systems of pyarrow where fsspec lacks a package for them.
"""

from __future__ import annotations

import csv
import glob
import importlib
import logging
import os
import re
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import unquote

from shoal.errors import BadInputError, MissingExtraError, ShoalError
from shoal.sources.unread import by_bytes, by_end

logger = logging.getLogger("shoal")

#: Kinds of files, by what their names end in.
KINDS = {
    ".npy": "npy",
    ".npz": "npz",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
SUFFIXES = tuple(KINDS)
#: Compressed text, by what stands behind such an end: module and class of what reads it.
COMPRESSIONS = {
    ".gz": ("gzip", "GzipFile"),
    ".bz2": ("bz2", "BZ2File"),
    ".xz": ("lzma", "LZMAFile"),
    ".zst": ("compression.zstd", "ZstdFile"),  # since Python 3.14
}

#: What tells that a remote file is another one now, as far as its file system knows.
STAMPS = ("size", "mtime", "last_modified", "LastModified", "updated", "created", "ETag", "etag")

READ_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    NotImplementedError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    MemoryError,
    RuntimeError,  # of zipfile: a file that says it is encrypted; of headers nested without end
    SyntaxError,  # of the header of an array
    tokenize.TokenError,
)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:_-]+://")


@dataclass(frozen=True)
class File:
    """A file as it was when it was found."""

    name: str  # a local path, or a URL
    stamp: tuple[Any, ...]  # size, time of change and the like
    system: Any = None  # an fsspec file system; None: local

    @property
    def kind(self) -> str:
        """What is in it, by its name; "" where that is not known."""
        return kind_of(self.name)

    @property
    def is_compressed(self) -> bool:
        """Whether it is read from its beginning to get anywhere."""
        return without_compression(self.name) != self.name

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.stamp[0] or 0)

    def open(self) -> IO[bytes]:
        """Open it to read bytes."""
        content = None if self.system is None else self.system.open(self.name, "rb")
        if self.is_compressed:
            return _decompressed(self.name, content)
        return open(self.name, "rb") if content is None else content


def kind_of(name: str) -> str:
    """Kind of a file by its name."""
    kind = KINDS.get(os.path.splitext(without_compression(name))[1].lower(), "")
    return kind if kind == "csv" or name == without_compression(name) else ""


def without_compression(name: str) -> str:
    """The name of a file before it was compressed."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in COMPRESSIONS else name


def _decompressed(name: str, content: IO[bytes] | None) -> IO[bytes]:
    """What a compressed file holds; ``content`` is that of one that is not local."""
    module, kind = COMPRESSIONS[os.path.splitext(name)[1].lower()]
    try:
        reader = getattr(importlib.import_module(module), kind)
    except ImportError:
        raise BadInputError(
            f"{name} cannot be read: this Python has no {module}. Decompress it, or use .gz"
        ) from None
    opened: IO[bytes]
    if content is not None and kind == "GzipFile":
        opened = reader(fileobj=content)
    else:
        opened = reader(name if content is None else content)
    return opened


def stamp_of(name: str, system: Any = None) -> tuple[Any, ...]:
    """Size of a file first, and what else tells that it has changed."""
    if system is None:
        found = os.stat(name)
        if not stat.S_ISREG(found.st_mode):
            raise BadInputError(
                f"{name} is no regular file but a pipe, a socket or a device: write its content to "
                "a file, or pass batches"
            )
        return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns
    info = system.info(name)
    return tuple(info.get(key) for key in STAMPS)


def check_unchanged(files: Sequence[File], local: bool = False) -> None:
    """Raise BadInputError where size, time of change or number of a file are not what they were.

    ``local``: but of files behind URLs, which take long to ask for.
    """
    if local:
        files = [file for file in files if file.system is None]
    folders = {file.name.rpartition("/")[0]: file.system for file in files if file.system}
    for system in folders.values():
        system.invalidate_cache()
    for folder, system in folders.items():
        if len(folders) < len(files):
            with suppress(OSError, NotImplementedError):
                system.ls(folder, detail=True)  # asks once for all files, not for each
    for file in files:
        try:
            same = stamp_of(file.name, file.system) == file.stamp
        except OSError:
            same = False
        if not same:
            raise changed(f"{file.name} is gone, or is not as it was when it was opened")


def find_files(path: str | os.PathLike[str]) -> list[File]:
    """Find the files that a path stands for, of known kinds, at least one."""
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    text = local_path(text)
    system = None
    inside = text
    if _URL.match(text):
        system, inside = _remote(text)
        system.invalidate_cache()  # files of now, not of the last time that somebody looked
    try:
        names = _names(text, inside, system)
        return [File(name, stamp_of(name, system), system) for name in names]
    except OSError as error:
        raise BadInputError(f"{text} cannot be read: {error}") from error


def local_path(text: str) -> str:
    """The path that a ``file://`` URL names; others are as they are."""
    if not text.startswith("file://"):
        return text
    return unquote(re.sub(r"^file://(localhost(?=/))?", "", text))


def _names(text: str, inside: str, system: Any) -> list[str]:
    """Paths of the files, in order."""
    is_dir = os.path.isdir if system is None else system.isdir
    is_file = os.path.isfile if system is None else system.isfile
    if is_file(inside):
        if not kind_of(inside):
            raise _unknown(text)
        return [inside]
    if system is None and os.path.exists(inside) and not is_dir(inside):
        stamp_of(inside)  # says what it is
    if is_dir(inside):
        return _of_directory(text, inside, system)
    if not glob.has_magic(inside):
        if kind_of(inside) or (system is None and os.path.exists(inside)):
            raise BadInputError(f"there is no file {text}") if kind_of(inside) else _unknown(text)
        raise BadInputError(f"there is no file or directory {text:.200}{_if_no_path(text)}")
    found = glob.glob(inside, recursive=True) if system is None else system.glob(inside)
    names: set[str] = set()
    for name in found:
        names.update(_of_directory(name, name, system) if is_dir(name) else [name])
    if not names:
        if system is None and (missing := _missing_folder(inside)):
            raise BadInputError(f"there is no directory {missing}, so no file matches {text}")
        raise BadInputError(f"there is no file that matches {text}")
    for name in sorted(names):
        if not kind_of(name):
            raise _unknown(name)
    return sorted(names)


def _missing_folder(pattern: str) -> str | None:
    """The directory that a pattern begins with, where there is none."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder if folder and not os.path.isdir(folder) else None


def of_one_kind(files: list[File]) -> list[File]:
    """The files, which must be of one kind."""
    for file in files:
        if file.kind != files[0].kind:
            raise BadInputError(
                f"these are files of several kinds, {files[0].name} and {file.name}: name those to "
                f"read, with a pattern such as *{os.path.splitext(file.name)[1]}"
            )
    return files


def _unknown(name: str) -> BadInputError:
    return BadInputError(
        f"{name:.200} is of no known kind; files end in one of {SUFFIXES}"
        f"{by_end(name)}{_if_no_path(name)}"
    )


def _if_no_path(name: str) -> str:
    """What to do with text that does not look like a path."""
    if len(name.split()) < 2 and (not name or name.strip("0123456789.,;+-eE[]() ")):
        return ""
    return (
        ". A text is taken as a path: numbers are given as an array, and texts as numbers that "
        "stand for them, from a model of embeddings or scikit-learn's TfidfVectorizer"
    )


def _of_directory(text: str, inside: str, system: Any) -> list[str]:
    """Files of known kinds below a directory; says which others there are."""
    found = _walk(inside) if system is None else system.find(inside)
    start = len(inside.rstrip("/")) + 1
    visible = [
        name for name in found if not any(part[0] in "._" for part in name[start:].split("/"))
    ]
    names = sorted(name for name in visible if kind_of(name))
    if not names:
        raise BadInputError(
            f"{text} is of no known kind: a directory without files that end in one of {SUFFIXES}"
        )
    if len({kind_of(name) for name in names}) > 1:
        return names  # an error, which names two of them
    if others := sorted(set(visible) - set(names)):
        logger.warning("%s: files of no known kind are left out: %s", text, _some(others))
    if keys := {part for name in names for part in name[start:].split("/")[:-1] if "=" in part}:
        logger.warning(
            "%s: what the names of directories say is not read as a column: %s",
            text,
            _some(sorted(keys)),
        )
    return names


def _walk(directory: str) -> Iterable[str]:
    for folder, _, names in os.walk(directory):
        yield from (os.path.join(folder, name) for name in names)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _remote(url: str) -> tuple[Any, str]:
    """File system of a URL, and the path inside it."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"reading {url}", "fsspec", "remote") from None
    try:
        system, inside = fsspec.core.url_to_fs(url)
    except ImportError as missing:  # a package for this protocol
        try:
            system, inside = _through_pyarrow(url)
        except ImportError:
            raise BadInputError(f"{url} cannot be read: {missing}") from missing
        except OSError as error:
            raise BadInputError(f"{url} cannot be read: {error}") from error
    except (ValueError, OSError) as error:
        raise BadInputError(f"{url} cannot be read: {error}") from error
    return system, inside


def _through_pyarrow(url: str) -> tuple[Any, str]:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import ArrowInvalid, fs

    try:
        system, inside = fs.FileSystem.from_uri(url)
    except ArrowInvalid as error:
        raise ImportError(str(error)) from error
    return ArrowFSWrapper(system), inside


@contextmanager
def naming(file: File) -> Iterator[None]:
    """Name the file in errors of reading it."""
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, ShoalError):
            raise
        raise BadInputError(f"{file.name} cannot be read: {_content(file) or error}") from error


def _content(file: File) -> str:
    """What is in a file that cannot be read, where that is of another kind."""
    if file.system is not None or file.is_compressed:
        return ""
    try:
        with open(file.name, "rb") as content:
            return by_bytes(content.read(64), file.kind)
    except OSError:
        return ""


def without_names(file: File) -> BadInputError:
    """Build the error for columns that are asked for by name, of a file that has no names."""
    return BadInputError(
        f"feature_columns and weight_column name columns, but {file.name} has no names of columns: "
        "name no columns, or give a file with names"
    )


def changed(how: str) -> BadInputError:
    """Build the error for data on disk that is no longer what it was."""
    return BadInputError(
        f"the source changed between two passes: {how}. Training reads the same data at each pass: "
        "leave its files alone while it runs, and write new data to new files"
    )
