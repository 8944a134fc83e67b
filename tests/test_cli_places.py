"""Places on the command line: --sphere, kilometres, centers in degrees."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cli_helpers import Shell
from pyarrow import parquet

import shoal
from shoal import load_model


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


RNG = np.random.default_rng(5)
LAT = np.r_[RNG.normal(52, 0.5, 100), RNG.normal(-36, 0.5, 100), RNG.normal(0, 0.5, 100)]
LON = np.r_[RNG.normal(13, 0.5, 100), RNG.normal(174, 0.5, 100), RNG.normal(180, 0.5, 100)]
LON = np.where(LON > 180, LON - 360, LON)


def places(path: str, **more: Any) -> str:
    columns = {"name": [f"p{i}" for i in range(300)], "lat": LAT, "lng": LON} | more
    if path.endswith(".parquet"):
        parquet.write_table(pa.table(columns), path, row_group_size=70)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(columns)
            lines.writerows(
                zip(*(np.asarray(one).tolist() for one in columns.values()), strict=True)
            )
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_places(shell: Shell, kind: str) -> None:
    data = places(f"x.{kind}")
    said = shell.json(f"fit {data} -k 3 --sphere lat,lng")
    assert (said["metric"], said["columns"]) == ("cosine", ["sphere(lat,lng)"])
    x = shoal.to_sphere(LAT, LON)
    model = shoal.KMeansClustering(
        3, initial_clusters="kmeans_plus_plus", distance_metric="cosine", use_mini_batch=False
    )
    model.fit(x)
    assert load_model("model.safetensors").clusters().tobytes() == model.clusters().tobytes()
    centers = shell.json("inspect model.safetensors")["centers"]
    np.testing.assert_allclose(
        centers, np.transpose(shoal.from_sphere(model.clusters())), atol=1e-6
    )
    assert {(round(lat), abs(round(lon))) for lat, lon in centers} == {
        (52, 13),
        (-36, 174),
        (0, 180),
    }
    assert "; " in shell.ok("inspect model.safetensors")
    out = shell.ok(f"predict {data} -o - --keep name --quiet")
    rows = list(csv.DictReader(io.StringIO(out)))
    found: Any = model.predict(x, outputs=["cluster_idx", "scores"], as_iterable=False)
    assert [int(row["cluster_idx"]) for row in rows] == found["cluster_idx"].tolist()
    km = shoal.sphere_km(found["scores"], "cosine")
    assert [float(row["km"]) for row in rows] == km.tolist()
    assert rows[9]["name"] == "p9"
    assert shell.json(f"evaluate {data}")["loss"] == said["loss"] == model.score(x)
    shell.ok(f"transform {data} -o d.npy")
    assert np.load("d.npy").tobytes() == model.transform(x).tobytes()
    more = shell.json(f"fit {data} --resume --sphere lat,lng --steps 1")
    assert more["steps"] == said["steps"] + 1
    shell.error(f"fit {data} --resume --sphere lng,lat --steps 1 --quiet", "--sphere is")


def test_places_under_other_names_and_bad_ones(shell: Shell) -> None:
    places("x.parquet")
    shell.ok("fit x.parquet -k 3 --sphere lat,lng")
    table = parquet.read_table("x.parquet").rename_columns(["name", "Breite", "Länge"])
    parquet.write_table(table, "y.parquet")
    shell.error("predict y.parquet -o l.npy --quiet", "no column 'lat'")
    shell.ok("predict y.parquet -o l.npy --sphere Breite,Länge")
    shell.ok("predict x.parquet -o m.npy")
    assert Path("l.npy").read_bytes() == Path("m.npy").read_bytes()
    wrong = LAT.copy()
    wrong[123] = 91.5
    places("z.parquet", lat=wrong)
    shell.error(
        "predict z.parquet -o z.npy --quiet", "column 'lat'", "row 123", "91.5", "-90 to 90"
    )
    shell.error("fit x.parquet --sphere lat,lon -m n.npz --quiet", "no column 'lon'")
    wrong[123] = np.nan
    places("n.parquet", lat=wrong)
    shell.error("fit n.parquet -k 3 --sphere lat,lng -m n.npz --quiet", "nan in row 123")
    said = shell.json("fit n.parquet -k 3 --sphere lat,lng -m n.npz --quiet --on-bad-rows skip")
    assert said["rows"] == 299
    shell.ok("fit x.parquet -k 3 --columns lat,lng -m plain.npz --quiet")
    shell.error("predict x.parquet -m plain.npz --sphere lat,lng -o q.npy --quiet", "--sphere is")
    said = shell.json("fit x.parquet -k 3 --sphere lat,lng --metric squared_euclidean -m e.npz")
    assert said["metric"] == "squared_euclidean"


def test_the_cosine_of_degrees(shell: Shell) -> None:
    places("x.csv")
    code, _, err = shell.run("fit x.csv -k 3 --metric cosine")
    assert code == 0
    assert "warning: --metric is 'cosine' on the columns 'lat' and 'lng'" in err
    assert "Pass --sphere lat,lng, which trains on points of the sphere" in err
    assert "degrees" not in shell.run("fit x.csv -k 3 --force")[2]
    assert "degrees" not in shell.run("fit x.csv -k 3 --sphere lat,lng --force")[2]
