"""What the command line reads and writes: paths, standard streams, kept columns, bad input."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cli_helpers import NAMES, Shell, X, trained, write
from pyarrow import feather, parquet

import shoal
from shoal import load_model, save_model
from shoal.sources.limits import Limits


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = 70 * X.itemsize * X.shape[1]
    small = Limits(piece=piece, csv_page=500, answer_rows=30, carried_rows=17)
    monkeypatch.setattr(Shell, "limits", small)


def process(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = [sys.executable, "-m", "shoal", *words]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


# ---- Several paths ----


@pytest.mark.parametrize("kind", [".npy", ".csv", ".parquet"])
def test_several_paths_are_one_data_set(shell: Shell, tmp_path: Path, kind: str) -> None:
    parts = [write(tmp_path / f"{i}{kind}", part) for i, part in enumerate(np.array_split(X, 3))]
    data = " ".join(Path(part).name for part in parts)
    said = shell.json(f"fit {data} -k 5")
    assert said["rows"] == 400
    model = trained().fit(X)
    assert load_model("model.safetensors").clusters().tobytes() == model.clusters().tobytes()
    shell.ok(f"predict {data} -o l.npy")
    assert np.load("l.npy").tobytes() == model.labels(X).tobytes()
    assert shell.json(f"evaluate {data}")["loss"] == said["loss"]
    shell.error(f"fit {data} none{kind} --force --quiet", f"there is no file none{kind}")
    shell.error(f"fit - {data} --force --quiet", "standard input", "alone")


def test_a_bad_value_in_several_files(shell: Shell, tmp_path: Path) -> None:
    bad = X.copy()
    bad[7, 1] = np.nan
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", bad)
    shell.error("fit a.parquet b.parquet --quiet", "b.parquet holds nan in row 7")


def test_the_way_to_go_on_names_all_paths(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt:
        def after_step(self, _context: Any) -> None:
            raise KeyboardInterrupt

    write(tmp_path / "a.npy")
    write(tmp_path / "b.npy")
    monkeypatch.setattr("shoal.cli.fit.progress_monitor", lambda *_: [Interrupt()])
    code, _, err = shell.run("fit a.npy b.npy -k 2 --on-bad-rows skip")
    assert code == 130
    assert "shoal fit a.npy b.npy --model model.safetensors --resume --on-bad-rows skip" in err


# ---- Standard streams ----


def text(x: Any = X) -> str:
    return "a,b,c\n" + "".join(",".join(map(repr, row)) + "\n" for row in x.tolist())


@pytest.mark.parametrize("options", ["", "--mini-batch --batch-size 50"])
def test_standard_input(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    write(tmp_path / "x.csv")
    whole = shell.json(f"fit x.csv -k 5 {options} -m whole.npz")

    def given() -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text().encode())))

    given()
    said = shell.json(f"fit - -k 5 {options}")
    assert said | {"model": "whole.npz", "seconds": whole["seconds"]} == whole
    assert load_model("model.safetensors").clusters().tobytes() == (
        load_model("whole.npz").clusters().tobytes()
    )
    given()
    out = shell.ok("predict - -o - --keep b --quiet")
    rows = list(csv.DictReader(io.StringIO(out)))
    labels = load_model("model.safetensors").labels(dict(zip(NAMES, X.T, strict=True)))
    assert [int(row["cluster_idx"]) for row in rows] == labels.tolist()
    assert [float(row["b"]) for row in rows] == X[:, 1].tolist()
    given()
    assert shell.json("evaluate -")["loss"] == whole["loss"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b,c\n1,2,x\n")))
    shell.error("predict - -o - --quiet", "standard input", "'c'", "row 0")
    monkeypatch.setattr(sys, "stdin", None)
    shell.error("predict - -o - --quiet", "standard input is closed")


def test_a_pipe(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    shell.ok("fit x.csv -k 4")
    done = process("transform", "-", "-o", "-", stdin=text())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "d0,d1,d2,d3"
    expected = load_model("model.safetensors").set_params(feature_columns=None).transform(X)
    assert np.array([line.split(",") for line in lines[1:]], float).tobytes() == expected.tobytes()
    assert "rows           400" in done.stderr
    said = process("transform", "-", "-o", "-", "--json", stdin=text()).stderr.splitlines()
    assert json.loads(said[-1]) == {"rows": 400, "clusters": 4, "output": "-"}
    assert process("transform", "-", "-o", "-", "--quiet", stdin=text()).stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "x.csv"]


def test_a_pipe_that_is_closed(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", np.tile(X, (50, 1)))
    shell.ok("fit x.csv -k 4 --steps 2")
    command = [sys.executable, "-m", "shoal", "transform", "x.csv", "-o", "-", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"d0,d1,d2,d3\n"
        started.stdout.close()
        assert started.stderr is not None
        assert started.stderr.read() == b""
    assert started.returncode == 1


# ---- Columns that are kept ----

DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=i) for i in range(400)]
TITLES = [f'no. {i}, "{i % 7}"\n' if i % 5 else "ä" for i in range(400)]
IDS = [10**15 + 7 * i for i in range(400)]


def with_more(kind: str, bad: list[int]) -> str:
    """Rows with text, whole numbers, dates and lists beside them, in several files or pieces."""
    x = X.copy()
    x[bad, 0] = np.nan
    table = pa.table(
        {
            "id": IDS,
            "a": x[:, 0],
            "title": pa.array(TITLES),
            "b": x[:, 1],
            "day": pa.array(DAYS, pa.date32()),
            "c": x[:, 2],
            "code": [f"{i:05d}" for i in range(400)],
            "price": [None if i % 9 == 0 else i / 8 for i in range(400)],
        }
    )
    Path("data").mkdir()
    for i, start in enumerate((0, 150, 151)):
        part = table.slice(start, (150, 1, 249)[i])
        path = f"data/{i}.{kind}"
        if kind == "parquet":
            parquet.write_table(part, path, row_group_size=40)
        elif kind == "feather":
            feather.write_feather(part, path, compression="lz4", chunksize=33)
        elif kind == "arrow":
            with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, part.schema) as writer:
                writer.write_table(part, max_chunksize=21)
        else:
            with open(path, "w", newline="", encoding="utf-8") as text_file:
                lines = csv.writer(text_file)
                lines.writerow(part.column_names)
                lines.writerows(zip(*(one.to_pylist() for one in part.columns), strict=True))
    return "data"


@pytest.mark.parametrize("skipped", [[], [0, 1, 5, 149, 150, 151, 398, 399]])
@pytest.mark.parametrize("kind", ["csv", "parquet", "feather", "arrow"])
@pytest.mark.usefixtures("small_pieces")
def test_kept_columns_stay_beside_their_rows(shell: Shell, kind: str, skipped: list[int]) -> None:
    data = with_more(kind, skipped)
    skip = "--on-bad-rows skip" if skipped else ""
    shell.ok(f"fit {data} -k 5 --columns a,b,c --quiet {skip}")
    good = np.delete(np.arange(400), skipped)
    labels = (
        load_model("model.safetensors").labels(dict(zip(NAMES, X[good].T, strict=True))).tolist()
    )
    kept = {name: [these[i] for i in good] for name, these in (("title", TITLES), ("id", IDS))}
    first = ["row"] if skipped else []

    shell.ok(f"predict {data} -o out.csv --keep title,id --quiet")
    with open("out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*first, "title", "id", "cluster_idx", "scores"]
    assert [row["title"] for row in rows] == kept["title"]
    assert [int(row["id"]) for row in rows] == kept["id"]
    assert [int(row["cluster_idx"]) for row in rows] == labels

    shell.ok(f"predict {data} -o out.parquet --keep-all --quiet")
    table = parquet.read_table("out.parquet")
    names = ["id", "a", "title", "b", "day", "c", "code", "price"]
    assert table.column_names == [*first, *names, "cluster_idx", "scores"]
    assert table["cluster_idx"].to_pylist() == labels
    assert table["id"].type == pa.int64()
    assert table["id"].to_pylist() == kept["id"]
    assert table["title"].to_pylist() == kept["title"]
    assert table["b"].to_pylist() == X[good, 1].tolist()
    assert table["code"].to_pylist() == [f"{i:05d}" for i in good]
    days = [DAYS[i] for i in good]
    assert table["day"].to_pylist() == ([str(day) for day in days] if kind == "csv" else days)
    assert table["price"].to_pylist() == [None if i % 9 == 0 else i / 8 for i in good]

    shell.ok(f"transform {data} -o d.csv --keep day --quiet")
    with open("d.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["day"] for row in rows] == list(map(str, days))
    assert "d4" in rows[0]


def test_kept_columns_of_odd_types_in_csv(shell: Shell) -> None:
    table = pa.table(
        {
            "x": [1.0, 2.0, 3.0],
            "kind": pa.array(["p", "q", "p"]).dictionary_encode(),
            "when": pa.array([0, None, 10**18 + 1], pa.timestamp("ns")),
            "f4": pa.array([0.1, 2.0, None], pa.float32()),
            "list": [[1, 2], [], None],
            "yes": [True, False, None],
        }
    )
    parquet.write_table(table, "x.parquet")
    shell.ok("fit x.parquet -k 1 --columns x --quiet")
    out = shell.ok("predict x.parquet -o - --keep kind,when,f4,list,yes --quiet")
    rows = [line.split(",cluster")[0].rsplit(",", 2)[0] for line in out.splitlines()]
    assert rows[1] == 'p,1970-01-01 00:00:00.000000000,0.1,"[1, 2]",true'
    assert rows[2] == "q,,2,[],false"
    assert rows[3] == "p,2001-09-09 01:46:40.000000001,,,"


def test_what_cannot_be_kept(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.npy")
    write(tmp_path / "x.csv", scores=np.ones(400))
    shell.ok("fit x.npy -k 2 -m plain.npz")
    shell.ok("fit x.csv -k 2 --columns a,b,c")
    for command, words in (
        ("predict x.npy -m plain.npz -o o.csv --keep a", ("x.npy has no names",)),
        ("predict x.csv -o o.npy --keep a", ("o.npy has no room", ".csv or .parquet")),
        ("predict x.csv -o o.csv --keep z", ("x.csv has no column 'z' to keep", "'scores'")),
        ("predict x.csv -o o.csv --keep a,scores", ("'scores' of x.csv", "result of that name")),
        ("predict x.csv -o o.csv --keep-all", ("'scores' of x.csv", "--keep a,b")),
    ):
        shell.error(f"{command} --quiet", *words)
    assert shell.run("predict x.csv -o o.csv --keep a --keep-all")[0] == 2
    assert not list(tmp_path.glob("o.*"))


# ---- Nothing is written over ----


def test_results_are_replaced_by_force_alone(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    shell.ok("fit x.csv -k 2")
    for command in ("predict", "transform"):
        for output in ("o.npy", "o.csv", "o.parquet"):
            Path(output).write_text("before")
            shell.error(f"{command} x.csv -o {output} --quiet", f"{output} exists", "--force")
            assert Path(output).read_text() == "before"
            shell.ok(f"{command} x.csv -o {output} --force")
            assert Path(output).read_bytes() != b"before"


def links() -> None:
    os.symlink("x.npy", "link.npy")
    os.link("x.npy", "hard.npy")
    Path("data").mkdir()
    os.link("x.npy", "data/0.npy")
    os.symlink("data", "folder")


@pytest.mark.parametrize("target", ["x.npy", "./x.npy", "link.npy", "hard.npy", "data/0.npy"])
@pytest.mark.parametrize(
    "data", ["x.npy", "link.npy", "hard.npy", "data", "folder", "x*.npy", "data/*.npy", "file:{}"]
)
def test_data_is_never_written_over(shell: Shell, tmp_path: Path, data: str, target: str) -> None:
    write(tmp_path / "x.npy")
    links()
    before = Path("x.npy").read_bytes()
    save_model(trained().fit(X, steps=1), "model.safetensors")
    given = f"file://{tmp_path}/x.npy" if data == "file:{}" else data
    shell.error(f"fit {given} -k 2 -m {target} --force --quiet", "is data of this command")
    for command in ("predict", "transform"):
        shell.error(f"{command} {given} -o {target} --force --quiet", "is read by this command")
    assert Path("x.npy").read_bytes() == before
    assert Path("link.npy").is_symlink()
    shell.ok(f"predict {given} -o labels.npy --quiet")


def test_results_that_a_pattern_would_take_for_data(shell: Shell, tmp_path: Path) -> None:
    Path("data/deep").mkdir(parents=True)
    write(tmp_path / "data/x.npy")
    shell.ok("fit data/*.npy -k 2")
    for pattern in ("data/*.npy", "data/**/*.npy", "d*/*.npy", f"{tmp_path}/**/[n-y]*.npy"):
        shell.error(f"predict {pattern} -o data/out.npy --quiet", "is read by this command")
    for pattern, output in (
        ("data/x*.npy", "data/out.npy"),
        ("data/*.npy", "data/out.csv"),
        ("data/*.npy", "data/deep/out.npy"),
        ("data/*.npy", "out.npy"),
    ):
        shell.ok(f"predict {pattern} -o {output}")
        Path(output).unlink()
    shell.error("fit data/*.npy -k 2 -m data/m.npy --quiet", "is data of this command")


def test_a_model_among_data(shell: Shell, tmp_path: Path) -> None:
    Path("data").mkdir()
    write(tmp_path / "data/x.csv")
    shell.error("fit data -k 2 -m data/model.npz --quiet", "lies in a directory of data", "-m")
    shell.error("fit data -k 2 --model-dir data --quiet", "data holds the data", "--model-dir")
    assert [path.name for path in Path("data").iterdir()] == ["x.csv"]
    shell.ok("fit data -k 2 --model-dir data/run")
    shell.ok("fit data -k 2 --quiet")


# ---- What is said ----


def test_columns_in_use_come_first(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", town=["p"] * 400)
    lines = shell.run("fit x.csv -k 2")[2].splitlines()
    assert lines[1:3] == ["shoal: columns in use: a, b, c", "shoal: 2 centers chosen"]
    assert "town" in lines[0]
    assert "continuing from step" in shell.run("fit x.csv --resume --steps 2")[2]
    np.save("x.npy", X)
    assert "columns in use: 3, without names" in shell.run("fit x.npy -k 2 --force")[2]


def test_ids_beside_a_list_are_warned_of(shell: Shell) -> None:
    rows = X.tolist()
    parquet.write_table(pa.table({"id": range(400), "emb": rows}), "x.parquet")
    code, _, err = shell.run("fit x.parquet -k 2")
    assert code == 0
    said = err.splitlines()
    assert said[0] == "shoal: columns in use: emb (3 numbers a row), id" or (
        said[0] == "shoal: columns in use: id, emb (3 numbers a row)"
    )
    assert said[1].startswith("shoal: warning: id is a feature like each number of emb.")
    assert "--columns emb" in said[1]
    assert any("centers chosen" in line for line in said[2:])
    for chosen in ("emb", "id,emb"):
        err = shell.run(f"fit x.parquet -k 2 --force --columns {chosen}")[2]
        assert "warning" not in err
    parquet.write_table(pa.table({"emb": rows}), "y.parquet")
    assert "warning" not in shell.run("fit y.parquet -k 2 --force")[2]


def test_escape_codes_stay_off_the_terminal(shell: Shell) -> None:
    Path("x.csv").write_text('"a\x1b[31m",b\n1,2\n3,4\n5,7\n')
    for command in ("fit x.csv -k 2", "inspect model.safetensors", "predict x.csv -o \x1b.txt"):
        _, out, err = shell.run(command)
        assert "\x1b" not in out + err
        assert "\\x1b" in out + err
    assert json.loads(shell.ok("inspect model.safetensors --json"))["columns"][0] == "a\x1b[31m"


# ---- Paths that lead nowhere, and other bad input ----


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "there is no file or directory nowhere"),
        ("nowhere/", "there is no file or directory nowhere/"),
        ("nowhere/*.npy", "there is no directory nowhere, so no file matches nowhere/*.npy"),
        ("nowhere/*/x.npy", "there is no directory nowhere, so"),
        ("*.npy", "there is no file that matches *.npy"),
        ("x.txt", "x.txt is of no known kind"),
    ],
)
def test_what_is_missing_is_called_missing(shell: Shell, path: str, words: str) -> None:
    Path("x.txt").touch()
    shell.error(f"fit {path}", words)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["fit", "x.npy", "--threads", "99999999999"], 1, "--threads is 99999999999; it must be"),
        (["fit", "x.npy", "-k", "9" * 30], 1, "--clusters is"),
        (["fit", "x.npy", "--steps", "9" * 30], 1, "steps is"),
        (["fit", "x.npy", "--batch-size", "9" * 30, "--mini-batch"], 1, "--batch-size is"),
        (["fit", "x.npy", "--seed", "9" * 60], 1, "--seed is"),
        (["fit", "x.npy", "--tolerance", "nan"], 1, "--tolerance is nan"),
        (["fit", "x.npy", "--checkpoint-secs", "inf", "--model-dir", "r"], 1, "secs is inf"),
        (["fit", "a\0b.npy"], 2, "is no path"),
        (["fit", ""], 2, "is no path"),
        (["fit", "x.npy", "-m", "m\0"], 2, "is no path"),
        (["predict", "x.npy", "-o", "l\0.npy"], 2, "is no path"),
        (["inspect", "\0"], 2, "is no path"),
        (["fit", "x.npy", "--sphere", "lat"], 2, "latitude,longitude"),
        (["fit", "x.npy", "--sphere", "a,b", "--columns", "a,b"], 2, "not allowed with"),
        (["fit", "x.npy", "-m", "n" * 300], 1, "name too long"),
        (["inspect", "crafted.npz"], 1, "crafted.npz is not a model of shoal: its columns are 5"),
        (
            ["predict", "x.npy", "-m", "crafted.npz", "-o", "l.npy"],
            1,
            "crafted.npz is not a model of shoal: its columns are 5",
        ),
    ],
)
def test_no_tracebacks(
    shell: Shell, tmp_path: Path, command: list[str], code: int, words: str
) -> None:
    write(tmp_path / "x.npy")
    save_model(trained().fit(X, steps=1), "m.npz")
    with np.load("m.npz") as content:
        arrays = dict(content)
    header = json.loads(str(arrays["header"])) | {"columns": 5}
    np.savez("crafted.npz", **{**arrays, "header": np.array(json.dumps(header))})
    ended, out, err = shell.run(command)
    assert (ended, out) == (code, "")
    assert words.lower() in err.lower()


def test_a_fault_of_ours_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.npy")
    monkeypatch.setattr(shoal.KMeansClustering, "fit", lambda *_, **__: 1 / 0)
    command = ["fit", str(tmp_path / "x.npy"), "-m", str(tmp_path / "m.npz"), "--quiet"]
    from shoal.cli import main

    assert main(command) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "unexpected ZeroDivisionError" in err
    monkeypatch.setenv("SHOAL_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(command)
