"""Draw the pictures of the site and of the README: ``python docs/pictures.py``."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.colors import ListedColormap

import shoal

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
PICTURES = HERE / "pictures"
#: Levels of instructions that ``python -m benchmarks.levels`` measures, by the end of file names.
LEVELS = {"": "all that the processor has", "-avx512": "AVX-512", "-avx2": "AVX2 alone"}
SHADES = ("#12648f", "#17a398", "#f28e2b")
MADE_OF = "Description"


def many_colours(number: int) -> ListedColormap:
    """Colours of which neighbours differ."""
    turns = (np.arange(number) * 0.61803) % 1
    base = matplotlib.colormaps["hsv"](turns)[:, :3]
    light = np.array([0.45, 0.65, 0.8])[np.arange(number) % 3][:, None]
    return ListedColormap(base * light + 0.12)


def cities() -> None:
    """144,563 places in 60 clusters."""
    from pyarrow import parquet

    table = parquet.read_table(HERE.parent / "examples" / "data" / "cities.parquet")
    lat, lon = table["latitude"].to_numpy(), table["longitude"].to_numpy()
    points = shoal.to_sphere(lat, lon)
    model = shoal.KMeansClustering(
        60, distance_metric="cosine", initial_clusters="kmeans_plus_plus", use_mini_batch=False
    ).fit(points)
    figure, axes = pyplot.subplots(figsize=(10, 4.6), layout="constrained")
    axes.scatter(lon, lat, c=model.labels(points), cmap=many_colours(60), s=0.5, linewidths=0)
    centers = shoal.from_sphere(model.clusters())
    axes.scatter(centers[1], centers[0], s=14, c="white", edgecolors="black", linewidths=0.8)
    axes.set(xlim=(-180, 180), ylim=(-58, 80), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
    _save(figure, "cities")


def colours() -> None:
    """A photograph in 4, 16 and 64 colours."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg")[::2, ::2]
    pixels = image.reshape(-1, 3)
    figure, panels = pyplot.subplots(2, 2, figsize=(8.4, 5.9), layout="constrained")
    panels[0, 0].imshow(image)
    panels[0, 0].set_title("as it is", fontsize=10)
    for axes, k in zip(panels.flat[1:], (64, 16, 4), strict=True):
        model = shoal.KMeansClustering(
            k, initial_clusters="kmeans_plus_plus", use_mini_batch=False
        ).fit(pixels)
        few = model.clusters().round().astype(np.uint8)[model.labels(pixels)]
        axes.imshow(few.reshape(image.shape))
        axes.set_title(f"{k} colours", fontsize=10)
    for axes in panels.flat:
        axes.set_axis_off()
    _save(figure, "colours")


def choosing() -> None:
    """What indices say of the number of clusters."""
    rng = np.random.default_rng(0)
    turns = np.arange(6) * np.pi / 3
    groups = 6 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    x = groups[rng.integers(6, size=3000)] + rng.normal(size=(3000, 2)) * 0.8
    choice = shoal.choose_k(x, range(2, 13), num_runs=3)
    made = choice.plot()
    figure = made if hasattr(made, "savefig") else made.figure
    _save(figure, "choose-k")


def steps() -> None:
    """Where centers go in the first steps."""
    rng = np.random.default_rng(3)
    groups = np.array([[-4, -1], [0, 3], [4, -1], [0.5, -3.2]])
    x = groups[rng.integers(4, size=1200)] + rng.normal(size=(1200, 2))
    model = shoal.KMeansClustering(4, initial_clusters=x[:4].copy(), use_mini_batch=False)
    path = [x[:4].copy()]
    for _ in range(8):
        model.fit(x, steps=1)
        path.append(model.clusters().copy())
    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
    for axes, step in zip(panels, (0, 2, 8), strict=True):
        labels = shoal.KMeansClustering(4, initial_clusters=path[step]).labels(x)
        axes.scatter(*x.T, c=labels, s=5, cmap="tab10", vmax=9, linewidths=0)
        for trail in np.stack(path[: step + 1]).transpose(1, 2, 0):
            axes.plot(*trail, color="black", linewidth=1.2)
        axes.scatter(*path[step].T, s=70, c="white", edgecolors="black", linewidths=1.4, zorder=3)
        axes.set(title=f"after {step} steps", xticks=[], yticks=[])
    _save(figure, "steps")


