"""Documents run: the Python blocks of the README and of every page of ``docs``."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0][0] != "_")
DOCUMENTS = [ROOT / "README.md", *PAGES]
#: Pages whose examples print what stands behind them.
SHOWN = ("tutorials", "howto", "explanation")


def missing_for(comment: str) -> list[str]:
    """Modules that ``<!-- needs a b -->`` names and that are not installed."""
    needed = re.fullmatch(r"<!-- needs (.+) -->", comment)
    names = needed[1].split() if needed else []
    return [name for name in names if importlib.util.find_spec(name) is None]


def python_of(markdown: str) -> str:
    """The document's Python blocks, each on its own lines, so that tracebacks fit the document."""
    code: list[str] = []
    fence: re.Match[str] | None = None
    runs = False
    previous = ""
    for line in markdown.splitlines():
        kept = ""
        if fence is None:
            fence = re.match(r"(\s*)(`{3,}|~{3,})\s*(\w*)", line)
            runs = fence is not None and fence[3] == "python" and previous != "<!-- no-run -->"
            runs = runs and not missing_for(previous)
        elif re.fullmatch(rf"\s*{fence[2]}\s*", line):
            fence = None
        elif runs:
            kept = line.removeprefix(fence[1])
        code.append(kept)
        previous = line.strip()
    return "\n".join(code) + "\n"


def shown_by(markdown: str) -> list[str]:
    """What stands as text right behind a block of Python: what it prints."""
    pairs = re.findall(r"```python\n(?:(?!```).)*?```\n\n```text\n(.*?)```", markdown, re.DOTALL)
    return [shown for shown in pairs if shown.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_run(document: Path, tmp_path: Path) -> None:
    code = python_of(document.read_text("utf-8"))
    missing = sorted({m for line in document.read_text().splitlines() for m in missing_for(line)})
    if not code.strip():
        if missing:
            pytest.skip(f"all of it needs {', '.join(missing)}")
        return
    if "examples/data" in code:
        shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    script = tmp_path / f"document_{document.stem.replace('-', '_')}.py"
    script.write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{document.name}:\n{done.stderr}"
    if document.parent.name in SHOWN or document.stem.startswith("coming-from-spark"):
        for shown in shown_by(document.read_text("utf-8")):
            assert shown in done.stdout, f"{document.name} shows this, and prints {done.stdout}"
    if missing:
        pytest.skip(f"all of it runs but what needs {', '.join(missing)}")
