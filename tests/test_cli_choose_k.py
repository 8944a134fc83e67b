"""shoal choose-k: the table of shoal.choose_k on a terminal, as JSON, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import Shell, write

import shoal

CENTERS = np.random.default_rng(1).uniform(-20, 20, (4, 3))
X = CENTERS[np.arange(400) % 4] + np.random.default_rng(2).normal(size=(400, 3))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_the_table_is_printed_with_what_it_suggests(
    shell: Shell, suffix: str, tmp_path: Path
) -> None:
    data = write(tmp_path / f"x{suffix}", X)
    code, out, err = shell.run(f"choose-k {data} --k 2:6")
    assert code == 0
    expected = shoal.choose_k(X, range(2, 7))
    assert out.startswith(str(expected))
    assert out.splitlines()[-1].split() == ["best", str(expected.best)]
    assert "columns in use" in err
    assert shell.run(f"choose-k {data} --k 2:6 -q")[2] == ""


def test_json_has_every_number(shell: Shell, tmp_path: Path) -> None:
    data = write(tmp_path / "x.parquet", X, w=np.arange(400) % 3 + 1.0)
    found: Any = shell.json(
        f"choose-k {data} -k 1,3,5 --weight w --runs 2 --seed 4 --sample-size 100 --threads 1"
        " --init kmc2"
    )
    expected = shoal.choose_k(
        shoal.open(data, weight="w"),
        [1, 3, 5],
        num_runs=2,
        random_seed=4,
        sample_size=100,
        initial_clusters="kmc2",
    )
    assert found["k"] == [1, 3, 5]
    assert found["inertia"] == expected.inertia.tolist()
    assert found["silhouette"] == [None, *expected.silhouette[1:].tolist()]
    assert found["suggested"] == {name: one.k for name, one in expected.suggested.items()}
    assert found["best"] == expected.best
    assert found["sample"] == 100
    assert "gap" not in found
    gaps: Any = shell.json(f"choose-k {data} -k 2:8:2 --columns a,b --gap 2 --warm-start")
    assert gaps["k"] == [2, 4, 6, 8]
    assert len(gaps["gap_error"]) == 4


def test_places_are_points_of_the_sphere(shell: Shell, tmp_path: Path) -> None:
    places = tmp_path / "places.csv"
    rng = np.random.default_rng(0)
    lines = [f"{lat},{lon}" for lat, lon in rng.uniform(-60, 60, (100, 2)).tolist()]
    places.write_text("\n".join(["lat,lon", *lines]), "utf-8")
    found: Any = shell.json(f"choose-k {places} --k 2:4 --sphere lat,lon")
    rows = shoal.to_sphere(*np.loadtxt(places, delimiter=",", skiprows=1).T)
    expected = shoal.choose_k(rows, range(2, 5), distance_metric="cosine")
    assert np.allclose(found["inertia"], expected.inertia)


def test_a_picture_is_written_and_never_over_another(shell: Shell, tmp_path: Path) -> None:
    data, picture = write(tmp_path / "x.npy", X), tmp_path / "x.png"
    shell.ok(f"choose-k {data} --k 2:4 --plot {picture}")
    assert picture.read_bytes()[1:4] == b"PNG"
    code, _, err = shell.run(f"choose-k {data} --k 2:4 --plot {picture}")
    assert (code, "--force" in err) == (1, True)
    shell.ok(f"choose-k {data} --k 2:4 --plot {picture} --force")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("--k 5", 1, "range"),
        ("--k 2:x", 2, "2:20"),
        ("--k 2:3:4:5", 2, "2:20"),
        ("--k 2:3:0", 2, "2:20"),
        ("--k 0:3", 1, "k is 0"),
        ("--k 2:500", 1, "400 rows"),
        ("--plot x.txt", 1, ".png"),
        ("--plot missing/x.png", 1, "no directory"),
        ("--metric euclidean", 2, "invalid choice"),
        ("--columns z", 1, "z"),
        ("--runs 0", 1, "num_runs"),
    ],
)
def test_wrong_usage_is_explained(
    shell: Shell, words: str, code: int, told: str, tmp_path: Path
) -> None:
    data = write(tmp_path / "x.csv", X)
    found, out, err = shell.run(f"choose-k {data} {words}")
    assert (found, out) == (code, "")
    assert told in err


def test_a_value_that_is_not_finite_is_named_with_what_there_is_to_do(
    shell: Shell, tmp_path: Path
) -> None:
    rows = X.copy()
    rows[7, 1] = np.nan
    code, _, err = shell.run(f"choose-k {write(tmp_path / 'x.npy', rows)}")
    assert code == 1
    assert "row 7" in err
    assert "leave such rows out" in err
    assert "on-bad-rows" not in err
