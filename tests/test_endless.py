"""Streams that do not end, and what the log says of streams while they are read."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.sources.stream import FirstPass, StreamSource, what_never_ends

X = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)


class Dataset:
    """As of tf.data: it knows how many batches there are."""

    def __init__(self, cardinality: Any, batches: Callable[[], Iterator[Any]]) -> None:
        self._cardinality = cardinality
        self._batches = batches

    def cardinality(self) -> Any:
        return self._cardinality

    def __iter__(self) -> Iterator[Any]:
        return self._batches()


class Cycled:
    """Says nothing before it is iterated over."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.cycle([X])


def infinite() -> Dataset:
    return Dataset(np.array(-1), lambda: (X for _ in itertools.count()))


ENDLESS: dict[str, Callable[[], Any]] = {
    "repeat": lambda: itertools.repeat(X),
    "cycle": lambda: itertools.cycle([X[:100], X[100:]]),
    "a callable of repeat": lambda: lambda: itertools.repeat(X),
    "a callable of cycle": lambda: lambda: itertools.cycle([X]),
    "a data set": infinite,
    "a callable of a data set": lambda: infinite,
    "opened": lambda: shoal.open(infinite()),
}


@pytest.mark.parametrize(
    "method", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2", X[:3].copy()]
)
@pytest.mark.parametrize("kind", [*ENDLESS, "an iterable of cycle"])
def test_full_batch_refuses_data_that_never_ends(kind: str, method: Any) -> None:
    model = shoal.KMeansClustering(3, use_mini_batch=False, initial_clusters=method)
    data = Cycled() if kind == "an iterable of cycle" else ENDLESS[kind]()
    with pytest.raises(shoal.BadInputError, match=r"(never ends|can be read only once)") as error:
        model.fit(data, steps=10)
    if "never ends" in str(error.value):
        assert all(word in str(error.value) for word in (" says so", ".repeat()", "use_mini_batch"))


@pytest.mark.parametrize("kind", ENDLESS)
def test_all_that_reads_to_the_end_refuses_data_that_never_ends(kind: str) -> None:
    model = shoal.KMeansClustering(3).fit(ENDLESS[kind](), steps=10)
    assert model.state.global_step == 10
    calls: dict[str, Callable[[Any], Any]] = {
        "fit": model.fit,
        "predict": lambda data: model.predict(data, as_iterable=False),
        "labels": model.labels,
        "transform": model.transform,
        "score": model.score,
        "evaluate": model.evaluate,
    }
    for name, call in calls.items():
        with pytest.raises(shoal.BadInputError, match=r"never ends \(.* says so\)"):
            call(ENDLESS[kind]())
        print(name)
    assert model.score(ENDLESS[kind](), steps=2) > 0
    assert len(list(itertools.islice(model.predict_cluster_idx(ENDLESS[kind]()), 700))) == 700


def test_a_monitor_may_end_what_never_ends() -> None:
    class Third:
        def after_step(self, context: Any) -> bool:
            return bool(context.step == 3)

    model = shoal.KMeansClustering(3).fit(itertools.repeat(X), monitors=[Third()])
    assert model.state.global_step == 3


def test_data_that_ends_is_told_from_data_that_does_not() -> None:
    for data in (
        itertools.repeat(X, 3),
        itertools.islice(itertools.repeat(X), 3),
        Dataset(3, lambda: iter([X])),
        Dataset(-2, lambda: iter([X])),
        Dataset(None, lambda: iter([X])),
        Dataset("many", lambda: iter([X])),
        [X],
    ):
        assert what_never_ends(data) is None
    model = shoal.KMeansClustering(3, use_mini_batch=False)
    assert model.fit(lambda: itertools.repeat(X, 2), steps=2).state.global_step == 2
    assert model.fit(Dataset(-2, lambda: iter([X, X])), steps=2).state.global_step == 4


class Clock:
    """Time that passes by itself, so many seconds from look to look."""

    def __init__(self, step: float) -> None:
        self._now = 0.0
        self._step = step

    def __call__(self) -> float:
        self._now += self._step
        return self._now


def test_a_long_first_pass_says_how_far_it_is_ever_more_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = FirstPass("x()", Clock(7.0))
    for _ in range(100):
        first.read(50)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" s,")[0].split(" in ")[1] for line in said] == ["63", "126", "245", "483"]
    assert said[0].startswith("x(): the first pass has read 9 batches of 450 rows in 63 s, and")
    assert "use_mini_batch=True and steps=" in said[0]


def test_full_batch_training_says_how_far_the_first_pass_is_and_only_that(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FirstPass.__init__, "__defaults__", (Clock(45.0),))
    model = shoal.KMeansClustering(3, use_mini_batch=False, initial_clusters=X[:3].copy())
    model.fit(lambda: map(X.__getitem__, [slice(0, 100)] * 6), steps=3)
    said = [r.getMessage() for r in caplog.records if "first pass" in r.getMessage()]
    assert [line.split("read ")[1].split(" in")[0] for line in said] == [
        "2 batches of 200 rows",
        "3 batches of 300 rows",
        "6 batches of 600 rows",
    ]


