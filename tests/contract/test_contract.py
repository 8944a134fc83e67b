"""The same rows give the same bits, whatever they come in and whoever computes."""

from __future__ import annotations

import functools

import contract_table as table
import numpy as np
import pytest

import shoal

#: Sources that the quick loop takes through pickle, too.
QUICKLY_PICKLED = ("uneven shards", "sparse shards", ".parquet")


def marks(source, dtype=None, seeding=None, executor="local"):
    """The quick loop takes each source once, with its first dtype and seeding, in this process."""
    expected = f"ignore:.*{source.warns}:UserWarning"
    found = [pytest.mark.filterwarnings(expected)] if source.warns else []
    first = dtype in (None, source.dtypes[0]) and seeding in (None, source.seedings[0])
    first = first and (executor == "local" or source.name in QUICKLY_PICKLED)
    return found if first else [*found, pytest.mark.slow]


SOURCES = [
    pytest.param(source, dtype, id=f"{source.name}-{np.dtype(dtype)}", marks=marks(source))
    for source in (*table.IN_MEMORY, *table.ON_DISK)
    for dtype in source.dtypes
]

metrics = pytest.mark.parametrize("metric", table.METRICS)
seedings = pytest.mark.parametrize("seeding", table.SEEDINGS)


def steps_of(mode):
    if mode == "full":
        return {"steps": 6}
    return {"steps": 11, "batch_size": 50}  # two passes, the last batch of each is short


@functools.cache
def plain(seeding, metric, mode, dtype):
    rows = table.as_floats(table.make_rows(dtype))
    arguments = table.parameters(seeding, metric, mode, dtype)
    return table.train(rows, rows, arguments, **steps_of(mode))


SEEDED = [
    pytest.param(
        source,
        dtype,
        seeding,
        executor,
        id=f"{source.name}-{np.dtype(dtype)}-{seeding}-{executor}",
        marks=marks(source, dtype, seeding, executor),
    )
    for executor in table.EXECUTORS
    for source in (*table.IN_MEMORY, *table.ON_DISK)
    for dtype in source.dtypes
    for seeding in source.seedings
]


