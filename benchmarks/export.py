"""Exports beside what others write: ONNX beside skl2onnx, IVF indexes beside faiss's own training.

    python -m benchmarks.export [onnx] [ivf] [--threads N]

Contenders take turns and the least time of each counts. Needs the extra `bench`. Prints tables;
benchmarks/results/export.txt holds some.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnx
import onnxruntime
import skl2onnx
import threadpoolctl

import shoal
from benchmarks import data
from benchmarks.sklearn_face import line
from benchmarks.timing import Effort, available_threads, race
from shoal.export.shifted import shift_of
from shoal.metric import METRICS

#: Data, rows that are predicted, number of centers.
CASES = (
    ("minilm", 4_000, 4096),
    ("minilm", 20_000, 100),
    ("glove", 50_000, 1000),
    ("cities", 100_000, 1000),
    ("china", 100_000, 64),
)
EFFORT = Effort(least=7, most=15, seconds=1)


def rows_of(name: str) -> Any:
    """All rows of a data set, or None with a line that says why."""
    return getattr(data, name)()


def session(content: bytes, threads: int) -> Any:
    """A model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def all_outputs(model: Any, x: Any) -> Callable[[], Any]:
    """A call of a session."""
    [given] = model.get_inputs()
    return lambda: model.run(None, {given.name: x})


def margin(x: Any, centers: Any) -> Any:
    """The bound of docs/exporting.md on the rounding of each distance, in float32."""
    shift = shift_of(centers)
    lengths = np.linalg.norm(x - shift, axis=1)[:, None] + np.linalg.norm(centers - shift, axis=1)
    return (x.shape[1] + 12) * 2.0**-24 * lengths**2


def agreement(model: shoal.KMeansClustering, x: Any, found: Any) -> tuple[int, int, float, float]:
    """Labels that differ; beyond the margin; largest relative difference of scores, of all."""
    labels, scores, all_scores = found
    exact = model.transform(x.astype(np.float64))
    rows, nearest = np.arange(len(x)), model.labels(x)
    wide, centers = x.astype(np.float64), model.clusters().astype(np.float64)
    if model.get_params()["distance_metric"] == "cosine":
        wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-300)
    slack = margin(wide, centers)
    excess = exact[rows, labels] - exact[rows, nearest]
    beyond = excess > slack[rows, labels] + slack[rows, nearest]
    some = (exact[rows, labels] > 1e-6) & (labels == nearest)
    near = np.abs(scores - exact[rows, labels])[some] / exact[rows, labels][some]
    every = np.abs(all_scores - exact)[some] / np.maximum(exact[some], 1e-6)
    return int((labels != nearest).sum()), int(beyond.sum()), float(near.max()), float(every.max())


def onnx_files(threads: int) -> None:
    """Time in onnxruntime, sizes, agreement."""
    print(f"\n## ONNX: ms for all outputs in onnxruntime {onnxruntime.__version__}\n")
    widths = [36, 10, 10, 10, 12, 10, 8, 8, 8, 10, 10]
    heads = ["data, rows x columns, k, metric", "shoal", "skl2onnx", "ratio", "scikit-learn"]
    heads += ["labels(x)", "MB", "differ", "beyond", "scores", "all_scores"]
    line(*heads, widths=widths)
    for (name, n, k), metric in ((case, metric) for case in CASES for metric in METRICS):
        x = rows_of(name)
        if x is None:
            continue
        first = data.first_centers(x, k)
        model = shoal.KMeansClustering.from_centers(first, metric, use_mini_batch=False)
        model.fit(x, steps=2)
        x = x[np.sort(np.random.default_rng(0).choice(len(x), n, replace=False))]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "m.onnx")
            model.export_onnx(path)
            mine = path.read_bytes()
        fitted = model.to_sklearn()
        theirs = skl2onnx.to_onnx(fitted, x[:1]).SerializeToString()
        found = race(
            {
                "shoal": all_outputs(session(mine, threads), x),
                "skl2onnx": all_outputs(session(theirs, threads), x),
                "scikit-learn": lambda fitted=fitted, x=x: fitted.predict(x),
                "shoal labels": lambda model=model, x=x: model.labels(x),
            },
            EFFORT,
        )
        ms = {name: 1000 * seconds for name, seconds in found.best.items()}
        differ, beyond, near, every = agreement(model, x, found.results["shoal"])
        line(
            f"{name}, {n:,} x {x.shape[1]}, {k}, {metric[:6]}",
            f"{ms['shoal']:.1f}",
            f"{ms['skl2onnx']:.1f}",
            f"{ms['shoal'] / ms['skl2onnx']:.2f}",
            f"{ms['scikit-learn']:.1f}",
            f"{ms['shoal labels']:.1f}",
            f"{len(mine) / 1e6:.2f}",
            differ,
            beyond,
            f"{near:.1e}",
            f"{every:.1e}",
            widths=widths,
        )


