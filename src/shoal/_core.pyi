"""Types of the compiled core. Arrays are marked IN, OUT or INOUT; shapes in brackets."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.sources.sparse import Matrix
from shoal.state import Grid

_Floats = npt.NDArray[np.floating[Any]]

def assign(
    rows: Matrix,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    labels: npt.NDArray[np.int32] | None,  # INOUT [n]
    distances: _Floats | None,  # OUT [n] float64
    measured: bool = True,
) -> tuple[int, int, int]: ...

class Keeper:
    def __init__(self, rows: int, budget: int, stays: bool = True) -> None: ...
    def forget(self) -> None: ...
    def planned(self, columns: int, k: int, as_they_lie: bool) -> int: ...
    @property
    def bytes(self) -> int: ...

def assign_again(
    rows: Matrix,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    keeper: Keeper,  # INOUT
    labels: npt.NDArray[np.int32],  # INOUT [n], -1 for none so far
    grid: Grid,
    sums: npt.NDArray[np.int64],  # INOUT [levels, k, d + 1], of the labels
    squares: npt.NDArray[np.int64],  # INOUT [2, d + 1], of the rows
) -> tuple[int, int, int]: ...
def lloyd(
    rows: _Floats,  # IN [n, d], dense
    weights: _Floats | None,  # IN [n] float64
    centers: _Floats,  # INOUT [k, d]
    cosine: bool,
    threads: int,
    keeper: Keeper,  # INOUT
    labels: npt.NDArray[np.int32],  # INOUT [n], -1 for none so far
    grid: Grid,
    sums: npt.NDArray[np.int64],  # INOUT [levels, k, d + 1], of the labels
    squares: npt.NDArray[np.int64],  # INOUT [2, d + 1], of the rows
    most: int,
    again: bool,
    limit: float,
) -> tuple[int, int, float, bool, bool]: ...
def runs(
    rows: _Floats,  # IN [n, d], dense
    threads: int,
    grid: Grid,
    budget: int,  # bytes
    firsts: npt.NDArray[np.int64],  # IN [runs]
    draws: npt.NDArray[np.uint64],  # IN [runs * (k - 1), m]
    most: int,
    tolerance: float,
    centers: _Floats,  # OUT [k, d], of the best run
    labels: npt.NDArray[np.int32],  # OUT [n]
    sums: npt.NDArray[np.int64],  # OUT [levels, k, d + 1]
    squares: npt.NDArray[np.int64],  # OUT [2, d + 1]
) -> tuple[int, int, int, float, int]: ...
def shift(
    before: _Floats,  # IN [k, d]
    after: _Floats,  # IN [k, d]
) -> float: ...
def bytes_of_bounds(rows: int, columns: int, k: int) -> int: ...
def loss(
    sums: npt.NDArray[np.int64],  # IN [levels, k, d + 1]
    squares: npt.NDArray[np.int64],  # IN [2, d + 1]
    grid: Grid,
    rows: int,
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
) -> tuple[float, float]: ...
def measure(
    rows: Matrix,  # IN [n, d], dense
    weights: _Floats | None,  # IN [n] float64
    labels: npt.NDArray[np.int32],  # IN [n]
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
) -> int: ...
def means(
    sums: npt.NDArray[np.int64],  # IN [levels, k, d + 1]
    grid: Grid,
    centers: _Floats,  # IN [k, d]
    counts: _Floats | None,  # IN [k] float64
    cosine: bool,
    threads: int,
    means: _Floats,  # OUT [k, d] in the dtype of the centers
) -> None: ...
def reference_assign(
    rows: _Floats,  # IN [n, d]
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    labels: npt.NDArray[np.int32],  # OUT [n]
    distances: _Floats,  # OUT [n] float64
) -> None: ...
def add_sums(
    rows: Matrix,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    labels: npt.NDArray[np.int32],  # IN [n]
    cosine: bool,
    grid: Grid,
    k: int,
    threads: int,
    sums: npt.NDArray[np.int64],  # INOUT [levels, k, d + 1]
) -> None: ...
def farthest(
    rows: Matrix,  # IN [n, d]
    weights: _Floats | None,  # IN [n] float64
    labels: npt.NDArray[np.int32],  # IN [n]
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    distances: _Floats | None,  # IN [n] float64, of sparse rows
    keeper: Keeper | None,  # of the pass that gave the labels, with these centers
    found: npt.NDArray[np.int64],  # OUT [number]
    found_distances: _Floats,  # OUT [number] float64
    counts: npt.NDArray[np.int64],  # OUT [k]
) -> int: ...
def scan(
    rows: Matrix,  # IN [n, d]
    threads: int,
    magnitude: _Floats,  # OUT [d] float64
    weights: _Floats | None = None,  # IN [n] float64
    spread: _Floats | None = None,  # OUT [2, d] float64
) -> tuple[int, int]: ...
def grid(
    rows: int,
    most: _Floats,  # IN [d] float64
    least: _Floats | None,  # IN [d] float64
    weights: tuple[float, float],  # the lightest and the heaviest
    weighted: bool,
    wide: bool,
    unit_rows: bool,
    quanta: _Floats,  # OUT [4, d + 1] float64
) -> tuple[int, int, bool, int]: ...
def within(
    rows: _Floats,  # IN [n, d], packed
    limit: float,
) -> bool: ...
def all_distances(
    rows: Matrix,  # IN [n, d]
    centers: _Floats,  # IN [k, d]
    cosine: bool,
    threads: int,
    distances: _Floats,  # OUT [n, k] float32 or float64
) -> None: ...

class Seeding:
    def __init__(
        self,
        rows: Matrix,  # IN [n, d]
        weights: _Floats | None,  # IN [n] float64
        centers: _Floats,  # IN [k, d], k may be 0
        cosine: bool,
        negligible: float,
        room: int,
        threads: int,
    ) -> None: ...
    def total(self) -> int: ...
    def find(
        self,
        weights: _Floats | None,  # IN [n] float64
        targets: list[int],  # [m], each below the total
        found: npt.NDArray[np.int64],  # OUT [m]
    ) -> None: ...
    def lower(
        self,
        rows: Matrix,  # IN [n, d]
        weights: _Floats | None,  # IN [n] float64
        candidates: _Floats,  # IN [m, d]
    ) -> tuple[list[int], list[int]]: ...
    def pick(
        self,
        rows: Matrix,  # IN [n, d]
        weights: _Floats | None,  # IN [n] float64
        draws: npt.NDArray[np.uint64],  # IN [picks, m]
        picked: npt.NDArray[np.int64],  # OUT [picks]
    ) -> int: ...
    @property
    def needs_rows(self) -> bool: ...
    def choose(
        self,
        rows: Matrix | None,  # IN [n, d]
        weights: _Floats | None,  # IN [n] float64
        which: int,
    ) -> None: ...

def permuted(
    n: int,
    keys: npt.NDArray[np.uint64],  # IN [rounds], an even number
    first: int,
    strips: npt.NDArray[np.int64] | None,  # IN [segments, 4]
    found: npt.NDArray[np.int64],  # OUT [size]
) -> None: ...
def read_rows(
    rows: _Floats,  # IN [n, d]
    cosine: bool,
    out: _Floats,  # OUT [n, d] float64
) -> None: ...
def simd_targets() -> list[str]: ...
def simd_target() -> str: ...
