"""Labels, distances and sums are exact.

The truth is float64 arithmetic in NumPy: ``((X[:, None, :] - C) ** 2).sum(-1)`` and its argmin.
"""

from __future__ import annotations

import zlib

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from exact_helpers import (
    DTYPES,
    HARD,
    METRICS,
    Data,
    Shape,
    assign,
    cast,
    check_exact,
    each_target,
    hard,
    plain,
    same_bits,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

# ---- Data that is hard to get right. Each function makes rows [n, d] and centers [k, d]. ----


@hard
def near_ties_far_away(rng: Generator, dtype: type, shape: Shape) -> Data:
    """Rows near the plane between two centers, so far out that float64 rounds all away."""
    X, C = plain(rng, np.float64, shape)
    difference = C[-1] - C[0]
    along = (X @ difference / max(difference @ difference, 1e-9))[:, None] * difference
    X = (C[0] + C[-1]) / 2 + (X - along) * 2.0 ** rng.integers(0, 60, (len(X), 1))
    return cast(X, dtype), cast(C, dtype)


@hard
def lattice(rng: Generator, dtype: type, shape: Shape) -> Data:
    n, d, k = shape
    values = np.array([-1, 0, 1, 2], dtype)
    return rng.choice(values, (n, d)), rng.choice(values, (k, d))


@hard
def duplicates(rng: Generator, dtype: type, shape: Shape) -> Data:
    n, _, k = shape
    C = plain(rng, dtype, shape)[1][rng.integers(0, (k + 1) // 2, k)]
    return C[rng.integers(0, k, n)], C


@hard
def rows_as_centers(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, dtype, shape)
    C[: len(X)] = X[rng.permutation(len(X))[: len(C)]]
    return X, C


@hard
def offset(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    far = 1e3 if dtype is np.float16 else 1e6
    return cast(X + far, dtype), cast(C + far, dtype)


@hard
def denormal(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    scale = {np.float16: 1e-6, np.float32: 1e-40, np.float64: 1e-310}[dtype]
    return cast(X * scale, dtype), cast(C * scale, dtype)


@hard
def large(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    scale = {np.float16: 4e4, np.float32: 1e30, np.float64: 1e150}[dtype]
    return cast(X * scale, dtype), cast(C * scale, dtype)


@hard
def mixed_columns(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    scale = 10.0 ** rng.integers(-12, 13, shape[1])
    return cast(X * scale, dtype), cast(C * scale, dtype)


@hard
def constant_columns(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, dtype, shape)
    X[:, ::2] = C[:, ::2] = 12345.678
    return X, C


@hard
def outlier_row(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    X[len(X) // 2] *= 1e30
    return cast(X, dtype), cast(C, dtype)


@hard
def outlier_center(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    C[len(C) // 2] *= 1e18
    return cast(X, dtype), cast(C, dtype)


@hard
def rows_much_larger(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, np.float64, shape)
    return cast(X * 1e12, dtype), cast(C, dtype)


@hard
def zeros(rng: Generator, dtype: type, shape: Shape) -> Data:
    X, C = plain(rng, dtype, shape)
    X[::3] = 0
    X[1::7] = -0.0
    C[::2] = 0
    return X, C


@hard
def opposite(rng: Generator, dtype: type, shape: Shape) -> Data:
    """All centers in one direction, all rows in the other: cosine distance 2, give or take."""
    X, C = plain(rng, dtype, shape)
    C[:] = C[0] * rng.integers(1, 9, (len(C), 1)).astype(dtype)
    return -C[0] * np.abs(X[:, :1]), C


SHAPES = [
    (1, 1, 1),
    (1, 7, 3),
    (2, 300, 1),
    (300, 1, 20),
    (257, 2, 9),
    (200, 3, 31),
    (130, 7, 12),
    (129, 8, 13),
    (128, 9, 6),
    (64, 127, 25),
    (65, 128, 24),
    (66, 129, 7),
    (40, 300, 11),
    (33, 5, 33),
]


@pytest.mark.parametrize("kind", HARD)
@DTYPES
@METRICS
def test_labels_are_those_of_float64(kind: str, dtype: type, cosine: bool) -> None:
    for shape in SHAPES:
        seed = zlib.crc32(f"{kind} {shape}".encode())
        X, C = HARD[kind](np.random.default_rng(seed), dtype, shape)
        assert X.dtype == C.dtype == dtype
        check_exact(X, C, cosine, f"n, d, k = {shape}, seed {seed}")


@METRICS
def test_any_power_of_two_scale(cosine: bool) -> None:
    X, C = plain(np.random.default_rng(5), np.float64, (150, 5, 20))
    near_underflow = range(-205, -185)  # of the squares, in float32
    for exponent in sorted({*range(-1070, 501, 31), *near_underflow}):
        scaled = np.ldexp(X, exponent), np.ldexp(C, exponent)
        check_exact(*scaled, cosine, f"seed 5, times 2**{exponent}")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_few_centers_almost_in_one_direction(dtype: type) -> None:
    rng = np.random.default_rng(7)
    for k in (2, 3, 4):
        X, C = (rng.standard_normal((rows, 300)) + 1e3 for rows in (60, k))
        check_exact(X.astype(dtype), C.astype(dtype), True, f"seed 7, k = {k}")


@METRICS
def test_centers_of_another_dtype(cosine: bool) -> None:
    X, C = plain(np.random.default_rng(6), np.float64, (200, 12, 15))
    check_exact(X.astype(np.float32), C, cosine, "float32 rows, float64 centers")
    check_exact(X, C.astype(np.float32), cosine, "float64 rows, float32 centers")
    check_exact(X.astype(np.float16), C, cosine, "float16 rows, float64 centers")
    check_exact(X, C.astype(np.float16), cosine, "float64 rows, float16 centers")


@METRICS
def test_float16_rows_are_their_values_in_float32(cosine: bool) -> None:
    values = np.arange(65536, dtype=np.uint16).view(np.float16)
    X = np.random.default_rng(12).permutation(values[np.isfinite(values)]).reshape(-1, 64)
    C = X[::91].astype(np.float32)
    wide, weights = X.astype(np.float32), np.arange(len(X)) / 7
    assert {0.0, 65504.0, 2.0**-24} <= set(X.ravel().tolist())
    for target in each_target():
        for half, single in [
            (X, wide),
            (np.asfortranarray(X), np.asfortranarray(wide)),
            (X[::-2, ::-1], wide[::-2, ::-1]),
            (X[:, :3], wide[:, :3]),
        ]:
            of_half, of_single = (
                assign(x, C[:, : x.shape[1]], cosine, weights[: len(x)]) for x in (half, single)
            )
            assert same_bits(of_half.labels, of_single.labels), target
            assert same_bits(of_half.distances, of_single.distances), target
            assert of_half.loss == of_single.loss, target


@st.composite
def integer_data(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, bool]:
    d = draw(st.integers(1, 12))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    values = st.integers(-3, 3)
    X = draw(arrays.arrays(np.int64, (draw(st.integers(1, 40)), d), elements=values))
    C = draw(arrays.arrays(np.int64, (draw(st.integers(1, 9)), d), elements=values))
    return X.astype(dtype), C.astype(dtype), draw(st.booleans())


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(integer_data())
def test_small_integers(data: tuple[np.ndarray, np.ndarray, bool]) -> None:
    X, C, cosine = data
    check_exact(X, C, cosine, "integers")
    if not cosine:
        squares = ((X.astype(np.int64)[:, None] - C.astype(np.int64)) ** 2).sum(-1)
        result = assign(X, C, cosine)
        assert (result.labels == squares.argmin(1)).all()
        assert result.loss == int(squares.min(1).sum()) << 1074