def recalls(index: Any, x: Any, queries: Any, truth: Any) -> list[float]:
    """Recall of the ten nearest, by how many lists are visited."""
    index.add(x)
    found = []
    for nprobe in (1, 4, 16):
        index.nprobe = nprobe
        rows = index.search(queries, truth.shape[1])[1]
        found.append(np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows, strict=True)]))
    return found


def ivf() -> None:
    """Recall of an IVF index whose lists are a model's clusters, and what training takes."""
    print("\n## IVF: recall@10 of 1,000 queries, seconds of training (the same number of steps)\n")
    widths = [36, 30, 10, 8, 8, 8]
    line("data, rows x columns, lists", "trained by", "seconds", "1", "4", "16", widths=widths)
    for name, k in (("minilm", 400), ("glove", 2000)):
        x = rows_of(name)
        if x is None:
            continue
        chosen = np.random.default_rng(1).permutation(len(x))
        queries, x = x[chosen[:1000]], np.ascontiguousarray(x[chosen[1000:]])
        exact = faiss.IndexFlatL2(x.shape[1])
        exact.add(x)
        truth = exact.search(queries, 10)[1]
        steps = faiss.IndexIVFFlat(exact, x.shape[1], 1).cp.niter
        trainings = {
            "faiss, its sample": lambda x=x, k=k: by_faiss(x, k, 256),
            "faiss, all rows": lambda x=x, k=k: by_faiss(x, k, 10**9),
            "shoal, random": lambda x=x, k=k, n=steps: by_shoal(x, k, "random", n),
            "shoal, k-means++": lambda x=x, k=k, n=steps: by_shoal(x, k, "kmeans_plus_plus", n),
        }
        found = race(trainings, Effort(least=3, most=3))
        for who, index in found.results.items():
            several = [f"{value:.3f}" for value in recalls(index, x, queries, truth)]
            label = f"{name}, {len(x):,} x {x.shape[1]}, {k}"
            line(label, who, f"{found.best[who]:.2f}", *several, widths=widths)


def by_faiss(x: Any, k: int, most: int) -> Any:
    """An index that faiss trains, on at most so many rows a list."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(x.shape[1]), x.shape[1], k)
    index.cp.max_points_per_centroid = most
    index.train(x)
    return index


def by_shoal(x: Any, k: int, first: str, steps: int) -> Any:
    """An index of a model."""
    model = shoal.KMeansClustering(k, initial_clusters=first, use_mini_batch=False)
    return model.fit(x, steps=steps).to_faiss_index(ivf=True)


def main() -> None:
    """Run one part, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["onnx", "ivf"], choices=["onnx", "ivf"])
    parser.add_argument("--threads", type=int, default=available_threads())
    options = parser.parse_args()
    print(
        f"shoal {shoal.__version__}, onnx {onnx.__version__}, skl2onnx {skl2onnx.__version__}, "
        f"faiss {faiss.__version__}, {options.threads} threads"
    )
    faiss.omp_set_num_threads(options.threads)
    with threadpoolctl.threadpool_limits(options.threads):
        if "onnx" in options.parts:
            onnx_files(options.threads)
        if "ivf" in options.parts:
            ivf()


if __name__ == "__main__":
    main()
