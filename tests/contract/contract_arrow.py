"""The rows of the contract tests in Arrow's hands: files, directories, URLs, tables in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def named(rows: Any) -> dict[str, Any]:
    """Columns in their order, with names that would sort the other way round."""
    last = rows.shape[1] - 1
    return {f"c{last - i}": np.ascontiguousarray(rows[:, i]) for i in range(last + 1)}


def table(rows: Any) -> Any:
    import pyarrow

    return pyarrow.table(named(rows))


def lists(rows: Any, kind: str = "fixed") -> Any:
    """A table of one column, whose lists are the rows."""
    import pyarrow as pa

    values = pa.array(rows.ravel())
    if kind == "fixed":
        return pa.table({"embedding": pa.FixedSizeListArray.from_arrays(values, rows.shape[1])})
    offsets = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int64())
    return pa.table({"embedding": pa.LargeListArray.from_arrays(offsets, values)})


def parquet_file(rows: Any, folder: Path) -> Any:
    from pyarrow import parquet

    parquet.write_table(table(rows), folder / "rows.parquet", row_group_size=50)
    return folder / "rows.parquet"


def parquet_of_lists(rows: Any, folder: Path) -> Any:
    from pyarrow import parquet

    parquet.write_table(lists(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def parquet_directory(rows: Any, folder: Path) -> Any:
    """Files of uneven row groups, of none, with another order of columns, beside other files."""
    from pyarrow import parquet

    whole = table(rows)
    (folder / "parts" / "deeper").mkdir(parents=True)
    for name, part, size in (
        ("parts/a", whole[:70], 33),
        ("parts/b", whole[:0], 1),
        ("parts/c", whole[70:200].select(sorted(whole.column_names)), 7),
        ("parts/deeper/d", whole[200:], 1000),
    ):
        parquet.write_table(part, folder / f"{name}.parquet", row_group_size=size)
    (folder / "parts" / "_SUCCESS").touch()
    return folder / "parts"


def parquet_pattern(rows: Any, folder: Path) -> str:
    return f"{parquet_directory(rows, folder)}/**/*.parquet"


def parquet_url(rows: Any, folder: Path) -> str:
    """A directory behind a URL."""
    import fsspec

    system = fsspec.filesystem("memory")
    where = f"/{folder.name}-{rows.dtype}"
    system.put(f"{parquet_directory(rows, folder)}/", where, recursive=True)
    return f"memory:/{where}"


def ipc_file(rows: Any, folder: Path) -> Any:
    from pyarrow import feather

    feather.write_feather(table(rows), str(folder / "rows.arrow"), compression="lz4", chunksize=50)
    return folder / "rows.arrow"


def feather_of_lists(rows: Any, folder: Path) -> Any:
    from pyarrow import feather

    feather.write_feather(
        lists(rows, "large"), str(folder / "rows.feather"), compression="uncompressed"
    )
    return folder / "rows.feather"


def polars_frame(rows: Any, _folder: Path) -> Any:
    import polars

    return polars.DataFrame(named(rows))


def polars_embeddings(rows: Any, _folder: Path) -> Any:
    import polars

    return polars.DataFrame({"embedding": rows})


def duckdb_relation(rows: Any, folder: Path) -> Any:
    import duckdb

    return duckdb.connect().read_parquet(str(parquet_file(rows, folder)))


def tables(rows: Any, _folder: Path) -> Any:
    """Shards: a table, a record batch, a column of lists."""
    whole = table(rows)
    return [whole[:100], whole[100:].combine_chunks().to_batches()[0]]


def column_of_lists(rows: Any, _folder: Path) -> Any:
    return lists(rows)["embedding"]
