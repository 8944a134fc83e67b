"""Cluster the world's cities on the sphere and draw them.

144,563 places with more than 1,000 people (GeoNames, CC BY 4.0, see data/README.md), as points on
the unit sphere: cosine distance is then distance along the ground. Run with ``make demo``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from world_map import write_world_map

import shoal

HERE = Path(__file__).parent


class LossCurve:
    """A monitor that keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_step(self, context: Any) -> None:
        """Keep the loss of the step."""
        self.losses.append(context.loss)


def loss_curve(losses: list[float], width: int = 50) -> str:
    """Draw the loss of some of the steps as horizontal bars."""
    steps = [step for step in (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100) if step < len(losses)]
    lines = []
    for step in [*steps, len(losses)]:
        loss = losses[step - 1]
        lines.append(f"  step {step:4d} {loss:10.2f}  {'█' * round(width * loss / losses[0])}")
    return "\n".join(lines)


def command() -> str:
    """The shoal command beside the running Python, as it can be typed here."""
    script = Path(sys.executable).with_name("shoal")
    if script.is_file():
        return quoted(nearby(script))
    return f"{quoted(nearby(Path(sys.executable)))} -m shoal"


def nearby(path: Path) -> Path:
    """The path from the current directory, where it is below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def quoted(path: Path) -> str:
    """The path as a word of a command."""
    return shlex.quote(str(path))


def main() -> None:
    """Read, cluster, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", "--clusters", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    cities = parquet.read_table(HERE / "data" / "cities.parquet")
    latitude, longitude = cities["latitude"].to_numpy(), cities["longitude"].to_numpy()
    points = shoal.to_sphere(latitude, longitude)

    began, curve = time.perf_counter(), LossCurve()
    model = shoal.KMeansClustering(
        options.clusters,
        initial_clusters="kmeans_plus_plus",
        distance_metric="cosine",
        use_mini_batch=False,
    ).fit(points, monitors=[curve])
    seconds = time.perf_counter() - began
    cluster_idx = model.predict(points, outputs=["cluster_idx"], as_iterable=False)["cluster_idx"]

    nearest_city = model.transform(points).argmin(axis=0)
    names = [f"{cities['name'][i]}, {cities['country'][i]}" for i in nearest_city.tolist()]
    sizes = np.bincount(cluster_idx, minlength=options.clusters)
    mean = model.evaluate(points)["loss"]
    kilometres = float(shoal.sphere_km(mean, "cosine"))

    print(f"{len(points):,} cities in {options.clusters} clusters: {seconds:.2f} s")
    print(f"root mean square distance to a center: {kilometres:.0f} km\n")
    print(f"loss (sum of cosine distances)\n{loss_curve(curve.losses)}\n")
    print("the largest clusters, by the city nearest to the center")
    for cluster in np.argsort(-sizes, kind="stable")[:12]:
        print(f"  {sizes[cluster]:6,d}  {names[cluster]}")

    page = options.output / "cities.html"
    write_world_map(
        page,
        latitude=latitude,
        longitude=longitude,
        cluster_idx=cluster_idx,
        labels=names,
        loss=curve.losses,
        title="Where the world lives",
        subtitle=f"{len(points):,} cities, {options.clusters} clusters, by distance on the ground",
    )
    model_file = options.output / "cities.safetensors"
    data = HERE / "data" / "cities.parquet"
    print(f"\nopen {page} in a browser; on the command line, the same clusters are")
    print(
        f"{command()} fit {quoted(nearby(data))} -k {options.clusters} "
        f"--sphere latitude,longitude --model {quoted(model_file)}"
    )


if __name__ == "__main__":
    main()