@pytest.mark.parametrize("mode", table.MODES)
@metrics
@pytest.mark.parametrize(("source", "dtype", "seeding", "executor"), SEEDED)
def test_source_equals_array(source, dtype, seeding, executor, metric, mode, tmp_path):
    if source.needs:
        pytest.importorskip(source.needs)
    rows = table.make_rows(dtype)
    data = source.make(rows, tmp_path)
    arguments = table.parameters(seeding, metric, mode, dtype)
    where = table.EXECUTORS[executor]()
    found = table.train(data, table.as_floats(rows), arguments, where, **steps_of(mode))
    assert found == plain(seeding, metric, mode, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("mode", table.MODES)
@metrics
@pytest.mark.parametrize("source", table.ON_DISK, ids=lambda source: source.name)
def test_files_that_are_not_kept_equal_the_array(source, metric, mode, tmp_path):
    """Of the others, which fit into memory, the rows are decoded once and kept."""
    if source.needs:
        pytest.importorskip(source.needs)
    dtype, seeding = source.dtypes[0], source.seedings[-1]
    rows = table.make_rows(dtype)
    arguments = {**table.parameters(seeding, metric, mode, dtype), "memory_budget": 0}
    data = source.make(rows, tmp_path)
    assert table.train(data, table.as_floats(rows), arguments, **steps_of(mode)) == plain(
        seeding, metric, mode, dtype
    )


@pytest.mark.parametrize("executor", table.EXECUTORS)
@pytest.mark.parametrize(("source", "dtype"), SOURCES)
def test_inference_on_source_equals_array(source, dtype, executor, tmp_path):
    if source.needs:
        pytest.importorskip(source.needs)
    rows = table.make_rows(dtype)
    data = source.make(rows, tmp_path)

    rows = table.as_floats(rows)
    model = shoal.KMeansClustering(None, initial_clusters=table.given(dtype)).partial_fit(rows)
    expected = model.predict(rows, as_iterable=False)
    scored, evaluated = model.score(rows), model.evaluate(rows)
    model.set_params(config=shoal.RunConfig(executor=table.EXECUTORS[executor]()))
    found = model.predict(data, as_iterable=False)
    for name, values in expected.items():
        assert table.bits(found[name]) == table.bits(values)
    assert table.bits(model.labels(data)) == table.bits(expected["cluster_idx"])
    joined = [np.concatenate(part) for part in zip(*batches_of(model.predict, data), strict=True)]
    assert list(map(table.bits, joined)) == [table.bits(values) for values in expected.values()]
    assert list(model.predict_cluster_idx(data)) == expected["cluster_idx"].tolist()
    assert model.score(data) == scored
    assert table.bits(model.transform(data)) == table.bits(expected["all_scores"])
    assert model.evaluate(data, batch_size=None) == evaluated


def batches_of(predict, data):
    return [batch.values() for batch in predict(data, iterate_batches=True)]


@pytest.mark.parametrize("mode", table.MODES)
@metrics
@seedings
def test_float16_rows_are_their_values_in_float32(seeding, metric, mode):
    rows = table.make_rows(np.float16).astype(np.float32)
    arguments = table.parameters(seeding, metric, mode, np.float16)
    assert table.train(rows, rows, arguments, **steps_of(mode)) == plain(
        seeding, metric, mode, np.float16
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unaligned_rows_are_read_where_they_are(dtype, tmp_path):
    rows = table.unaligned(table.make_rows(dtype), tmp_path)
    assert not rows.flags.aligned
    given, aligned = (
        shoal.KMeansClustering(3, use_mini_batch=False).fit(x) for x in (rows, rows.copy())
    )
    assert (given.clusters() == aligned.clusters()).all()
    assert given.score(rows) == aligned.score(rows.copy())


# ---- Streams ----


@metrics
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", table.REREADABLE)
def test_full_batch_stream_equals_array(kind, dtype, metric):
    rows = table.make_rows(dtype)
    stream = table.REREADABLE[kind](table.uneven_batches(rows))
    arguments = table.parameters("given", metric, "full", dtype)
    assert table.train(stream, rows, arguments, steps=6) == plain("given", metric, "full", dtype)


@metrics
def test_full_batch_stream_converges_where_the_array_does(metric):
    rows = table.make_rows()
    arguments = table.parameters("given", metric, "full", np.float32)
    stream = table.Again(table.uneven_batches(rows))
    assert table.train(stream, rows, arguments) == table.train(rows, rows, arguments)


@pytest.mark.parametrize("kind", [*table.REREADABLE, *table.ONE_SHOT])
def test_inference_on_stream_equals_array(kind):
    rows = table.make_rows()
    batches = table.uneven_batches(rows)
    make = {**table.REREADABLE, **table.ONE_SHOT}[kind]
    model = shoal.KMeansClustering(None, initial_clusters=table.given(np.float32)).partial_fit(rows)
    expected = model.predict(rows, as_iterable=False)
    found = model.predict(make(batches), as_iterable=False)
    for name, values in expected.items():
        assert table.bits(found[name]) == table.bits(values)
    assert model.score(make(batches)) == model.score(rows)


def drive(batches, arguments):
    """Seed on successive batches, then train on all of them: by hand, with KMeans."""
    seeding = True

    def in_order():
        while seeding:
            yield from batches
        yield from batches

    def from_the_start():
        for batch in batches:
            if not seeding:
                return
            yield batch

    def inputs():
        yield from from_the_start()
        yield from in_order()

    program = shoal.KMeans(inputs(), **arguments)
    graph = program.training_graph()
    while not graph.cluster_centers_initialized:
        graph.init_op()
    seeding = False
    losses = [graph.training_op() for _ in batches]
    with pytest.raises(shoal.EndOfDataError):
        graph.training_op()
    return table.bits_of_state(program.state), tuple(losses)


@pytest.mark.parametrize("mode", ["mini", "mini-3"])
@metrics
@seedings
@pytest.mark.parametrize("kind", [*table.REREADABLE, *table.ONE_SHOT])
def test_mini_batch_stream_equals_driving_the_program(kind, seeding, metric, mode):
    rows = table.make_rows()
    batches = [part for part in np.split(rows, [4, 9, 60, 61, 130, 200]) if len(part)]
    batches[3] = [batches[3], batches[3][:0]]  # as shards
    arguments = table.parameters(seeding, metric, mode, np.float32)
    make = {**table.REREADABLE, **table.ONE_SHOT}[kind]
    found = table.train(make(batches), rows, arguments)
    assert (found.state, found.losses) == drive(batches, arguments)


@pytest.mark.filterwarnings("ignore:.*of a tuple, the first item is taken as rows:UserWarning")
@metrics
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        (kind, mode)
        for kind, (_, _, rereadable) in table.LIBRARIES.items()
        for mode in table.MODES
        if rereadable or mode != "full"
    ],
)
def test_batches_of_a_library_equal_the_array(kind, metric, mode):
    make, package, _ = table.LIBRARIES[kind]
    pytest.importorskip(package)
    rows = table.make_rows()
    arguments = table.parameters("given", metric, mode, np.float32)
    model = shoal.KMeansClustering(**arguments).fit(rows, steps=1)
    assert list(model.predict_cluster_idx(make(rows, 50))) == list(model.predict_cluster_idx(rows))
    if mode != "full":
        found = table.train(make(rows, 50), rows, arguments)
        batches = [rows[i : i + 50] for i in range(0, len(rows), 50)]
        assert (found.state, found.losses) == drive(batches, arguments)
    else:
        found = table.train(make(rows, 50), rows, arguments, steps=6)
        assert found == plain("given", metric, mode, np.float32)


