"""Doors of files and of the command line: damaged data, models and checkpoints, odd arguments.

Each door draws one case and ends in a right answer, whose kind it returns, or in one of shoal's
errors; anything else, the end of the process above all, is a failure.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
import struct
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import feather, ipc, parquet

import shoal
from shoal import export
from shoal.cli import main
from shoal.storage import safetensors

Draw = Callable[..., Any]
K = shoal.KMeansClustering
ROWS = (np.arange(60.0).reshape(20, 3) * 7 % 11).astype(np.float32)


# ---- Damage ----

# What lengths, offsets and counts in headers are replaced by.
NUMBERS = (0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def damaged(draw: Draw, content: bytes) -> bytes:
    """The bytes with one to three flips, cuts, swaps, insertions or other numbers."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(
            st.sampled_from(("flip", "flip", "byte", "cut", "swap", "insert", "number", "drop"))
        )
        if kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte":
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "number":
            number = struct.pack("<Q", draw(st.sampled_from(NUMBERS)))[
                : draw(st.sampled_from((4, 8)))
            ]
            data[at : at + len(number)] = number
        else:
            size = draw(st.integers(1, 32))
            to = draw(st.integers(0, len(data) - 1))
            one, other = bytes(data[at : at + size]), bytes(data[to : to + size])
            data[at : at + size], data[to : to + size] = other, one
    return bytes(data)


# ---- Files of rows ----


def _table() -> Any:
    lists = pa.array([[float(i), 2.0] for i in range(20)])
    return pa.table(
        {"a": ROWS[:, 0], "b": ROWS[:, 1], "name": [f"n{i}" for i in range(20)], "v": lists}
    )


