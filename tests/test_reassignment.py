"""reassignment_ratio: mini-batch clusters that get no rows move to rows, the same for any split."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import shoal
from shoal.executors import LocalExecutor, PickledExecutor
from shoal.shards.lottery import numbers_of
from shoal.sources.sparse import from_scipy

RANDOM = np.random.default_rng(8)
X = RANDOM.normal(size=(2000, 3)).round(2)
FAR = np.full((4, 3), 1e4) + np.arange(12.0).reshape(4, 3)
FIRST = np.concatenate([X[:4], FAR])  # four centers where no row is


def new(**more: Any) -> shoal.KMeansClustering:
    given = {"initial_clusters": FIRST, "random_seed": 5, "reassignment_ratio": 0.05, **more}
    return shoal.KMeansClustering(None, **given)


def lost(clusters: Any) -> int:
    return int((np.abs(clusters) > 100).any(axis=1).sum())


def test_clusters_without_rows_stay_unless_they_are_to_move() -> None:
    assert lost(new(reassignment_ratio=0).fit(X, batch_size=100, steps=60).clusters()) == 4
    model = new().fit(X, batch_size=100, steps=60)
    assert lost(model.clusters()) == 0
    assert model.score(X) < 0.8 * new(reassignment_ratio=0).fit(X, batch_size=100, steps=60).score(
        X
    )


def test_they_move_to_rows_and_weigh_as_the_lightest_of_the_others() -> None:
    model = new().partial_fit(X[:60])  # 60 rows and 8 first ones: no 10 k rows yet
    assert lost(model.clusters()) == 4
    batch = X[60:160]
    before = model.state
    after = model.partial_fit(batch).state
    assert lost(after.clusters) == 0
    moved = after.clusters[4:]
    assert all((batch == center).all(axis=1).any() for center in moved)
    assert len(np.unique(moved, axis=0)) == 4
    assert (after.counts[4:] == after.counts[:4].min()).all()
    assert after.counts[:4].sum() == before.counts[:4].sum() + 100


def test_the_log_says_how_many_moved(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "shoal"):
        new().partial_fit(X[:160])
    assert "step 1: 4 clusters moved to rows" in caplog.text


def test_at_most_half_as_many_as_the_batch_has_rows() -> None:
    model = new(initial_clusters=np.concatenate([X[:1], FAR.repeat(20, 0)]), reassignment_ratio=1)
    for i in range(200):
        before = lost(model.clusters())
        model.partial_fit(X[10 * i : 10 * i + 10])
        assert before - lost(model.clusters()) <= 5
    assert lost(model.clusters()) < 80


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
def test_no_bit_depends_on_shards_sources_or_threads(metric: str, tmp_path: Path) -> None:
    first = FIRST if metric != "cosine" else np.concatenate([X[:4], -X[:1].repeat(4, 0)])
    given: dict[str, Any] = {"distance_metric": metric, "initial_clusters": first}
    np.save(tmp_path / "x.npy", X)
    pd.DataFrame(X).rename(columns=str).to_parquet(tmp_path / "x.parquet", row_group_size=70)
    expected = new(**given, num_threads=1).fit(X, batch_size=100, steps=50).state

    def run(data: Any, **config: Any) -> Any:
        model = new(**given, config=shoal.RunConfig(**config))
        return model.fit(data, batch_size=100, steps=50).state

    states = {
        "shards": run([X[:333], X[333:]]),
        "npy": run(tmp_path / "x.npy"),
        "parquet": run(tmp_path / "x.parquet"),
        "sparse": run(scipy.sparse.csr_array(X)),
        "local": run(X, executor=LocalExecutor(3)),
        "pickled": run(X, executor=PickledExecutor(3)),
        "pickled parquet": run(tmp_path / "x.parquet", executor=PickledExecutor(2)),
        "lost": run(X, executor=PickledExecutor(3, lose_at=150)),
    }
    for name, state in states.items():
        assert np.array_equal(state.clusters, expected.clusters), name
        assert np.array_equal(state.counts, expected.counts), name
    whole = new(**given, reassignment_ratio=0).fit(X, batch_size=100, steps=50).state
    assert not np.array_equal(whole.clusters, expected.clusters)


def test_under_cosine_centers_have_length_one() -> None:
    first = np.concatenate([X[:4], -X[:1].repeat(4, 0)])
    model = new(distance_metric="cosine", initial_clusters=first)
    model.fit(X * 50, batch_size=100, steps=60)
    assert np.allclose(np.linalg.norm(model.clusters(), axis=1), 1)
    assert np.linalg.norm(model.state.clusters, axis=1).max() < 1 + 1e-12


def test_the_training_program_moves_the_same_clusters() -> None:
    model = new()
    program = shoal.KMeans(
        shoal.open(X, batch_size=100, shuffle=False),
        8,
        initial_clusters=FIRST,
        use_mini_batch=True,
        random_seed=5,
        reassignment_ratio=0.05,
    )
    graph = program.training_graph()
    for i in range(20):
        graph.training_op()
        model.partial_fit(X[100 * i : 100 * i + 100])
    assert np.array_equal(program.clusters, model.clusters())
    assert lost(program.clusters) == 0


def test_rows_that_are_left_out_are_not_moved_to() -> None:
    rows = X.copy()
    rows[::3, 1] = np.nan
    with pytest.warns(UserWarning, match="dropped|left out"):
        model = new(on_bad_rows="skip").fit(rows, batch_size=100, steps=60)
    assert lost(model.clusters()) == 0
    weights = np.ones(2000)
    weights[:1500] = 0
    model = new().fit(X, batch_size=500, steps=20, sample_weight=weights)
    assert lost(model.clusters()) == 0


def test_a_run_that_is_interrupted_moves_the_same_clusters(tmp_path: Path) -> None:
    expected = new().fit(X, batch_size=100, max_steps=50).state
    for steps in (7, 20, 50):
        model = new(model_dir=str(tmp_path / "run"))
        model.fit(X, batch_size=100, max_steps=steps)
    assert np.array_equal(model.state.clusters, expected.clusters)
    assert shoal.KMeansClustering(8, str(tmp_path / "run"), reassignment_ratio=0.05).is_fitted


def test_numbers_of_rows_depend_on_what_they_hold() -> None:
    rows = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 0.0], [-0.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    found = numbers_of(rows, 3)
    assert found[0] == found[4]
    assert found[2] == found[3]
    assert len(set(found.tolist())) == 4
    assert np.array_equal(numbers_of(from_scipy(scipy.sparse.csr_array(rows), "x"), 3), found)
    assert np.array_equal(numbers_of(rows.astype(np.int8), 3), found)
    assert not (numbers_of(rows, 4) == found).any()
    many = numbers_of(RANDOM.normal(size=(300_000, 2)), 9)
    assert abs(float(many.astype(float).mean()) / 2**63 - 1) < 0.01


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"reassignment_ratio": -0.1}, "from 0 to 1"),
        ({"reassignment_ratio": 1.5}, "from 0 to 1"),
        ({"reassignment_ratio": "no"}, "from 0 to 1"),
        ({"reassignment_ratio": float("nan")}, "from 0 to 1"),
        ({"use_mini_batch": False}, "empty_clusters"),
        ({"mini_batch_steps_per_iteration": 3}, "mini_batch_steps_per_iteration"),
    ],
)
def test_ratios_that_have_no_effect_or_no_meaning_are_refused(given: Any, match: str) -> None:
    with pytest.raises(shoal.BadInputError, match=match):
        new(**given)