# ---- Clusters without rows ----


def sorted_rows() -> Any:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(20000, 1)) + generator.integers(0, 5, (20000, 1)) * 10
    return np.sort(rows, axis=0)


def idle_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if "had no row" in record.getMessage()
    ]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "shoal")
    return caplog


def test_a_sorted_stream_says_how_many_clusters_got_no_row(log: pytest.LogCaptureFixture) -> None:
    rows = sorted_rows()
    model = shoal.KMeansClustering(5, initial_clusters="kmc2")
    model.fit(rows[i : i + 500] for i in range(0, 20000, 500))
    assert idle_lines(log) == [("WARNING", "4 of 5 clusters had no row in the last 20 steps")]
    log.clear()
    mixed = np.random.default_rng(1).permutation(rows)
    shoal.KMeansClustering(None, initial_clusters=[[0.0], [10], [20], [30], [40]]).fit(
        mixed[i : i + 500] for i in range(0, 20000, 500)
    )
    assert idle_lines(log) == []


FAR = np.array([[0.0], [1e3], [1e4]])


def test_a_long_stream_says_it_every_hundred_steps_and_at_its_end(
    log: pytest.LogCaptureFixture,
) -> None:
    parts = [np.zeros((2, 1))] * 100 + [FAR] * 100 + [FAR[:2]] * 99 + [FAR] + [FAR[1:2]] * 150
    shoal.KMeansClustering(None, initial_clusters=FAR).fit(iter(parts))
    assert idle_lines(log) == [
        ("WARNING", "2 of 3 clusters had no row in the last 100 steps"),
        ("INFO", "2 of 3 clusters had no row in the last 100 steps"),
        ("INFO", "2 of 3 clusters had no row in the last 100 steps"),
    ]


def test_each_epoch_says_it(log: pytest.LogCaptureFixture) -> None:
    config = shoal.RunConfig(max_epochs=3, max_no_improvement=999)
    model = shoal.KMeansClustering(None, initial_clusters=FAR, config=config)
    model.fit(np.full((50, 1), 0.5), batch_size=20)
    assert [line for _, line in idle_lines(log)] == [
        f"2 of 3 clusters had no row in epoch {epoch}" for epoch in (1, 2, 3)
    ]
    log.clear()
    model.fit(np.repeat(FAR, 20, axis=0), batch_size=7, steps=30)
    assert idle_lines(log) == []


def test_calls_of_partial_fit_are_steps_of_one_stream(log: pytest.LogCaptureFixture) -> None:
    model = shoal.KMeansClustering(None, initial_clusters=FAR)
    for step in range(205):
        model.partial_fit(np.zeros((3, 1)))
        if step == 50:
            model = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert [line for _, line in idle_lines(log)] == [
        "2 of 3 clusters had no row in the last 100 steps"
    ] * 2


def test_full_batch_training_has_empty_clusters_of_its_own(log: pytest.LogCaptureFixture) -> None:
    model = shoal.KMeansClustering(
        None, initial_clusters=FAR, use_mini_batch=False, empty_clusters="keep"
    )
    model.fit(np.zeros((50, 1)), steps=3)
    assert idle_lines(log) == []


def test_going_on_is_said_with_its_step(log: pytest.LogCaptureFixture) -> None:
    model = shoal.KMeansClustering(3).fit(X, steps=7)
    assert "continuing" not in log.text
    model.fit(X, steps=1)
    assert "continuing from step 7" in log.text


def test_sources_say_that_they_never_end() -> None:
    source = shoal.open(itertools.repeat(X))
    assert isinstance(source, StreamSource)
    assert source.endless == "itertools.repeat"


@pytest.mark.parametrize("seeding", ["random", "kmeans_plus_plus", "kmc2", "given"])
@pytest.mark.parametrize(
    "batch",
    [np.full((3, 2), np.nan), np.empty((0, 2)), shoal.Weighted(np.ones((3, 2)), np.zeros(3))],
    ids=["left out", "empty", "of weight 0"],
)
@pytest.mark.filterwarnings("ignore:.*dropped")
def test_batches_without_end_and_without_a_row_are_refused(batch: Any, seeding: str) -> None:
    initial = np.eye(2) if seeding == "given" else seeding
    model = shoal.KMeansClustering(2, initial_clusters=initial, on_bad_rows="skip")
    for train in (lambda data: model.fit(data, steps=2), model.partial_fit):
        with pytest.raises(
            shoal.BadInputError, match=r"x never ends .* 1000 batches on end had no"
        ):
            train(itertools.repeat(batch))


def test_many_batches_without_a_row_may_come_before_one_that_has_some() -> None:
    rows = np.arange(8.0).reshape(4, 2)
    batches = itertools.chain(itertools.repeat(np.empty((0, 2)), 3000), [rows])
    assert shoal.KMeansClustering(2).fit(batches).state.global_step == 1
