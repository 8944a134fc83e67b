"""What ``predict`` gives row by row, and what it says to those who expect an array."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NoReturn

import numpy.typing as npt

Array = npt.NDArray[Any]

_NO_ARRAY = (
    "predict(x) gives an iterator with a dict for each row, as the original does: labels(x) is an "
    "array of the nearest centers, predict(x, as_iterable=False) a dict of arrays"
)


class RowDicts(Iterator[dict[str, Any]]):
    """The rows of batches, a dict each; says what to use where an array was expected."""

    def __init__(self, batches: Iterator[dict[str, Array]]) -> None:
        self._rows = _row_dicts(batches)

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)

    def close(self) -> None:
        """Read no further."""
        self._rows.close()

    def __getitem__(self, _: object) -> NoReturn:
        raise TypeError(_NO_ARRAY)

    def __len__(self) -> int:
        raise TypeError(_NO_ARRAY)

    @property
    def __array_interface__(self) -> NoReturn:  # NumPy asks, and would make one object of it all
        raise TypeError(_NO_ARRAY)


def _row_dicts(batches: Iterator[dict[str, Array]]) -> Generator[dict[str, Any], None, None]:
    for batch in batches:
        keys = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(keys, values, strict=True))
