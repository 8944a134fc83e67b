"""Sparse matrices: the same bits as the same rows given dense, without ever being dense."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import shoal

scipy_sparse = pytest.importorskip("scipy.sparse")

MODES = {
    "full": {"use_mini_batch": False},
    "mini": {"use_mini_batch": True},
    "two copies": {"use_mini_batch": True, "mini_batch_steps_per_iteration": 3},
}
SEEDINGS = ("random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2")
METRICS = ("squared_euclidean", "cosine")


def make(seed, dtype=np.float32, rows=700, columns=400, kind=None):
    """Rows with few values, some rows with none; kinds: normal, counts, bits."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    kind = kind or rng.choice(["normal", "counts", "bits"])
    dense = np.zeros((rows, columns))
    for row in dense:
        where = rng.choice(columns, rng.integers(0, min(columns, 25)), replace=False)
        row[where] = {
            "normal": rng.normal(size=len(where)),
            "counts": rng.integers(1, 4, len(where)),
            "bits": 1,
        }[kind]
    return dense.astype(dtype)


def trained(data, k=9, steps=5, batch_size=None, weights=None, **parameters):
    model = shoal.KMeansClustering(k, **{"kmc2_chain_length": 30, **parameters})
    losses = shoal.hooks.History()
    given = data if weights is None else shoal.Weighted(data, weights)
    model.fit(given, steps=steps, batch_size=batch_size, monitors=[losses])
    return model


def everything(model, data):
    """All that a model says of data, as bytes."""
    answers = {**model.predict(data, as_iterable=False), "centers": model.clusters()}
    answers["transformed"] = model.transform(data)
    found = {name: (values.dtype.str, values.tobytes()) for name, values in answers.items()}
    evaluated = model.evaluate(data)
    evaluated.pop("global_step")
    return found, model.score(data), evaluated


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seeding", SEEDINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_as_dense_rows(mode, metric, seeding, dtype):
    seed = abs(hash((mode, metric, seeding, str(dtype)))) % 1000
    dense = make(seed, dtype)
    weights = np.random.default_rng(seed).random(len(dense)) if seed % 2 else None
    parameters = {
        **MODES[mode],
        "initial_clusters": seeding,
        "distance_metric": metric,
        "batch_size": None if mode == "full" else 150,
        "weights": weights,
    }
    expected = trained(dense, **parameters, num_threads=1)
    for threads in (1, 2):
        for kind in (scipy_sparse.csr_matrix, scipy_sparse.csr_array):
            model = trained(kind(dense), **parameters, num_threads=threads)
            assert everything(model, kind(dense)) == everything(expected, dense)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "int64", "uint64"])
def test_counts_of_any_dtype(dtype):
    dense = make(3, dtype, kind="counts")
    rows = scipy_sparse.csr_matrix(dense)
    for metric in METRICS:
        for seeding in ("kmeans_plus_plus", "kmc2"):
            given = {"distance_metric": metric, "initial_clusters": seeding}
            found = trained(rows, **given, batch_size=200)
            assert everything(found, rows) == everything(
                trained(dense, **given, batch_size=200), dense
            )


@pytest.mark.parametrize("metric", METRICS)
def test_large_and_small_values(metric):
    rng = np.random.default_rng(4)
    dense = make(5, np.float64, kind="normal")
    scales = [1e-120, 1e-30, 1e30, 1e120]
    for scale in scales if metric == "squared_euclidean" else [1e-300, 1e-150, *scales]:
        rows = dense * scale
        rows[::7] *= 1e-20
        centers = rows[rng.choice(len(rows), 12, replace=False)]
        given = {"initial_clusters": centers, "use_mini_batch": False, "distance_metric": metric}
        expected = trained(rows, None, **given)
        found = trained(scipy_sparse.csr_matrix(rows), None, **given)
        assert everything(found, scipy_sparse.csr_matrix(rows)) == everything(expected, rows)


