"""How much of data is read, computed and written at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields

from shoal.checks import whole_number


@dataclass(frozen=True)
class Limits:
    """How much of data is in memory or in work at a time; no result depends on it.

    For machines of little memory, or of much. In which order mini-batches take rows is a result, so
    the rows that are shuffled together are no limit.

    Parameters
    ----------
    piece
        Bytes of rows that are read at a time (default: 16 MiB).
    batch
        Bytes of rows of Parquet and Arrow files that are decoded at a time (32 MiB).
    csv_page
        Bytes of text of CSV files that are read at a time (4 MiB).
    csv_kept
        Bytes of values of CSV files that are kept in memory when the files are opened; of more,
        none are (256 MiB).
    csv_records
        Records of CSV files that are parsed at a time where pyarrow does not do it (4096).
    answer_rows
        The most rows that are compared with trained centers at a time, where no one asks for
        batches (4,194,304); work of more than about a second takes fewer, but not below 65,536.
    answer_distances
        The most distances of rows to all centers at a time, where no one asks for batches
        (4,000,000).
    many_distances
        Bytes of distances that no one asked for by name, above which ``predict`` warns
        (100,000,000).
    candidate_rows
        Rows from which candidates for centers are drawn at a time; eight times as many are
        measured (32,768).
    carried_rows
        Rows of columns that go to the output as they are (``--keep``), read at a time (65,536).
    row_group
        Bytes of results that make a row group of a Parquet file (16 MiB).

    Raises
    ------
    BadInputError
        If one of them is no such number.
    """

    piece: int = 16 << 20
    #: A row group that is smaller, at once, is decoded in four fifths of the time that pieces take.
    batch: int = 32 << 20
    csv_page: int = 4 << 20
    csv_kept: int = 256 << 20
    csv_records: int = 4096
    answer_rows: int = 1 << 22
    #: Keeps what is computed at a time below 32 MB.
    answer_distances: int = 4_000_000
    many_distances: int = 100_000_000
    #: What is computed of so many rows stays in the cache.
    candidate_rows: int = 1 << 15
    carried_rows: int = 1 << 16
    row_group: int = 16 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name == "csv_kept" else 1
            whole_number(f"limits.{field.name}", getattr(self, field.name), least)


#: Those of data that is opened without any.
USUAL = Limits()
