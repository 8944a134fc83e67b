"""The dtypes that rows may have, and the floating-point ones that hold all their values."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError

AnyDtype = np.dtype[Any]

#: float64 holds every whole number up to this magnitude.
LARGEST_WHOLE = 2**53
#: What error messages say is allowed.
ALLOWED = (
    "float16, bfloat16, float32, float64, bool, or whole numbers of 8 to 64 bits (int8 … uint64)"
)

_ADVICE = {
    "c": "use .real, or .real and .imag side by side as columns",
    "O": "use .astype(np.float64) if all are numbers",
    "U": "use .astype(np.float64) if they spell numbers",
    "S": "use .astype(np.float64) if they spell numbers",
    "T": "use .astype(np.float64) if they spell numbers",
    "M": "make numbers of them, as (x - x.min()) / np.timedelta64(1, 'D') does",
    "m": "make numbers of them, as x / np.timedelta64(1, 'D') does",
}
_MAYBE_BFLOAT16 = "if these are bfloat16, which .npy files cannot say, .view(ml_dtypes.bfloat16)"


def is_bfloat16(dtype: AnyDtype) -> bool:
    """Whether these are the bfloat16 numbers of ``ml_dtypes``."""
    # Not dtype.name, which NumPy puts together anew each time, in 2 us.
    return dtype.type.__name__ == "bfloat16" and dtype.itemsize == 2 and dtype.isnative


@functools.lru_cache(64)
def widened(dtype: AnyDtype) -> AnyDtype | None:
    """float32 or float64, what rows of this dtype are computed as; None where they cannot be."""
    if is_bfloat16(dtype):
        return np.dtype(np.float32)
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or not dtype.isnative:
        return None
    if dtype.kind == "f" and dtype.itemsize == 1:  # a float8 of ml_dtypes
        return None
    if dtype.kind == "f":
        return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


@functools.lru_cache(64)
def is_double(dtype: AnyDtype) -> bool:
    """Whether rows of this dtype are computed as float64."""
    return widened(dtype) == np.float64


def check_dtype(dtype: AnyDtype, name: str) -> None:
    """Refuse a dtype that rows cannot have."""
    if widened(dtype) is not None:
        return
    if dtype.kind in "fiu" and dtype.itemsize <= 8 and not dtype.isnative:
        raise BadInputError(
            f"{name} has dtype {dtype}, in another byte order than this machine's; rows are never "
            f"converted without a word: use .astype(np.{dtype.name})"
        )
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise BadInputError(
            f"{name} has dtype {dtype}; rows are at most float64, and are never converted without "
            "a word: use .astype(np.float64)"
        )
    advice = _ADVICE.get(dtype.kind, "use .astype(np.float32)")
    if dtype == np.dtype("V2"):
        advice = _MAYBE_BFLOAT16
    raise BadInputError(f"{name} has dtype {dtype}; it must hold real numbers, {ALLOWED}: {advice}")


def common(dtypes: Sequence[AnyDtype]) -> AnyDtype:
    """The dtype of columns side by side, each of a dtype of rows; it holds all their values.

    They are copied anyway, so whole numbers of 64 bits, the kind that frames use without being
    asked, become float64.
    """
    try:
        dtype = np.result_type(*dtypes)
    except TypeError:  # bfloat16 beside what NumPy has no common dtype for
        wide = any(map(is_double, dtypes))
        return np.dtype(np.float64 if wide else np.float32)
    return np.dtype(np.float64) if dtype.kind in "iu" and dtype.itemsize == 8 else dtype


def first_inexact(values: npt.NDArray[Any]) -> int | None:
    """Index, row by row, of the first whole number that float64 may not hold."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
        return None
    if values.max() <= LARGEST_WHOLE and values.min() >= -LARGEST_WHOLE:
        return None
    outside = (values > LARGEST_WHOLE) | (values < -LARGEST_WHOLE)
    return int(outside.ravel().argmax())


def inexact(name: str, value: object, where: str) -> BadInputError:
    """The error for a whole number that float64 may not hold."""
    return BadInputError(
        f"{name} holds {value} in {where}: whole numbers beyond 2**53 are not exact in float64, in "
        "which distances are computed. Divide them by a power of two, subtract an offset, or pass "
        "floating-point numbers (.astype(np.float64) rounds them)"
    )