@pytest.mark.parametrize("scale", [1e-300, 1e-150])
def test_values_whose_squares_underflow_are_refused(scale):
    rows = scipy_sparse.csr_matrix(make(5, np.float64, kind="normal") * scale)
    with pytest.raises(shoal.BadInputError, match="underflow"):
        shoal.KMeansClustering(3, use_mini_batch=False).fit(rows)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lowest_index(metric):
    rows = scipy_sparse.csr_matrix(np.eye(40, 60))
    centers = np.eye(30, 60, 30)  # as far from every row, but for one each
    model = shoal.KMeansClustering(None, initial_clusters=centers, distance_metric=metric)
    labels = model.partial_fit(rows[:1]).predict_cluster_idx(rows)
    assert list(labels)[:30] == [0] * 30


def test_rows_without_values_under_cosine():
    dense = make(8)[:50]
    dense[3] = dense[17] = 0
    rows = scipy_sparse.csr_matrix(dense)
    model = trained(rows, 5, distance_metric="cosine")
    found = model.predict(rows, as_iterable=False)
    assert list(found["cluster_idx"][[3, 17]]) == [0, 0]
    assert list(found["scores"][[3, 17]]) == [1, 1]
    assert not np.isnan(model.clusters()).any()


def test_explicit_zeros_are_zeros():
    dense = make(9)
    rows = scipy_sparse.csr_matrix(dense)
    rows.data[::3] = 0
    for metric in METRICS:
        found = trained(rows, distance_metric=metric)
        expected = trained(rows.toarray(), distance_metric=metric)
        assert everything(found, rows) == everything(expected, rows.toarray())


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_both_index_types(index):
    dense = make(10)
    rows = scipy_sparse.csr_array(dense)
    rows.indices, rows.indptr = rows.indices.astype(index), rows.indptr.astype(index)
    assert everything(trained(rows), rows) == everything(trained(dense), dense)


def test_matrix_is_left_as_it_was():
    rows = scipy_sparse.csr_matrix(make(11))
    before = [part.copy() for part in (rows.data, rows.indices, rows.indptr)]
    for part in (rows.data, rows.indices, rows.indptr):
        part.setflags(write=False)
    trained(rows, distance_metric="cosine")
    for part, copy in zip((rows.data, rows.indices, rows.indptr), before, strict=True):
        assert part.tobytes() == copy.tobytes()


@pytest.mark.parametrize("kind", ["csc", "coo", "lil", "dok", "bsr"])
def test_other_formats_are_converted_with_a_warning(kind):
    dense = make(12, columns=30)
    rows = scipy_sparse.csr_matrix(dense).asformat(kind)
    with pytest.warns(UserWarning, match=rf"x .* {kind.upper()} format.*Pass x\.tocsr\(\)"):
        model = trained(rows)
    assert model.clusters().tobytes() == trained(dense).clusters().tobytes()


