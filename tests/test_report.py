"""shoal.report: what stands on the page, of every kind of data."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import distances, make_rows, unit, write
from sklearn.metrics import silhouette_score

import shoal
from shoal.report.beyond import next_centers
from shoal.report.picked import Extremes, Sample
from shoal.report.plane import plane_of

X = make_rows(400, 3)
NAMES = [f"row {i}" for i in range(400)]
LINES = "".join(f"row {i},{a!r},{b!r},{c!r}\n" for i, (a, b, c) in enumerate(X.tolist()))


def fitted(rows: Any = X, k: int = 5, **given: Any) -> shoal.KMeansClustering:
    how = {"initial_clusters": "kmeans_plus_plus", "use_mini_batch": False, **given}
    return shoal.KMeansClustering(k, **how).fit(rows)


def data_of(found: shoal.Report) -> dict[str, Any]:
    """The values in the page."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', found.html)
    assert text is not None
    values: dict[str, Any] = json.loads(text[1])
    return values


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
def test_numbers_are_those_of_plain_numpy(metric: str) -> None:
    model = fitted(distance_metric=metric)
    found = shoal.report(model, X, silhouette_size=400)
    every = distances(X, model.clusters(), metric)
    if metric == "squared_euclidean":
        every = np.sqrt(every)
    labels = every.argmin(axis=1)
    two = np.sort(every, axis=1)[:, :2]
    silhouettes = 1 - two[:, 0] / two[:, 1]
    measured = found.measured
    assert np.isclose(measured["loss"], model.score(X))
    assert np.isclose(measured["simplified_silhouette"], silhouettes.mean(), rtol=1e-5)
    kind = "cosine" if metric == "cosine" else "euclidean"
    assert np.isclose(
        measured["silhouette_of_sample"], silhouette_score(X, labels, metric=kind), rtol=1e-4
    )
    seen = unit(X) if metric == "cosine" else X
    for cluster in data_of(found)["clusters"]:
        mine = labels == cluster["id"]
        assert cluster["rows"] == mine.sum()
        assert np.isclose(cluster["within"], two[mine, 0].mean(), rtol=1e-5)
        assert np.isclose(cluster["beyond"], two[mine, 1].mean(), rtol=1e-5)
        assert np.isclose(cluster["silhouette"], silhouettes[mine].mean(), rtol=1e-5)
        order = np.flatnonzero(mine)[np.argsort(two[mine, 0])]
        assert [one["row"] for one in cluster["near"]] == order[:3].tolist()
        assert [one["row"] for one in cluster["far"]] == order[::-1][:3].tolist()
        for column, center, apart in cluster["columns"]:
            assert np.isclose(center, model.clusters()[cluster["id"], column], rtol=1e-5)
            expected = (center - seen[:, column].mean()) / seen[:, column].std()
            assert np.isclose(apart, expected, rtol=1e-3, atol=1e-4)


def test_weights_count() -> None:
    weights = np.arange(400) % 3 + 0.0
    found = shoal.report(fitted(), X, sample_weight=weights)
    clusters = data_of(found)["clusters"]
    assert np.isclose(sum(one["weight"] for one in clusters), weights.sum(), rtol=1e-4)
    assert found.measured["rows"] == 400
    assert np.isclose(found.measured["loss"], fitted().score(X, sample_weight=weights))


