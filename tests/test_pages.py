"""Rows that are not in memory, read page by page: the same bits as the array of all rows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import make_rows

import shoal
from shoal.sources import paged
from shoal.sources.ahead import ahead
from shoal.sources.paged import PagedSource
from shoal.sources.rows import Rows
from shoal.steps.order import Order

Array = Any


class Disk:
    """Pages that are handed out as copies, and counted."""

    name = "disk"
    resident = False
    columns: tuple[Any, ...] = ()

    def __init__(self, rows: Array, cuts: list[int], piece: int = 7) -> None:
        self.parts = np.split(rows, cuts)
        self.lengths = [len(part) for part in self.parts]
        self.starts = np.cumsum([0, *self.lengths])
        self.dim, self.dtype = rows.shape[1], rows.dtype
        self.missing = np.zeros(len(rows), bool)
        self.weights: Array | None = None
        self.piece = piece
        self.reads: list[int] = []
        self.streams = 0
        self.changed = False

    def read(self, page: int) -> Rows:
        self.reads.append(page)
        part, first = self.parts[page], int(self.starts[page])
        here = slice(first, first + len(part))
        weights = None if self.weights is None else self.weights[here].copy()
        return Rows(part.copy(), weights, self.name, missing=self.missing[here].copy(), first=first)

    def stream(self, first: int = 0) -> Iterator[Rows]:
        self.streams += first == 0
        for page in range(first, len(self.parts)):
            whole = self.read(page)
            for start in range(0, len(whole), self.piece):
                yield whole.between(start, start + self.piece)

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        for page in range(first, len(self.parts)):
            whole = self.read(page)
            for start in range(0, len(whole), size):
                yield whole.between(start, start + size)

    def check_unchanged(self, local: bool = False) -> None:
        del local
        if self.changed:
            raise shoal.BadInputError("disk has changed")


X = make_rows(400, 4, 5, 3, np.float32, spread=3)
CUTS = [13, 13, 200, 201, 390]


def source(**given: Any) -> PagedSource:
    return PagedSource(Disk(X, CUTS), given.pop("batch_size", None), given.pop("shuffle", True))


def same(a: shoal.KMeansClustering, b: shoal.KMeansClustering) -> None:
    for name in ("clusters", "clusters_updated", "counts"):
        np.testing.assert_array_equal(getattr(a.state, name), getattr(b.state, name))
    assert a.state.global_step == b.state.global_step


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize(
    "seeding", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"]
)
@pytest.mark.parametrize("mini_batch", [False, True])
def test_the_bits_are_those_of_the_array(metric: str, seeding: str, mini_batch: bool) -> None:
    def model() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(
            5,
            initial_clusters=seeding,
            distance_metric=metric,
            use_mini_batch=mini_batch,
            kmc2_chain_length=20,
        )

    want, got = model().fit(X, batch_size=32), model().fit(source(batch_size=32))
    same(got, want)
    assert got.score(source()) == want.score(X)
    for output in ("cluster_idx", "scores", "all_scores"):
        a = got.predict(source(), outputs=[output], as_iterable=False)
        b = want.predict(X, outputs=[output], as_iterable=False)
        np.testing.assert_array_equal(a[output], b[output])
    np.testing.assert_array_equal(got.transform(source()), want.transform(X))


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_has_every_row_once_and_depends_on_seed_and_epoch_alone(
    shuffle: bool,
) -> None:
    numbers = np.arange(400, dtype=np.float32)[:, None] + np.zeros((1, 4), np.float32)

    def epoch(seed: int, row: int = 0, size: int = 33) -> tuple[list[Array], list[int]]:
        pages = PagedSource(Disk(numbers, list(range(20, 400, 20))), None, shuffle)
        found = list(pages.epoch(Order(seed, 0, 400, 4, room=60), size, row))
        batches = [np.concatenate([s.rows[:, 0] for s in batch]) for batch in found]
        return batches, (row + np.cumsum(list(map(len, batches)))).tolist()

    batches, ends = epoch(1)
    assert [len(batch) for batch in batches] == [33] * 12 + [4]
    assert ends == [*range(33, 400, 33), 400]
    rows = np.concatenate(batches)
    np.testing.assert_array_equal(np.sort(rows), numbers[:, 0])
    assert shuffle != np.array_equal(rows, numbers[:, 0])
    for start in range(len(batches)):
        rest, _ = epoch(1, row=33 * start)
        for a, b in zip(rest, batches[start:], strict=True):
            np.testing.assert_array_equal(a, b)
    if shuffle:
        assert not np.array_equal(np.concatenate(epoch(2)[0]), rows)
        far = [np.ptp(batch) for batch in batches[:-1]]
        assert np.mean(far) > 100, "batches mix pages that are far apart"


def test_windows_do_not_need_the_whole_data_in_memory() -> None:
    disk = Disk(X, list(range(10, 400, 10)))
    batches = PagedSource(disk, None, True).epoch(Order(3, 0, 400, 4, room=64), 25, 0)
    assert isinstance(batches, Generator)
    assert [sum(map(len, batch)) for batch in itertools.islice(batches, 2)] == [25, 25]
    batches.close()
    # Two batches of 25 rows lie in one window, one is read ahead: 8 strips of 16 rows.
    assert len(set(disk.reads)) <= 24, "of 40 pages"


def test_a_pass_reads_the_pages_once_and_full_batch_needs_one_pass_a_step() -> None:
    disk = Disk(X, CUTS)
    model = shoal.KMeansClustering(
        5, initial_clusters=X[:5].copy(), use_mini_batch=False, memory_budget=0
    )
    model.fit(PagedSource(disk, None, True), steps=3)
    assert disk.streams == 4, "one to look at the values, one a step"


def test_relocation_takes_the_farthest_rows() -> None:
    centers = np.concatenate([X[:3], np.full((2, 4), 1e3, np.float32)])

    def model() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(5, initial_clusters=centers, use_mini_batch=False)

    same(model().fit(source(), steps=2), model().fit(X, steps=2))


def test_weights_count() -> None:
    weights = np.random.default_rng(5).integers(0, 3, len(X)).astype(float)
    disk = Disk(X, CUTS)
    disk.weights = weights
    for mini_batch in (False, True):
        a, b = (
            shoal.KMeansClustering(
                5, initial_clusters="kmeans_plus_plus", use_mini_batch=mini_batch
            ).fit(data, batch_size=64, steps=6)
            for data in (PagedSource(disk, None, True), shoal.Weighted(X, weights))
        )
        same(a, b)


@pytest.mark.parametrize("mini_batch", [False, True])
def test_bad_rows_are_named_by_their_row_in_the_data(mini_batch: bool) -> None:
    rows = X.copy()
    rows[205, 2] = np.nan
    model = shoal.KMeansClustering(5, use_mini_batch=mini_batch)
    with pytest.raises(shoal.BadInputError, match="disk holds nan in row 205, column 2"):
        model.fit(PagedSource(Disk(rows, CUTS), 50, True))
    disk = Disk(X, CUTS)
    disk.missing[207] = True
    with pytest.raises(shoal.BadInputError, match=r"missing value \(null\) in row 207"):
        model.fit(PagedSource(disk, 50, True))


def test_bad_rows_can_be_skipped() -> None:
    rows = X.copy()
    rows[205, 2] = np.nan
    disk = Disk(rows, CUTS)
    disk.missing[207] = True
    good = np.delete(X, [205, 207], axis=0)

    def model() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(
            5, initial_clusters="kmc2", use_mini_batch=False, on_bad_rows="skip"
        )

    with pytest.warns(UserWarning, match="disk: dropped 2 of 400 rows") as warned:
        got = model().fit(PagedSource(disk, None, True))
    assert len(warned) == 1
    same(got, model().fit(good))


def test_a_callable_gets_the_pieces_one_after_the_other() -> None:
    seen: list[int] = []

    def choose(inputs: list[Array], remaining: int) -> Array:
        seen.append(sum(len(rows) for rows in inputs))
        return inputs[0][:1] if remaining else inputs[0][:0]

    shoal.KMeansClustering(5, initial_clusters=choose, use_mini_batch=False).fit(source(), steps=1)
    assert seen == [7, 6, 7, 7, 7]


def test_a_source_that_changes_is_an_error() -> None:
    disk = Disk(X, CUTS)

    class Changer:
        def after_step(self, _context: Any) -> None:
            disk.changed = True

    model = shoal.KMeansClustering(5, use_mini_batch=False)
    with pytest.raises(shoal.BadInputError, match="changed"):
        model.fit(PagedSource(disk, None, True), monitors=[Changer()], steps=5)


def test_reading_ahead_leaves_no_thread_and_raises_where_the_item_is_due() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    def readers() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("shoal")]

    reading = ahead(items())
    assert next(reading) == 1
    assert next(reading) == 2
    with pytest.raises(OSError, match="gone"):
        next(reading)
    assert not readers()
    half = ahead(items())
    assert next(half) == 1
    assert readers()
    half.close()
    assert not readers()


@pytest.mark.parametrize("seeding", ["random", "kmeans_plus_plus", "kmc2"])
def test_partial_fit_takes_all_rows_as_one_batch_and_never_holds_them(
    seeding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(5, initial_clusters=seeding, kmc2_chain_length=20)

    want = model().partial_fit(X, steps=2).partial_fit(X[:100])

    def refuse(_pieces: Iterator[Rows], _size: int) -> Iterator[list[Rows]]:
        raise AssertionError("pieces are joined to a batch")

    monkeypatch.setattr(paged, "cut", refuse)
    got = model().partial_fit(PagedSource(Disk(X, CUTS), None, True), steps=2)
    same(got.partial_fit(PagedSource(Disk(X[:100], [30]), None, True)), want)


def test_what_k_means_plus_plus_costs_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "shoal")
    model = shoal.KMeansClustering(5, initial_clusters="kmeans_plus_plus", memory_budget=0)
    model.fit(source(), steps=1)
    assert "disk is not in memory: k-means++ reads it once per center" in caplog.text
