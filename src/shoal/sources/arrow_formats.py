"""Formats of files of Arrow tables: Parquet, and Arrow IPC (Feather)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import ipc, parquet

from shoal.sources.arrow import Layout, holds_numbers, types_of
from shoal.sources.limits import Limits
from shoal.sources.paths import File

#: Bytes of a column of a local Parquet file that are read at a time, and of all of them.
BUFFER_BYTES, BUFFERS_BYTES = 64 << 10, 16 << 20

#: What a file that holds its own index begins with; a stream does not.
MAGIC = b"ARROW1"


class ParquetReader:
    """Parquet: a page is a row group."""

    def head(self, file: File) -> tuple[Any, list[int]]:
        """Schema of a file, and the rows of each row group."""
        with self._open(file) as opened:
            groups = opened.metadata.num_row_groups
            rows = [opened.metadata.row_group(i).num_rows for i in range(groups)]
            return opened.schema_arrow, rows

    def batches(
        self, file: File, pages: Sequence[int], layout: Layout, most: int | None
    ) -> Iterator[Any]:
        """Decode row groups one after the other, some rows at a time."""
        room = max(1, layout.limits.batch // layout.row_bytes)
        room = room if most is None else min(room, most)
        with self._open(file, BUFFERS_BYTES // len(layout.used)) as opened:
            for page in pages:
                rows = max(1, opened.metadata.row_group(page).num_rows)
                rows = -(-rows // -(-rows // room))  # in parts of one size
                yield from opened.iter_batches(rows, row_groups=[page], columns=layout.used)

    def column(self, file: File, name: str) -> Iterator[Any]:
        """Arrays of one column."""
        with self._open(file) as opened:
            for batch in opened.iter_batches(256, columns=[name]):
                yield batch.column(name)

    def maps(self, name: str) -> bool:
        """Never."""
        del name
        return False

    @contextmanager
    def _open(self, file: File, buffer: int = BUFFER_BYTES) -> Iterator[Any]:
        """A local file is read as it is decoded; of others, a whole row group is fetched at once.

        No memory map: it counts as memory of the process, and one of a file that is cut short
        ends the process.
        """
        if file.system is None:
            size = max(4096, min(buffer, BUFFER_BYTES))
            with parquet.ParquetFile(file.name, pre_buffer=False, buffer_size=size) as opened:
                yield opened
            return
        with file.open() as content, parquet.ParquetFile(content, pre_buffer=True) as opened:
            yield opened


class IpcReader:
    """Arrow IPC files, Feather among them, and streams in files.

    A page is a record batch or, where batches are mapped, a part of one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._plain: dict[str, bool] = {}  # whether batches of a file are mapped
        self._pages: dict[str, list[tuple[int, int, int]]] = {}  # batch, first row, rows
        self._offsets: dict[str, list[int]] = {}  # of record batches, in streams

    def head(self, file: File) -> tuple[Any, list[int]]:
        """Schema of a file, and the rows of each page."""
        with self._open(file, []) as reader:
            schema = reader.schema
        cheap = [name for name, kind in types_of(schema, file.name).items() if holds_numbers(kind)]
        pages = self._pages[file.name] = []
        with self._open(file, cheap[:1]) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                rows = step = batch.num_rows
                if self._plain[file.name] and rows:
                    step = max(1, self._limits.batch * rows // max(1, batch.nbytes))
                starts = range(0, rows, max(1, step))
                pages += [(number, start, min(step, rows - start)) for start in starts]
        return schema, [rows for _, _, rows in pages]

    def batches(
        self, file: File, pages: Sequence[int], layout: Layout, most: int | None
    ) -> Iterator[Any]:
        """Read pages one after the other."""
        del most  # a page is decoded at once
        with self._open(file, layout.used) as reader:
            for page in pages:
                number, start, rows = self._pages[file.name][page]
                yield reader.get_batch(number).slice(start, rows)

    def column(self, file: File, name: str) -> Iterator[Any]:
        """Arrays of one column."""
        with self._open(file, [name]) as reader:
            for page in range(reader.num_record_batches):
                yield reader.get_batch(page).column(name)

    def maps(self, name: str) -> bool:
        """Whether batches of a file are not compressed."""
        return self._plain.get(name, False)

    @contextmanager
    def _open(self, file: File, names: Iterable[str]) -> Iterator[Any]:
        """A reader of some columns; of all where that reads nothing."""
        with _mapped(file) as content:
            if content.read(len(MAGIC)) != MAGIC:
                stream = _Stream(content, self._offsets.get(file.name))
                self._offsets[file.name] = stream.offsets
                self._look_at(file, content, stream)
                yield stream
                return
            with ipc.open_file(content) as reader:
                self._look_at(file, content, reader)
                fields = [reader.schema.get_field_index(name) for name in names]
                if self._plain[file.name]:
                    yield reader
                    return
            options = ipc.IpcReadOptions(included_fields=fields)
            with ipc.open_file(content, options=options) as reader:
                yield reader

    def _look_at(self, file: File, content: Any, reader: Any) -> None:
        if file.name not in self._plain:
            self._plain[file.name] = _is_mapped(content, reader)


class _Stream:
    """Record batches of an Arrow stream, such as Hugging Face's datasets write, in any order."""

    def __init__(self, content: Any, offsets: list[int] | None) -> None:
        content.seek(0)
        self._content = content
        self.schema = ipc.read_schema(ipc.read_message(content))
        self.offsets = list(self._found()) if offsets is None else offsets
        self.num_record_batches = len(self.offsets)

    def get_batch(self, number: int) -> Any:
        """One record batch."""
        self._content.seek(self.offsets[number])
        return ipc.read_record_batch(ipc.read_message(self._content), self.schema)

    def _found(self) -> Iterator[int]:
        while True:
            offset = self._content.tell()
            try:
                message = ipc.read_message(self._content)
            except EOFError:
                return
            if message.type == "dictionary":
                raise ValueError(
                    "it is an Arrow stream with dictionaries, which must be read in order: write "
                    "it as an Arrow file (pyarrow.ipc.new_file)"
                )
            yield offset


def _mapped(file: File) -> Any:
    if file.system is not None:
        return pa.PythonFile(file.open(), "r")
    try:
        return pa.memory_map(file.name)
    except (OSError, pa.ArrowException):  # no address space left for it
        return pa.OSFile(file.name)


def _is_mapped(content: Any, reader: Any) -> bool:
    """Whether record batches are mapped: their buffers lie inside the file, not compressed."""
    if not isinstance(content, pa.MemoryMappedFile) or not reader.num_record_batches:
        return False
    content.seek(0)
    start = content.read_buffer(1).address
    columns = reader.get_batch(0).columns
    buffers = [buffer for column in columns for buffer in column.buffers() if buffer]
    return all(start <= buffer.address < start + content.size() for buffer in buffers)
