"""How much of files is read, decoded and kept at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields

from shoal.checks import whole_number


@dataclass(frozen=True)
class Limits:
    """How much of data on disk is in memory at a time; no result depends on it.

    For machines of little memory, or of much. Each is a number of bytes.

    Parameters
    ----------
    piece
        Of rows that are read at a time.
    batch
        Of rows of Parquet and Arrow files that are decoded at a time.
    csv_page
        Of text of CSV files that is read at a time.
    csv_kept
        Of values of CSV files that are kept in memory when the files are opened; of more, none are.

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

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name == "csv_kept" else 1
            whole_number(f"limits.{field.name}", getattr(self, field.name), least)


#: Those of data that is opened without any.
USUAL = Limits()