def _arrow(table: Any, new: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue()


def _written(write: Callable[[Any], Any]) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def _feather(sink: Any) -> None:
    feather.write_feather(_table(), sink, compression="lz4")


@cache
def data_files() -> dict[str, bytes]:
    """A right file of each kind: name -> bytes."""
    table = _table()
    plain = table.drop(["v"])
    frame = pd.DataFrame(ROWS, columns=list("abc"))
    return {
        "x.npy": _written(lambda sink: np.save(sink, ROWS)),
        "f.npy": _written(lambda sink: np.save(sink, np.asfortranarray(ROWS.astype(">f8")))),
        "x.npz": _written(lambda sink: np.savez(sink, x=ROWS)),
        "z.npz": _written(lambda sink: np.savez_compressed(sink, x=ROWS, y=ROWS[:, 0])),
        "x.csv": frame.to_csv(index=False).encode(),
        "q.csv": plain.to_pandas().to_csv().encode(),
        "x.tsv": frame.to_csv(index=False, sep="\t").encode(),
        "x.parquet": _written(lambda sink: parquet.write_table(table, sink, row_group_size=7)),
        "p.parquet": _written(lambda sink: frame.to_parquet(sink)),
        "x.arrow": _arrow(table, ipc.new_file),
        "l.arrow": _arrow(table.select(["v"]), ipc.new_file),
        "x.arrows": _arrow(table, ipc.new_stream),
        "x.feather": _written(_feather),
    }


class Folder:
    """A folder that each case finds empty."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def emptied(self) -> Path:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        return self.path


def files(draw: Draw, folder: Folder) -> str:
    """A damaged file of rows is read in passes or batches, or refused."""
    name = draw(st.sampled_from(sorted(data_files())))
    path = folder.emptied() / name
    path.write_bytes(damaged(draw, data_files()[name]))
    model = K(
        2,
        use_mini_batch=draw(st.booleans()),
        on_bad_rows=draw(st.sampled_from(("error", "skip"))),
        num_threads=1,
    )
    model.fit(str(path), steps=2)
    labels = [row["cluster_idx"] for row in model.predict(str(path))]
    assert set(labels) <= {0, 1}
    assert np.isfinite(model.clusters()).all()
    return "labels"


# ---- Models ----


@cache
def model_files() -> dict[str, bytes]:
    """A right file of each kind that a model can be read from."""
    model = K(3, use_mini_batch=False, num_threads=1).fit(ROWS, steps=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shoal.save_model(model, folder / "m.safetensors")
        shoal.save_model(model, folder / "m.npz")
        export.to_onnx(model, folder / "m.onnx")
        export.to_faiss(model, folder / "m.faiss")
        export.to_npy(model, folder / "m.npy")
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _read(path: Path) -> Any:
    if path.suffix == ".onnx":
        return K.from_onnx(path)
    if path.suffix == ".faiss":
        return K.from_faiss_index(path)
    if path.suffix == ".npy":
        return K.from_centers(str(path))
    return shoal.load_model(path)


def models(draw: Draw, folder: Folder) -> str:
    """A damaged file of a model is read as a model that predicts, or refused."""
    name = draw(st.sampled_from(sorted(model_files())))
    path = folder.emptied() / name
    path.write_bytes(damaged(draw, model_files()[name]))
    model = _read(path)
    centers = model.clusters()
    assert np.isfinite(centers).all()
    rows = np.zeros((4, centers.shape[1]), np.float32)
    labels = [row["cluster_idx"] for row in model.predict(rows)]
    assert len(labels) == 4
    assert 0 <= min(labels) <= max(labels) < len(centers)
    return "labels"


# What a hand that knows the checksum may put in the place of any value of a header.
JSON_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 5, 2**63, 10**400, 0.5, float("inf"), float("nan"), "", "x", "../up", [],
    {}, [1], {"a": 1}, [[[[]]]], "/planted", [None], {"__class__": "x"}, "random", 1e300,
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside of a value."""
    inside = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inside = enumerate(value)
    return [path, *(found for key, one in inside for found in _places(one, (*path, key)))]


def _altered(draw: Draw, value: Any) -> Any:
    """The same JSON with another value, or one more or one less, at one or two places."""
    whole = copy.deepcopy({"": value})
    for _ in range(draw(st.integers(1, 2))):
        *path, key = draw(st.sampled_from(_places(whole)[1:] or [("",)]))
        inner = whole
        for one in path:
            inner = inner[one]
        kind = draw(st.sampled_from(("value", "value", "drop", "more")))
        if kind == "drop" and len(path) > 0:
            del inner[key]
        elif kind == "more" and isinstance(inner, dict):
            inner[draw(st.sampled_from(("self", "model_dir", "x", "", "config")))] = 1
        else:
            inner[key] = draw(st.sampled_from(JSON_VALUES))
    return whole.get("")


def _crafted_arrays(draw: Draw, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a state, one of them another one."""
    name = draw(st.sampled_from((*sorted(arrays), "more")))
    dtype = draw(st.sampled_from(("f4", "f8")))
    shape = draw(st.sampled_from(((3, 3), (2, 3), (0, 3), (3, 0), (3,), (), (3, 1), (1, 3, 3))))
    fill = draw(st.sampled_from((0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), 1e30)))
    return {**arrays, name: np.full(shape, fill, dtype)}


def crafted(draw: Draw, folder: Folder) -> str:
    """A model or checkpoint with a right checksum and wrong contents predicts, or is refused."""
    name = draw(st.sampled_from(("m.safetensors", "m.npz", "checkpoint")))
    npz = name == "m.npz"
    content = dict(directory_files() if name == "checkpoint" else model_files())
    if name == "checkpoint":
        name = max(one for one in content if one.endswith(".safetensors"))
    if npz:
        arrays = dict(np.load(io.BytesIO(content[name])))
        text = str(arrays.pop("header"))
    else:
        arrays, metadata = safetensors.unpack(content[name])
        text = metadata["shoal"]
    if draw(st.integers(0, 3)) == 0:
        arrays = _crafted_arrays(draw, arrays)
    else:
        text = (
            draw(st.sampled_from(("", "[" * 100_000, "nonsense", "null")))
            if draw(st.integers(0, 19)) == 0
            else json.dumps(_altered(draw, json.loads(text)))
        )
    at = folder.emptied()
    path = at / name
    path.parent.mkdir(exist_ok=True)
    if npz:
        np.savez(path, header=np.array(text), **arrays)
    else:
        new = {"shoal": text}
        new["crc32"] = safetensors.checksum(arrays, new)
        path.write_bytes(b"".join(safetensors.pack(arrays, new)))
    if path.parent == at:
        model = shoal.load_model(path)
        assert model.model_dir is None
    else:
        for other, bytes_ in content.items():
            if other != name:
                (at / other).parent.mkdir(parents=True, exist_ok=True)
                (at / other).write_bytes(bytes_)
        model = K(3, model_dir=str(at), num_threads=1)
    centers = model.clusters()
    assert np.isfinite(centers).all()
    rows = np.zeros((4, centers.shape[1]), np.float32)
    if model.columns is None:
        model.predict(rows)
        model.fit(np.concatenate([rows, rows + 1]), steps=1, batch_size=5)
    return "trained further"


@cache
def directory_files() -> dict[str, bytes]:
    """The files of a ``model_dir`` with a run in it: path -> bytes."""
    with tempfile.TemporaryDirectory() as name:
        config = shoal.RunConfig(save_checkpoints_steps=1)
        K(3, model_dir=name, config=config, num_threads=1).fit(ROWS, steps=3, batch_size=5)
        found = sorted(path for path in Path(name).rglob("*") if path.is_file())
        return {str(path.relative_to(name)): path.read_bytes() for path in found}


def directories(draw: Draw, folder: Folder) -> str:
    """A ``model_dir`` of which one or two files are damaged or gone goes on, or is refused."""
    contents = dict(directory_files())
    for name in draw(st.lists(st.sampled_from(sorted(contents)), min_size=1, max_size=2)):
        if draw(st.integers(0, 9)) == 0:
            contents.pop(name, None)
        elif name in contents:
            contents[name] = damaged(draw, contents[name])
    at = folder.emptied()
    for name, content in contents.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that are passed over
        model = K(3, model_dir=str(at), num_threads=1)
        steps = model.state.global_step if model.is_fitted else 0
        assert 0 <= steps <= 3
        model.fit(ROWS, steps=1, batch_size=5)
    assert model.state.global_step == steps + 1
    return "trained further"


# ---- The command line ----

WORDS = (
    "fit", "predict", "transform", "evaluate", "export", "inspect", "choose-k", "x.csv", "x.npy",
    "x.parquet", "missing.csv", "m.safetensors", "m.npz", "m.onnx", "o.csv", "o.parquet", "o.npy",
    "dir", "-k", "-m", "-o", "--k", "--metric", "--init", "--seed", "--mini-batch", "--batch-size",
    "--steps", "--max-steps", "--tolerance", "--columns", "--weight", "--force", "--json", "-q",
    "--threads", "--on-bad-rows", "--model-dir", "--resume", "--sphere", "--format", "cosine",
    "kmc2", "random", "skip", "a,b", "a", "zzz", "0", "1", "2", "3", "2:4", "-1", "1e9", "nan", "",
    "99999999999", "9223372036854775808", "é", "*.csv", "[", "--", "-h", "onnx", "npy", "..", ".",
)  # fmt: skip
BEGINNINGS = (
    (),
    ("fit", "x.csv", "-k", "2", "-q", "--steps", "2"),
    ("fit", "x.npy", "-k", "2", "-q", "--mini-batch", "--steps", "2", "--batch-size", "5"),
    ("predict", "x.csv", "-m", "m.safetensors", "-q"),
    ("transform", "x.npy", "-m", "m.safetensors", "-q", "-o", "o.npy"),
    ("evaluate", "x.npy", "-m", "m.npz", "-q"),
    ("inspect", "m.safetensors"),
    ("export", "m.safetensors", "-o", "e.onnx"),
    ("choose-k", "x.npy", "--k", "2:3", "-q"),
)


def commands(draw: Draw, folder: Folder) -> str:
    """Any words after ``shoal`` end with 0, 1 or 2, and never with a traceback."""
    at = folder.emptied()
    for name in ("x.npy", "x.csv", "x.parquet"):
        (at / name).write_bytes(data_files()[name])
    for name in ("m.safetensors", "m.npz", "m.onnx"):
        (at / name).write_bytes(model_files()[name])
    words = [
        *draw(st.sampled_from(BEGINNINGS)),
        *draw(st.lists(st.sampled_from(WORDS), max_size=4)),
    ]
    said, errors = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(at)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            code = main(words)
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    finally:
        os.chdir(before)
    assert code in (0, 1, 2), code
    assert "Traceback" not in errors.getvalue()
    assert code == 0 or errors.getvalue().strip()
    return f"exit code {code}"
