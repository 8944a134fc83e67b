"""The grid that rows are added on, and what cannot be added up."""

from __future__ import annotations

import numpy as np

from shoal import _core
from shoal.errors import BadInputError
from shoal.metric import SMALLEST_VALUE
from shoal.state import Grid, Scan

#: Sums of weighted rows beyond could leave the range of float64.
LARGEST_SUM = 1e300
#: Where weights reach no further, it is they that are to be scaled.
SMALLEST_WEIGHT = 1e-200


def is_usable(scan: Scan) -> bool:
    """Whether there are rows, of which some have a weight."""
    return scan.rows > 0 and scan.heaviest > 0


def grid_of(scan: Scan, unit_rows: bool) -> Grid:
    """The grid for the scanned rows (``unit_rows``: they will have length one).

    Raises BadInputError for values or weights so far apart that no float64 holds both.
    """
    quanta = np.empty((4, len(scan.magnitude) + 1))
    weights = scan.lightest, scan.heaviest
    bits, levels, rounds, column = _core.grid(
        scan.rows,
        scan.magnitude,
        scan.smallest,
        weights,
        scan.weighted,
        scan.double,
        unit_rows,
        quanta,
    )
    if column < 0:
        return Grid(quanta, bits, levels, rounds)
    if scan.weighted and scan.heaviest < SMALLEST_WEIGHT:
        raise BadInputError(
            f"the weights are {scan.heaviest:.3g} at most: weighted values fall below the range of "
            "float64 (underflow). Scale the weights up; only their ratios matter"
        )
    ranges = []
    if column < len(scan.magnitude):
        ranges.append(
            f"the values of column {column}, from {scan.least[column]:.3g} to "
            f"{scan.magnitude[column]:.3g},"
        )
    if scan.lightest < scan.heaviest:
        ranges.append(f"the weights, from {scan.lightest:.3g} to {scan.heaviest:.3g},")
    raise BadInputError(
        f"{' times '.join(ranges)} are too far apart to be added up. Leave out or clip what is "
        "negligible"
    )


def check_sums(scan: Scan, unit_rows: bool) -> None:
    """Refuse rows that nothing can be trained on."""
    if scan.rows == 0:
        raise BadInputError("the data has no rows: give at least one")
    if scan.weighted and scan.heaviest == 0:
        raise BadInputError("all weights are zero: at least one must be positive")
    if not unit_rows and scan.double:  # float32 is never that small
        _refuse_underflow(float(scan.magnitude.max(initial=0)))
    if not scan.weighted:
        return
    largest = 1.0 if unit_rows else float(scan.magnitude.max(initial=1.0))
    if scan.rows * max(largest, 1.0) * scan.heaviest > LARGEST_SUM:
        raise BadInputError(
            f"the weights reach {scan.heaviest:.3g}: their sums leave the range of "
            "float64. Scale the weights down; only their ratios matter"
        )


def _refuse_underflow(largest: float) -> None:
    if 0 < largest < SMALLEST_VALUE:
        raise BadInputError(
            f"the values of the data are of magnitude {largest:.3g} at most: the squares of their "
            "differences fall below the range of float64 (underflow), and different rows would "
            f"seem equal. Scale the data up to above {SMALLEST_VALUE:g}"
        )
