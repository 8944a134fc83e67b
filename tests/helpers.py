"""What many tests need: rows, files of them, and what is compared to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

import shoal


def make_rows(
    n: int = 300,
    d: int = 4,
    k: int = 5,
    seed: int = 1,
    dtype: Any = np.float64,
    *,
    spread: float = 2.0,
) -> Any:
    """Normal rows [n, d] around k points, themselves ``spread`` apart; k = 0: around none."""
    rng = np.random.default_rng(seed)
    if k == 0:
        return rng.normal(size=(n, d)).astype(dtype)
    middle = rng.normal(size=(k, d)) * spread
    return (middle[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)


def column(*values: float, dtype: Any = np.float64) -> Any:
    """Rows with one column."""
    return np.array(values, dtype)[:, None]


def unit(rows: Any) -> Any:
    """Rows of length one, as NumPy makes them; a zero row stays zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def distances(rows: Any, centers: Any, metric: str) -> Any:
    """Distances [n, k] in plain NumPy."""
    if metric == "cosine":
        return 1 - unit(rows) @ unit(centers).T
    return ((rows[:, None] - centers) ** 2).sum(axis=-1)


def exact_total(values: Any) -> int:
    """The sum without rounding, in units of 2**-1074."""
    ratios = [float(value).as_integer_ratio() for value in values]
    return sum(numerator * (2**1074 // denominator) for numerator, denominator in ratios)


def bits(model: shoal.KMeansClustering) -> dict[str, Any]:
    """All that a model holds, to the bit."""
    values = {name: model.get_variable_value(name) for name in model.get_variable_names()}
    return {
        name: (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def write(path: Path, content: Any, **how: Any) -> Path:
    """Text or bytes as they are; else the table or the arrays that the suffix asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, "utf-8", newline="")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table(content), path, **how)
    else:
        feather.write_feather(pa.table(content), str(path), **how)
    return path
