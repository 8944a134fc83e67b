"""Centers and losses of data whose values, or weights, are of very different size."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from helpers import unit

import shoal

SEED = 77
#: What a center or a loss may be off by, of each dtype of centers, as float64 would be.
CLOSE = {np.dtype(np.float32): 1.3e-7, np.dtype(np.float64): 1e-14}


class Losses:
    """Notes the loss of each step."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def after_step(self, context: Any) -> None:
        self.all.append(context.loss)


def exact_means(
    rows: Any, weights: Any, labels: Any, centers: Any, counts: float
) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
    """Means of clusters in fractions, and of magnitudes; ``counts``: of the centers before."""
    means, sizes = [], []
    for j in range(len(centers)):
        mine = np.flatnonzero(labels == j)
        w = [Fraction(float(weights[i])) for i in mine]
        total = sum(w, Fraction(counts))
        if total == 0:
            means.append([Fraction(float(c)) for c in centers[j]])
            sizes.append([abs(x) for x in means[-1]])
            continue
        terms = [
            [w_i * Fraction(float(x)) for w_i, x in zip(w, rows[mine, t], strict=True)]
            + [Fraction(counts) * Fraction(float(centers[j, t]))]
            for t in range(rows.shape[1])
        ]
        means.append([sum(of_column) / total for of_column in terms])
        sizes.append([sum(map(abs, of_column)) / total for of_column in terms])
    return means, sizes


