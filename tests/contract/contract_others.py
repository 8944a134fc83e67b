"""The rows of the contract tests in other hands: tensors, readers, mapped files, lists of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import contract_arrow as arrow
import numpy as np


def memory_map(rows: Any, folder: Path) -> Any:
    mapped = np.memmap(folder / "rows.bin", rows.dtype, "w+", shape=rows.shape)
    mapped[:] = rows
    mapped.flush()
    return np.memmap(folder / "rows.bin", rows.dtype, "r", shape=rows.shape)


def npz_file(rows: Any, folder: Path) -> Any:
    np.savez_compressed(folder / "rows.npz", anything=rows)
    return folder / "rows.npz"


def npy_directory(rows: Any, folder: Path) -> Any:
    (folder / "parts").mkdir()
    for i, part in enumerate(np.split(rows, [30, 31, 200])):
        np.save(folder / "parts" / f"{i}.npy", part)
    return folder / "parts"


def npy_paths(rows: Any, folder: Path) -> Any:
    """A list of paths, in another order than that of their names."""
    np.save(folder / "b.npy", rows[:90])
    np.save(folder / "a.npy", rows[90:])
    return [folder / "b.npy", str(folder / "a.npy")]


def file_url(rows: Any, folder: Path) -> str:
    np.save(folder / "my rows.npy", rows)
    return (folder / "my rows.npy").as_uri()


def csv_directory(rows: Any, folder: Path) -> Any:
    (folder / "parts").mkdir()
    for i, part in enumerate(np.split(rows, [30, 31, 200])):
        lines = [",".join(f"c{j}" for j in range(rows.shape[1]))]
        lines += [",".join(map(repr, row)) for row in part.tolist()]
        (folder / "parts" / f"{i}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "parts"


def csc(rows: Any, _folder: Path) -> Any:
    import scipy.sparse

    return scipy.sparse.csc_matrix(rows)


class HasDLPack:
    """An object of a foreign library that speaks DLPack, and no more."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __dlpack__(self, **options: Any) -> Any:
        return self._rows.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def torch_tensor(rows: Any, _folder: Path) -> Any:
    import torch

    if rows.dtype.name == "bfloat16":
        return torch.from_numpy(rows.astype(np.float32)).bfloat16()
    return torch.from_numpy(rows.copy()).requires_grad_(rows.dtype.kind == "f")


def torch_loader(rows: Any, size: int) -> Any:
    """Batches in order, each with labels that are no data."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    dataset = TensorDataset(torch.from_numpy(rows), torch.arange(len(rows)))
    return DataLoader(dataset, batch_size=size)


def jax_array(rows: Any, _folder: Path) -> Any:
    import jax

    return jax.numpy.asarray(rows)


def pyarrow_reader(rows: Any, size: int) -> Any:
    """Record batches that can be read once."""
    return arrow.table(rows).to_reader(max_chunksize=size)


class ArrowStream:
    """An object of a library that only speaks Arrow's C interface."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def arrow_stream(rows: Any, _folder: Path) -> Any:
    return ArrowStream(arrow.table(rows))


def stream_in_a_file(rows: Any, folder: Path) -> Any:
    """As Hugging Face's datasets keep embeddings: the format of streams, in shards."""
    import pyarrow

    table = arrow.lists(rows, "large")
    for i, part in enumerate((table[:100], table[100:])):
        path = str(folder / f"data-{i:05d}-of-00002.arrow")
        with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_stream(file, part.schema) as to:
            to.write_table(part, max_chunksize=60)
    return str(folder / "data-*.arrow")
