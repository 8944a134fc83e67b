"""Paths to data: what is in the files they stand for, in memory or page by page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from shoal.errors import MissingExtraError
from shoal.sources.array import to_parts
from shoal.sources.columns import Columns
from shoal.sources.csv_pages import open_csv
from shoal.sources.limits import USUAL, Limits
from shoal.sources.npy import read_npy, read_npz
from shoal.sources.pages import ArrayPages, Pages
from shoal.sources.paths import check_unchanged, find_files, naming, of_one_kind, without_names

Path = str | os.PathLike[str]


def open_path(
    path: Path | Sequence[Path], columns: Columns, name: str = "x", limits: Limits = USUAL
) -> Pages:
    """Open a file, the files of a directory or of a pattern, what a URL names, or a list of those.

    Columns of a table that are not numbers are left out, with a warning, unless columns are named.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else path
    files = of_one_kind([file for one in paths for file in find_files(one)])
    kind = files[0].kind
    if kind == "csv":
        return open_csv(files, columns, name, limits)
    if kind in ("npy", "npz"):
        arrays = []
        for file in files:
            with naming(file):
                array = read_npy(file) if kind == "npy" else read_npz(file, columns)
            if columns.needs_names() and isinstance(array, np.ndarray) and not array.dtype.names:
                raise without_names(file)
            arrays.append(array)
        parts = to_parts(arrays if len(arrays) > 1 else arrays[0], columns, name)
        if len(files) > 1:
            parts = [replace(part, name=file.name) for part, file in zip(parts, files, strict=True)]
        return ArrayPages(parts, name, partial(check_unchanged, files, local=True))
    try:
        from shoal.sources.arrow_files import ArrowPages
        from shoal.sources.arrow_formats import IpcReader, ParquetReader
    except ImportError:
        raise MissingExtraError(f"reading {files[0].name}", "pyarrow", "parquet") from None
    reader = ParquetReader() if kind == "parquet" else IpcReader(limits)
    return ArrowPages(files, reader, columns, name, limits)
