"""Programs of users, as type checkers see them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import shoal

PROGRAM = """
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import shoal
from shoal import hooks
from shoal.executors import LocalExecutor
from shoal.sklearn import BisectingKMeans, KMeans, MiniBatchKMeans

x = np.zeros((9, 2), np.float32)
config = shoal.RunConfig(save_checkpoints_steps=10).replace(progress=False)
model = shoal.KMeansClustering(3, initial_clusters="kmc2", distance_metric="cosine", config=config)
assert_type(model.fit(x), shoal.KMeansClustering)
assert_type(model.partial_fit(x, batch_size=3), shoal.KMeansClustering)
assert_type(model.train(lambda: x, steps=3), shoal.KMeansClustering)
assert_type(model.set_params(random_seed=3), shoal.KMeansClustering)
assert_type(model.labels(x), npt.NDArray[Any])
assert_type(model.clusters(), npt.NDArray[Any])
assert_type(model.predict_cluster_idx(x), Iterator[int])
assert_type(model.score(x), float)


def number_of(rows: npt.NDArray[Any], *_more: Any) -> int:
    return len(rows)


assert_type(model.evaluate(x, metrics={"rows": number_of}), dict[str, Any])
assert_type(model.is_fitted, bool)
assert_type(model.state.global_step, int)
assert_type(model.columns, tuple[Any, ...] | None)
assert_type(shoal.__version__, str)

program = shoal.KMeans(iter([x]), num_clusters=3)
graph = program.training_graph()
assert_type(graph.cluster_centers_initialized, bool)
assert_type(graph.training_op(), float)
assert_type(program.clusters, npt.NDArray[Any])
graph.init_op()
labels: npt.NDArray[np.int64] = graph.cluster_idx(x)

face = KMeans(n_clusters=2, random_state=0)
assert_type(face.fit(x), KMeans)
assert_type(MiniBatchKMeans(2).partial_fit(x), MiniBatchKMeans)
assert_type(BisectingKMeans(2).fit(x), BisectingKMeans)
print(face.cluster_centers_.shape, face.labels_.sum(), face.inertia_ + 1.0, face.n_iter_ + 1)

choice = shoal.choose_k(x, range(2, 4))
assert_type(choice.best, int)
assert_type(shoal.memory_estimate(model, x).total, int)
assert_type(shoal.load_model("m.safetensors"), shoal.KMeansClustering)
latitude, longitude = shoal.from_sphere(shoal.to_sphere([1.0], [2.0]))


class Stop:
    def after_step(self, context: hooks.Context) -> bool:
        return context.step > 3 or context.elapsed > 60


run = shoal.RunConfig(executor=LocalExecutor())
shoal.KMeansClustering(2, config=run).fit(x, monitors=[Stop(), hooks.EarlyStopping()])

source = shoal.open(x, batch_size=3)
assert_type(source.rows, int | None)
try:
    shoal.KMeansClustering(None, initial_clusters=x[:3]).fit(x, steps=1)
except (shoal.BadInputError, shoal.NotFittedError) as error:
    print(error)
"""

# A line each, and what a type checker says of it.
WRONG = {
    "shoal.KMeansClustering()": "Missing positional argument",
    "shoal.KMeansClustering(n_clusters=3)": 'Unexpected keyword argument "n_clusters"',
    "shoal.KMeansClustering('3')": 'Argument 1 to "KMeansClustering" has incompatible type "str"',
    "shoal.KMeansClustering(3, tol=1.0)": 'Unexpected keyword argument "tol"',
    "shoal.KMeans(8)": 'Missing positional argument "num_clusters"',
    "shoal.KMeansClustering(3).labels_": 'has no attribute "labels_"',
    "shoal.KMeansClustering(3).fit_predict(1)": 'has no attribute "fit_predict"',
    "shoal.KMeansClustering(3).fit([[1.0]], steps='3')": 'Argument "steps" to "fit"',
    "shoal.KMeans([[1.0]], 1).fit([[1.0]])": 'has no attribute "fit"',
    "shoal.nothing": 'has no attribute "nothing"',
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Lines of mypy for both programs. What it says of shoal itself is `make lint`'s matter."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "right.py").write_text(PROGRAM, "utf-8")
    (folder / "wrong.py").write_text("import shoal\n" + "\n".join(WRONG) + "\n", "utf-8")
    (folder / "site").mkdir()
    (folder / "site" / "shoal").symlink_to(Path(str(resources.files(shoal))))
    command = ["--strict", "--no-incremental", "--follow-imports=silent", "right.py", "wrong.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *command],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(folder / "site")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 1
    return [line for line in done.stdout.splitlines() if ": note:" not in line]


@pytest.mark.slow
def test_a_program_that_uses_shoal_passes_the_strict_type_checker(told: list[str]) -> None:
    assert [line for line in told if not line.startswith(("wrong.py:", "Found "))] == []


@pytest.fixture(scope="module")
def pyright(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What pyright, in strict mode, says of both programs, by file."""
    pytest.importorskip("pyright")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node")
    folder = tmp_path_factory.mktemp("pyright")
    (folder / "right.py").write_text(PROGRAM, "utf-8")
    (folder / "wrong.py").write_text("import shoal\n" + "\n".join(WRONG) + "\n", "utf-8")
    place = str(Path(str(resources.files(shoal))).parent)
    settings = {"typeCheckingMode": "strict", "extraPaths": [place], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["--outputjson", "--pythonpath", sys.executable, "right.py", "wrong.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright cannot run here: {done.stderr[-200:]}")
    found: dict[str, list[str]] = {"right.py": [], "wrong.py": []}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        line = one["range"]["start"]["line"] + 1
        found[Path(one["file"]).name].append(f"{line}: {one['severity']}: {one['message']}")
    return found


@pytest.mark.slow
def test_pyright_knows_every_type_of_a_program(pyright: dict[str, list[str]]) -> None:
    assert pyright["right.py"] == []


@pytest.mark.slow
def test_pyright_finds_the_same_mistakes(pyright: dict[str, list[str]]) -> None:
    found = {int(line.split(":")[0]) for line in pyright["wrong.py"] if ": error:" in line}
    assert set(range(2, 2 + len(WRONG))) <= found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "line"), list(enumerate(WRONG, 2)), ids=str)
def test_mistakes_are_found_by_the_type_checker(told: list[str], number: int, line: str) -> None:
    found = [text for text in told if text.startswith(f"wrong.py:{number}: error:")]
    assert any(WRONG[line] in text for text in found), found


def test_the_package_says_that_it_has_types() -> None:
    assert resources.files(shoal).joinpath("py.typed").is_file()
