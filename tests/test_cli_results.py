"""Files of results: written piece by piece, in the order of the data, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cli_helpers import NAMES, Shell, X, trained, write
from pyarrow import parquet

import shoal
from shoal import load_model, save_model
from shoal.cli import writers
from shoal.sources.limits import Limits

OUTPUTS = ["out.npy", "out.csv", "out.parquet"]


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few rows, groups of a few pieces."""
    piece = 70 * X.itemsize * X.shape[1]
    small = Limits(piece=piece, answer_rows=30, answer_distances=5 * 30, row_group=4000)
    monkeypatch.setattr(Shell, "limits", small)


def directory(x: Any = X) -> str:
    """Rows as Parquet files of several row groups each."""
    Path("data").mkdir()
    for i, part in enumerate(np.array_split(x, 3)):
        table = pa.table({name: pa.array(part[:, j]) for j, name in enumerate(NAMES)})
        parquet.write_table(table, f"data/{i}.parquet", row_group_size=50)
    return "data"


def array_of(path: str) -> Any:
    """What ``transform`` has written, [n, k]."""
    if path.endswith(".npy"):
        return np.load(path)
    if path.endswith(".csv"):
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == [f"d{i}" for i in range(len(rows[0]))]
        return np.array(rows[1:], float)
    table = parquet.read_table(path)
    assert table.column_names == ["distances"]
    column = table["distances"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", ["x.npy", "x.csv", "data"])
@pytest.mark.usefixtures("small_pieces")
def test_transform(shell: Shell, tmp_path: Path, kind: str, output: str) -> None:
    data = directory() if kind == "data" else write(tmp_path / kind)
    model = trained().fit(X, steps=2)
    save_model(model, "model.safetensors")
    if kind != "x.npy":
        shell.ok(f"fit {data} -k 5 --steps 2 --force")
    said = shell.json(f"transform {data} -o {output}")
    assert said == {"rows": 400, "clusters": 5, "output": output}
    expected = load_model("model.safetensors").set_params(feature_columns=None).transform(X)
    assert array_of(output).tobytes() == expected.tobytes()
    if output.endswith(".parquet"):
        assert parquet.ParquetFile(output).num_row_groups > 3
        assert shoal.open(output).dim == 5


@pytest.mark.usefixtures("small_pieces")
def test_predict_from_a_directory(shell: Shell) -> None:
    fitted = shell.json(f"fit {directory()} -k 5")
    model = load_model("model.safetensors").set_params(feature_columns=None)
    found: Any = model.predict(X, as_iterable=False)
    for output in OUTPUTS:
        said = shell.json(f"predict data -o {output}")
        assert (said["rows"], said["loss"]) == (400, fitted["loss"])
    assert np.load("out.npy").tobytes() == found["cluster_idx"].tobytes()
    table = parquet.read_table("out.parquet")
    assert table.column_names == ["cluster_idx", "scores"]
    assert table["scores"].to_numpy().tobytes() == found["scores"].tobytes()


def test_float32_stays_float32(shell: Shell, tmp_path: Path) -> None:
    x = X.astype(np.float32)
    write(tmp_path / "x.npy", x)
    shell.ok("fit x.npy -k 5")
    shell.ok("transform x.npy -o out.npy")
    shell.ok("transform x.npy -o out.parquet")
    expected = load_model("model.safetensors").transform(x)
    assert expected.dtype == np.float32
    for output in ("out.npy", "out.parquet"):
        assert array_of(output).dtype == np.float32
        assert array_of(output).tobytes() == expected.tobytes()
    assert np.load("out.npy", mmap_mode="r").offset % 64 == 0


@pytest.mark.parametrize("mini_batch", ["", "--mini-batch --batch-size 60"])
def test_fit_on_a_directory_is_fit_on_the_array(shell: Shell, mini_batch: str) -> None:
    for data in (directory(), "data/*.parquet", f"file://{Path('data').absolute()}"):
        shell.ok(f"fit {data} -k 5 --steps 7 {mini_batch} --force")
        size = {"batch_size": 60} if mini_batch else {}
        model = trained(use_mini_batch=bool(mini_batch)).fit(X, steps=7, **size)
        assert load_model("model.safetensors").clusters().tobytes() == model.clusters().tobytes()


# ---- Rows that are left out ----


def with_bad_rows() -> tuple[Any, Any]:
    """Rows of which some are bad, and the indices of the good ones."""
    x = X.copy()
    bad = [0, 1, 140, 399]
    x[bad, [0, 1, 2, 0]] = [np.nan, np.inf, np.nan, -np.inf]
    return x, np.delete(np.arange(400), bad)


@pytest.mark.parametrize("kind", ["x.npy", "x.csv", "data", "shards"])
@pytest.mark.usefixtures("small_pieces")
def test_rows_left_out_can_be_told(shell: Shell, tmp_path: Path, kind: str) -> None:
    x, good = with_bad_rows()
    if kind == "shards":
        Path("shards").mkdir()
        for i, part in enumerate(np.split(x, [1, 150, 399])):  # two of them are of bad rows alone
            np.save(f"shards/{i}.npy", part)
    elif kind == "data":
        directory(x)
    else:
        write(tmp_path / kind, x)
    shell.ok(f"fit {kind} -k 5 --on-bad-rows skip --quiet")
    model = load_model("model.safetensors").set_params(feature_columns=None)
    labels = list(model.predict_cluster_idx(X[good]))
    for output in OUTPUTS:
        code, out, err = shell.run(f"predict {kind} -o {output} --on-bad-rows skip --json")
        assert (code, json.loads(out)["rows"]) == (0, 396)
        assert err.count("dropped 4 of 400 rows") == 1
    assert np.load("out.npy").tolist() == labels
    table = parquet.read_table("out.parquet")
    assert table.column_names == ["row", "cluster_idx", "scores"]
    assert table["row"].to_pylist() == good.tolist()
    assert table["cluster_idx"].to_pylist() == labels
    with open("out.csv", encoding="utf-8", newline="") as file:
        assert [int(line["row"]) for line in csv.DictReader(file)] == good.tolist()
    shell.ok(f"transform {kind} -o out.parquet --force --quiet")
    table = parquet.read_table("out.parquet")
    assert table["row"].to_pylist() == good.tolist()
    said = shell.json(f"evaluate {kind} --on-bad-rows skip --quiet")
    assert (said["rows"], said["loss"]) == (396, model.score(X[good]))


def test_nulls_are_rows_left_out(shell: Shell) -> None:
    values = [1.0, None, 3.0, 9.0]
    parquet.write_table(pa.table({"a": values}), "x.parquet")
    shell.ok("fit x.parquet -k 2 --on-bad-rows skip --quiet")
    refused = ("missing value", "row 1")
    shell.error("predict x.parquet -o out.csv --quiet --on-bad-rows error", *refused)
    shell.ok("predict x.parquet -o out.parquet --on-bad-rows skip --quiet")
    assert parquet.read_table("out.parquet")["row"].to_pylist() == [0, 2, 3]


# ---- Whole or not at all ----


@pytest.mark.usefixtures("small_pieces")
def test_a_directory_of_results_tells_its_rows(shell: Shell) -> None:
    np.save("x.npy", X)
    shell.ok("fit x.npy -k 5 -m m.npz")
    said = shell.json("transform x.npy -m m.npz -o out/")
    assert said == {"rows": 400, "files": 1, "output": "out/"}
    assert sum(parquet.read_table(path).num_rows for path in Path("out").iterdir()) == 400


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("command", ["predict", "transform"])
@pytest.mark.usefixtures("small_pieces")
def test_a_bad_row_at_the_end_leaves_what_was_there(
    shell: Shell, command: str, output: str
) -> None:
    x = X.copy()
    x[399, 1] = np.nan
    save_model(
        trained(feature_columns=NAMES).fit(dict(zip(NAMES, X.T, strict=True))), "model.safetensors"
    )
    Path(output).write_text("before")
    said = ("data/2.parquet holds nan in row 132, column 'b'",)
    shell.error(f"{command} {directory(x)} -o {output} --force --quiet", *said)
    assert Path(output).read_text() == "before"
    assert sorted(path.name for path in Path().iterdir()) == ["data", "model.safetensors", output]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.usefixtures("small_pieces")
def test_a_full_disk(shell: Shell, tmp_path: Path, output: str) -> None:
    write(tmp_path / "x.npy")
    shell.ok("fit x.npy -k 5")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        code, out, err = shell.run(f"transform x.npy -o {output} --quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, out) == (1, "")
    assert err.startswith(f"shoal: error: {output} cannot be written: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "x.npy"]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.usefixtures("small_pieces")
def test_ctrl_c_while_writing(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    write(tmp_path / "x.npy")
    shell.ok("fit x.npy -k 5")
    kind = writers.WRITERS[Path(output).suffix]
    whole, written = kind.write, []

    def interrupted(self: Any, batch: Any) -> None:
        written.append(len(batch))
        if len(written) == 9:
            raise KeyboardInterrupt
        whole(self, batch)

    monkeypatch.setattr(kind, "write", interrupted)
    shell.error(f"transform x.npy -o {output} --quiet", "interrupted", code=130)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "x.npy"]


def test_results_are_no_data(shell: Shell) -> None:
    directory()
    shell.ok("fit data -k 2")
    Path("out.csv").write_text("1,2,3\n")
    for command in (
        "predict data -o data/out.parquet",
        "transform data/*.parquet -o data/0.parquet",
        "predict data/0.parquet -o ./data/0.parquet",
    ):
        shell.error(f"{command} --quiet", "is read by this command: choose another file")
    shell.ok("predict data/*.parquet -o out.csv --quiet --force")


# ---- evaluate ----


def test_evaluate(shell: Shell, tmp_path: Path) -> None:
    weights = np.arange(400.0)
    write(tmp_path / "x.parquet", w=weights)
    shell.ok("fit x.parquet -k 4 --columns a,b,c --steps 3 -m plain.npz")
    model = load_model("plain.npz").set_params(feature_columns=None)
    for option, data in (("", X), ("--weight w", shoal.Weighted(X, weights))):
        measured = model.evaluate(data)
        assert shell.json(f"evaluate x.parquet -m plain.npz {option}") == {
            "model": "plain.npz",
            "steps": 3,
            "rows": 400,
            "loss": measured["scores"],
            "loss_per_row": measured["loss"],
        }
    fitted = shell.json("fit x.parquet -k 4 --weight w --steps 3 --model-dir run")
    assert shell.json("evaluate x.parquet --model-dir run")["loss"] == fitted["loss"]
    plain = shell.json("evaluate x.parquet --model-dir run --no-weight --name plain")
    assert plain["loss"] != fitted["loss"]
    assert json.loads(Path("run/eval_plain/metrics.jsonl").read_text())["scores"] == plain["loss"]
    assert len(Path("run/eval/metrics.jsonl").read_text().splitlines()) == 2
    write(tmp_path / "bare.csv")
    shell.error("evaluate bare.csv -m run --quiet", "no column 'w'", "--no-weight")
    write(tmp_path / "x.npy")
    shell.error("evaluate x.npy -m run --quiet", "--no-weight")
    assert shell.json("evaluate x.npy -m run --no-weight")["loss"] == plain["loss"]
    shell.error("evaluate x.npy -m run --name ../up --no-weight --quiet", "name is '../up'")
    assert "loss per row   " in shell.ok("evaluate x.parquet -m plain.npz")


def test_fit_without_the_last_pass(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.npy")
    said = shell.json("fit x.npy -k 3 --no-evaluate")
    assert not {"rows", "loss", "loss_per_row"} & set(said)
    assert shell.json("inspect model.safetensors")["steps"] == said["steps"]


def test_when_to_write(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.npy")
    for option in ("--checkpoint-steps 2", "--checkpoint-secs 5", "--summary-steps 1"):
        shell.error(f"fit x.npy {option} --quiet", option.split()[0], "--model-dir")
    shell.error("fit x.npy --model-dir run --checkpoint-steps 0 --quiet", "--checkpoint-steps is 0")
    shell.ok("fit x.npy -k 3 --model-dir run --steps 6 --checkpoint-steps 2 --summary-steps 3")
    kept = sorted(path.name for path in Path("run/checkpoints").iterdir())
    assert kept == [f"step-{step:09d}.safetensors" for step in (0, 2, 4, 6)]
    steps = [
        json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().split("\n")[:-1]
    ]
    assert steps == [3, 6]


# ---- Memory ----


def peak(*words: str) -> int:
    """Megabytes that a command takes at most."""
    program = (
        "import resource, sys\nfrom shoal.cli import main\ncode = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-c", program, *words, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_neither_data_nor_results_are_held(shell: Shell) -> None:
    del shell  # its folder
    rng = np.random.default_rng(4)
    part = rng.normal(size=(200_000, 16)).astype(np.float32)
    columns = {f"c{i:02d}": part[:, i] for i in range(16)}
    parquet.write_table(pa.table(columns), "part.parquet", row_group_size=50_000)
    for folder, files in (("one", 20), ("three", 60)):  # 256 and 768 MB, on disk once
        Path(folder).mkdir()
        for i in range(files):
            os.link("part.parquet", f"{folder}/{i:02d}.parquet")
    save_model(trained(feature_columns=list(columns)).fit(columns, steps=1), "model.safetensors")
    for command in (
        ("predict", "-o", "out.npy", "--force"),
        ("predict", "-o", "out.parquet", "--force"),
        ("transform", "-o", "out.npy", "--force"),
        ("transform", "-o", "out.parquet", "--force"),
        ("evaluate",),
    ):
        one, three = (peak(command[0], folder, *command[1:]) for folder in ("one", "three"))
        # Labels alone are 64 MB more, distances 160 MB.
        assert three < one + 35, (command, one, three)
