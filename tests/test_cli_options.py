"""Every option of every command, through the command as it is installed."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Shell, write

import shoal
from shoal.cli import commands
from shoal.cli.arguments import FILE, add_arguments
from shoal.cli.help import EXAMPLES

X = np.random.default_rng(4).normal(size=(300, 3))
TIMES = {"lat": X[:, 0] * 20, "lon": X[:, 1] * 50, "w": np.arange(300) + 1, "id": np.arange(300)}

# What is typed, its exit code, and what must be in its output, or a file that must be there; in one
# directory, one after the other.
LINES: list[tuple[str, int, str]] = [
    ("--version", 0, shoal.__version__),
    ("--help", 0, "COMMAND --help shows"),
    ("fit --help", 0, "examples:"),
    ("fit t.csv -k 4 --columns a,b --weight w --seed 3 --init random --json", 0, '"clusters": 4'),
    ("fit t.csv --clusters 4 --columns a,b --force -q --threads 1 --no-evaluate", 0, "model.safe"),
    ("fit t.csv --resume --steps 1 --quiet --on-bad-rows skip --tolerance 1e-9", 0, "rows"),
    ("fit t.csv -k 3 -m c.safetensors --columns a,b,c --metric cosine", 0, "cosine"),
    ("fit t.csv -k 3 --model s.npz --sphere lat,lon --empty-clusters keep", 0, "sphere(lat,lon)"),
    (
        "fit x.npy -k 3 --model-dir run --mini-batch --batch-size 50 --max-steps 6 "
        "--checkpoint-steps 2 --checkpoint-secs 60 --summary-steps 1",
        0,
        "run/metrics.jsonl",
    ),
    ("fit x.npy -k 3 -m r --mini-batch --asynchronous --max-staleness 3", 1, "without --ray"),
    ("fit t.csv -k 3 -m o.npz --columns a,b --start-on-sample 0.5", 0, "o.npz"),
    ("fit t.csv -k 3 --preview", 0, "whole number"),
    ("fit t.csv -m r --ray local", 1, "--workers"),
    ("fit t.csv -m r --workers 2", 1, "--ray"),
    ("choose-k t.csv -k 2:4 --columns a,b --metric cosine --init random --seed 1 -q", 0, "best"),
    (
        "choose-k x.npy --k 2,3 --runs 2 --warm-start --sample-size 50 --gap 2 --threads 1 --json",
        0,
        '"suggested"',
    ),
    ("choose-k t.csv --sphere lat,lon --weight w --plot k.png --force --quiet", 0, "k.png"),
    ("choose-k t.csv --preview", 0, "with 10 clusters"),
    ("predict t.csv -o l.csv --keep id --force -q", 0, "l.csv"),
    ("predict t.csv -m model.safetensors --output l2.csv --keep-all --threads 1", 0, "l2.csv"),
    ("predict x.npy --model-dir run -o l.npy --on-bad-rows skip --quiet", 0, "l.npy"),
    ("predict t.csv --model s.npz --sphere lat,lon -o km.csv --json", 0, "km.csv"),
    ("predict t.csv -o l3.csv --preview", 0, "output"),
    ("predict t.csv -o l4.csv --ray local", 1, "--workers"),
    ("predict t.csv -o l4.csv --workers 2", 1, "--ray"),
    ("transform t.csv -o d.csv --keep id --force -q --threads 1", 0, "d.csv"),
    ("transform t.csv -m model.safetensors --output d2.csv --keep-all", 0, "d2.csv"),
    ("transform x.npy --model-dir run -o d.npy --on-bad-rows skip --quiet", 0, "d.npy"),
    ("transform t.csv --model s.npz --sphere lat,lon -o d3.csv --json", 0, "d3.csv"),
    ("transform x.npy --model-dir run -o d4.npy --preview", 0, "output"),
    ("transform t.csv -o d5.csv --ray local", 1, "--workers"),
    ("transform t.csv -o d5.csv --workers 2", 1, "--ray"),
    ("evaluate t.csv --weight w -q --threads 1", 0, "loss per row"),
    ("evaluate t.csv -m model.safetensors --no-weight --json", 0, '"rows": 300'),
    ("evaluate x.npy --model-dir run --name again --on-bad-rows error", 0, "run/eval_again"),
    ("evaluate t.csv --model s.npz --sphere lat,lon --quiet", 0, "rows"),
    ("evaluate t.csv --preview", 0, "number"),
    ("evaluate t.csv --ray local", 1, "--workers"),
    ("evaluate t.csv --workers 2", 1, "--ray"),
    ("export model.safetensors -o m.onnx --dtype float64 --opset 18 -q --json", 0, "m.onnx"),
    ("export run --output m.npy --format npy --force --quiet", 0, "m.npy"),
    ("export run -o m.faiss --ivf", 0, "m.faiss"),
    (
        "report model.safetensors t.csv -o r.html --weight w --title T --name-column id -q",
        0,
        "r.html",
    ),
    (
        "report run x.npy --output r.html --force --image-shape 1,1,3 --sample-size 50 --threads 1 "
        "--silhouette-size 30 --examples 2 --seed 1 --quiet --json --on-bad-rows skip",
        0,
        '"silhouette_of_sample"',
    ),
    ("report s.npz t.csv -o s.html --sphere lat,lon --map world --keep id,a", 0, "s.html"),
    (
        "report c.safetensors t.csv -o c.html --no-weight --metadata t.csv --vocabulary terms.txt "
        "--history run/metrics.jsonl",
        0,
        "c.html",
    ),
    ("inspect run --json", 0, '"clusters": 3'),
    ("demo -k 3 --rows 500 --seed 2 -o p.csv", 0, "p.csv"),
    ("demo --clusters 2 --rows 500 --output p.csv --force --json", 0, '"sizes"'),
    ("completion bash", 0, "choose-k"),
    ("fit", 2, "usage: shoal fit"),
    ("unknown", 2, "usage: shoal"),
]


def command() -> list[str]:
    """The script that installing shoal makes, where it is installed."""
    script = Path(sys.executable).with_name("shoal")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "shoal"]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command; "" is that before them."""
    found: dict[str, argparse.ArgumentParser] = {}
    names = [name.replace("-", "_") for name in EXAMPLES]
    whole = argparse.ArgumentParser()
    add_arguments(whole, *(getattr(commands, name) for name in names))
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return {"": whole, **found}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_every_option_has_a_line() -> None:
    missing: list[str] = []
    for name, parser in parsers().items():
        words = {
            word.partition("=")[0]
            for line, _, _ in LINES
            if line.startswith(name) and (name or line.startswith("-"))
            for word in shlex.split(line)
        }
        missing += [
            f"{name} {action.option_strings[-1]}"
            for action in parser._actions
            if action.option_strings and not words & set(action.option_strings)
            if action.dest != "help"
        ]
    assert not missing, f"options without a line in LINES: {missing}"


