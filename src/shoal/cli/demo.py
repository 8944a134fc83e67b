"""``shoal demo``: clusters made-up points, and says what to type next."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

import numpy as np

import shoal
from shoal.cli.output import Result
from shoal.errors import BadInputError
from shoal.storage.files import whole_file
from shoal.types import Array

#: Of the picture, in characters.
WIDTH, HEIGHT = 60, 18
SIGNS = "0123456789abcdefghijklmnopqrstuvwxyz"


def demo(options: argparse.Namespace) -> Result:
    """Make points in groups, cluster them, draw them as text."""
    if not 1 <= options.clusters <= len(SIGNS):
        raise BadInputError(f"--clusters is {options.clusters}; it must be 1 to {len(SIGNS)}")
    if options.rows < options.clusters:
        raise BadInputError(f"--rows is {options.rows}; it must be at least {options.clusters}")
    target = None if options.output is None else Path(options.output)
    if target is not None and target.suffix != ".csv":
        raise BadInputError(f"--output is {target}; it must end in .csv")
    if target is not None and target.exists() and not options.force:
        raise BadInputError(f"{target} exists: pass --force to replace it")
    points = _points(options.rows, options.clusters, options.seed)
    model = shoal.KMeansClustering(
        options.clusters,
        initial_clusters="kmeans_plus_plus",
        use_mini_batch=False,
        random_seed=options.seed,
    )
    began = time.perf_counter()
    model.fit(points)
    seconds = time.perf_counter() - began
    labels = model.labels(points)
    if not options.json:
        print(picture(points, labels))
    measured = model.evaluate(points)
    result: Result = {
        "rows": len(points),
        "clusters": options.clusters,
        "steps": measured["global_step"],
        "seconds": round(seconds, 3),
        "loss_per_row": measured["loss"],
        "sizes": np.bincount(labels, minlength=options.clusters).tolist(),
    }
    if target is None:
        return {**result, "next": "shoal demo -o points.csv, then shoal fit points.csv"}
    with whole_file(target) as file:
        np.savetxt(file, points, "%.4f", ",", header="x,y", comments="")
    name = shlex.quote(str(target))
    return {
        **result,
        "output": str(target),
        "next": f"shoal fit {name} -k {options.clusters}, then shoal predict {name} -o labels.csv",
    }


def _points(rows: int, groups: int, seed: int) -> Array:
    """Rows [rows, 2] around as many places as there are groups, the same for the same seed."""
    draw = np.random.default_rng(seed)
    turns = 2 * np.pi * np.arange(groups) / groups
    places = np.stack([6 * np.cos(turns), 6 * np.sin(turns)], axis=1)
    places *= draw.uniform(0.6, 1.2, (groups, 1))
    which = draw.integers(groups, size=rows)
    return np.asarray(places[which] + draw.normal(size=(rows, 2)), np.float32)


def picture(points: Array, labels: Array) -> str:
    """Points as a picture of characters: the cluster that most points of a place belong to."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array([WIDTH, HEIGHT])
    at = ((points - low) / np.maximum(high - low, 1e-9) * (size - 1e-3)).astype(int)
    cells = np.zeros((WIDTH * HEIGHT, labels.max() + 1), int)
    np.add.at(cells, (at[:, 1] * WIDTH + at[:, 0], labels), 1)
    signs = np.where(cells.any(axis=1), np.array(list(SIGNS))[cells.argmax(axis=1)], " ")
    lines = ["".join(line).rstrip() for line in signs.reshape(HEIGHT, WIDTH)]
    return "\n".join(lines[::-1]) + "\n"
