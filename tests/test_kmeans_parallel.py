"""k-means||: candidates drawn in a few passes, and the centers chosen from them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from helpers import make_rows
from seeding_helpers import METRICS, ROWS, Array, indices_of, potentials, seeded
from statistics_helpers import chi_square

import shoal
from shoal.executors import LocalExecutor, PickledExecutor
from shoal.executors.data import Data
from shoal.shards import candidates
from shoal.shards.candidates import Draw
from shoal.shards.part import Part
from shoal.sources.limits import Limits
from shoal.sources.rows import Rows
from shoal.steps.random import Random

METHOD = "kmeans_parallel"


def some_rows(n: int = 900, d: int = 4, k: int = 12) -> Array:
    rng = np.random.default_rng(5)
    middle = rng.normal(size=(k, d)) * 4
    return (middle[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def write(rows: Array, folder: Path, files: int, group: int) -> Path:
    folder.mkdir()
    for number, part in enumerate(np.array_split(rows, files)):
        table = pa.table({f"c{i}": part[:, i] for i in range(rows.shape[1])})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
    return folder


def clusters(data: Any, k: int = 12, executor: Any = None, **options: Any) -> bytes:
    """The centers before the first step."""
    first = Kept()
    config = shoal.RunConfig(executor=executor)
    options = {"use_mini_batch": False, "memory_budget": 0, **options}
    model = shoal.KMeansClustering(k, initial_clusters=METHOD, config=config, **options)
    model.fit(data, steps=1, monitors=[first])
    return bytes(first.clusters.tobytes())


class Kept:
    def begin(self, context: Any) -> None:
        self.clusters = context.clusters.copy()


# ---- What is drawn ----


def test_a_row_is_drawn_by_its_share_of_the_mass_and_by_nothing_else() -> None:
    rows = np.r_[0.0, np.arange(1.0, 41.0) ** 0.5][:, None]  # squared distances to 0: 0 ... 40
    weights = np.r_[1.0, np.tile([1.0, 0.0, 2.0, 0.5], 10)]
    data = Data.of(
        LocalExecutor(), [Part(None, "squared_euclidean", 1, rows=[Rows(rows, weights)])]
    )
    mass = weights * rows[:, 0] ** 2
    number, tries = 6.0, 4000
    share = np.minimum(1, number * mass / mass.sum())
    times, together = np.zeros(41), np.zeros((41, 41))
    for seed in range(tries):
        of = data.candidates(np.zeros((1, 1)))
        draw = Draw(seed, (9,), number)
        found = of.drawn(draw.bar(of.measure(np.empty((0, 1)), draw)))
        of.close()
        if found is not None:
            times[found.indices] += 1
            together[np.ix_(found.indices, found.indices)] += 1
    assert (times[share == 0] == 0).all()
    error = np.sqrt(tries * share * (1 - share))
    assert (abs(times - tries * share) <= 4.5 * error).all()
    pairs = [(i, j) for i, j in itertools.combinations(range(41), 2) if share[i] * share[j] > 0]
    wanted = np.array([share[i] * share[j] for i, j in pairs])
    assert chi_square([together[i, j] for i, j in pairs], wanted, 0.5) > 1e-4


def test_random_numbers_are_found_by_their_index() -> None:
    numbers = Random(3, 1, 2).shares(50)
    for first in (0, 1, 3, 4, 5, 8, 31):
        assert np.array_equal(Random(3, 1, 2).after(first).shares(50 - first), numbers[first:])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
def test_any_split_gives_the_same_bits(metric: str, weighted: bool, tmp_path: Path) -> None:
    rows = some_rows(2000)
    rows[7] = 0
    weights = np.random.default_rng(1).exponential(size=len(rows)) if weighted else None

    def given(data: Any) -> Any:
        return data if weights is None else shoal.Weighted(data, weights)

    wanted = clusters(given(rows), distance_metric=metric)
    for executor in (LocalExecutor(3), PickledExecutor(1), PickledExecutor(7)):
        assert clusters(given(rows), executor=executor, distance_metric=metric) == wanted
    sparse = given(scipy.sparse.csr_matrix(rows))
    assert clusters(sparse, distance_metric=metric, executor=PickledExecutor(2)) == wanted
    for piece in (1, 33):  # in which rows are looked at
        cut = shoal.open(given(rows), limits=Limits(candidate_rows=piece))
        assert clusters(cut, distance_metric=metric) == wanted
    if weights is None:
        folder = write(rows, tmp_path / "files", 5, 70)
        for executor in (None, PickledExecutor(4)):
            assert clusters(folder, executor=executor, distance_metric=metric) == wanted
        stream = lambda: iter(np.array_split(rows, 7))  # noqa: E731
        assert clusters(stream, distance_metric=metric) == wanted


@pytest.mark.parametrize("lost", range(0, 50, 3))
def test_a_shard_of_a_file_that_is_lost_changes_nothing(lost: int, tmp_path: Path) -> None:
    folder = write(some_rows(), tmp_path / "files", 3, 40)
    expected = clusters(folder)
    losing = PickledExecutor(3, lose_at=lost)
    assert clusters(folder, executor=losing) == expected


# ---- Passes, and what travels ----


def test_a_thousand_centers_take_at_most_nine_passes_over_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some_rows(20_000, k=100)
    folder = write(rows, tmp_path / "files", 4, 500)
    read = []
    iterate = pq.ParquetFile.iter_batches

    def counted(file: Any, *given: Any, **options: Any) -> Any:
        for batch in iterate(file, *given, **options):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    before: list[int] = []

    class Begun:
        def begin(self, _context: Any) -> None:
            before.append(sum(read))

    model = shoal.KMeansClustering(
        1000, initial_clusters=METHOD, use_mini_batch=False, memory_budget=0
    )
    model.fit(folder, steps=1, monitors=[Begun()])
    passes = before[0] / len(rows)
    print(f"{passes} passes before the first step")
    # Values are checked; five rounds; candidates are weighed; a page is read for the first of them.
    assert 7 <= passes <= 7.1
    assert 8 <= sum(read) / len(rows) <= 8.1


def test_answers_have_the_size_of_the_draw_and_not_of_the_rows() -> None:
    sizes = []
    for n in (5_000, 80_000):
        executor = PickledExecutor(3)
        clusters(some_rows(n, k=50), 50, executor)
        sizes.append(max(one.up for one in executor.sent if one.message == "drawn"))
        assert max(one.up for one in executor.sent) < 30_000
        assert max(executor.shared) < 100 * 2 * (4 * 4 + 10)
    print(sizes)
    assert sizes[1] < 1.5 * sizes[0]


def test_what_a_draw_may_reach_is_left_out_as_the_mass_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    leave = candidates._Noted._leave

    def watched(self: Any, bar: float) -> None:
        seen.append(self._rows)
        leave(self, bar)

    monkeypatch.setattr(candidates._Noted, "_leave", watched)
    clusters(shoal.open(some_rows(20_000), limits=Limits(candidate_rows=50)), 12)
    assert len(seen) > 10
    assert max(seen) < 50 + 50 + 2 * 2 * 24 + 50  # of 24 rows that are drawn


# ---- How many centers ----


@pytest.mark.parametrize("metric", METRICS)
def test_too_few_candidates_are_made_up_for_by_further_rounds(
    metric: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = some_rows(300)
    options: dict[str, Any] = {"kmeans_parallel_rounds": 1, "kmeans_parallel_oversampling": 0.01}
    for seed in range(10):
        caplog.clear()
        with caplog.at_level("INFO", "shoal"):
            state = seeded(rows, 40, METHOD, random_seed=seed, distance_metric=metric, **options)
        assert len(np.unique(state.clusters, axis=0)) == 40
        assert "where 40 centers are missing: one round more" in caplog.text


def test_every_row_that_differs_is_found_where_there_are_no_others() -> None:
    distinct = some_rows(60)
    rows = np.repeat(distinct, np.arange(1, 61), axis=0)
    for seed in range(10):
        state = seeded(rows, 60, METHOD, random_seed=seed)
        assert {tuple(row) for row in state.clusters} == {tuple(row) for row in distinct}


def test_rows_without_direction_are_chosen_where_there_are_no_others() -> None:
    with pytest.warns(UserWarning, match="fewer distinct rows than clusters"):
        state = seeded(np.zeros((30, 3)), 4, METHOD, distance_metric="cosine")
    assert not state.clusters.any()
    rows = np.zeros((30, 3))
    rows[11] = [0, 3, 4]
    with pytest.warns(UserWarning, match="fewer distinct rows than clusters"):
        state = seeded(rows, 4, METHOD, distance_metric="cosine")
    assert np.isclose(state.clusters, [0, 0.6, 0.8]).all(axis=1).any()


def test_later_batches_add_what_is_far_from_the_centers_so_far() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(3, 2)), rng.normal(size=(500, 2)) + 50
    for seed in range(20):
        second = np.concatenate([near.repeat(200, axis=0), far])
        state = seeded(iter([near, second]), 6, METHOD, random_seed=seed)
        assert np.array_equal(state.clusters[:3], near)
        assert (state.clusters[3:] > 40).all()


def test_it_can_be_interrupted_and_begun_again() -> None:
    rows = some_rows(3000)
    model = shoal.KMeansClustering(12, initial_clusters=METHOD, use_mini_batch=False)

    class Interrupt:
        times = 0

        def progress(self, context: Any) -> None:
            assert context.phase == "choosing centers"
            self.times += 1
            if self.times == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, steps=1, monitors=[Interrupt()])
    with pytest.raises(shoal.NotFittedError):
        model.clusters()
    again = model.fit(rows, steps=1)
    assert again.clusters().tobytes() == (
        shoal.KMeansClustering(12, initial_clusters=METHOD, use_mini_batch=False)
        .fit(rows, steps=1)
        .clusters()
        .tobytes()
    )


# ---- How good ----


@pytest.mark.parametrize("metric", METRICS)
def test_centers_are_about_as_good_as_those_of_plus_plus(metric: str) -> None:
    """On average over seeds; and far better than rows at random."""
    rows = some_rows(3000, k=40)
    losses: dict[str, list[float]] = {"random": [], "kmeans_plus_plus": [], METHOD: []}
    for seed, method in itertools.product(range(20), losses):
        state = seeded(rows, 40, method, random_seed=seed, distance_metric=metric)
        model = shoal.KMeansClustering(
            None, initial_clusters=state.clusters, distance_metric=metric
        )
        losses[method].append(model.score(rows))
    means = {method: np.mean(found) for method, found in losses.items()}
    print(means)
    assert means[METHOD] < 1.05 * means["kmeans_plus_plus"]
    assert means[METHOD] < 0.8 * means["random"]


def test_more_rounds_and_more_candidates_lower_the_loss() -> None:
    found = {}
    for rounds, oversampling in ((1, 0.5), (5, 2.0)):
        options: dict[str, Any] = {
            "kmeans_parallel_rounds": rounds,
            "kmeans_parallel_oversampling": oversampling,
        }
        picks = [
            indices_of(ROWS, seeded(ROWS, 4, METHOD, random_seed=seed, **options).clusters)
            for seed in range(300)
        ]
        found[rounds] = potentials(np.array(picks)).mean()
    print(found)
    assert found[5] < 0.9 * found[1]


def test_scikit_learns_face_has_it_by_its_name() -> None:
    from shoal.sklearn import KMeans, MiniBatchKMeans

    rows = make_rows()
    for model in (
        KMeans(5, init="k-means||", random_state=0),
        MiniBatchKMeans(5, init="k-means||"),
    ):
        assert len(np.unique(model.fit(rows).labels_)) == 5