@metrics
@pytest.mark.parametrize("mode", ["mini", "mini-3"])
def test_ordered_batches_in_memory_equal_the_stream(metric, mode):
    rows = table.make_rows()
    arguments = table.parameters("given", metric, mode, np.float32)
    batches = [rows[i : i + 50] for i in range(0, len(rows), 50)]
    ordered = table.train(
        shoal.open(rows, batch_size=50, shuffle=False), rows, arguments, steps=len(batches)
    )
    assert ordered == table.train(iter(batches), rows, arguments)


# ---- Weights ----


def repeated(weights, metric, dtype):
    """Full-batch steps on weighted rows, and on rows repeated as often as their weight says."""
    rows = table.make_rows(dtype)
    arguments = table.parameters("given", metric, "full", dtype)
    copies = np.repeat(rows, weights.astype(int), axis=0)
    losses, models = [], []
    for data in (shoal.Weighted(rows, weights), copies):
        seen = table.Losses()
        model = shoal.KMeansClustering(**arguments).fit(data, steps=6, monitors=[seen])
        models.append(model)
        losses.append(seen.seen)
    labels = [list(model.predict_cluster_idx(rows)) for model in models]
    assert labels[0] == labels[1]
    return models[0], models[1], *losses


@metrics
def test_whole_weights_are_repeated_float32_rows(metric):
    weights = np.random.default_rng(5).integers(0, 6, table.ROWS).astype(np.float64)
    weighted, plain, one, other = repeated(weights, metric, np.float32)
    assert table.bits_of_model(weighted) == table.bits_of_model(plain)
    np.testing.assert_allclose(one, other, rtol=4e-16)


@metrics
def test_whole_weights_are_repeated_float64_rows_but_for_rounding(metric):
    """Weight times value is rounded once per row, so no more than to the largest value's ulp."""
    weights = np.random.default_rng(5).integers(0, 6, table.ROWS).astype(np.float64)
    weighted, plain, one, other = repeated(weights, metric, np.float64)
    largest = 1.0 if metric == "cosine" else np.abs(table.make_rows()).max()
    np.testing.assert_allclose(
        weighted.clusters(), plain.clusters(), rtol=0, atol=np.spacing(largest)
    )
    assert table.bits_of_model(weighted)["counts"] == table.bits_of_model(plain)["counts"]
    np.testing.assert_allclose(one, other, rtol=4e-16)


@metrics
def test_column_of_weights_equals_pair(metric):
    rows = table.make_rows()
    weights = np.random.default_rng(5).uniform(0, 3, len(rows))
    arguments = table.parameters("kmeans_plus_plus", metric, "mini", np.float32)
    pair = table.train(shoal.Weighted(rows, weights), rows, arguments, steps=5, batch_size=50)
    named = {**table.columns(rows), "w": weights}
    model = {**arguments, "weight_column": "w"}
    losses = table.Losses()
    fitted = shoal.KMeansClustering(**model).fit(named, steps=5, batch_size=50, monitors=[losses])
    assert (table.bits_of_model(fitted), tuple(losses.seen)) == (pair.state, pair.losses)


# ---- Threads and instruction sets ----


@functools.cache
def many_rows():
    rng = np.random.default_rng(77)
    middle = rng.normal(size=(10, 8)) * 3
    rows = middle[rng.integers(10, size=20_000)] + rng.normal(size=(20_000, 8))
    return rows.astype(np.float32)


def compute(seeding, metric, mode, threads):
    arguments = {
        **table.parameters(seeding, metric, mode, np.float32),
        "num_clusters": 10,
        "num_threads": threads,
    }
    how = {"steps": 3} if mode == "full" else {"steps": 4, "batch_size": 15_000}
    return table.train(many_rows(), many_rows(), arguments, **how)


@functools.cache
def one_thread(seeding, metric, mode):
    return compute(seeding, metric, mode, 1)


@pytest.mark.parametrize("mode", ["full", "mini"])
@metrics
@pytest.mark.parametrize("seeding", ["kmeans_plus_plus", "kmeans_parallel", "afkmc2"])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads, seeding, metric, mode):
    assert compute(seeding, metric, mode, threads) == one_thread(seeding, metric, mode)


@pytest.mark.parametrize("mode", ["full", "mini"])
@metrics
@pytest.mark.parametrize("simd", shoal.build_info()["simd_targets"])
def test_instruction_set_changes_nothing(simd, metric, mode, monkeypatch):
    expected = one_thread("kmeans_plus_plus", metric, mode)
    monkeypatch.setenv("SHOAL_SIMD", simd)
    assert shoal.build_info()["simd_target"] == simd
    assert compute("kmeans_plus_plus", metric, mode, 2) == expected