def shuffled_within_rows(rows):
    rng = np.random.default_rng(13)
    for start, end in zip(rows.indptr, rows.indptr[1:], strict=False):
        order = start + rng.permutation(end - start)
        rows.indices[start:end], rows.data[start:end] = rows.indices[order], rows.data[order]
    rows.has_sorted_indices = rows.has_canonical_format = False
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("seeding", SEEDINGS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("wide", [False, True])
def test_columns_out_of_order_are_read_as_they_are(seeding, metric, wide):
    dense = make(13, dtype=np.float64 if wide else np.float32)
    rows = shuffled_within_rows(scipy_sparse.csr_matrix(dense))
    if wide:
        rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    before = rows.indices.copy(), rows.data.copy()
    given = {"initial_clusters": seeding, "distance_metric": metric}
    for mode in MODES.values():
        for batch_size in (None, 90):
            model = trained(rows, batch_size=batch_size, **given, **mode)
            same = trained(dense, batch_size=batch_size, **given, **mode)
            assert everything(model, rows) == everything(same, dense)
    assert rows.indices.tobytes() == before[0].tobytes()
    assert rows.data.tobytes() == before[1].tobytes()
    assert not rows.has_sorted_indices


def test_columns_out_of_order_are_not_copied_as_a_whole():
    rows = shuffled_within_rows(scipy_sparse.csr_matrix(make(13)))
    (shard,) = shoal.open(rows).held
    assert np.shares_memory(shard.rows.indices, rows.indices)
    assert np.shares_memory(shard.rows.values, rows.data)


def test_the_first_bad_column_is_named_where_columns_are_out_of_order():
    rows = scipy_sparse.csr_matrix(
        ([1.0, np.inf, np.nan, 2.0], [4, 3, 1, 0], [0, 1, 4]), shape=(2, 5)
    )
    with pytest.raises(shoal.BadInputError, match="x holds nan in row 1, column 1"):
        shoal.KMeansClustering(1).fit(rows)
    model = shoal.KMeansClustering(1, on_bad_rows="skip", use_mini_batch=False)
    with pytest.warns(UserWarning, match="dropped 1 of 2 rows"):
        assert model.fit(rows).clusters().tolist() == [[0, 0, 0, 0, 1]]


def broken(change):
    rows = scipy_sparse.csr_matrix(make(14, columns=50, kind="normal"))
    assert rows.has_canonical_format  # is remembered
    change(rows)
    return rows


BAD = {
    "twice": (
        lambda _: scipy_sparse.csr_matrix(([1.0, 2, 3], [1, 1, 2], [0, 2, 3]), shape=(2, 50)),
        r"x, a sparse matrix, is not well formed: in row 0 a column comes twice.* x\.sum_dup",
    ),
    "twice, out of order": (
        lambda _: scipy_sparse.csr_matrix(([1.0, 2, 3], [2, 1, 2], [0, 0, 3]), shape=(2, 50)),
        r"x, a sparse matrix, is not well formed: in row 1 a column comes twice.* x\.sum_dup",
    ),
    "NaN": (
        lambda rows: rows.data.__setitem__(rows.indptr[37], np.nan),
        "x holds nan in row 37, column .*finite",
    ),
    "column out of range": (
        lambda rows: rows.indices.__setitem__(rows.indptr[38] - 1, 50),
        "x, a sparse matrix, is not well formed: in row 37.*check_format",
    ),
    "negative column": (
        lambda rows: rows.indices.__setitem__(rows.indptr[37], -1),
        "not well formed: in row 37",
    ),
    "ends before it begins": (
        lambda rows: rows.indptr.__setitem__(38, 2),
        "x, a sparse matrix, is not well formed: its indptr",
    ),
    "ends behind all": (
        lambda rows: rows.indptr.__setitem__(len(rows.indptr) - 1, 1 << 30),
        "x, a sparse matrix, is not well formed: its indptr",
    ),
    "beyond 2**53": (
        lambda _: scipy_sparse.csr_matrix(np.eye(3, 50, 1, dtype=np.int64) * (2**53 + 1)),
        r"x holds 9007199254740993 in row 0, column 1.*2\*\*53",
    ),
    "complex": (lambda rows: rows.astype(np.complex64), "x has dtype complex64"),
    "no columns": (lambda rows: rows[:, :0], "at least one column"),
    "no rows": (lambda rows: rows[:0], "rows"),
    "one dense shard": (
        lambda rows: [rows, rows.toarray()],
        r"x\[0\] and x\[1\] one is sparse and the other is not",
    ),
    "weights": (lambda rows: shoal.Weighted(rows, np.ones(3)), "weights of x have shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_nothing_is_lost(name):
    change, message = BAD[name]
    rows = scipy_sparse.csr_matrix(make(14, columns=50, kind="normal"))
    model = trained(rows)
    before = model.clusters().tobytes()
    assert rows.has_canonical_format  # scipy remembers this
    bad = change(rows)
    with pytest.raises(shoal.BadInputError, match=message):
        model.fit(rows if bad is None else bad, steps=1)
    assert model.clusters().tobytes() == before


def test_change_while_in_use_is_noticed():
    rows = scipy_sparse.csr_matrix(make(15, kind="normal"))

    class Vandal:
        def after_step(self, _context):
            rows.indices[rows.indptr[400] :] = 1 << 30

    with pytest.raises(ValueError, match="changed while in use"):
        shoal.KMeansClustering(5, use_mini_batch=False).fit(rows, steps=9, monitors=[Vandal()])


def test_bad_rows_are_skipped():
    dense = make(16, kind="normal")
    rows = scipy_sparse.csr_matrix(dense)
    bad = [5, 6, 300]
    bad = [row for row in bad if rows.indptr[row] < rows.indptr[row + 1]]
    rows.data[rows.indptr[bad]] = [np.nan, np.inf, -np.inf][: len(bad)]
    with pytest.warns(UserWarning, match=f"x: dropped {len(bad)} of 700 rows"):
        found = trained(rows, on_bad_rows="skip")
    kept = np.delete(dense, bad, axis=0)
    assert found.clusters().tobytes() == trained(kept).clusters().tobytes()


def test_streams_and_shards_of_sparse_matrices():
    dense = make(17)
    rows = scipy_sparse.csr_array(dense)
    cuts = [0, 100, 350, 351, 700]
    parts = [rows[a:b] for a, b in itertools.pairwise(cuts)]
    plain = [dense[a:b] for a, b in itertools.pairwise(cuts)]
    full = {"use_mini_batch": False, "initial_clusters": "kmeans_plus_plus"}
    assert everything(trained(parts, **full), rows) == everything(trained(dense, **full), dense)
    for seeding in SEEDINGS:
        given = {"initial_clusters": seeding, "use_mini_batch": True}
        found = trained(iter(parts), **given, steps=4)
        expected = trained(iter(plain), **given, steps=4)
        assert everything(found, lambda: iter(parts)) == everything(expected, lambda: iter(plain))
        full = {"initial_clusters": seeding, "use_mini_batch": False}
        found, expected = trained(lambda: iter(parts), **full), trained(lambda: iter(plain), **full)
        assert found.clusters().tobytes() == expected.clusters().tobytes()


def test_changed_stream_is_noticed():
    rows = scipy_sparse.csr_array(make(18))
    turns = iter(range(100))

    def stream():
        changed = rows.copy()
        changed.data[0] *= 0.5 if next(turns) > 2 else 1
        return iter([changed])

    with pytest.raises(shoal.BadInputError, match="the source changed between two passes"):
        trained(stream, use_mini_batch=False, steps=9)


def test_callable_seeding_sees_the_matrices():
    dense = make(19)
    rows = scipy_sparse.csr_matrix(dense)
    seen = []

    def choose(inputs, remaining):
        seen.extend(inputs)
        return inputs[0][:remaining]

    given = shoal.KMeansClustering(None, initial_clusters=rows[:4], use_mini_batch=False)
    model = trained(rows, 4, initial_clusters=choose, use_mini_batch=False, steps=1)
    assert seen[0] is rows
    expected = trained(dense, None, initial_clusters=dense[:4], use_mini_batch=False, steps=1)
    assert model.clusters().tobytes() == expected.clusters().tobytes()
    assert given.fit(rows, steps=1).clusters().tobytes() == expected.clusters().tobytes()


def test_metrics_see_the_matrix():
    rows = scipy_sparse.csr_matrix(make(20))
    model = trained(rows)
    seen = []
    model.evaluate(rows, metrics={"seen": lambda *all_of: seen.append(all_of[0]) or 0})
    assert seen[0] is rows
    model.evaluate(rows, batch_size=300, metrics={"seen": lambda *all_of: seen.append(all_of) or 0})
    assert scipy_sparse.issparse(seen[1][0])
    assert (seen[1][0] != rows).nnz == 0
    assert len(seen[1][1]) == rows.shape[0]


def test_relocation_of_empty_clusters():
    dense = make(21, kind="normal")
    centers = np.concatenate([dense[:4], np.full((3, dense.shape[1]), 50, np.float32)])
    given = {"initial_clusters": centers, "use_mini_batch": False}
    rows = scipy_sparse.csr_matrix(dense)
    assert everything(trained(rows, None, **given), rows) == everything(
        trained(dense, None, **given), dense
    )


def test_training_graph():
    dense = make(22)
    rows = scipy_sparse.csr_matrix(dense)
    outcomes = []
    for inputs in (rows, dense):
        program = shoal.KMeans(inputs, 6, initial_clusters="kmc2", kmc2_chain_length=20)
        graph = program.training_graph()
        graph.init_op()
        losses = [graph.training_op() for _ in range(3)]
        values = graph.all_scores().tobytes(), graph.scores().tobytes()
        outcomes.append((losses, *values, list(graph.cluster_idx())))
    assert outcomes[0] == outcomes[1]


def test_slices_are_views_and_whole_numbers_of_rows():
    rows = scipy_sparse.csr_matrix(make(23))
    source = shoal.open(rows, batch_size=256)
    sizes = []
    for (batch,) in source.batches():
        sizes.append(len(batch))
        assert np.shares_memory(batch.rows.values, rows.data)
    assert sizes == [256, 256, 188]


@pytest.mark.slow
def test_memory_estimate_goes_by_the_values_that_are_there():
    rows = scipy_sparse.random(5000, 20_000, 1e-3, "csr", np.float32)
    for mini in (False, True):
        model = shoal.KMeansClustering(10, use_mini_batch=mini)
        assert shoal.memory_estimate(model, rows).added < 40e6  # dense rows take 400 MB


def test_never_imports_scipy():
    code = "import sys, shoal; assert not any(name.startswith('scipy') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


SAME_EVERYWHERE = """
import hashlib, sys
import numpy as np, scipy.sparse
import shoal
digest = hashlib.sha256()
rng = np.random.default_rng(3)
rows = scipy.sparse.random(3000, 700, 0.03, "csr", np.float32, random_state=rng)
for metric in ("squared_euclidean", "cosine"):
    for seeding in ("kmeans_plus_plus", "afkmc2"):
        model = shoal.KMeansClustering(
            20, initial_clusters=seeding, distance_metric=metric, use_mini_batch=False,
        ).fit(rows, steps=4)
        digest.update(model.clusters().tobytes() + model.transform(rows).tobytes())
        digest.update(np.float64(model.score(rows)).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_same_bits_on_every_simd_level():
    digests = set()
    for level in shoal.build_info()["simd_targets"]:
        run = subprocess.run(
            [sys.executable, "-c", SAME_EVERYWHERE],
            env={**os.environ, "SHOAL_SIMD": level},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout)
    assert len(digests) == 1


FAR_BELOW_DENSE = """
import resource
import numpy as np, scipy.sparse
import shoal

n, d, nonzeros, k = 100_000, 20_000, 30, 50
rng = np.random.default_rng(0)
columns = np.sort(rng.integers(0, d - nonzeros, (n, nonzeros), np.int32), axis=1)
columns += np.arange(nonzeros, dtype=np.int32)  # each once
rows = scipy.sparse.csr_matrix(
    (rng.random(n * nonzeros, np.float32), columns.ravel(), nonzeros * np.arange(n + 1)),
    shape=(n, d),
)
del columns
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for seeding in {seedings}:
    for metric in ("squared_euclidean", "cosine"):
        for mini in (False, True):
            model = shoal.KMeansClustering(
                k, initial_clusters=seeding, distance_metric=metric, use_mini_batch=mini,
                kmc2_chain_length=100, kmeans_plus_plus_num_retries=1,
            )
            model.fit(rows, steps=2)
            model.score(rows), model.predict_cluster_idx(rows)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_memory_is_far_below_that_of_dense_rows():
    code = FAR_BELOW_DENSE.format(seedings=("random", "kmeans_plus_plus", "afkmc2"))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    megabytes = float(run.stdout)
    print(f"{megabytes:.0f} MB beside the matrix; dense rows take 8,000 MB")
    assert megabytes < 300