def text() -> None:
    """Descriptions of functions, by their words."""
    sys.path.insert(0, str(HERE))
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = docstrings()
    rows = TfidfVectorizer(stop_words="english", min_df=3, sublinear_tf=True).fit_transform(texts)
    model = shoal.KMeansClustering(
        12, distance_metric="cosine", initial_clusters="kmeans_plus_plus", use_mini_batch=False
    ).fit(rows)
    flat = TruncatedSVD(3, random_state=0).fit_transform(rows)[:, 1:]
    figure, axes = pyplot.subplots(figsize=(6.4, 4.4), layout="constrained")
    axes.scatter(*flat.T, c=model.labels(rows), s=7, cmap="tab20", linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"{len(texts):,} descriptions of functions in 12 clusters", fontsize=10)
    _save(figure, "text")


def docstrings() -> list[str]:
    """The first paragraphs of what NumPy says of its functions."""
    found = {}
    for module in (np, np.linalg, np.random, np.fft, np.ma, np.polynomial):
        for name in dir(module):
            said = getattr(getattr(module, name), "__doc__", None)
            if name[0] != "_" and callable(getattr(module, name)) and isinstance(said, str):
                found[said[:400]] = None
    return list(found)


def speed() -> None:
    """Ratios of whole runs, for each level of instructions that was measured."""
    found = {
        name: json.loads((RESULTS / f"train{end}.json").read_text("utf-8"))
        for end, name in LEVELS.items()
        if (RESULTS / f"train{end}.json").is_file()
    }
    cases = [row["name"] for row in next(iter(found.values()))["rows"]]
    figure, axes = pyplot.subplots(figsize=(9, 4.4), layout="constrained")
    height = 0.8 / len(found)
    for at, (name, result) in enumerate(found.items()):
        ratios = {row["name"]: row["ratio"] for row in result["rows"]}
        values = [ratios[case] for case in cases]
        mean = math.exp(sum(map(math.log, values)) / len(values))
        places = np.arange(len(cases)) + (at - (len(found) - 1) / 2) * height
        simd = result["machine"]["simd"]["shoal"]
        label = f"{name} ({simd}): {mean:.1f} × in the geometric mean"
        bars = axes.barh(places, values, height * 0.92, color=SHADES[at], label=label)
        axes.bar_label(bars, [f"{value:.1f}" for value in values], padding=3, fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.set_xscale("log")
    ticks = [1, 2, 4, 8, 16]
    axes.set_xticks(ticks, [f"{tick} ×" for tick in ticks])
    axes.set_xlim(0.9, 24)
    axes.minorticks_off()
    about = next(iter(found.values()))["machine"]
    axes.set_xlabel("time of the fastest other library / time of shoal; right of the line: faster")
    axes.set_title(
        f"20 iterations from the same centers. {about['cpu']}, {about['threads']} threads, "
        f"{about['date']}",
        fontsize=10,
    )
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=len(found))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _save(figure, "speed", measured())


def measured() -> str:
    """What tells whether the picture of speed is of today's results."""
    files = [RESULTS / f"train{end}.json" for end in LEVELS]
    whole = b"".join(file.read_bytes() for file in files if file.is_file())
    return hashlib.sha256(whole).hexdigest()


def speed_is_new() -> bool:
    """Whether there are results that are not drawn."""
    from PIL import Image

    path = PICTURES / "speed.png"
    if not path.is_file():
        return True
    with Image.open(path) as picture:
        return picture.info.get(MADE_OF) != measured()


def _save(figure: Any, name: str, made_of: str = "") -> None:
    PICTURES.mkdir(exist_ok=True)
    more = {MADE_OF: made_of} if made_of else {}
    if name == "colours":  # a photograph
        figure.savefig(PICTURES / f"{name}.jpg", dpi=110, pil_kwargs={"quality": 88})
    else:
        figure.savefig(PICTURES / f"{name}.png", dpi=110, metadata={"Software": None, **more})
    pyplot.close(figure)


ALL: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (cities, colours, choosing, steps, text, speed)
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
        print(chosen)
