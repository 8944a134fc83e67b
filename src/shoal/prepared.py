"""Rows that are validated once, for all runs over them; a run is in runs.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.batches import look_at
from shoal.config import KMEANS_PLUS_PLUS_INIT, Parameters
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.executors.data import Data
from shoal.executors.local import LocalExecutor
from shoal.inference import Inference
from shoal.metric import COSINE_DISTANCE, to_unit
from shoal.shards.kernels import as_loss, loss_of, means_of, nearest
from shoal.shards.part import Part
from shoal.shards.values import Runs
from shoal.shards.workspace import Workspace
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.sources.pages import ArrayPages
from shoal.sources.rows import Rows
from shoal.sources.sparse import as_given
from shoal.state import Partial, State
from shoal.steps import plus_plus, seeding
from shoal.steps.round import Round
from shoal.types import Floats, Indices

#: What the engine advises where a value is not finite, and what there is here.
SKIP = ", or pass on_bad_rows='skip' to drop such rows"
INSTEAD = ", or leave such rows out"


@dataclass(frozen=True)
class Prepared:
    """Validated rows, and how they are looked at.

    Parameters
    ----------
    source
        Where the rows come from.
    parameters
        Metric, threads, number of clusters.
    data
        The rows, as steps ask for them.
    known
        What was found out about the rows, whatever their clusters.
    """

    source: Source
    parameters: Parameters
    data: Data
    known: dict[str, float] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(
        cls,
        source: Source,
        parameters: Parameters,
        workspace: Workspace | None = None,
        executor: Executor | None = None,
    ) -> Iterator[Prepared]:
        """Look at every value once.

        ``workspace``: of rows in memory that are passed over once. ``executor``: where rows live
        that can be spread; those of a stream stay in this process.
        """
        metric, threads = parameters.distance_metric, parameters.num_threads
        if source.resident and workspace is not None:
            part = Part(None, metric, threads, workspace=workspace, rows=source.held)
        else:
            size = sum(part.rows.nbytes for part in source.held)
            part = Part(source, metric, threads, budget=parameters.budget(size))
        parts, there = [part], executor
        if there is None or not source.any_order:
            there = LocalExecutor()
        else:
            shares = source.split(there.num_parts)
            budget = part.budget // len(shares)
            parts = [part._replace(source=share, budget=budget) for share in shares]
        with _none_skipped():
            data = Data.of(there, parts).checked()
        try:
            yield cls(source, parameters, data)
        finally:
            data.close()

    def __len__(self) -> int:
        return self.data.scan().rows

    @property
    def columns(self) -> int:
        """How many there are."""
        return len(self.data.scan().magnitude)

    @property
    def dtype(self) -> npt.DTypeLike:
        """Of the centers: float32 for float32 and narrower floats, else float64, as theirs."""
        rows = self.source.dtype
        if rows is None:
            return self.data.scan().dtype
        return np.float32 if rows.itemsize <= 4 and rows.kind not in "iub" else np.float64

    def into(self, k: int) -> Prepared:
        """The same rows, to be made so many clusters of."""
        return replace(self, parameters=replace_number(self.parameters, k))

    def rows(self) -> Any:
        """The rows themselves, for functions of the user's."""
        source = self.source
        if len(source.held) != 1:
            raise BadInputError(
                "init is a callable, which is given the rows as one array, and X is not an array "
                "in memory: give init an array of centers, or the name of a method"
            )
        return as_given(source.held[0].rows)

    def seeded(self, seed: int, run: int = 0) -> State:
        """Centers chosen among the rows, by the method of the parameters; others for each run."""
        none = np.empty((0, self.columns), self.dtype)
        return self.started(self._chosen(none, seed, run))

    def _chosen(self, found: Floats, seed: int, run: int) -> Floats:
        method = self.parameters.initial_clusters
        assert isinstance(method, str)
        state = State(found, found, np.zeros(len(found)), 0, False, 0, seed, run)
        return seeding.METHODS[method](Round(self.data, state, self.parameters))

    def grown(self, centers: Floats, seed: int) -> Floats:
        """These centers and further ones, chosen as if they had been the first."""
        more = self._chosen(centers, seed, len(centers))
        return np.concatenate([centers, more.astype(centers.dtype)])

    def started(self, centers: Floats) -> State:
        """The state of given centers."""
        centers = np.array(centers, self.dtype)
        if self.parameters.distance_metric == COSINE_DISTANCE:
            centers = to_unit(centers)
        return trained(centers, np.zeros(len(centers)))

    @contextmanager
    def some(self, indices: Indices) -> Iterator[Prepared]:
        """Some of the rows, copied."""
        drawn = self.data.take(indices)
        pages = ArrayPages([Rows(drawn.rows, drawn.weights, "X")])
        with Prepared.of(PagedSource(pages, None, True), self.parameters) as prepared:
            yield prepared

    @contextmanager
    def batch(self, rows: list[Rows], workspace: Workspace) -> Iterator[Prepared]:
        """A mini-batch of the rows."""
        source = PagedSource(ArrayPages(rows), None, False)
        with Prepared.of(source, self.parameters, workspace) as prepared:
            yield prepared

    def picked(self, seed: int) -> Indices:
        """Indices of rows chosen by k-means++."""
        return plus_plus.picked(self.data, self.parameters, seed)

    def runs(self, seeds: Sequence[int], max_iter: int, tol: float) -> Runs | None:
        """Whole runs with these seeds, as far as they can be made in a row; see ``Data.runs``."""
        if self.parameters.initial_clusters != KMEANS_PLUS_PLUS_INIT:
            return None
        begun = plus_plus.begun(self.data, self.parameters, seeds)
        if begun is None:
            return None
        centers = np.empty((self.parameters.num_clusters, self.columns), self.dtype)
        return self.data.runs(begun, centers, max_iter, tol)

    def loss(self, found: Partial, centers: Floats) -> float:
        """Sum of weight * distance of the last pass, made with ``centers``."""
        parameters = self.parameters
        loss = loss_of(found, centers, parameters.distance_metric, parameters.num_threads)
        return as_loss(self.data.loss(centers)) if loss is None else loss

    def limit(self, tol: float, found: Partial | None) -> float | None:
        """Shift of centers at which a run ends; None where that takes a pass, ``found``, to know.

        ``tol`` is relative to the mean variance of the columns.
        """
        if tol <= 0:
            return -1.0
        if "variance" not in self.known:
            if found is None:
                return None
            self.known["variance"] = self.variance(found)
        return tol * self.known["variance"]

    def variance(self, found: Partial) -> float:
        """Mean over the columns of their variance, from a pass with any centers."""
        one = replace(found, sums=found.sums.sum(axis=1, keepdims=True))
        return self.around_mean(one) / float(one.weights[0]) / self.columns

    def around_mean(self, one: Partial) -> float:
        """Sum of weight * distance to the mean of all rows, from a pass with one center."""
        parameters, none = self.parameters, np.zeros((1, self.columns))
        mean = means_of(one, none, parameters.distance_metric, parameters.num_threads)
        loss = loss_of(one, mean, parameters.distance_metric, parameters.num_threads)
        return as_loss(self.data.measure(mean).loss) if loss is None else loss

    def spread(self) -> float:
        """The same, where no pass has been made."""
        return self.variance(self.data.assign(np.zeros((1, self.columns))))

    def losses(self, centers: Floats) -> Floats:
        """Sum of weight * distance of each cluster [k]."""
        parameters = self.parameters
        metric, threads = parameters.distance_metric, parameters.num_threads
        total = np.zeros(len(centers))
        for block in blocks_of(self.source, centers, parameters):
            labels, each = nearest(block.rows, centers, metric, threads)
            weighted = each if block.weights is None else each * block.weights
            total += np.bincount(labels, weighted, len(centers))
        return total