def wide(rng: Any, dtype: Any, n: int, d: int) -> Any:
    """Rows whose values span all that the dtype holds, or 30 orders of magnitude."""
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, np.iinfo(dtype).max, (n, d), endpoint=True).astype(dtype)
    if np.dtype(dtype).kind == "i":
        return np.floor(2.0 ** rng.uniform(0, 50, (n, d))).astype(dtype)
    reach = 4 if dtype == np.float16 else 15
    scale = 10.0 ** rng.uniform(-reach, reach, (n, 1)) * 10.0 ** rng.uniform(-2, 0, (n, d))
    return (rng.choice([-1, 1], (n, d)) * scale).astype(dtype)


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("mini_batch", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_a_step_is_as_exact_as_float64_whatever_the_range_within_a_column(
    dtype: str, sparse: bool, weighted: bool, mini_batch: bool, metric: str
) -> None:
    for seed in range(SEED, SEED + 4):
        rng = np.random.default_rng(seed)
        rows = wide(rng, np.dtype(dtype).type, 150, 3)
        rows[rng.uniform(size=rows.shape) < 0.1] = 0
        weights = 10.0 ** rng.uniform(-10, 10, len(rows)) if weighted else np.ones(len(rows))
        weights[::7] *= not weighted  # some count for nothing
        middle = np.float64 if dtype in ("float64", "int64") else np.float32
        largest = np.abs(rows.astype(float)).max(1)
        first = rows[np.argsort(largest)[np.linspace(5, 149, 8).astype(int)]].astype(middle)
        data = rows if not sparse else scipy.sparse.csr_matrix(rows.astype(middle))
        losses = Losses()
        model = shoal.KMeansClustering(
            None,
            initial_clusters=first,
            distance_metric=metric,
            use_mini_batch=mini_batch,
            empty_clusters="keep",
        )
        model.fit(
            data,
            steps=1,
            batch_size=len(rows) if mini_batch else None,
            monitors=[losses],
            **({"sample_weight": weights} if weighted else {}),
        )
        seen, centers = rows.astype(np.float64), first.astype(np.float64)
        if metric == "cosine":
            seen, centers = unit(seen), unit(unit(centers).astype(middle))
        distances = ((seen[:, None] - centers) ** 2).sum(-1)
        if metric == "cosine":
            distances = np.minimum(distances / 2, 2)
            distances[~seen.any(1)] = 1
        labels = distances.argmin(1)
        about = f"seed {seed}"
        close = CLOSE[np.dtype(middle)]
        loss = math.fsum(weights * distances.min(1))
        assert losses.all == [pytest.approx(loss, rel=close, abs=1e-320)], about
        before = unit(first.astype(float)).astype(middle) if metric == "cosine" else first
        means, sizes = exact_means(seen, weights, labels, before, 1.0 if mini_batch else 0.0)
        found = model.get_variable_value("clusters")
        assert found.dtype == middle
        for j in range(len(first)):
            norm = 1.0
            if metric == "cosine" and not mini_batch:
                norm = math.sqrt(sum(float(x) ** 2 for x in means[j])) or 1.0
            for t in range(3):
                off = abs(float(found[j, t]) * norm - float(means[j][t]))
                assert off <= 2 * close * float(sizes[j][t]) + 1e-44, f"{about}, center {j}, {t}"


@pytest.mark.parametrize("fill", [1e20, 9.96921e36, -3.4028235e38, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [0.001, 0.8])
def test_fill_values_leave_the_other_centers_and_the_loss_as_numpy_has_them(
    fill: float, dtype: str, share: float
) -> None:
    rng = np.random.default_rng(SEED)
    x = np.r_[rng.normal(270, 5, 500), rng.normal(300, 5, 500)][:, None].astype(dtype)
    x[rng.permutation(1000)[: int(1000 * share)]] = fill
    first = np.array([[270], [300], [fill]], dtype)
    losses = Losses()
    model = shoal.KMeansClustering(None, initial_clusters=first, use_mini_batch=False)
    model.fit(x, steps=4, monitors=[losses])
    centers = first.astype(np.float64)
    for loss in losses.all:
        distances = (x.astype(np.float64) - centers.T) ** 2
        labels = distances.argmin(1)
        assert loss == pytest.approx(math.fsum(distances.min(1)), rel=CLOSE[x.dtype])
        means = [math.fsum(x[labels == j, 0].tolist()) / (labels == j).sum() for j in range(3)]
        centers = np.array(means)[:, None].astype(dtype).astype(np.float64)
    np.testing.assert_allclose(model.clusters(), centers, rtol=CLOSE[x.dtype])


def test_a_value_of_weight_zero_takes_nothing_from_the_others() -> None:
    rng = np.random.default_rng(SEED)
    x = np.r_[rng.normal(10, 1, 500), rng.normal(90, 1, 500), 9.96921e36][:, None].astype("f4")
    weights = np.r_[np.ones(1000), 0]
    for data, given in ((x, weights), (scipy.sparse.csr_matrix(x), weights), (x[:-1], None)):
        model = shoal.KMeansClustering(2, initial_clusters=x[[0, 500]], use_mini_batch=False)
        model.fit(data, steps=3, sample_weight=given)
        wanted = [x[:500].astype(float).mean(), x[500:1000].astype(float).mean()]
        np.testing.assert_allclose(model.clusters().ravel(), wanted, rtol=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_an_empty_cluster_gets_the_row_with_the_largest_weight_times_distance(seed: int) -> None:
    x = np.array([1, 1, 5, 5, 100, 100.0])[:, None]
    weights = 10.0 ** np.array([8, 8, 8, 8, -8, -8])
    model = shoal.KMeansClustering(2, random_seed=seed, use_mini_batch=False)
    model.fit(x, sample_weight=weights)
    assert model.score(x, sample_weight=weights) == pytest.approx(1.805e-4, rel=1e-9)
    np.testing.assert_allclose(np.sort(model.clusters().ravel()), [1, 5], rtol=1e-9)


def test_a_light_cluster_counts_as_it_is() -> None:
    x = np.array([1, 1, 5, 5, 100, 102.0])[:, None]
    weights = 10.0 ** np.array([15, 15, 15, 15, -15, -15])
    model = shoal.KMeansClustering(3, initial_clusters=[[1], [5], [90]], use_mini_batch=False)
    model.fit(x, sample_weight=weights)
    np.testing.assert_allclose(model.clusters().ravel(), [1, 5, 101], rtol=1e-15)
    assert model.state.counts.tolist() == [2e15, 2e15, 2e-15]


def test_values_and_weights_that_no_sum_holds_are_refused() -> None:
    x = np.array([[1e-200], [1.0], [1e150]])
    with pytest.raises(shoal.BadInputError, match=r"column 0, from 1e-200 to 1e\+150"):
        shoal.KMeansClustering(2, use_mini_batch=False).fit(x, steps=1)
    with pytest.raises(shoal.BadInputError, match=r"weights, from 1e-300 to 1"):
        shoal.KMeansClustering(1, use_mini_batch=False).fit(
            np.ones((3, 1)), steps=1, sample_weight=[1, 1e-300, 1]
        )


def test_training_ends_by_losses_that_are_right_though_one_value_is_huge() -> None:
    rng = np.random.default_rng(SEED)
    x = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(6, 1, (500, 2))])
    far = np.concatenate([x, [[1e20, 1e20]]])
    ends = []
    for data, more in ((x, []), (far, [[1e20, 1e20]])):
        losses = Losses()
        model = shoal.KMeansClustering(
            None,
            initial_clusters=[[-1, 0], [1, 0], *more],
            use_mini_batch=False,
            relative_tolerance=1e-3,
        )
        model.fit(data, monitors=[losses])
        ends.append(losses.all)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-14)
