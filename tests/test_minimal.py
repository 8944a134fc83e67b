"""Does this build work at all? Needs pytest and NumPy only; run on every wheel."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

import shoal

ROWS = np.array([[0, 1], [0, 2], [4, 0], [8, 0]], np.float32)
START = np.array([[0, 1], [6, 0]], np.float32)
X86 = ["baseline", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"]
ARM = ["neon", "dotprod", "i8mm"]


def test_build_info():
    info = shoal.build_info()
    assert info["simd_target"] in info["simd_targets"]
    levels = ARM if platform.machine() in ("aarch64", "arm64") else X86
    found = [level for level in levels if level in info["simd_targets"]]
    assert info["simd_targets"] == found  # no other, the slowest first
    assert levels[0] in found
    assert info["threads"] >= 1
    assert info["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ({"avx2", "fma", "f16c"}, "avx2"),
        ({"avx2", "fma", "f16c", "avx_vnni"}, "avxvnni"),
        ({"avx512f", "avx512dq", "avx512bw", "avx512vl"}, "avx512"),
        ({"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"}, "avx512vnni"),
        ({"asimddp"}, "dotprod"),
        ({"asimddp", "i8mm"}, "i8mm"),
    ],
)
def test_a_processor_is_used_for_what_it_has(flags, level):
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("this system does not say what its processor has")
    has = flags <= set(cpuinfo.read_text().split())
    assert (level in shoal.build_info()["simd_targets"]) == has


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("metric", "centers", "scores"),
    [
        ("squared_euclidean", [[0, 1.5], [6, 0]], [0.25, 0.25, 4, 4]),
        ("cosine", [[0, 1], [1, 0]], [0, 0, 0, 0]),
    ],
)
def test_known_answer(dtype, metric, centers, scores):
    rows = ROWS.astype(dtype)
    model = shoal.KMeansClustering(
        2, initial_clusters=START.astype(dtype), distance_metric=metric, use_mini_batch=False
    ).fit(rows)
    assert model.clusters().dtype == dtype
    assert model.clusters().tolist() == centers
    found = model.predict(rows, as_iterable=False)
    assert found["cluster_idx"].tolist() == [0, 0, 1, 1]
    assert found["scores"].tolist() == scores
    assert found["all_scores"].shape == (4, 2)
    assert model.score(rows) == sum(scores)


@pytest.mark.parametrize(
    "seeding", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"]
)
def test_mini_batch_finds_separate_blobs(seeding):
    rows = np.repeat(np.array([[0, 0], [50, 0], [0, 50]], np.float32), 20, axis=0)
    rows += np.tile(np.arange(20, dtype=np.float32)[:, None] / 20, (3, 2))
    model = shoal.KMeansClustering(3, initial_clusters=seeding, random_seed=3)
    labels = list(model.fit(rows, batch_size=16).predict_cluster_idx(rows))
    assert all(0 <= label < 3 for label in labels)
    if seeding != "random":
        assert len(set(labels[:20])) == len(set(labels[20:40])) == len(set(labels[40:])) == 1
        assert len(set(labels)) == 3


def test_one_step_of_the_training_program():
    graph = shoal.KMeans(ROWS, 2, START).training_graph()
    assert graph.cluster_centers_initialized
    assert graph.cluster_idx().tolist() == [0, 0, 1, 1]
    assert graph.training_op() == 0 + 1 + 4 + 4
    assert graph.training_op() == 0.25 + 0.25 + 4 + 4
