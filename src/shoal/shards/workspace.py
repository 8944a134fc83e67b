"""Arrays that one pass leaves to the next."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


class Workspace:
    """The arrays that a pass fills and the next one writes over.

    Batches that are seen once share one, so that a step allocates no sums and no labels.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def __reduce__(self) -> Any:  # of a copied or pickled model: begins empty
        return Workspace, ()

    def array(
        self, name: str, shape: tuple[int, ...], dtype: type[np.generic], fill: int
    ) -> npt.NDArray[Any]:
        """An array full of ``fill``: the one of this name, if it is large enough."""
        size = math.prod(shape)
        array = self._arrays.get(name)
        if array is None or len(array) < size:
            array = self._arrays[name] = np.empty(size, dtype)
        array = array[:size].reshape(shape)
        array.fill(fill)
        return array