KINDS: dict[str, Any] = {
    "array": lambda _: X,
    "dict": lambda _: {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]},
    "pandas": lambda _: pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c"]),
    "polars": lambda _: pytest.importorskip("polars").DataFrame(X, schema=["a", "b", "c"]),
    "arrow": lambda _: pa.table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}),
    "parts": lambda _: [{"a": p[:, 0], "b": p[:, 1], "c": p[:, 2]} for p in (X[:150], X[150:])],
    "parquet": lambda path: str(
        write(path / "x.parquet", {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "name": NAMES})
    ),
    "csv": lambda path: str(write(path / "x.csv", "name,a,b,c\n" + LINES)),
    "stream": lambda _: lambda: iter([X[:100], X[100:]]),
    "iterator": lambda _: iter([X[:100], X[100:]]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same_report(kind: str, tmp_path: Path) -> None:
    model = fitted()
    plain = shoal.report(model, X)
    found = shoal.report(model, KINDS[kind](tmp_path))
    assert found.measured == plain.measured
    fingerprint = re.search(r"SHA-256 [0-9a-f]{64}", plain.html)
    assert fingerprint is not None
    assert fingerprint[0] in found.html
    clusters = data_of(found)["clusters"]
    numbers = [one["row"] for one in clusters[0]["near"]]
    assert numbers == [one["row"] for one in data_of(plain)["clusters"][0]["near"]]
    if kind in ("parquet", "csv"):
        assert [one["name"] for one in clusters[0]["near"]] == [NAMES[row] for row in numbers]
        assert data_of(found)["shown"].count("name") == 1


def test_metadata_names_rows_and_is_as_long_as_the_data(tmp_path: Path) -> None:
    model = fitted()
    file = write(tmp_path / "names.csv", "title,n\n" + "".join(f"{name},1\n" for name in NAMES))
    for metadata in (NAMES, np.array(NAMES), {"title": NAMES}, str(file)):
        cluster = data_of(shoal.report(model, X, metadata=metadata))["clusters"][0]
        assert cluster["name"] == NAMES[cluster["near"][0]["row"]]
    with pytest.raises(shoal.BadInputError, match="metadata has 399 rows, and the data has 400"):
        shoal.report(model, X, metadata=NAMES[1:])
    with pytest.raises(shoal.BadInputError, match="metadata is of type int"):
        shoal.report(model, X, metadata=7)


def test_rows_that_are_skipped_are_said_and_keep_their_numbers() -> None:
    rows = X.copy()
    rows[::50] = np.nan
    model = fitted(on_bad_rows="skip")
    with pytest.warns(UserWarning, match="dropped 8 of 400 rows"):
        found = shoal.report(model, rows, metadata=NAMES)
    assert found.measured["rows"] == 392
    assert "8, with values that are missing or not finite" in found.html
    for cluster in data_of(found)["clusters"]:
        for one in [*cluster["near"], *cluster["far"]]:
            assert one["row"] % 50
            assert one["name"] == NAMES[one["row"]]


def test_sparse_rows_have_terms() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = sparse.random(200, 30, 0.2, "csr", random_state=0)
    words = [f"w{i}" for i in range(30)]
    model = fitted(rows, 4, distance_metric="cosine")
    found = shoal.report(model, rows, vocabulary={word: i for i, word in enumerate(words)})
    for cluster in data_of(found)["clusters"]:
        center = model.clusters()[cluster["id"]]
        assert cluster["text"].split(", ")[0] == words[int(center.argmax())]
    dense = shoal.report(model, rows.toarray(), vocabulary=words)
    for name, value in found.measured.items():
        assert value == pytest.approx(dense.measured[name], rel=1e-4)


def test_changes_between_checkpoints_and_losses(tmp_path: Path) -> None:
    config = shoal.RunConfig(save_summary_steps=1, save_checkpoints_steps=2)
    model = shoal.KMeansClustering(5, str(tmp_path / "run"), use_mini_batch=False, config=config)
    model.fit(X, steps=6)
    found = shoal.report(model, X)
    assert "Loss per row of 6 steps, 1 to 6" in found.html
    assert len(re.findall(r"<tr><td>[246]</td>", found.html)) == 3
    assert "No record of training" in shoal.report(fitted(), X).html
    history = shoal.hooks.History()
    fitted().fit(X, monitors=[history], steps=2)
    for given in (history, history.losses, history.records, str(tmp_path / "run")):
        assert "No record" not in shoal.report(fitted(), X, history=given).html


def test_faces_of_scikit_learn_have_reports() -> None:
    from shoal.sklearn import KMeans

    model = KMeans(5, n_init=1, random_state=0).fit(X)
    found = shoal.report(model, X)
    assert found.measured["loss"] == pytest.approx(model.inertia_)
    assert "n_clusters" in found.html


def test_the_page_is_a_file_and_shown_in_notebooks(tmp_path: Path) -> None:
    found = shoal.report(fitted(), X, tmp_path / "a.html", title="A & <B>")
    assert (tmp_path / "a.html").read_text("utf-8") == found.html
    found.save(tmp_path / "b.html")
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()
    assert found._repr_html_().startswith("<iframe srcdoc=")
    assert "rows=400" in repr(found)
    assert "<title>A &amp; &lt;B&gt;</title>" in found.html
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', found.html.split("<script>")[0]) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image_shape": (2, 2)}, "4 values, and rows have 3"),
        ({"image_shape": "x"}, "image_shape is 'x'"),
        ({"image_shape": (1, 1, 2)}, "1, 3 or 4 channels"),
        ({"vocabulary": ["a"]}, "vocabulary has 1 terms, and the model has 3 columns"),
        ({"vocabulary": 3}, "list with the term of each column"),
        ({"vocabulary": {"a": 0, "b": 1, "c": 9}}, "columns are 0 to 2"),
        ({"map_view": "world"}, "the rows are no places"),
        ({"map_view": "columns"}, "there are 3 of them"),
        ({"map_view": "x"}, "map_view is 'x'"),
        ({"name_column": "id"}, "no column 'id'"),
        ({"keep": ["id"]}, "no column 'id'"),
        ({"keep": "id"}, "list of names"),
        ({"sample_size": 0}, "sample_size is 0"),
        ({"sample_size": 10**6}, "sample_size is 1000000"),
        ({"num_examples": -1}, "num_examples is -1"),
        ({"history": 3}, "history is of type int"),
        ({"history": "missing.jsonl"}, "no history"),
    ],
)
def test_arguments_that_cannot_be_used_are_explained(given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=re.escape(words)):
        shoal.report(fitted(), X, **given)


