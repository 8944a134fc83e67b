"""Columns of Parquet and Arrow files, of any type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
from pyarrow import ipc, parquet

from shoal.errors import BadInputError
from shoal.sources.arrow_formats import MAGIC
from shoal.sources.limits import Limits
from shoal.sources.paths import File, naming


class ArrowReader:
    """Columns as they are stored."""

    def __init__(self, files: list[File], limits: Limits) -> None:
        self._files = files
        self._rows = limits.carried_rows

    def names(self) -> list[str]:
        """Names of all columns of the first file."""
        with naming(self._files[0]), ExitStack() as stack:
            return list(self._opened(self._files[0], stack).names)

    def pieces(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Arrays, of the types that the first file has."""
        types: dict[str, Any] = {}
        for file in self._files:
            with naming(file), ExitStack() as stack:
                table = self._opened(file, stack)
                for name in names:
                    if name not in table.names:
                        raise BadInputError(f"{file.name} has no column {name!r} to keep")
                for batch in table.batches(list(names), self._rows):
                    piece = {name: batch.column(name) for name in names}
                    types = types or {name: one.type for name, one in piece.items()}
                    yield {
                        name: one if one.type == types[name] else one.cast(types[name])
                        for name, one in piece.items()
                    }

    @staticmethod
    def _opened(file: File, stack: ExitStack) -> _Parquet | _Ipc:
        content = stack.enter_context(file.open())
        return _Parquet(content, stack) if file.kind == "parquet" else _Ipc(content, stack)


class _Parquet:
    def __init__(self, content: Any, stack: ExitStack) -> None:
        self._file = stack.enter_context(parquet.ParquetFile(content))
        self.names = self._file.schema_arrow.names

    def batches(self, names: list[str], rows: int) -> Iterator[Any]:
        yield from self._file.iter_batches(rows, columns=names)


class _Ipc:
    def __init__(self, content: Any, stack: ExitStack) -> None:
        whole = content.read(len(MAGIC)) == MAGIC
        content.seek(0)
        self._reader: Any = ipc.open_file(content) if whole else ipc.open_stream(content)
        stack.enter_context(self._reader)
        self._whole = whole
        self.names = self._reader.schema.names

    def batches(self, names: list[str], _rows: int) -> Iterator[Any]:
        numbers = range(self._reader.num_record_batches) if self._whole else ()
        batches = map(self._reader.get_batch, numbers) if self._whole else iter(self._reader)
        for batch in batches:
            yield batch.select(names)


def as_text(array: Any) -> list[Any]:
    """Values of an array as CSV has them; None where there is none."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(array.to_pylist())
    try:
        return list(array.cast(pa.string()).to_pylist())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return [None if one is None else str(one) for one in array.to_pylist()]
