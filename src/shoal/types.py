"""Names of the types of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
#: Numbers of 64 bits without a sign: what is drawn, and exact shares of masses.
Shares = npt.NDArray[np.uint64]
