"""Centers as a matrix product needs them: near zero, in the dtype it computes with.

The square of the distance of a row x to a center c is |x|² - 2 x·c + |c|², one product of matrices
for all of them. Far from zero nearly all digits of it cancel, so both are first shifted by the mean
of the centers, as SuperKMeans, scikit-learn and others do; under cosine, rows and centers of length
one have half that as their distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shoal.checks import warn_user
from shoal.errors import BadInputError
from shoal.metric import is_cosine, to_unit
from shoal.state import State
from shoal.types import Array, Floats

DTYPES = ("float32", "float64")

#: A column is far from zero where its mean is larger than this times its deviation: there every
#: center that is not far from the others is the same to the bit when it is shifted back.
FAR = 2.0
#: Steps of float32 are coarse above this part of the deviation of the centers.
COARSE = 1e-3


class Shifted(NamedTuple):
    """Centers less ``shift``; what a graph holds."""

    shift: Floats  # [d]
    centers: Floats  # [k, d]
    constants: Floats  # [k], to be added to |x|² - 2 x·c: |c|², and 1 for cosine centers of zero
    zeros: Array  # [k] bool: centers of length zero under cosine, at distance 1 of every row


def users_centers(state: State, metric: str) -> Floats:
    """The centers [k, d] as users read them: of length one under cosine."""
    return to_unit(state.clusters) if is_cosine(metric) else state.clusters


def halves(values: Array) -> tuple[Array, Array]:
    """Two numbers of half the bits each, whose sum each value is (Veltkamp 1968).

    Products of such halves are exact.
    """
    large = values * values.dtype.type(split_factor(values.dtype))
    high = large - (large - values)
    return high, values - high


def split_factor(dtype: np.dtype[np.floating]) -> float:
    """What ``halves`` multiplies with."""
    return 2.0 ** ((np.finfo(dtype).nmant + 2) // 2) + 1


def check_dtype(dtype: object) -> np.dtype[np.floating]:
    """``dtype`` if it is one that a graph can compute with."""
    try:
        found = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if dtype is None or found is None or found.name not in DTYPES:
        raise BadInputError(f"dtype is {dtype!r:.80}; allowed are {DTYPES}")
    return found  # type: ignore[no-any-return]


def shifted(state: State, metric: str, dtype: np.dtype[np.floating]) -> Shifted:
    """Shift the centers, and round them once to ``dtype``.

    Raises
    ------
    BadInputError
        If their squares leave the range of ``dtype``.
    """
    wide = users_centers(state.replace(clusters=state.clusters.astype(np.float64)), metric)
    with np.errstate(over="ignore"):
        shift = shift_of(wide).astype(dtype)
        near = (wide - shift).astype(dtype)
        squares = (near.astype(np.float64) ** 2).sum(axis=1)
    _check_range(squares, wide, dtype)
    zeros = np.count_nonzero(wide, axis=1) == 0 if is_cosine(metric) else np.zeros(len(wide), bool)
    return Shifted(shift, near, (squares + zeros).astype(dtype), zeros)


def shift_of(centers: Floats) -> Floats:
    """The mean of the centers in columns that are far from zero: what is subtracted first.

    Zero where that would make numbers not much smaller: it would cost, and gain nothing.
    """
    mean, deviation = centers.mean(axis=0), centers.std(axis=0)
    shift = np.where(np.abs(mean) > FAR * deviation, mean, 0)
    return shift if (shift**2).sum() > (deviation**2).sum() else np.zeros_like(shift)


def warn_of_coarse(state: State, metric: str, dtype: np.dtype[np.floating], advice: str) -> None:
    """Warn where ``dtype`` keeps rows so coarsely that they get other labels.

    Rows near the centers are rounded as the centers are; where that is not small beside what the
    centers differ by, it decides. A model of ``dtype`` has been trained on such rows.
    """
    centers = users_centers(state, metric)
    if centers.dtype.itemsize <= np.dtype(dtype).itemsize:
        return
    largest, deviation = np.abs(centers).max(axis=0), centers.std(axis=0)
    steps = np.spacing(largest.astype(dtype)).astype(np.float64)
    if 0 < COARSE * np.sqrt((deviation**2).sum()) < np.sqrt((steps**2).sum()):
        where = int(steps.argmax())
        warn_user(
            f"{np.dtype(dtype).name} keeps values near {largest[where]:.3g} in steps of "
            f"{steps[where]:.2g}, and the centers are {deviation[where]:.2g} from their mean there "
            f"(column {where}): rows may get other labels than predict gives them. {advice}"
        )


def warn_of_cancelled(centers: Floats, where: str, advice: str) -> None:
    """Warn where distances as differences of squares, without a shift, decide on rounding.

    Of |x|² - 2 x·c + |c|² a few steps of |c|² are lost, whatever rows and centers differ by.
    """
    wide = centers.astype(np.float64)
    lost = float(np.finfo(centers.dtype).eps) * float((wide**2).sum(axis=1).max(initial=0))
    spread = float((wide.std(axis=0) ** 2).sum())
    if 0 < COARSE * spread < lost:
        warn_user(
            f"{where} computes distances in {centers.dtype.name} from squares, of which {lost:.2g} "
            f"is lost to rounding, and the squares of what the centers differ by are about "
            f"{spread:.2g}: rows may get other labels than predict gives them. {advice}"
        )


def _check_range(squares: Floats, centers: Floats, dtype: np.dtype[np.floating]) -> None:
    """Refuse centers whose distances ``dtype`` has no room for, above or below."""
    limits = np.finfo(dtype)
    largest = float(squares.max())
    if not largest < float(limits.max) / 16 or 0 < largest < float(limits.tiny / limits.eps):
        where = "above" if largest > 1 else "below"
        instead = "use dtype='float64'" if dtype == np.float32 else "scale the data"
        raise BadInputError(
            f"dtype is {dtype.name!r}, and squared distances of these centers, whose values reach "
            f"{np.abs(centers).max():.3g}, leave its range {where}: {instead}"
        )
