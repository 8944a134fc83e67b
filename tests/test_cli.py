"""The command line: what it prints and writes, exit codes, errors of one line, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import KINDS, NAMES, Shell, X, trained, write
from pyarrow import parquet

import shoal
from shoal import load_model, save_model
from shoal.cli import data as cli_data
from shoal.cli import fit, models
from shoal.hooks import log_lines


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def bits(path: str) -> dict[str, Any]:
    model = load_model(path)
    state = {name: model.get_variable_value(name) for name in model.get_variable_names()}
    return {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in state.items()}


# ---- Results ----


@pytest.mark.parametrize("kind", KINDS)
def test_fit_predict_inspect(shell: Shell, tmp_path: Path, kind: str) -> None:
    data = write(tmp_path / f"x{kind}")
    fitted = shell.json(f"fit {data} -k 5 --seed 3")
    model = trained(random_seed=3).fit(X)
    expected = model.evaluate(X)
    assert fitted.pop("seconds") >= 0
    assert fitted == {
        "rows": 400,
        "columns": 3 if kind in (".npy", ".npz") else NAMES,
        "clusters": 5,
        "metric": "squared_euclidean",
        "steps": model.state.global_step,
        "model": "model.safetensors",
        "loss": expected["scores"],
        "loss_per_row": expected["loss"],
    }
    assert load_model("model.safetensors").clusters().tobytes() == model.clusters().tobytes()

    found: Any = model.predict(X, outputs=["cluster_idx", "scores"], as_iterable=False)
    for target in ("labels.npy", "labels.csv", "labels.parquet"):
        said = shell.json(f"predict {data} -o {target}")
        assert (said["rows"], said["clusters_used"], said["output"]) == (400, 5, target)
        assert said["loss"] == expected["scores"]
    assert np.load("labels.npy").tobytes() == found["cluster_idx"].tobytes()
    table = parquet.read_table("labels.parquet")
    assert table["cluster_idx"].to_numpy().tobytes() == found["cluster_idx"].tobytes()
    assert table["scores"].to_numpy().tobytes() == found["scores"].tobytes()
    with open("labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["cluster_idx"]) for row in rows] == found["cluster_idx"].tolist()
    assert [float(row["scores"]) for row in rows] == found["scores"].tolist()

    held = shell.json("inspect model.safetensors")
    assert (held["clusters"], held["steps"], held["seed"]) == (5, fitted["steps"], 3)
    assert (held["columns"], held["training"]) == (fitted["columns"], "full batch")
    assert not list(tmp_path.glob(".*"))


def test_text_output(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    out = shell.ok("fit x.csv -k 2 --quiet")
    assert "columns        a, b, c\n" in out
    assert "model          model.safetensors\n" in out
    assert "loss per row   " in out
    assert "training       full batch\n" in shell.ok("inspect model.safetensors")


def test_options_reach_the_model(shell: Shell, tmp_path: Path) -> None:
    weights = np.arange(400.0)
    write(tmp_path / "x.parquet", w=weights, town=["p"] * 400)
    said = shell.json(
        "fit x.parquet -k 4 --columns c,a --weight w --metric cosine --init afkmc2 --seed 9 "
        "--mini-batch --batch-size 50 --steps 12 --empty-clusters keep --threads 2 -m m.npz"
    )
    model = shoal.KMeansClustering(
        4, initial_clusters="afkmc2", distance_metric="cosine", random_seed=9
    ).fit(X[:, [2, 0]], sample_weight=weights, batch_size=50, steps=12)
    assert said["columns"] == ["c", "a"]
    assert load_model("m.npz").state.clusters.tobytes() == model.state.clusters.tobytes()
    given = load_model("m.npz").get_params()
    assert (given["empty_clusters"], given["weight_column"]) == ("keep", "w")
    shell.ok("predict x.parquet -m m.npz -o l.npy")  # without weights
    found: Any = model.predict(X[:, [2, 0]], as_iterable=False)
    assert np.load("l.npy").tobytes() == found["cluster_idx"].tobytes()


def test_bad_rows_can_be_skipped(shell: Shell, tmp_path: Path) -> None:
    bad = X.copy()
    bad[[7, 30], 1] = np.nan
    write(tmp_path / "x.npy", bad)
    shell.error("fit x.npy", "x.npy holds nan in row 7, column 1", "--on-bad-rows skip")
    code, out, err = shell.run("fit x.npy --on-bad-rows skip --json")
    assert code == 0
    assert err.count("x.npy: dropped 2 of 400 rows") == 1
    assert json.loads(out)["rows"] == 398
    refused = ("x.npy holds nan in row 7", "--on-bad-rows skip")
    shell.error("predict x.npy -o l.npy --on-bad-rows error", *refused)
    assert not Path("l.npy").exists()
    assert shell.json("predict x.npy -o l.npy")["rows"] == 398  # as it was trained
    assert len(np.load("l.npy")) == 398
    assert shell.json("evaluate x.npy")["rows"] == 398
    assert shell.json("inspect model.safetensors")["on_bad_rows"] == "skip"
    assert shell.json("fit x.npy --resume --steps 1")["rows"] == 398
    shell.error("fit x.npy --resume --steps 1 --on-bad-rows error", *refused)
    shell.ok("fit x.npy --model-dir run --on-bad-rows skip --steps 2")
    assert shell.json("transform x.npy --model-dir run -o d.npy")["rows"] == 398
    assert "on_bad_rows" not in shell.json(f"inspect {model_of_good_rows()}")
    shell.error("predict x.npy -o l2.npy -m good.npz", *refused)
    assert shell.json("predict x.npy -o l2.npy -m good.npz --on-bad-rows skip")["rows"] == 398


def model_of_good_rows() -> str:
    save_model(trained().fit(X, steps=1), "good.npz")
    return "good.npz"


def test_progress_is_a_line_a_second_at_first(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.npy")
    assert "step " not in shell.run("fit x.npy --steps 20")[2]  # done within a second
    monkeypatch.setattr(log_lines, "LOG_SECONDS", (0.0, 0.0))
    err = shell.run("fit x.npy --steps 20 --force")[2]
    assert err.count("shoal: step ") == 20
    assert shell.run("fit x.npy --steps 20 --force --quiet")[2] == ""


def test_named_and_unnamed_data(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    write(tmp_path / "x.npy")
    write(tmp_path / "turned.npy", X[:, [2, 1, 0]])
    shell.ok("fit x.csv --columns c,b,a -m named.npz")
    shell.ok("fit x.npy -m unnamed.npz")
    for data in ("x.csv", "turned.npy"):
        shell.ok(f"predict {data} -m named.npz -o {data[0]}.npy --force --quiet")
    assert Path("x.npy").exists()
    shell.ok("predict x.csv -m named.npz -o l1.npy")
    shell.ok("predict turned.npy -m named.npz -o l2.npy")
    assert np.load("l1.npy").tobytes() == np.load("l2.npy").tobytes()
    words = "x.csv has named columns, the model was trained on rows without names"
    assert words in shell.run("predict x.csv -m unnamed.npz -o l3.npy")[2]
    np.save("plain.npy", X)
    shell.ok("predict plain.npy -m unnamed.npz -o l4.npy")
    assert np.load("l3.npy").tobytes() == np.load("l4.npy").tobytes()
    assert load_model("unnamed.npz").columns == ()
    shell.ok("fit x.csv -m unnamed.npz --resume --steps 1")
    assert load_model("unnamed.npz").columns == ("a", "b", "c")  # remembered
    shell.ok("fit turned.npy -m named.npz --resume --steps 1")
    assert load_model("named.npz").columns == ("c", "b", "a")
    np.save("narrow.npy", X[:, :2])
    shell.error("predict narrow.npy -m named.npz -o l.npy", "narrow.npy has 2 columns", "3")


# ---- Going on ----


@pytest.mark.parametrize("options", ["", "--mini-batch --batch-size 70", "--metric cosine"])
def test_resumed_is_uninterrupted(shell: Shell, tmp_path: Path, options: str) -> None:
    write(tmp_path / "x.csv")
    size = "--batch-size 70" if "batch" in options else ""
    shell.ok(f"fit x.csv -k 6 --steps 13 -m whole.npz {options}")
    shell.ok(f"fit x.csv -k 6 --steps 5 -m parts.npz {options}")
    said = shell.json(f"fit x.csv --steps 8 -m parts.npz --resume {size}")
    assert said["steps"] == 13
    assert bits("parts.npz") == bits("whole.npz")


def test_resume_refuses_another_model(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", w=np.ones(400))
    shell.ok("fit x.csv -k 3 --columns a,b --steps 2 --tolerance 1e-3")
    before = bits("model.safetensors")
    for option, given, had in (
        ("--clusters", "4", "3"),
        ("--metric", "cosine", "squared_euclidean"),
        ("--init", "random", "kmeans_plus_plus"),
        ("--seed", "7", "0"),
        ("--mini-batch", "", "off"),
        ("--columns", "b,a", "a,b"),
        ("--weight", "w", "none"),
        ("--empty-clusters", "error", "relocate"),
    ):
        said = f"{option} is {given or 'on'}, but model.safetensors was trained with {had}"
        shell.error(f"fit x.csv --resume {option} {given}", said)
    assert bits("model.safetensors") == before
    same = "-k 3 --metric squared_euclidean --init kmeans_plus_plus --seed 0 --columns a,b"
    shell.ok(f"fit x.csv --resume {same} --empty-clusters relocate --steps 1 --threads 1")
    assert load_model("model.safetensors").get_params()["relative_tolerance"] == 1e-3
    shell.ok("fit x.csv --resume --steps 1 --tolerance 1e-4")
    assert load_model("model.safetensors").get_params()["relative_tolerance"] == 1e-4


class InterruptAt:
    """Ctrl-C after a step."""

    step = 4

    def after_step(self, context: Any) -> None:
        if context.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("options", ["", "--tolerance 1e-5", "--steps 9"])
@pytest.mark.parametrize("kind", ["--metric cosine", "--mini-batch --batch-size 70"])
def test_the_hint_is_the_whole_command(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str
) -> None:
    (tmp_path / "my data").mkdir()
    write(tmp_path / "my data" / "x.npy")
    command = f"fit 'my data/x.npy' -k 7 {kind} {options}"
    shell.ok(f"{command} -m whole.npz")
    steps = load_model("whole.npz").state.global_step
    assert steps > InterruptAt.step
    with monkeypatch.context() as patch:
        patch.setattr(fit, "progress_monitor", lambda *_: [InterruptAt()])
        patch.setattr(shoal.KMeansClustering, "evaluate", None)  # no further pass
        code, out, err = shell.run(f"{command} -m 'my data/m.npz' --json --threads 2")
    assert code == 130
    said = json.loads(out)
    assert said["interrupted"] is True
    # The step that was under way is not always in: either way it is done once.
    assert said["steps"] in (InterruptAt.step - 1, InterruptAt.step)
    assert said["model"] == "my data/m.npz"
    [line] = [line for line in err.splitlines() if "interrupted" in line]
    words = shlex.split(line.partition("go on with: ")[2])
    assert words[:2] == ["shoal", "fit"]
    assert "--threads" in words
    assert ("--tolerance" in words) == ("--tolerance" in options)
    assert ("--steps" in words) == ("--steps" in options)
    shell.ok(words[1:])
    assert bits("my data/m.npz") == bits("whole.npz")


def test_interrupted_elsewhere(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.npy")
    save_model(trained().fit(X, steps=1), "m.npz")

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    for module, name in ((cli_data, "open_path"), (models, "load_model")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupt)
            if name == "open_path":
                shell.error("fit x.npy", "interrupted", code=130)
            shell.error("predict x.npy -o l.npy -m m.npz", "interrupted", code=130)
    monkeypatch.setattr("shoal.loop.train", interrupt)
    shell.error("fit x.npy", "interrupted before the centers were chosen", code=130)
    assert not Path("model.safetensors").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shoal.KMeansClustering, "evaluate", interrupt)
    shell.error("fit x.npy", "interrupted after training: model.safetensors is written", code=130)
    assert load_model("model.safetensors").is_fitted


# ---- Directories of checkpoints ----


def test_model_dir(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    fitted = shell.json("fit x.csv -k 5 --steps 6 --model-dir runs/a --mini-batch --batch-size 70")
    assert fitted["model"] == "runs/a"
    assert not Path("model.safetensors").exists()
    shell.ok("fit x.csv -k 5 --steps 6 -m whole.npz --mini-batch --batch-size 70")
    assert bits("runs/a") == bits("whole.npz")
    for which in ("--model-dir runs/a", "-m runs/a", "-m whole.npz"):
        shell.ok(f"predict x.csv {which} -o l{len(which)}.npy")
    labels = [np.load(f"l{length}.npy").tobytes() for length in (18, 9, 12)]
    assert labels[0] == labels[1] == labels[2]
    held = shell.json("inspect runs/a")
    assert (held["clusters"], held["steps"], held["complete"]) == (5, 6, True)
    assert "complete" not in shell.json("inspect whole.npz")
    shell.error("fit x.csv --model-dir runs/a", "runs/a exists: pass --resume")
    shell.error("fit x.csv --model-dir runs/a --force", "remove runs/a")
    shell.error("fit x.csv --model-dir runs/a --resume -k 4", "--clusters is 4", "with 5")
    shell.error("fit x.csv --model-dir x.csv", "--model-dir is", "not a directory")
    assert shell.run("fit x.csv --model-dir runs/a -m m.npz")[0] == 2
    said = shell.json("fit x.csv --model-dir runs/a --resume --max-steps 9 --batch-size 70")
    assert said["steps"] == 9
    assert shell.json("fit x.csv --model-dir runs/a --resume --max-steps 9")["steps"] == 9
    shell.ok("fit x.csv -m whole.npz --resume --max-steps 9 --batch-size 70")
    assert bits("runs/a") == bits("whole.npz")


def test_the_same_command_until_it_is_done(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.npy")
    command = "fit x.npy -k 7 --model-dir run --resume"
    with monkeypatch.context() as patch:
        patch.setattr(fit, "progress_monitor", lambda *_: [InterruptAt()])
        code, _, err = shell.run(command)
    assert code == 130
    assert "interrupted after 4 steps; go on with: shoal fit x.npy --model-dir run --resume" in err
    assert shell.json("inspect run")["complete"] is False
    for _ in range(2):  # once more is one too many: nothing happens
        done = shell.json(command)
    assert done == shell.json("fit x.npy -k 7 -m whole.npz") | {
        "model": "run",
        "seconds": done["seconds"],
    }
    assert "come to its end already" in shell.run(command)[2]
    assert bits("run") == bits("whole.npz")
    assert shell.json(f"{command} --steps 1")["steps"] == done["steps"] + 1


# ---- Processes ----


def start(*words: str, program: str = "", **given: Any) -> subprocess.Popen[str]:
    command = [sys.executable, *(["-c", program] if program else ["-m", "shoal"]), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, **({"stdout": pipe, "stderr": pipe, "text": True} | given))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_while_training(
    shell: Shell, tmp_path: Path, sent: signal.Signals
) -> None:
    write(tmp_path / "x.npy")
    program = (
        "import sys\nfrom shoal.cli import main\nfrom shoal.hooks import log_lines\n"
        "log_lines.LOG_SECONDS = (0.0, 0.0)\nsys.exit(main())\n"
    )
    process = start("fit", "x.npy", "-k", "6", "--steps", "10000000", program=program)
    with process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("shoal: step 3:"):
            assert process.poll() is None
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + sent
    assert "Traceback" not in err
    assert "interrupted    yes" in out
    done = load_model("model.safetensors").state.global_step
    assert f"--resume --steps {10_000_000 - done}" in err
    shell.ok("fit x.npy --resume --steps 5")
    shell.ok(f"fit x.npy -k 6 --steps {done + 5} -m whole.npz")
    assert bits("model.safetensors") == bits("whole.npz")


def test_output_that_cannot_be_written(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.npy")
    shell.ok("fit x.npy -k 2")
    for words in (("inspect", "model.safetensors"), ("--help",)):
        reader, writer = os.pipe()
        os.close(reader)
        with start(*words, stdout=writer) as process:
            os.close(writer)
            assert process.communicate(timeout=60)[1] == ""
        assert process.returncode in ((1,) if words[0] == "inspect" else (0, 1))
    if Path("/dev/full").exists():
        with (
            open("/dev/full", "w") as full,
            start("inspect", "model.safetensors", stdout=full) as process,
        ):
            err = process.communicate(timeout=60)[1]
        assert process.returncode == 1
        assert err.count("\n") == 1
        assert "No space left" in err


@pytest.mark.parametrize("variable", ["SHOAL_SIMD", "SHOAL_PLAN"])
def test_bad_environment(tmp_path: Path, variable: str) -> None:
    write(tmp_path / "x.npy")
    with start("fit", "x.npy", "--quiet", env={**os.environ, variable: "fast"}) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"shoal: error: {variable}=fast")
    assert err.count("\n") == 1


# ---- Errors ----


@pytest.mark.parametrize(
    "command",
    [
        "",
        "train x.npy",
        "fit",
        "fit x.npy --metric l1",
        "fit x.npy -k many",
        "fit x.csv --columns ,",
        "fit x.csv --columns a,a",
        "fit x.npy --on-bad-rows keep",
        "predict x.npy",
    ],
)
def test_wrong_usage(shell: Shell, command: str) -> None:
    code, out, err = shell.run(command)
    assert (code, out) == (2, "")
    assert err.startswith("usage: shoal")


def test_help_names_the_defaults(shell: Shell) -> None:
    out = shell.ok("fit --help")
    for default in ("(8)", "(squared_euclidean)", "(kmeans_plus_plus)", "(0)", "(relocate)"):
        assert default in out
    assert "fewer rows" in " ".join(shell.ok("predict --help").split())
    assert shell.ok("--version") == f"shoal {shoal.__version__}\n"


ERRORS: list[tuple[str, tuple[str, ...]]] = [
    ("fit none.npy", ("there is no file none.npy",)),
    ("fit x.npy -k 0", ("--clusters is 0",)),
    ("fit x.npy -k 401", ("--clusters is 401", "400 rows")),
    ("fit x.npy --tolerance -1 -m new.npz", ("--tolerance is -1",)),
    ("fit x.npy --columns a", ("--columns", "x.npy has no names")),
    ("fit x.npy --weight a", ("--weight", "x.npy has no names")),
    ("fit x.csv --columns a,z", ("no column 'z'", "'town'")),
    ("fit x.csv --columns town", ("'town'", "not numbers")),
    ("fit x.csv --weight town", ("'town'", "the weight", "not numbers")),
    ("fit x.csv --weight negative", ("x.csv", "-1", "weights must be finite")),
    ("fit x.npy -m there/is/none.npz", ("there is no directory there/is",)),
    ("fit x.npy -m model", ("model exists", "--resume", "--force")),
    ("fit x.npy -m new.npz --resume", ("there is no model file new.npz",)),
    ("fit . -m new.npz", ("files of several kinds", "line.npy", "pattern")),
    ("fit line.npy", ("line.npy has shape (3,)",)),
    ("fit other.npy", ("other.npy has dtype >f8", "save the file as float64")),
    ("predict x.npy -m model -o l.txt", ("l.txt", "no known kind", ".npy")),
    ("predict x.npy -m model -o there/l.npy", ("there is no directory there",)),
    ("predict x.npy -m model -o x.npy", ("x.npy is read by this command",)),
    ("predict x.npy -m none.npz -o l.npy", ("there is no model file none.npz",)),
    ("predict none.npy -m model -o l.npy", ("there is no file none.npy",)),
    ("predict line.npy -m model -o l.npy", ("line.npy has shape (3,)",)),
    ("inspect none.npz", ("there is no model file none.npz",)),
    ("inspect line.npy", ("line.npy has shape (3,)", "(k, d)")),
    ("inspect x.npz", ("x.npz is not a model", "['x']", "header")),
    ("inspect x.csv", ("x.csv is not a model",)),
    ("inspect empty", ("empty is not a model",)),
    ("inspect cut", ("cut is not a model",)),
]


@pytest.mark.parametrize(("command", "words"), ERRORS)
def test_errors(shell: Shell, tmp_path: Path, command: str, words: tuple[str, ...]) -> None:
    write(tmp_path / "x.npy")
    write(tmp_path / "x.npz")
    write(tmp_path / "x.csv", town=["p"] * 400, negative=-np.ones(400))
    np.save("line.npy", X[0])
    np.save("other.npy", np.ones((9, 3), ">f8"))
    save_model(trained().fit(X, steps=2), "model")
    Path("empty").write_bytes(b"")
    Path("cut").write_bytes(Path("model").read_bytes()[:-300])
    before = sorted(tmp_path.iterdir())
    with_warning = "negative" in command
    code, out, err = shell.run(f"{command} --quiet" if "inspect" not in command else command)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 + with_warning
    for word in words:
        assert word in err
    for word in (".part", ".astype", ".reshape"):
        assert word not in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "x.npy")
    Path("taken.npz").mkdir()
    code, _, err = shell.run("fit x.npy -m taken.npz --force --quiet")
    assert code == 1
    assert err.startswith("shoal: error: taken.npz cannot be written: ")
    assert ".part" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken.npz", "x.npy"]


# ---- Model files ----


def test_model_files_keep_everything() -> None:
    frame = {"b": X[:, 0], "a": X[:, 1], "w": np.ones(400)}
    model = trained(weight_column="w", relative_tolerance=0.5, kmc2_chain_length=9, num_threads=1)
    model.fit(frame, steps=3)
    save_model(model, "m.npz")
    again = load_model("m.npz", num_threads=1)
    assert again.columns == model.columns == ("b", "a")
    assert again.get_params() == model.get_params()
    assert bits("m.npz") == {
        k: v.tobytes() if isinstance(v, np.ndarray) else v
        for k, v in ((n, model.get_variable_value(n)) for n in model.get_variable_names())
    }
    given = shoal.KMeansClustering(None, initial_clusters=X[:4]).fit(X, steps=1)
    save_model(given, "given.npz")
    assert load_model("given.npz").get_params()["num_clusters"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": np.ones(3)}, "damaged"),
        ({"clusters": np.ones((5, 2))}, "damaged"),
        ({"clusters": np.ones((5, 3), np.int64)}, "damaged"),
        ({"header": np.array("{}")}, "not a model"),
        ({"header": np.array("[1]")}, "not a model"),
        ({"header": np.array('{"format": 99}')}, "format 99"),
    ],
)
def test_damaged_model_files(change: dict[str, Any], words: str) -> None:
    save_model(trained().fit(X, steps=1), "m.npz")
    with np.load("m.npz") as content:
        arrays = dict(content)
    np.savez("m.npz", **(arrays | change))
    with pytest.raises(shoal.BadInputError, match=f"m.npz .*{words}"):
        load_model("m.npz")
