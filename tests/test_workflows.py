"""What GitHub runs is what `make` runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"(?m)^([a-z-]+):.*  ## ", (ROOT / "Makefile").read_text("utf-8")))

#: What a machine needs before there is a `make`.
BEFORE = ("apt-get ", "git config --global --add safe.directory ")


def commands(path: Path) -> list[str]:
    """Every line that the jobs of a workflow run."""
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    joined = "\n".join(scripts).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_make(path: Path) -> None:
    made = []
    for line in commands(path):
        if line.startswith(BEFORE):
            continue
        words = line.split()
        assert words[0] == "make", f"{path.name} runs {line!r}, which no target of make does"
        made += [word for word in words[1:] if "=" not in word]
    assert made
    assert set(made) <= TARGETS


def test_what_must_pass_is_in_the_workflow() -> None:
    """`.ci/run` is what a change must pass; GitHub runs all of it."""
    said = (ROOT / ".ci" / "run").read_text("utf-8")
    needed = set(re.findall(r"(?m)^make ([a-z-]+)$", said))
    assert {"lint", "test"} <= needed
    ran = " ".join(commands(ROOT / ".github" / "workflows" / "ci.yml"))
    assert all(f"make {target}" in ran for target in needed)


def test_actions_have_a_version() -> None:
    for path in WORKFLOWS:
        for used in re.findall(r"uses: (\S+)", path.read_text("utf-8")):
            assert re.fullmatch(r"[\w./-]+@(v\d[\w.]*|release/v1|[0-9a-f]{40})", used), used
