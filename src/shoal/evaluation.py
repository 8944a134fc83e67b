"""How well trained centers fit data: the loss, metrics of the user's, and the files of both."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from shoal.checks import whole_number
from shoal.errors import BadInputError
from shoal.hooks.base import EVALUATING, Context, Monitors
from shoal.inference import SCORES, Inference, check_ends
from shoal.metric import as_scores, users_clusters
from shoal.shards.kernels import as_loss, assign_block, total_weight
from shoal.shards.rows import ignore
from shoal.shards.values import Measure
from shoal.sources.open import Source
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix, as_given, stacked
from shoal.storage.files import check_no_link
from shoal.storage.jsonl import append_json, write_json
from shoal.types import Array

RESERVED = (SCORES, "loss", "num_rows", "global_step")


@runtime_checkable
class StreamingMetric(Protocol):
    """A metric that sees the rows batch by batch, so that none need be kept.

    ``reset()`` is called first, where there is one.
    """

    def update(self, rows: Array, cluster_idx: Array, scores: Array, clusters: Array) -> object:
        """Take in a batch."""

    def result(self) -> Any:
        """The value for all batches so far."""


Metric = Callable[..., Any] | StreamingMetric


def check_metrics(metrics: object) -> dict[str, Metric]:
    """Return ``metrics`` as a dict of callables and streaming metrics."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping) or not all(
        callable(metric) or isinstance(metric, StreamingMetric) for metric in metrics.values()
    ):
        raise BadInputError(
            f"metrics is {metrics!r:.200}; it must be a dict of callables "
            "(rows, cluster_idx, scores, clusters), or of objects with update() of these and "
            "result()"
        )
    for name, metric in metrics.items():
        if not isinstance(name, str) or name in RESERVED:
            raise BadInputError(
                f"metrics has the name {name!r}; names must be text, and not one of {RESERVED}"
            )
        if isinstance(metric, type) and isinstance(metric, StreamingMetric):
            raise BadInputError(
                f"metrics[{name!r}] is the class {metric.__name__}; give an instance of it"
            )
    return dict(metrics)


def evaluate(
    inference: Inference,
    source: Source,
    steps: int | None,
    metrics: dict[str, Metric],
    hooks: Monitors | None = None,
    progress: Callable[[int], None] = ignore,
) -> dict[str, Any]:
    """Sum and mean of distances over the first ``steps`` batches, and each metric.

    Rows are kept, all of those evaluated, only for metrics that are callables. ``progress`` hears
    how many rows are done, again and again.
    """
    steps = None if steps is None else whole_number("steps", steps, 1)
    if steps is None and hooks is None:
        check_ends(source)
    state, kind = inference.state, inference.parameters.distance_metric
    clusters = users_clusters(state.clusters, kind)
    watching = hooks or Monitors([])
    context = Context(lambda state: users_clusters(state.clusters, kind), state)
    context.enter(EVALUATING, source.rows)
    streaming = {
        name: metric for name, metric in metrics.items() if isinstance(metric, StreamingMetric)
    }
    for one in streaming.values():
        if callable(reset := getattr(one, "reset", None)):
            reset()
    measured, size = _Sums(), inference.piece_rows(source)
    kept: list[tuple[Matrix, Array, Array]] = []
    alone = steps is None and not metrics and hooks is None
    if alone and (found := inference.measured(source)) is not None:  # shards say it at once
        return {**measured.of(found).results(), "global_step": state.global_step}
    try:
        watching.tell("begin", context)
        for blocks in itertools.islice(inference.blocks(source), steps):
            watching.tell("before_step", context)
            for block in blocks:
                if not metrics:
                    measured.add(inference, block, size, progress)
                    continue
                seen = measured.add_and_keep(inference, block, progress)
                for one in streaming.values():
                    one.update(as_given(seen[0]), seen[1], seen[2], clusters)
                if len(streaming) < len(metrics):
                    kept.append(seen)
            context.evaluated(as_loss(measured.loss), measured.rows)
            watching.tell("after_step", context)
            if context.stop_requested:
                break
    except BaseException as error:
        context.error = error
        raise
    finally:
        watching.tell("end", context)
    results = {**measured.results(), "global_step": state.global_step}
    if kept:
        joined = [stacked(list(part)) for part in zip(*kept, strict=True)]
        joined[0] = as_given(joined[0])
    for name, metric in metrics.items():
        if isinstance(metric, StreamingMetric):
            results[name] = metric.result()
        else:
            results[name] = metric(*joined, clusters)
    return results


class _Sums:
    """Exact sums over blocks: no split of the data changes a bit."""

    def __init__(self) -> None:
        self.loss = self.rows = self._weight = 0

    def of(self, found: Measure) -> _Sums:
        """The sums that others have measured."""
        self.loss, self._weight, self.rows = found.loss, found.weight, found.rows
        return self

    def add(
        self, inference: Inference, block: Rows, size: int, progress: Callable[[int], None]
    ) -> None:
        """Take in a block, in pieces of ``size`` rows, so that progress can be seen."""
        for piece in block.pieces(size):
            self._add(inference, piece, None, None)
            progress(len(piece.rows))

    def add_and_keep(
        self, inference: Inference, block: Rows, progress: Callable[[int], None]
    ) -> tuple[Matrix, Array, Array]:
        """Take in a block, and return what metrics see of it: rows, cluster_idx, scores."""
        labels, distances = np.empty(len(block.rows), np.int32), np.empty(len(block.rows))
        self._add(inference, block, labels, distances)
        progress(len(block.rows))
        return block.rows, labels.astype(np.int64), as_scores(distances, block.rows)

    def _add(self, inference: Inference, block: Rows, labels: Any, distances: Array | None) -> None:
        parameters, centers = inference.parameters, inference.state.clusters
        _, loss = assign_block(
            block, centers, parameters.distance_metric, parameters.num_threads, labels, distances
        )
        rows = len(block.rows)
        self.loss += loss
        self.rows += rows
        self._weight += total_weight(block)

    def results(self) -> dict[str, Any]:
        """The sum, the mean per unit of weight, and the number of rows."""
        return {
            SCORES: as_loss(self.loss),
            "loss": self.loss / self._weight if self._weight else 0.0,
            "num_rows": self.rows,
        }


def check_name(name: object) -> str | None:
    """Return the name of an evaluation if it can be part of a folder's name."""
    if name is None:
        return None
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise BadInputError(
            f"name is {name!r:.80}; it becomes part of a folder's name: letters, digits and "
            "_ . + - are allowed, a letter, a digit or _ first"
        )
    return name


def eval_folder(directory: str | os.PathLike[str], name: str | None) -> Path:
    """Where the results of evaluations of this name are written."""
    return Path(directory) / ("eval" if name is None else f"eval_{name}")


def write_evaluation(
    directory: str | os.PathLike[str], name: str | None, results: Mapping[str, Any]
) -> Path:
    """Write results under ``directory/eval`` or ``directory/eval_NAME``; return their file.

    ``step-000001000.json`` holds the last results at step 1000: those of other steps are other
    files. ``metrics.jsonl`` gets a line for each evaluation, in the order of time, so no result is
    lost where one step is evaluated twice. Both hold ``time``, seconds since 1970, too. Arrays
    become lists; what JSON lacks becomes text.

    Raises
    ------
    OSError
        Naming the file that cannot be written.
    """
    folder = eval_folder(directory, name)
    check_no_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = {**results, "time": round(time.time(), 3)}
    path = folder / f"step-{results['global_step']:09d}.json"
    append_json(folder / "metrics.jsonl", record)
    write_json(path, record)
    return path