def test_models_without_centers_and_extras_that_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(shoal.NotFittedError, match="report"):
        shoal.report(shoal.KMeansClustering(3), X)
    with pytest.raises(shoal.BadInputError, match="model is of type int"):
        shoal.report(3, X)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(shoal.MissingExtraError, match=r"shoal\[report\]"):
        shoal.report(fitted(), X)


# ---- parts ----


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("k", [2, 3, 40, 100])
def test_next_centers_are_the_second_nearest(metric: str, k: int) -> None:
    rows, centers = make_rows(500, 6), make_rows(k, 6, 0, seed=3)
    every = distances(rows, centers, metric)
    labels = every.argmin(axis=1).astype(np.int32)
    found, away = next_centers(rows, labels, centers, metric, 2)
    order = np.argsort(every, axis=1)
    assert (found == order[:, 1]).all()
    assert np.allclose(away, np.sort(every, axis=1)[:, 1], rtol=1e-5, atol=1e-6)


def test_picks_do_not_depend_on_how_rows_come() -> None:
    rng = np.random.default_rng(0)
    labels, away = rng.integers(7, size=900).astype(np.int32), rng.random(900).round(2)
    rows, numbers = rng.normal(size=(900, 2)), np.arange(900)
    for make in (
        lambda: Sample(50, 3),
        lambda: Extremes(9, 4, farthest=False),
        lambda: Extremes(9, 4, farthest=True),
    ):
        found = []
        for size in (900, 7, 100):
            picked = make()
            for start in range(0, 900, size):
                part = slice(start, start + size)
                picked.add(rows[part], numbers[part], labels[part], away[part])
            assert (picked.rows == rows[picked.numbers]).all()
            found.append(picked.numbers.tolist())
        assert found[0] == found[1] == found[2]


def test_maps_are_of_places_where_columns_are() -> None:
    lat, lon = np.array([10.0, -20, 48]), np.array([100.0, -50, 2])
    degrees = np.stack([lat, lon], axis=1)
    expected = degrees[:, ::-1]
    how = ("squared_euclidean", ["Latitude", "place_lon"])
    assert np.allclose(plane_of(degrees, degrees, *how).rows, expected)
    points = shoal.to_sphere(lat, lon)
    found = plane_of(points, points, "cosine", ())
    assert (found.kind, np.allclose(found.rows, expected)) == ("world", True)
    assert plane_of(points, points, "cosine", ["red", "green", "blue"]).kind == "pca"
    assert plane_of(degrees * 10, degrees, *how).kind == "columns"
    assert plane_of(degrees[:, :1], degrees[:, :1], "cosine", ()).kind == "columns"


def test_principal_components_are_those_of_the_rows() -> None:
    rows = make_rows(500, 8) * np.arange(1, 9)
    found = plane_of(rows, rows[:3], "squared_euclidean", ())
    _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    expected = (rows - rows.mean(axis=0)) @ axes[:2].T
    signs = np.sign((expected * found.rows).sum(axis=0))
    assert np.allclose(expected * signs, found.rows)
    sparse = pytest.importorskip("scipy.sparse")
    from shoal.sources.sparse import from_scipy

    of_sparse = plane_of(
        from_scipy(sparse.csr_matrix(rows), "x"), rows[:3], "squared_euclidean", ()
    )
    assert np.allclose(of_sparse.rows, found.rows)
