"""The site builds without a warning, its links lead somewhere, and it has every public name."""

from __future__ import annotations

import fcntl
import inspect
import os
import re
import subprocess
import sys
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import shoal
from shoal import export, hooks, sklearn
from shoal.cli.help import EXAMPLES

pytest.importorskip("sphinx")
pytest.importorskip("pydata_sphinx_theme")
pytest.importorskip("myst_parser")

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow

#: Parts of shoal that are for those who write parts of it, not for users.
INNER = {"PROTOCOL", "check_monitors", "progress_monitor", "record_of", "rows_shown"}
INNER |= {"summary_monitors"}


class Page(HTMLParser):
    """What a page refers to, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.anchors.add(str(found["id"]))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        for name in ("src", "href"):
            if tag in ("img", "script", "link", "source") and found.get(name):
                self.loaded.append(str(found[name]))
        if tag == "img":
            self.images.append(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, made once for all processes of the tests; a warning is an error."""
    several = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if several else base) / "site"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "said").exists():
            (folder / "said").write_text(build(folder))
    assert (folder / "said").read_text() == ""
    return folder / "html"


def build(folder: Path) -> str:
    """Build the site; returns what is said, nothing where all is well."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", f"{folder}/trees"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "docs", str(folder / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(f"built in {time.monotonic() - began:.0f} s")
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of it."""
    return {
        path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    }


def test_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    wrong, checked = [], 0
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            name = path.relative_to(site)
            if not target.exists():
                wrong.append(f"{name}: {link}")
                continue
            anchor = unquote(parts.fragment)
            if anchor and target in pages and anchor not in pages[target].anchors:
                wrong.append(f"{name}: {link}")
    assert checked > 1000
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_links_to_headings_are_right(site: Path, pages: dict[Path, Page]) -> None:
    """Those in Markdown, which a heading that is renamed would break, lead into the page."""
    checked = 0
    for source in (ROOT / "docs").rglob("*.md"):
        for link in re.findall(r"\]\(([\w./-]+\.md)#([\w-]+)\)", source.read_text("utf-8")):
            page = (source.parent / link[0]).resolve().relative_to(ROOT / "docs")
            assert link[1] in pages[site / page.with_suffix(".html")].anchors, f"{source}: {link}"
            checked += 1
    assert checked > 10


def test_nothing_is_fetched_from_elsewhere(pages: dict[Path, Page]) -> None:
    foreign = {
        f"{path.name}: {one}"
        for path, page in pages.items()
        for one in page.loaded
        if urlsplit(one).netloc and not one.startswith("data:")
    }
    assert foreign == set()


def test_pictures_have_words(pages: dict[Path, Page]) -> None:
    bare = {
        (path.name, image.get("src"))
        for path, page in pages.items()
        for image in page.images
        if not (image.get("alt") or "").strip() and "logo" not in str(image.get("src"))
    }
    assert bare == set()


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    inventory = (site / "objects.inv").read_bytes()
    body = zlib.decompress(inventory.split(b"zlib.\n", 1)[1]).decode()
    there = {line.split(" ", 1)[0] for line in body.splitlines()}
    names = [f"shoal.{name}" for name in [*shoal.__all__, "open"]]
    names += [f"shoal.sklearn.{name}" for name in sklearn.__all__]
    names += [f"shoal.export.{name}" for name in export.__all__]
    names += [f"shoal.hooks.{name}" for name in hooks.__all__ if name not in INNER]
    for of in (shoal.KMeansClustering, shoal.KMeans, shoal.TrainingGraph, shoal.RunConfig):
        for name, member in inspect.getmembers(of):
            own = (inspect.isfunction(member) or isinstance(member, property)) and member.__doc__
            if own and not name.startswith("_"):
                names.append(f"shoal.{of.__name__}.{name}")
    missing = [name for name in names if name not in there]
    assert not missing, missing


def test_the_page_of_commands_has_all_of_them(site: Path) -> None:
    page = (site / "_made" / "command-line.html").read_text("utf-8")
    for name in EXAMPLES:
        assert f"usage: shoal {name}" in page
    assert "--keep-all" in page


def test_the_page_of_benchmarks_has_the_figures_of_today(site: Path) -> None:
    page = (site / "_made" / "benchmarks.html").read_text("utf-8")
    results = (ROOT / "benchmarks" / "results" / "train.md").read_text("utf-8")
    mean = re.search(r"Geometric mean of the ratio over 8 cases: ([\d.]+)", results)
    assert mean is not None
    assert f"Geometric mean {float(mean[1]):.1f}" in page
