"""The glossary knows every public name."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import shoal
from shoal import hooks

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "glossary.md").read_text("utf-8")
KNOWN = {name for code in re.findall(r"`([^`]+)`", TEXT) for name in re.findall(r"\w+", code)}


def public(of: type) -> list[str]:
    return [name for name in dir(of) if not name.startswith("_")]


NAMES = {
    "shoal": shoal.__all__,
    "parameters of KMeansClustering": list(inspect.signature(shoal.KMeansClustering).parameters),
    "members of KMeansClustering": public(shoal.KMeansClustering),
    "parameters of KMeans": list(inspect.signature(shoal.KMeans).parameters),
    "members of KMeans": public(shoal.KMeans),
    "RunConfig": [field.name for field in dataclasses.fields(shoal.RunConfig)],
    "hooks": [name for name in hooks.__all__ if name[0].isupper()],
}


@pytest.mark.parametrize("where", NAMES)
def test_every_public_name_is_explained(where: str) -> None:
    assert [name for name in NAMES[where] if name not in KNOWN] == []


def test_files_that_are_named_are_there() -> None:
    root = Path(__file__).resolve().parents[1]
    contributors = TEXT.split("## What contributors read")[1]
    for line in contributors.splitlines()[4:]:
        for name in re.findall(r"`([^`]+)`", line.rsplit("|", 2)[1]):
            places = [root / name, root / "src" / "shoal" / name, root / "cpp" / "core" / name]
            assert any(place.exists() for place in places), name
