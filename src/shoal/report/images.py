"""Rows that are pictures: patches of pixels of a stated shape, or pixels."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.sparse import Matrix, dense
from shoal.types import Floats

Shape = tuple[int, int, int]  # height, width, channels

#: Names of the colors of a pixel.
CHANNELS = (1, 3, 4)


def check_image_shape(given: Any, columns: int) -> Shape | None:
    """Height, width and channels of rows that are pictures; None where they are none.

    Raises
    ------
    BadInputError
        If it is no such shape, or another number of values than there are columns.
    """
    if given is None:
        return None
    try:
        sizes = tuple(int(one) for one in given)
    except (TypeError, ValueError):
        sizes = ()
    if len(sizes) == 2:
        sizes = (*sizes, 1)
    if len(sizes) != 3 or min(sizes) < 1 or sizes[2] not in CHANNELS:
        raise BadInputError(
            f"image_shape is {given!r}; it must be (height, width), or (height, width, channels) "
            "with 1, 3 or 4 channels, the last running fastest. Pixels are (1, 1, 3)"
        )
    if math.prod(sizes) != columns:
        raise BadInputError(
            f"image_shape is {given!r}, {math.prod(sizes)} values, and rows have {columns}: they "
            "must agree"
        )
    return sizes


class Painter:
    """Makes pictures of rows, on one scale for all.

    Parameters
    ----------
    shape
        Of each row.
    like
        Rows that the scale is for: whole numbers up to 255 and fractions up to 1 are what they
        are, all else is from the smallest value to the largest.
    """

    def __init__(self, shape: Shape, like: Matrix) -> None:
        if importlib.util.find_spec("PIL") is None:
            raise MissingExtraError("image_shape", "pillow", "report")
        self._shape = shape
        self.low, self.high = _range_of(dense(like))

    def _pixels(self, row: Floats) -> npt.NDArray[np.uint8]:
        values = (np.asarray(row, np.float64) - self.low) * (255 / (self.high - self.low))
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def color(self, row: Floats) -> str:
        """A pixel as CSS has colors."""
        return "#" + self._pixels(row).tobytes().hex()

    def png(self, row: Floats) -> str:
        """A row as a PNG, in base64."""
        from PIL import Image

        pixels = self._pixels(row).reshape(self._shape)
        image = Image.fromarray(pixels[:, :, 0] if self._shape[2] == 1 else pixels)
        content = io.BytesIO()
        image.save(content, "PNG", optimize=True)
        return base64.b64encode(content.getvalue()).decode("ascii")

    def pngs(self, rows: Matrix) -> list[str]:
        """Rows as PNGs."""
        return [self.png(row) for row in dense(rows)]


def _range_of(rows: Floats) -> tuple[float, float]:
    low, high = float(rows.min(initial=0)), float(rows.max(initial=0))
    if low >= 0 and rows.dtype == np.uint8:
        return 0.0, 255.0
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and 128 <= high <= 255:
        return 0.0, 255.0
    return low, high if high > low else low + 1


def shown_shape(shape: Sequence[int]) -> str:
    """A shape in words."""
    height, width, channels = shape
    colors = {1: "gray", 3: "RGB", 4: "RGBA"}[channels]
    return f"{height} by {width}, {colors}"