@pytest.mark.slow
def test_every_line_does_what_it_should(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    write(tmp_path / "t.csv", X, **TIMES)
    write(tmp_path / "x.npy", X)
    (tmp_path / "terms.txt").write_text("one\ntwo\nthree\n")
    wrong = []
    for line, code, words in LINES:
        done = subprocess.run(
            [*command(), *shlex.split(line)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = done.stdout if code == 0 else done.stderr
        there = words in said or (tmp_path / words).exists()
        if done.returncode != code or not there:
            wrong.append(f"shoal {line}: {done.returncode}\n{done.stdout}{done.stderr}")
    assert not wrong, "\n".join(wrong)
    kept = (tmp_path / "l.csv").read_text().splitlines()
    assert kept[0] == "row,id,cluster_idx,scores"
    assert len(kept) == 301
    every = (tmp_path / "l2.csv").read_text().splitlines()
    assert every[0] == "row,a,b,c,lat,lon,w,id,cluster_idx,scores"


def test_examples_in_help_are_commands(shell: Shell) -> None:
    """They are read by the parser as they stand, those behind a pipe without it."""
    made = parsers()
    for name, lines in EXAMPLES.items():
        assert f"examples:\n  {lines.splitlines()[0]}" in shell.ok(f"{name} --help")
        for line in lines.splitlines():
            typed = line[line.index("shoal ") :].split("|")[0].split(">")[0]
            words = shlex.split(typed)
            assert words[:2] == ["shoal", name], line
            made[name].parse_args(words[2:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "checks"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["-n"]), ("tcsh", ["-n"])]
)
def test_completion_scripts_are_scripts(
    shell: Shell, tmp_path: Path, name: str, checks: list[str]
) -> None:
    shtab = pytest.importorskip("shtab")
    assert shtab.FILE == FILE
    script = tmp_path / "script"
    script.write_text(shell.ok(f"completion {name}"))
    assert "choose-k" in script.read_text()
    assert "preview" in script.read_text()
    if (there := shutil.which(name)) is not None:
        subprocess.run([there, *checks, str(script)], check=True, timeout=60)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_tab_completes_in_bash(shell: Shell, tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    (tmp_path / "script").write_text(shell.ok("completion bash"))
    (tmp_path / "points.csv").touch()

    def completed(*words: str) -> set[str]:
        typed = " ".join(map(shlex.quote, words))
        lines = [
            "source ./script",
            f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMP_LINE={shlex.quote(typed)}",
            f"COMP_POINT={len(typed)}; COMP_TYPE=9",
            "$(complete -p shoal | sed 's/.*-F \\([^ ]*\\).*/\\1/') shoal "
            f"{shlex.quote(words[-1])} {shlex.quote(words[-2])}",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return {one.strip() for one in done.stdout.split("\n")}

    assert "predict" in completed("shoal", "pre")
    assert "--keep-all" in completed("shoal", "predict", "--ke")
    assert "points.csv" in completed("shoal", "fit", "po")


def test_completion_without_its_extra(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    shell.error("completion bash", "shtab", "shoal[completion]")


# ---- --preview ----


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", ".parquet"])
def test_preview_says_what_will_be_read(shell: Shell, tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"x{kind}", X)
    found = shell.json(f"fit {path} -k 7 --preview -m {tmp_path}/m")
    assert (found["files"], found["rows"], found["rows_counted"]) == (1, 300, True)
    assert found["bytes"] == Path(path).stat().st_size
    assert found["numbers_a_row"] == 3
    assert found["decoded_bytes"] == 300 * 3 * 8
    assert found["memory"] > found["decoded_bytes"]
    assert not (tmp_path / "m").exists()
    text = shell.ok(f"fit {path} -k 7 --preview -m {tmp_path}/m")
    assert "300" in text
    assert "7 clusters" in text


def test_preview_of_many_files_of_text_estimates_rows(shell: Shell, tmp_path: Path) -> None:
    for part in range(3):
        write(tmp_path / f"{part}.csv", np.repeat(X, 100, axis=0), town=["x"] * 30_000)
    found = shell.json(f"fit {tmp_path} --preview")
    assert (found["files"], found["rows_counted"]) == (3, False)
    assert abs(found["rows"] - 90_000) < 2_000
    town = found["columns"][-1]
    assert (town["name"], town["type"], town["used"]) == ("town", "text", False)


def test_preview_tells_columns_that_are_used(shell: Shell, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", X, vectors=X.astype("f4").tolist(), w=X[:, 0] ** 2)
    found = shell.json(f"fit {path} --preview --columns vectors")
    assert found["numbers_a_row"] == 3
    assert [one["name"] for one in found["columns"] if one["used"]] == ["vectors"]
    every = shell.json(f"choose-k {path} --preview --weight w")
    assert every["numbers_a_row"] == 6
    shell.error(f"fit {path} --preview --columns no", "no column 'no'", "vectors")
    shell.ok(f"fit {path} --columns a,b -k 3 -m {tmp_path}/m.npz")
    for command, size in (("predict", 300 * 8), ("transform", 300 * 3 * 8), ("evaluate", 0)):
        to = "" if command == "evaluate" else f"-o {tmp_path}/o.npy"
        said = shell.json(f"{command} {path} -m {tmp_path}/m.npz {to} --preview")
        assert said["output_bytes"] == size
        assert said["numbers_a_row"] == 2
    assert not (tmp_path / "o.npy").exists()


def test_preview_reads_no_more_than_heads(shell: Shell, tmp_path: Path) -> None:
    """The rest of the file may be anything: here nothing at all, on a disk of eight terabytes."""
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 2000)}
        )
        file.truncate(file.tell() + 8 * 10**12)
    said = shell.ok(f"fit {path} -k 100 --preview")
    assert "1,000,000,000" in said
    assert "8.0 TB" in said


# ---- demo ----


def test_demo_draws_what_it_clusters(shell: Shell, tmp_path: Path) -> None:
    out = shell.ok(f"demo -k 4 --rows 2000 -o {tmp_path}/p.csv")
    assert {"0", "1", "2", "3"} <= set(out.split("rows")[0])
    assert json.loads(shell.ok("demo -k 4 --rows 2000 --json"))["clusters"] == 4
    shell.ok(f"fit {tmp_path}/p.csv -k 4 -m {tmp_path}/m")
    shell.error(f"demo -o {tmp_path}/p.csv", "--force")
    shell.error(f"demo -o {tmp_path}/p.txt", ".csv")
    shell.error("demo -k 99", "--clusters is 99")
    shell.error("demo -k 3 --rows 2", "--rows is 2")
