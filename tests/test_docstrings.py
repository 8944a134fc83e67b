"""Examples in docstrings run, and public names have one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal import export, sklearn


def modules_with_examples() -> list[str]:
    """Modules of shoal whose docstrings have examples."""
    found = []
    for module in pkgutil.walk_packages(shoal.__path__, "shoal."):
        source = getattr(module.module_finder, "path", "")
        path = Path(source, *module.name.rpartition(".")[2:]).with_suffix(".py")
        path = path if path.is_file() else path.with_suffix("") / "__init__.py"
        if path.is_file() and ">>> " in path.read_text("utf-8"):
            found.append(module.name)
    return found


def public() -> dict[str, Any]:
    """What users call: classes, functions, and methods of the estimator and the program."""
    names = {f"shoal.{name}": getattr(shoal, name) for name in shoal.__all__}
    names |= {f"shoal.sklearn.{name}": getattr(sklearn, name) for name in sklearn.__all__}
    names |= {f"shoal.export.{name}": getattr(export, name) for name in export.__all__}
    for of in (shoal.KMeansClustering, shoal.KMeans):
        for name, member in inspect.getmembers(of, inspect.isfunction):
            if not name.startswith("_"):
                names[f"{of.__name__}.{name}"] = member
    errors = {name for name, one in names.items() if isinstance(one, type) and is_error(one)}
    return {name: one for name, one in names.items() if callable(one) and name not in errors}


def is_error(one: type) -> bool:
    return issubclass(one, Exception)


#: Results that only functions give, whose examples show them; later names of other methods; what
#: writes for TensorFlow, of which a page is the example.
SHOWN_ELSEWHERE = {
    "shoal.ModelFnOps",
    "shoal.TrainingGraph",
    "KMeansClustering.cluster_centers",
    "KMeansClustering.eval_dir",
    "KMeansClustering.export",
    "KMeansClustering.export_saved_model",
    "KMeansClustering.export_savedmodel",
    "KMeansClustering.latest_checkpoint",
    "KMeansClustering.predict_cluster_index",
    "shoal.export.to_savedmodel",
}


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tried = doctest.testmod(importlib.import_module(name))
    assert tried.attempted > 0
    assert tried.failed == 0


def test_public_names_have_an_example() -> None:
    every = public()
    assert len(every) > 50
    bare = [name for name, one in every.items() if ">>> " not in (inspect.getdoc(one) or "")]
    assert sorted(set(bare) - SHOWN_ELSEWHERE) == []
    assert sorted(SHOWN_ELSEWHERE - set(every)) == []
