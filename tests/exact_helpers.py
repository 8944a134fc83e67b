"""The truth in NumPy, the core as it is called, and data that is hard to get right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from helpers import exact_total
from numpy.random import Generator

from shoal import _core

TARGETS = _core.simd_targets()
BYTES = {*TARGETS} - {"baseline", "neon"}  # targets with the int8 screen
METRICS = pytest.mark.parametrize("cosine", [False, True], ids=["squared_euclidean", "cosine"])
DTYPES = pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64], ids=["float16", "float32", "float64"]
)


Shape = tuple[int, int, int]


Data = tuple[np.ndarray, np.ndarray]


Maker = Callable[[Generator, type, Shape], Data]


HARD: dict[str, Maker] = {}


def hard(make: Maker) -> Maker:
    HARD[make.__name__] = make
    return make


def cast(values: np.ndarray, dtype: type) -> np.ndarray:
    """Values in another dtype; those it does not reach become its largest."""
    largest = np.finfo(dtype).max
    return np.clip(values, -largest, largest).astype(dtype)


@hard
def plain(rng: Generator, dtype: type, shape: Shape) -> Data:
    n, d, k = shape
    return rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((k, d)).astype(dtype)


@hard
def near_ties(rng: Generator, dtype: type, shape: Shape) -> Data:
    """Rows within a few units in the last place of the plane between two centers."""
    X, C = plain(rng, dtype, shape)
    n, d, k = shape
    a, b = C[rng.integers(0, k, n)], C[rng.integers(0, k, n)]
    X = a / 2 + b / 2
    for _ in range(3):
        toward = rng.choice(np.array([-np.inf, np.inf], dtype), (n, d))
        X = np.where(rng.random((n, d)) < 0.3, np.nextafter(X, toward), X)
    return X, C


# ---- The truth ----


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Rows of length one, in float64; a zero row stays zero.

    Rows whose squares leave the range of float64 are first scaled by a power of two.
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        squares = (X * X).sum(1)
        far = ~((squares >= 2.0**-900) & (squares <= 2.0**900))
        exponents = np.where(far, np.frexp(np.abs(X).max(1))[1], 0)
        X = np.ldexp(X, -exponents[:, None])
        unit = X * (1 / np.sqrt((X * X).sum(1)))[:, None]
    return np.where(X.any(1)[:, None], unit, 0.0)


def brute_distances(X: np.ndarray, C: np.ndarray, cosine: bool) -> np.ndarray:
    X, C = np.array(X, np.float64, order="C"), np.array(C, np.float64, order="C")
    if not cosine:
        with np.errstate(under="ignore"):
            return ((X[:, None, :] - C) ** 2).sum(-1)
    half = 0.5 * ((unit_rows(X)[:, None, :] - unit_rows(C)) ** 2).sum(-1)
    directed = X.any(1)[:, None] & C.any(1)
    return np.where(directed, np.minimum(half, 2.0), 1.0)


# ---- Calling the core ----


class Result(NamedTuple):
    labels: np.ndarray
    distances: np.ndarray
    loss: int


def assign(
    X: np.ndarray,
    C: np.ndarray,
    cosine: bool,
    weights: np.ndarray | None = None,
    threads: int = 1,
) -> Result:
    labels = np.full(len(X), -1, np.int32)
    distances = np.full(len(X), np.nan)
    changes, loss, _ = _core.assign(X, weights, C, cosine, threads, labels, distances)
    assert changes == len(X)
    return Result(labels, distances, loss)


def each_target() -> Iterator[str]:
    """Every SIMD level; where it has a screen, that filters at any size."""
    plans = [(target, "int8" if target in BYTES else "f32") for target in TARGETS]
    plans += [("amx", plan) for plan in ("bf16", "bf16x2") if "amx" in TARGETS]
    for target, plan in plans:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SHOAL_SIMD", target)
            patch.setenv("SHOAL_PLAN", plan)
            assert _core.simd_target() == target
            yield target


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_exact(X: np.ndarray, C: np.ndarray, cosine: bool, about: str) -> None:
    matrix = brute_distances(X, C, cosine)
    labels = matrix.argmin(1).astype(np.int32)
    nearest = matrix[np.arange(len(X)), labels]
    loss = exact_total(nearest)
    before = X.tobytes(), C.tobytes()

    for target in each_target():
        result = assign(X, C, cosine)
        wrong = np.flatnonzero(result.labels != labels)
        assert wrong.size == 0, f"{about}, {target}: rows {wrong[:5]} of {wrong.size} wrong"
        assert same_bits(result.distances, nearest), f"{about}, {target}: distances"
        assert result.loss == loss, f"{about}, {target}: loss"
        every = np.empty_like(matrix)
        _core.all_distances(X, C, cosine, 1, every)
        assert same_bits(every, matrix), f"{about}, {target}: all distances"

    reference = np.empty_like(labels), np.empty_like(nearest)
    _core.reference_assign(X, C, cosine, *reference)
    assert same_bits(reference[0], labels), f"{about}: labels of the reference"
    assert same_bits(reference[1], nearest), f"{about}: distances of the reference"
    assert (X.tobytes(), C.tobytes()) == before, f"{about}: an input was modified"
