"""Parquet directories of any size, made cheaply, to be read by data that does not fit in memory.

``python -m benchmarks.parquet DIR --rows 62.5e6`` writes 8 GB of 32 float32 columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

#: Rows of noise that are drawn; further row groups use them again, moved and around other centers.
NOISE_ROWS = 1 << 18


def write_directory(
    path: Path,
    rows: int,
    columns: int = 32,
    *,
    clusters: int = 64,
    rows_of_file: int = 4_000_000,
    rows_of_group: int = 250_000,
    compression: str = "none",
    embedding: bool = False,
    seed: int = 0,
) -> list[Path]:
    """Write blobs of float32: columns x000, x001, …, or lists in one column ``embedding``."""
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((NOISE_ROWS, columns), np.float32)
    centers = rng.normal(scale=3, size=(clusters, columns)).astype(np.float32)
    files = []
    for number, start in enumerate(range(0, rows, rows_of_file)):
        files.append(path / f"part-{number:05d}.parquet")
        end = min(start + rows_of_file, rows)
        first = _table(noise[:1], embedding)
        with parquet.ParquetWriter(
            files[-1], first.schema, compression=compression, use_dictionary=False
        ) as writer:
            for begin in range(start, end, rows_of_group):
                size = min(rows_of_group, end - begin)
                near = centers[rng.integers(clusters, size=size)]
                near += np.resize(np.roll(noise, int(rng.integers(NOISE_ROWS)), axis=0), near.shape)
                writer.write_table(_table(near, embedding), row_group_size=size)
    return files


def _table(rows: npt.NDArray[np.float32], embedding: bool) -> pa.Table:
    if embedding:
        values = pa.array(rows.ravel())
        return pa.table({"embedding": pa.FixedSizeListArray.from_arrays(values, rows.shape[1])})
    return pa.table({f"x{i:03d}": np.ascontiguousarray(column) for i, column in enumerate(rows.T)})


def main() -> None:
    """Write a directory, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=float, default=62.5e6)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--rows-of-group", type=float, default=250_000)
    parser.add_argument("--compression", default="none")
    parser.add_argument("--embedding", action="store_true", help="one column of lists")
    given = parser.parse_args()
    files = write_directory(
        given.path,
        int(given.rows),
        given.columns,
        rows_of_group=int(given.rows_of_group),
        compression=given.compression,
        embedding=given.embedding,
    )
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
