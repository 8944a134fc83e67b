"""What trained centers say of new rows, batch by batch: predict, transform, score, evaluate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.blocks import Block, Tally
from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.feed import check_columns, to_block
from shoal.hooks import Context, Monitors
from shoal.loop import users_clusters
from shoal.metric import all_distances, score_dtype
from shoal.shard import assign_block, nearest, nearest_labels
from shoal.sources.array import Rows
from shoal.sources.open import Source
from shoal.sources.pages import PagedSource
from shoal.state import State, exact_to_float

Array = npt.NDArray[Any]

ALL_SCORES = "all_scores"
CLUSTER_IDX = "cluster_idx"
SCORES = "scores"
OUTPUTS = (CLUSTER_IDX, SCORES, ALL_SCORES)

#: Distances computed at a time for data in memory: keeps a piece below 32 MB.
PIECE_DISTANCES = 4_000_000


class Inference:
    """The centers of one state, applied to sources."""

    def __init__(self, state: State, parameters: Parameters, on_bad_rows: str) -> None:
        self.state = state
        self._parameters = parameters
        self._metric = parameters.distance_metric
        self._threads = parameters.num_threads
        self._on_bad_rows = on_bad_rows

    @staticmethod
    def check_outputs(outputs: Sequence[str] | None) -> tuple[str, ...]:
        """Return the asked-for outputs, each a known name."""
        if outputs is None:
            return OUTPUTS
        if not isinstance(outputs, (str, Sequence)):
            raise BadInputError(f"outputs is {outputs!r}; it must be a list of {OUTPUTS}")
        wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        for name in wanted:
            if name not in OUTPUTS:
                raise BadInputError(f"outputs holds {name!r}; allowed are {OUTPUTS}")
        if not wanted:
            raise BadInputError(f"outputs is empty; choose from {OUTPUTS}")
        return wanted

    def batches(
        self, source: Source, outputs: tuple[str, ...], pieces: bool = True
    ) -> Iterator[dict[str, Array]]:
        """Outputs of each batch; shards of a batch are joined.

        ``pieces``: data in memory may be taken piece by piece, to hold few distances at a time.
        """
        if source.dim is not None:
            check_columns(self.state, source.dim, source.name)
        pieces = pieces and ALL_SCORES in outputs
        if pieces and isinstance(source, PagedSource) and source.batch_size is None:
            size = max(1, PIECE_DISTANCES // len(self.state.clusters))
            source = source.like(size, shuffle=False)
        return (
            self.joined(iter([self._block_outputs(block, outputs) for block in blocks]))
            for blocks in self._blocks(source)
        )

    @staticmethod
    def joined(batches: Iterator[dict[str, Array]]) -> dict[str, Array]:
        """One dict of arrays for all batches."""
        parts = list(batches)
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def evaluate(
        self,
        source: Source,
        steps: int | None,
        metrics: dict[str, Callable[..., Any]],
        hooks: Monitors | None = None,
    ) -> dict[str, Any]:
        """Sum and mean of distances over the first ``steps`` batches, and each metric."""
        watching = hooks or Monitors([])
        context = Context(
            lambda: users_clusters(self.state, self._parameters), self.state.global_step, None
        )
        watching.tell("begin", context)
        loss, rows = 0, 0
        weights: list[Array] = []
        kept: list[tuple[Array, Array, Array]] = []
        try:
            for blocks in itertools.islice(self._blocks(source), steps):
                watching.tell("before_step", context)
                for block in blocks:
                    labels = np.empty(len(block.rows), np.int32) if metrics else None
                    distances = np.empty(len(block.rows)) if metrics else None
                    _, part = assign_block(
                        block, self.state.clusters, self._metric, self._threads, labels, distances
                    )
                    loss += part
                    rows += len(block.rows)
                    if block.weights is not None:
                        weights.append(block.weights)
                    if labels is not None and distances is not None:
                        scores = distances.astype(score_dtype(block.rows))
                        kept.append((block.rows, labels.astype(np.int64), scores))
                context.loss, context.rows = exact_to_float(loss), rows
                watching.tell("after_step", context)
                if context.stop_requested:
                    break
        finally:
            watching.tell("end", context)
        total = exact_to_float(loss)
        # Exact, so that no split into batches changes a bit.
        weight = math.fsum(itertools.chain.from_iterable(weights)) if weights else float(rows)
        results: dict[str, Any] = {
            SCORES: total,
            "loss": total / weight if weight else 0.0,
            "num_rows": rows,
        }
        if metrics:
            joined = kept[0] if len(kept) == 1 else map(np.concatenate, zip(*kept, strict=True))
            clusters = users_clusters(self.state, self._parameters)
            results |= {name: metric(*joined, clusters) for name, metric in metrics.items()}
        return results

    def _blocks(self, source: Source) -> Iterator[list[Block]]:
        empty, dropped = True, Tally(source.name)
        try:
            for shards in source.batches():
                check_columns(self.state, shards[0].rows.shape[1], shards[0].name)
                try:
                    blocks = [dropped.add(self._block(shard)) for shard in shards]
                except BadInputError:
                    if isinstance(source, PagedSource) and source.resident:  # say which row it is
                        blocks = [self._block(shard) for shard in source.shards]
                    raise
                if sum(len(block.rows) for block in blocks):
                    empty = False
                    yield blocks
        finally:
            dropped.say()
        if empty:
            raise BadInputError("the data has no rows: give at least one")

    def _block(self, shard: Rows) -> Block:
        return to_block(shard, self._parameters, self._on_bad_rows)

    def _block_outputs(self, block: Block, outputs: tuple[str, ...]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        given = block.rows, self.state.clusters, self._metric, self._threads
        if SCORES not in outputs and CLUSTER_IDX in outputs:
            found[CLUSTER_IDX] = nearest_labels(*given).astype(np.int64)
        elif SCORES in outputs:
            labels, distances = nearest(*given)
            found[CLUSTER_IDX] = labels.astype(np.int64)
            found[SCORES] = distances.astype(score_dtype(block.rows))
        if ALL_SCORES in outputs:
            found[ALL_SCORES] = all_distances(*given)
        return {name: found[name] for name in outputs}