def blocks_of(source: Source, centers: Floats, parameters: Parameters) -> Iterator[Rows]:
    """The rows of a source in validated blocks, in order."""
    if (rows := _one_array(source)) is not None and rows.rows.shape[1] == centers.shape[1]:
        with _none_skipped():
            yield look_at(rows, parameters)
        return
    applied = Inference(trained(centers, np.zeros(len(centers))), parameters, "error")
    with _none_skipped():
        yield from itertools.chain.from_iterable(applied.blocks(source))


def _one_array(source: Source) -> Rows | None:
    """Rows that are one array in memory: no page of them can change, and none are left out."""
    held = () if source.batched else source.held
    only = held[0] if len(held) == 1 else None
    plain = only is not None and type(only.rows) is np.ndarray and len(only.rows) > 0
    return only if plain else None


@contextmanager
def _none_skipped() -> Iterator[None]:
    """Advice of what is not to be had here is not given."""
    try:
        yield
    except BadInputError as error:
        text = str(error).replace(SKIP, INSTEAD)
        if text == str(error):
            raise
        raise type(error)(text) from None


def replace_number(parameters: Parameters, k: int) -> Parameters:
    """The parameters of another number of clusters."""
    return parameters._replace(num_clusters=k, kmeans_plus_plus_num_retries=local_trials(k))


def trained(centers: Floats, counts: Floats) -> State:
    """The state behind some steps; ``counts`` [k] are the weights of the rows of mini-batches."""
    return State(centers, centers, counts, 0, True, 0, 0)


def local_trials(k: int) -> int:
    """Further candidates of a pick of k-means++: 2 + log k candidates in all."""
    return 1 + int(math.log(k))
