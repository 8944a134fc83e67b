"""The command line with workers of a Ray cluster, and results in directories."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray_kills
from cli_helpers import Shell
from helpers import make_rows
from pyarrow import parquet
from ray_helpers import assert_nothing_left, cluster, ray
from test_ray import write

import shoal

__all__ = ["cluster"]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "rows").mkdir()
    for number, some in enumerate(np.array_split(make_rows(900, dtype=np.float32), 3)):
        write(tmp_path / "rows" / f"{number}.parquet", some, row_group_size=70)
    return tmp_path / "rows"


def columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a file, or of the files of a directory in their order."""
    files = sorted(path.glob("*")) if path.is_dir() else [path]
    tables = [parquet.read_table(file).to_pydict() for file in files]
    return {name: [one for table in tables for one in table[name]] for name in tables[0]}


@pytest.mark.usefixtures("cluster")
def test_fit_and_predict_by_workers_give_the_files_of_one_machine(
    shell: Shell, data: Path, tmp_path: Path
) -> None:
    workers = "--ray local --workers 2 --quiet"
    for name, more in {"here": "--quiet", "there": workers}.items():
        shell.ok(f"fit {data} -k 7 -m {tmp_path / name}.safetensors {more}")
    models = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("here", "there")]
    assert models[0] == models[1]

    one = "--mini-batch --batch-size 50 --steps 15 --quiet"
    for name, more in {"here": "", "there": "--asynchronous --ray local --workers 1"}.items():
        shell.ok(f"fit {data} -k 7 -m {tmp_path / name}.mini.safetensors {one} {more}")
    models = [(tmp_path / f"{name}.mini.safetensors").read_bytes() for name in ("here", "there")]
    assert models[0] == models[1]

    model = f"-m {tmp_path / 'here.safetensors'}"
    shell.ok(f"predict {data} {model} -o {tmp_path / 'labels.parquet'} --quiet")
    found = shell.json(f"predict {data} {model} -o {tmp_path / 'labels'}/ {workers}")
    assert (found["rows"], found["files"]) == (900, 2)
    expected = columns(tmp_path / "labels.parquet")
    assert columns(tmp_path / "labels") == {"row": list(range(900)), **expected}
    assert_nothing_left()


def test_a_directory_of_results_needs_no_other_machine(
    shell: Shell, data: Path, tmp_path: Path
) -> None:
    model = f"-m {tmp_path / 'm.safetensors'}"
    shell.ok(f"fit {data} -k 7 {model} --quiet")
    target = tmp_path / "distances"
    shell.ok(f"transform {data} {model} -o {target}/ --quiet")
    centers = shoal.load_model(tmp_path / "m.safetensors")
    found = columns(target)
    assert found["row"] == list(range(900))
    assert np.array_equal(np.array(found["distances"], np.float32), centers.transform(str(data)))

    again = f"transform {data} {model} -o {target}"
    shell.error(again, "holds results already: pass --force to replace them")
    (target / "part-00007.parquet").write_bytes(b"of more workers, before")
    (target / "mine.txt").write_text("mine")
    shell.ok(f"{again} --force --quiet")
    assert sorted(path.name for path in target.iterdir()) == ["mine.txt", "part-00000.parquet"]
    shell.error(f"predict {data} {model} -o {data}/", "holds the data: choose another directory")
    shell.error(f"predict {data} {model} -o {tmp_path}/no/no/", "there is no directory")
    shell.error(f"predict {data} {model} -o {target} --force --keep c0", "Leave --keep out")


def test_options_that_do_not_go_together_are_refused(shell: Shell, data: Path) -> None:
    shell.error(f"fit {data} --workers 2", "--workers is given without --ray ADDRESS")
    shell.error(f"fit {data} --ray local", "--ray is given without --workers N")
    shell.error(f"fit {data} --ray local --workers 0", "--workers is 0")


def test_standard_input_is_not_for_workers(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.BytesIO(b"a,b\n" + b"1,2\n" * 20)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(text))
    command = f"fit - --ray local --workers 2 -m {tmp_path / 'm.safetensors'} --quiet"
    code, _, err = shell.run(command)
    assert code == 1
    assert "read by this process alone: give files with --ray" in err


@pytest.mark.slow
def test_workers_killed_at_random_instants_change_nothing() -> None:
    """A few; ``python tests/ray_kills.py --kills 50`` does more, and this prints what it does."""
    ray.shutdown()
    seed = str(int(np.random.default_rng().integers(1 << 31)))
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = ray_kills.main(["--kills", "6", "--seed", seed])
    print(told.getvalue())
    assert code == 0
    assert "6 workers killed" in told.getvalue()
