"""Results as the files of a directory: one for each part of the data, written where it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shoal
from shoal.cli.data import is_read
from shoal.cli.machines import executor_of
from shoal.cli.output import Result
from shoal.cli.writers import Writer, writing
from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.inference import ROW, SCORES, Inference
from shoal.sources.limits import USUAL, Limits
from shoal.sources.paged import PagedSource
from shoal.sphere import sphere_km
from shoal.storage.files import PART
from shoal.types import Array

#: Of each part, by its number.
NAME = "part-{:05}.parquet"
#: The column of distances in kilometres, of models of places.
KM = "km"


def is_directory(output: str) -> bool:
    """Whether results go into the files of a directory."""
    return output.endswith("/") or Path(output).is_dir()


def check_directory(options: argparse.Namespace) -> None:
    """Refuse a directory that results cannot be written into."""
    folder = Path(options.output)
    if options.keep or options.keep_all:
        raise BadInputError(
            f"{folder} is a directory, whose files have no columns of DATA: their column row says "
            "which rows they are of. Leave --keep out, or write one file"
        )
    if is_read(folder / NAME.format(0), [*options.data, options.model]):
        raise BadInputError(f"{folder} holds the data: choose another directory to write into")
    if not folder.parent.is_dir():
        raise BadInputError(f"there is no directory {folder.parent} for {folder.name}")
    if _there(folder) and not options.force:
        raise BadInputError(f"{folder} holds results already: pass --force to replace them")


def write_parts(
    options: argparse.Namespace,
    model: shoal.KMeansClustering,
    source: PagedSource,
    files: PartFiles,
) -> Result:
    """Write a file for each part of the data, by the worker that has it."""
    folder, given = Path(options.output), model.get_params()
    folder.mkdir(exist_ok=True)
    parameters = Parameters(
        len(model.state.clusters),
        distance_metric=given["distance_metric"],
        **({} if options.threads is None else {"num_threads": options.threads}),
    )
    asked = Inference(model.state, parameters, given["on_bad_rows"], executor_of(options))
    before = _there(folder)
    rows = asked.written(source, (ROW, *files.named), files)
    written = [path for path in _there(folder) if path not in before or _number(path) < files.most]
    for path in [*before, *folder.glob(f".part-*{PART}")]:
        if path not in written:  # of more parts than there are now, or by a worker that was lost
            path.unlink(missing_ok=True)
    return {"rows": rows, "files": len(written), "output": options.output}


@dataclass(frozen=True)
class PartFiles:
    """Opens the file of each part, wherever the part is.

    Parameters
    ----------
    folder
        That all machines see.
    named
        What the columns of results are called.
    most
        How many parts there are.
    metric
        Of a model of places, whose distances are given in kilometres, too.
    limits
        How much is written at a time.
    """

    folder: str
    named: dict[str, str]
    most: int
    metric: str | None = None
    limits: Limits = USUAL

    @contextmanager
    def open(self, number: int) -> Iterator[_PartFile]:
        """Open the file of a part, which appears when all of it is written."""
        with ExitStack() as stack:
            yield _PartFile(self, str(Path(self.folder) / NAME.format(number)), stack)


class _PartFile:
    """A table; there is none of a part without rows."""

    def __init__(self, files: PartFiles, path: str, stack: ExitStack) -> None:
        self._files, self._path, self._stack = files, path, stack
        self._writer: Writer | None = None

    def write(self, outputs: dict[str, Array]) -> None:
        """Append rows."""
        if self._writer is None:
            main = next(iter(self._files.named.values()))
            opened = writing(self._path, main, self._files.limits)
            self._writer = self._stack.enter_context(opened)
        table: dict[str, Any] = {ROW: outputs[ROW]}
        table |= {name: outputs[output] for output, name in self._files.named.items()}
        if self._files.metric is not None and SCORES in outputs:
            table[KM] = sphere_km(outputs[SCORES], self._files.metric)
        self._writer.write(table)


def _there(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("part-")
    return int(digits) if digits.isdecimal() else -1
