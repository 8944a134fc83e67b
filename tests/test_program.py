"""KMeans.training_graph(): one step at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers import column, make_rows

import shoal

START = np.array([[0.0], [10.0]])
FIELDS = (
    "all_scores",
    "cluster_idx",
    "scores",
    "cluster_centers_initialized",
    "init_op",
    "training_op",
)


def seeded(inputs, *arguments, **more):
    program = shoal.KMeans(inputs, *arguments, **more)
    graph = program.training_graph()
    while not graph.cluster_centers_initialized:
        graph.init_op()
    return program, graph


# ---- The named tuple ----


def test_fields():
    graph = shoal.KMeans(column(1, 2), 2).training_graph()
    assert isinstance(graph, tuple)
    assert isinstance(graph, shoal.TrainingGraph)
    assert graph._fields == FIELDS
    assert len(graph) == 6


def test_unpacked_operations_are_callables():
    all_scores, cluster_idx, scores, initialized, init_op, training_op = shoal.KMeans(
        column(1, 2, 9), 2
    ).training_graph()
    assert initialized() is False
    assert init_op() is None
    assert initialized() is True
    assert training_op() >= 0
    assert all_scores().shape == (3, 2)
    assert cluster_idx().shape == scores().shape == (3,)


def test_initialized_is_a_boolean_property():
    graph = shoal.KMeans(column(1, 2), 2).training_graph()
    assert graph.cluster_centers_initialized is False
    graph.init_op()
    assert graph.cluster_centers_initialized is True


def test_several_graphs_share_one_state():
    program = shoal.KMeans(column(0, 2, 9, 11), None, START)
    one, other = program.training_graph(), program.training_graph()
    one.training_op()
    assert other.scores().tolist() == [1, 1, 1, 1]
    other.training_op()
    assert program.state.global_step == 2


# ---- Seeding ----


def test_before_initialisation():
    program = shoal.KMeans(iter([column(1), column(2), column(3)]), 2)
    graph = program.training_graph()
    for operation in (graph.training_op, graph.all_scores, graph.cluster_idx, graph.scores):
        with pytest.raises(shoal.NotInitializedError, match="0 of 2"):
            operation()
    with pytest.raises(shoal.NotInitializedError):
        _ = program.state
    graph.init_op()
    with pytest.raises(shoal.NotInitializedError, match="1 of 2"):
        graph.training_op()
    assert program.state.clusters.tolist() == [[1]]
    assert not program.state.initialized
    graph.init_op()
    assert program.state.clusters.tolist() == [[1], [2]]
    assert graph.training_op() == 1  # the failed calls took no batch: this is row 3


def test_init_op_after_initialisation_takes_no_batch():
    graph = shoal.KMeans(iter([column(1, 2)]), None, START).training_graph()
    assert graph.cluster_centers_initialized
    graph.init_op()
    assert graph.training_op() == 1 + 4


@pytest.mark.parametrize(
    "seeding", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"]
)
def test_seeding_over_several_batches(seeding):
    batches = np.split(make_rows(k=0), [2, 3, 7])
    program, graph = seeded(
        iter([*batches, *batches]), 6, seeding, use_mini_batch=True, kmc2_chain_length=2
    )
    assert program.state.clusters.shape == (6, 4)
    assert program.state.global_step == 0
    everything = make_rows(k=0).tolist()
    assert all(center in everything for center in program.state.clusters.tolist())
    assert graph.training_op() > 0


def test_seed():
    rows = make_rows(k=0)
    one, other, third = (seeded(rows, 5, random_seed=seed)[0].state for seed in (1, 1, 2))
    assert one.clusters.tobytes() == other.clusters.tobytes() != third.clusters.tobytes()
    drawn = seeded(rows, 5, random_seed=None)[0].state
    again = seeded(rows, 5, random_seed=drawn.seed)[0].state
    assert drawn.clusters.tobytes() == again.clusters.tobytes()


def test_callable_gets_shards_and_the_number_missing():
    calls = []

    def choose(inputs, remaining):
        calls.append(([len(shard) for shard in inputs], remaining))
        return inputs[0][:2][:remaining]

    program, _ = seeded(lambda: iter([[column(1, 2), column(3)], column(4, 5)]), 3, choose)
    assert calls == [([2, 1], 3), ([2], 1)]
    assert program.state.clusters.tolist() == [[1], [2], [4]]


@pytest.mark.parametrize(
    "choose",
    [
        lambda inputs, remaining: inputs[0][: remaining + 1],
        lambda *_: np.zeros((1, 7)),
        lambda *_: [[np.nan]],
        lambda inputs, _: inputs[0][:0],
    ],
    ids=["too many", "shape", "nan", "never any"],
)
def test_callable_that_is_wrong(choose):
    with pytest.raises(ValueError, match="initial_clusters"):
        seeded(column(1, 2, 3), 2, choose)


def test_end_of_data_while_seeding():
    with pytest.raises(shoal.TooFewRowsError, match=r"is 3\b.* 2 centers"):
        seeded(iter([column(1), column(2)]), 3)


# ---- Steps ----


def test_loss_is_that_of_the_centers_before_the_step():
    program = shoal.KMeans(column(0, 2, 9, 11), None, START)
    graph = program.training_graph()
    assert graph.scores().sum() == 0 + 4 + 1 + 1
    assert graph.training_op() == 6
    assert program.state.clusters.tolist() == [[1], [10]]
    assert graph.scores().sum() == 4
    loss = graph.training_op()
    assert (loss, type(loss)) == (4, float)


def test_mini_batch_steps():
    batches = iter([column(2), column(4, 9), column(1)])
    program = shoal.KMeans(
        batches, None, START, use_mini_batch=True, mini_batch_steps_per_iteration=2
    )
    graph = program.training_graph()
    graph.training_op()
    assert program.state.clusters.tolist() == [[0], [10]]
    assert program.state.clusters_updated.tolist() == [[2], [10]]
    graph.training_op()
    assert program.state.clusters.tolist() == [[3], [9]]
    assert program.state.counts.tolist() == [0, 0]
    assert graph.training_op() == 4
    assert program.state.clusters_updated.tolist() == [[1], [9]]


def test_defaults_are_full_batch():
    rows = make_rows(k=0)
    program = shoal.KMeans(rows, None, rows[:5])
    graph = program.training_graph()
    for _ in range(4):
        graph.training_op()
    model = shoal.KMeansClustering(None, initial_clusters=rows[:5].copy(), use_mini_batch=False)
    assert model.fit(rows, steps=4).clusters().tobytes() == program.state.clusters.tobytes()


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
def test_evaluations_equal_the_estimator(metric):
    rows = make_rows(k=0)
    program, graph = seeded(rows, 5, "kmeans_plus_plus", metric)
    graph.training_op()
    model = shoal.KMeansClustering(5, distance_metric=metric)
    model.restore(program.state)
    expected = model.predict(rows, as_iterable=False)
    for name, values in expected.items():
        found = getattr(graph, name)()
        assert found.dtype == values.dtype
        assert found.tobytes() == values.tobytes()


def test_state_is_a_value():
    program = shoal.KMeans(column(0, 2, 9, 11), None, START)
    before = program.state
    program.training_graph().training_op()
    assert before.clusters.tolist() == [[0], [10]]
    assert before.global_step == 0
    assert program.state.global_step == 1
    for name in ("clusters", "clusters_updated", "counts"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(program.state, name)[0] = 5
    with pytest.raises(AttributeError):
        program.state.global_step = 7


# ---- Batches ----


def test_evaluations_look_at_the_batch_of_the_last_step():
    graph = shoal.KMeans(
        iter([column(0, 10), column(2), column(3, 4, 5)]), None, START, use_mini_batch=True
    ).training_graph()
    graph.training_op()
    assert len(graph.cluster_idx()) == len(graph.cluster_idx()) == 2
    graph.training_op()
    assert len(graph.scores()) == 1
    graph.training_op()
    assert graph.all_scores().shape == (3, 2)


def test_evaluating_first_loses_no_batch():
    batches = [column(0, 10), column(2), column(3, 4, 5)]
    program = shoal.KMeans(iter(batches), None, START, use_mini_batch=True)
    graph = program.training_graph()
    assert graph.scores().tolist() == [0, 0]
    assert graph.cluster_idx().tolist() == [0, 1]
    last = sum((x - 2 / 3) ** 2 for x in (3, 4, 5))  # [0], [0, 2] have left a center at 2 / 3
    assert [graph.training_op() for _ in batches] == [0, 4, pytest.approx(last, rel=1e-12)]
    with pytest.raises(shoal.EndOfDataError):
        graph.training_op()
    assert program.state.counts.sum() == 2 + 6


class Again:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize(
    "make",
    [iter, Again, lambda batches: lambda: iter(batches), lambda batches: (b for b in batches)],
    ids=["iterator", "iterable", "callable", "generator"],
)
def test_finite_sources_end(make):
    batches = [column(1, 2), column(3, 4)]
    program = shoal.KMeans(make(batches), None, START, use_mini_batch=True)
    graph = program.training_graph()
    graph.training_op()
    graph.training_op()
    before = program.state
    for _ in range(2):
        with pytest.raises(shoal.EndOfDataError, match="no more batches"):
            graph.training_op()
    assert program.state is before
    assert len(graph.scores()) == 2


def test_opened_data_with_a_batch_size_is_a_source_of_batches():
    rows = make_rows(k=0)
    program = shoal.KMeans(shoal.open(rows, batch_size=128), None, rows[:5], use_mini_batch=True)
    by_hand = shoal.KMeans(iter(np.split(rows, [128, 256])), None, rows[:5], use_mini_batch=True)
    graph, expected = program.training_graph(), by_hand.training_graph()
    for size in (128, 128, 44):
        assert graph.training_op() == expected.training_op()
        assert len(graph.scores()) == size
    with pytest.raises(shoal.EndOfDataError):
        graph.training_op()


def test_an_array_never_ends():
    rows = make_rows(k=0)
    for inputs in (rows, [rows[:9], rows[9:]], lambda: rows, shoal.Weighted(rows, np.ones(300))):
        program, graph = seeded(inputs, 3, "kmeans_plus_plus")
        for _ in range(5):
            graph.training_op()
        assert program.state.global_step == 5


def test_bad_batch_leaves_the_state():
    batches = [column(1, 2), column(3, np.nan), column(1, 2)]
    program = shoal.KMeans(iter(batches), None, START, use_mini_batch=True)
    graph = program.training_graph()
    graph.training_op()
    before = program.state
    with pytest.raises(shoal.BadInputError, match="row 1, column 0"):
        graph.training_op()
    assert program.state is before
    graph.training_op()
    assert program.state.global_step == 2
    wide = shoal.KMeans(iter([np.zeros((2, 3))]), None, START).training_graph()
    with pytest.raises(shoal.BadInputError, match="3 columns"):
        wide.scores()
    with pytest.raises(shoal.BadInputError, match="3 columns"):
        wide.training_op()


def test_weights():
    program = shoal.KMeans(shoal.Weighted(column(0, 3, 9), [1.0, 2.0, 1.0]), None, START)
    assert program.training_graph().training_op() == 0 + 2 * 9 + 1
    assert program.state.clusters.tolist() == [[2], [9]]
    assert program.state.counts.tolist() == [3, 1]


# ---- Shards ----


@pytest.mark.parametrize("use_mini_batch", [False, True])
@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize(
    "seeding", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"]
)
def test_shards_equal_one_array(seeding, metric, use_mini_batch):
    rows = make_rows(k=0, dtype=np.float32)
    cuts = [1, 1, 100, 220]
    one, graph = seeded(rows, 5, seeding, metric, use_mini_batch)
    sharded, shards = seeded(np.split(rows, cuts), 5, seeding, metric, use_mini_batch)
    for _ in range(4):
        assert shards.training_op() == graph.training_op()
        assert sharded.state.clusters.tobytes() == one.state.clusters.tobytes()
        assert sharded.state.counts.tobytes() == one.state.counts.tobytes()
        for name in ("all_scores", "cluster_idx", "scores"):
            whole, parts = getattr(graph, name)(), getattr(shards, name)()
            assert isinstance(parts, list)
            assert [part.tobytes() for part in parts] == [
                part.tobytes() for part in np.split(whole, cuts)
            ]


def test_a_list_of_one_shard_gives_a_list_of_one():
    graph = shoal.KMeans([column(0, 9)], None, START).training_graph()
    assert [part.tolist() for part in graph.cluster_idx()] == [[0, 1]]


def test_stream_of_shards():
    batches = [[column(0), column(9, 11)], [column(2), column(8)]]
    program = shoal.KMeans(iter(batches), None, START, use_mini_batch=True)
    graph = program.training_graph()
    assert [part.tolist() for part in graph.cluster_idx()] == [[0], [1, 1]]
    assert graph.training_op() == 0 + 1 + 1
    assert [part.tolist() for part in graph.scores()] == [[0], [1, 1]]
    assert graph.training_op() == 4 + 4
    assert program.state.clusters.tolist() == [[2 / 3], [38 / 4]]


# ---- Threads ----


@pytest.mark.parametrize("period", [1, 3])
def test_threads_lose_no_step(period):
    batches = np.split(make_rows(k=0, n=4000, dtype=np.float32), 200)
    lock = threading.Lock()
    waiting = list(batches)

    def inputs():
        while True:
            with lock:
                if not waiting:
                    return
                batch = waiting.pop()
            yield batch

    program = shoal.KMeans(
        inputs(),
        None,
        batches[0][:5],
        use_mini_batch=True,
        mini_batch_steps_per_iteration=period,
        num_threads=2,
    )
    graph = program.training_graph()
    losses, ends = [], []

    def work():
        while True:
            try:
                losses.append(graph.training_op())
            except shoal.EndOfDataError:
                ends.append(True)
                return
            graph.scores()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ends) == 4
    assert len(losses) == program.state.global_step == 200
    if period == 1:
        assert program.state.counts.sum() == 5 + 4000
    alone = shoal.KMeans(
        iter(batches[::-1]),
        None,
        batches[0][:5],
        use_mini_batch=True,
        mini_batch_steps_per_iteration=period,
    )
    for _ in batches:
        alone.training_graph().training_op()
    assert alone.state.clusters.tobytes() == program.state.clusters.tobytes()


# ---- Arguments ----


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"initial_clusters": "best"}, "initial_clusters is 'best'.*kmeans_plus_plus"),
        ({"distance_metric": "l1"}, "distance_metric is 'l1'.*squared_euclidean.*cosine"),
        ({"num_clusters": 0}, "num_clusters is 0"),
        ({"num_clusters": 3, "initial_clusters": START}, "num_clusters is 3.* 2 rows"),
        ({"initial_clusters": np.zeros((2, 5))}, "1 columns.* 5"),
        ({"empty_clusters": "drop"}, "empty_clusters.*relocate.*keep.*error"),
        ({"inputs": [[1, 2], [3]]}, "inputs"),
        ({"inputs": np.zeros((0, 2))}, "no rows"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_refused_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        seeded(**{"inputs": column(1, 2, 3), "num_clusters": 2, **wrong})
