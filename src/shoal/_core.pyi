"""Types of the compiled core. Arrays are marked IN, OUT or INOUT; shapes in brackets."""

from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.floating[Any]]

def assign(
    rows: _Floats,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    labels: npt.NDArray[np.int32] | None,  # INOUT [n]
    distances: _Floats | None,  # OUT [n] float64
) -> tuple[int, int, int]: ...
def assign_again(
    rows: _Floats,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    labels: npt.NDArray[np.int32],  # INOUT [n], -1 for none so far
    before: _Floats | None,  # IN [k, d], the centers of the last pass
    lower: npt.NDArray[np.float32] | None,  # INOUT [n], the bounds
    quantum: _Floats,  # IN [d + 1] float64
    inverse: _Floats,  # IN [d + 1] float64
    bits: int,
    levels: int,
    sums: npt.NDArray[np.int64],  # INOUT [levels, k, d + 1], of the labels
) -> tuple[int, int, int, int]: ...
def reference_assign(
    rows: _Floats,  # IN [n, d]
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    labels: npt.NDArray[np.int32],  # OUT [n]
    distances: _Floats,  # OUT [n] float64
) -> None: ...
def add_sums(
    rows: _Floats,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    labels: npt.NDArray[np.int32],  # IN [n]
    cosine: bool,
    quantum: _Floats,  # IN [d + 1] float64
    inverse: _Floats,  # IN [d + 1] float64
    bits: int,
    levels: int,
    k: int,
    threads: int,
    sums: npt.NDArray[np.int64],  # INOUT [levels, k, d + 1]
) -> None: ...
def scan(
    rows: _Floats,  # IN [n, d]
    threads: int,
    magnitude: _Floats,  # OUT [d] float64
) -> tuple[int, int]: ...
def all_distances(
    rows: _Floats,  # IN [n, d]
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    distances: _Floats,  # OUT [n, k] float32 or float64
) -> None: ...
def lower_distances(
    rows: _Floats,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    candidates: _Floats,  # IN [m, d]
    cosine: bool,
    threads: int,
    update: bool,
    nearest: _Floats,  # INOUT [n] float64
) -> list[int]: ...
def read_rows(
    rows: _Floats,  # IN [n, d]
    cosine: bool,
    out: _Floats,  # OUT [n, d] float64
) -> None: ...
def simd_targets() -> list[str]: ...
def simd_target() -> str: ...
