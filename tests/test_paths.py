"""Paths to data: directories, patterns, URLs, and paths that lead nowhere."""

from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import write
from pyarrow import feather

import shoal
from shoal import BadInputError, MissingExtraError
from shoal.sources.columns import Columns
from shoal.sources.files import open_path

X = np.random.default_rng(6).normal(size=(60, 3)).astype(np.float32)


def named(rows: Any) -> dict[str, Any]:
    return {name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate("abc")}


def opened(path: Any) -> Any:
    return open_path(path, Columns())


def whole(path: Any) -> Any:
    return np.concatenate([piece.rows for piece in opened(path).stream()])


def test_what_a_directory_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("day=2/b", "day=1/z", "a", "_temporary/c", ".hidden/d"):
        write(tmp_path / f"{name}.parquet", {"x": [float(ord(name[-1]))]})
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "README.md").touch()
    assert "".join(map(chr, whole(tmp_path).astype(int)[:, 0])) == "azb"
    messages = "\n".join(record.getMessage() for record in caplog.records)
    assert "README.md" in messages
    assert "_SUCCESS" not in messages
    assert "day=1, day=2" in messages


def test_a_pattern(tmp_path: Path) -> None:
    for name in ("p1", "p2", "q1", "deep/p3"):
        write(tmp_path / f"{name}.parquet", {"x": [float(name[-1])]})
    assert whole(tmp_path / "p*.parquet")[:, 0].tolist() == [1, 2]
    assert whole(f"{tmp_path}/**/p*.parquet")[:, 0].tolist() == [3, 1, 2]
    assert whole(f"file://{tmp_path}/p[2-9].parquet")[:, 0].tolist() == [2]
    write(tmp_path / "[p1].parquet", {"x": [9.0]})
    assert whole(tmp_path / "[p1].parquet")[:, 0].tolist() == [9]  # there is such a file


def test_a_list_of_paths(tmp_path: Path) -> None:
    for name in ("p1", "p2", "deep/p3", "deep/p4"):
        write(tmp_path / f"{name}.parquet", {"x": [float(name[-1])]})
    paths = [tmp_path / "p2.parquet", str(tmp_path / "deep"), tmp_path / "p1.parquet"]
    assert whole(paths)[:, 0].tolist() == [2, 3, 4, 1]
    assert shoal.open(paths).rows == 4
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(BadInputError, match=r"several kinds, .*p2\.parquet and .*x\.npy"):
        shoal.open([*paths, tmp_path / "x.npy"])


PATHS: list[tuple[str, str]] = [
    ("none.parquet", "there is no file .*none.parquet"),
    ("none*.parquet", "no file that matches .*none"),
    ("empty", "empty is of no known kind: a directory without files"),
    ("mixed", r"files of several kinds, .*1\.csv and .*2\.parquet"),
    ("mixed/*", r"files of several kinds"),
    ("notes*", r"notes\.txt is of no known kind"),
    ("memory://none.parquet", "there is no file memory://none.parquet"),
    ("nonsense://x.parquet", "nonsense://x.parquet cannot be read"),
]


@pytest.mark.parametrize(("path", "words"), PATHS)
def test_paths_that_lead_nowhere(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    write(tmp_path / "mixed/2.parquet", {"x": [1.0]})
    (tmp_path / "mixed/1.csv").write_text("1\n")
    with pytest.raises(BadInputError, match=words):
        opened(path if "://" in path else tmp_path / path)


def test_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}"
    write(tmp_path / "x.parquet", named(X))
    np.save(tmp_path / "x.npy", X)
    lines = [",".join(map(repr, row)) for row in X.tolist()]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c", *lines]))
    feather.write_feather(pa.table(named(X)), str(tmp_path / "x.feather"))
    for name in ("x.parquet", "x.npy", "x.csv", "x.feather"):
        system.put(str(tmp_path / name), f"{root}/{name}")
        assert np.array_equal(whole(f"memory:/{root}/{name}"), X)
    pages = opened(f"memory:/{root}/*.parquet")
    pages.check_unchanged()
    system.pipe(f"{root}/x.parquet", b"another")
    with pytest.raises(BadInputError, match="source changed between two passes"):
        pages.check_unchanged()


@pytest.mark.parametrize(
    ("package", "extra", "path"),
    [("fsspec", "remote", "s3://bucket/x.parquet"), ("pyarrow", "parquet", "x.parquet")],
)
def test_missing_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str, path: str
) -> None:
    write(tmp_path / "x.parquet", named(X))
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("shoal.sources.arrow")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=rf"pip install 'shoal\[{extra}\]'"):
        opened(path if "://" in path else tmp_path / path)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("x.txt", "rename it to end in .csv"),
        ("x.XLSX", "pandas.read_excel"),
        ("x.jsonl", "pandas.read_json"),
        ("x.pq", "rename it to end in .parquet"),
        ("x.csv.zip", "take its files out"),
        ("x.h5", "h5py"),
    ],
)
def test_files_of_other_kinds_say_what_reads_them(tmp_path: Path, name: str, cure: str) -> None:
    (tmp_path / name).write_bytes(b"1 2")
    with pytest.raises(shoal.BadInputError, match=f"of no known kind.*{cure}"):
        shoal.open(tmp_path / name)


def test_files_that_are_not_what_their_names_say_are_told_apart(tmp_path: Path) -> None:
    rows = np.ones((3, 2))
    np.save(tmp_path / "x.npy", rows)
    np.savez(tmp_path / "x.npz", rows, rows)
    contents = {
        "an array of NumPy": (tmp_path / "x.npy").read_bytes(),
        "compressed by gzip: rename it to end in .gz": gzip.compress(b"a,b\n1,2\n"),
        "a ZIP archive": (tmp_path / "x.npz").read_bytes(),
        "text": b"a,b\n1,2\n3,4\n",
    }
    own = {".npy": "an array of NumPy", ".csv": "text", ".npz": "a ZIP archive", ".parquet": ""}
    for (what, content), end in itertools.product(contents.items(), own):
        path = tmp_path / f"other{end}"
        path.write_bytes(content)
        if own[end] == what or (end, what) in {
            (".npz", "an array of NumPy"),
            (".npy", "a ZIP archive"),
        }:
            continue
        with pytest.raises(
            shoal.BadInputError, match=f"other{end} cannot be read: .* it is {what}"
        ):
            shoal.open(path)
