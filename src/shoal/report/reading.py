"""One pass over all rows: what a report says of clusters and columns, and rows to show."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.inference import Inference
from shoal.metric import is_cosine, users_clusters
from shoal.report.beyond import next_centers
from shoal.report.picked import Extremes, Picked, Sample
from shoal.shards.kernels import assign_block
from shoal.sources.open import Source
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix, SparseRows
from shoal.sphere import sphere_km
from shoal.state import exact_to_float
from shoal.types import Floats, Ints

#: Rows, and values of rows, that are worked on at a time.
PIECE_ROWS = 1 << 17
PIECE_VALUES = 1 << 22
#: The unit of distances between places.
KM = "km"
#: How far from length one a point of the sphere may be.
NEAR = 1e-3
#: Bars of the histogram of silhouettes.
BARS = 40


@dataclass(frozen=True)
class Amounts:
    """How many rows are picked."""

    sample: int
    examples: int
    seed: int
    places: bool = False  # whether rows may be points of the sphere


@dataclass(frozen=True)
class Seen:
    """What a pass over all rows found; arrays [k] have NaN for clusters without rows."""

    rows: int
    dropped: int
    weighted: bool
    weight: float
    loss: float
    sizes: Ints  # [k] rows
    weights: Floats  # [k]
    unit: str  # of distances, which are Euclidean, not squared; cosine; or kilometres
    within: Floats  # [k] mean distance to the own center
    farthest: Floats  # [k] largest distance to it
    beyond: Floats  # [k] mean distance to the next center
    silhouettes: Floats  # [k] mean simplified silhouette
    silhouette: float
    bars: Ints  # [BARS] rows by silhouette, from 0 to 1
    mean: Floats  # [d]
    deviation: Floats  # [d]
    sample: Picked
    near: Picked
    far: Picked
    dtype: np.dtype[Any]
    fingerprint: str


class Moments:
    """Weighted mean and deviation of each column, of rows as the metric sees them."""

    def __init__(self, columns: int, cosine: bool) -> None:
        self._cosine = cosine
        self._middle: Floats | None = None  # around which sums are, so that little is cancelled
        self._sums = np.zeros((2, columns))
        self._weight = 0.0

    def add(self, rows: Matrix, weights: Floats | None) -> None:
        """Take in rows."""
        size = max(1, PIECE_VALUES // rows.shape[1])
        for start in range(0, len(rows), size):
            piece = rows[start : start + size]
            each = np.ones(len(piece)) if weights is None else weights[start : start + size]
            self._weight += float(each.sum())
            if isinstance(piece, SparseRows):
                self._add_sparse(piece, each)
            else:
                self._add_dense(piece.astype(np.float64), each)

    def _add_dense(self, rows: Floats, each: Floats) -> None:
        if self._cosine:
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.where(lengths > 0, lengths, 1)
        if self._middle is None:
            self._middle = rows.mean(axis=0)
        rows -= self._middle
        self._sums[0] += each @ rows
        np.square(rows, out=rows)
        self._sums[1] += each @ rows

    def _add_sparse(self, rows: SparseRows, each: Floats) -> None:
        inside = slice(int(rows.indptr[0]), int(rows.indptr[-1]))
        lengths = np.diff(rows.indptr).astype(np.int64)
        which = np.repeat(np.arange(len(rows)), lengths)
        values, columns = rows.values[inside].astype(np.float64), rows.indices[inside]
        if self._cosine:
            norms = np.sqrt(np.bincount(which, values**2, len(rows)))
            values /= np.where(norms > 0, norms, 1)[which]
        for power in (0, 1):
            weighted = each[which] * values ** (power + 1)
            self._sums[power] += np.bincount(columns, weighted, rows.shape[1])

    def found(self) -> tuple[Floats, Floats]:
        """Mean [d] and standard deviation [d]."""
        mean, square = self._sums / max(self._weight, np.finfo(float).tiny)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        return mean if self._middle is None else mean + self._middle, deviation


class Fingerprint:
    """SHA-256 of rows as they were read, whatever blocks they came in."""

    def __init__(self) -> None:
        self._parts = [hashlib.sha256() for _ in range(4)]

    def add(self, rows: Matrix, weights: Floats | None) -> None:
        """Take in rows."""
        if isinstance(rows, SparseRows):
            inside = slice(int(rows.indptr[0]), int(rows.indptr[-1]))
            lengths = np.diff(rows.indptr).astype(np.int64)
            given = [rows.values[inside], rows.indices[inside].astype(np.int64), lengths]
        else:
            given = [rows]
        for part, values in zip(self._parts, given, strict=False):
            part.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        if weights is not None:
            self._parts[3].update(np.ascontiguousarray(weights).data)

    def text(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> str:
        """The fingerprint, of shape and dtype too."""
        whole = hashlib.sha256(f"{shape} {dtype.str}".encode())
        for part in self._parts:
            whole.update(part.digest())
        return whole.hexdigest()


class Reader:
    """Takes in validated blocks of rows."""

    def __init__(self, centers: Floats, parameters: Parameters, amounts: Amounts) -> None:
        k = len(centers)
        self._centers, self._parameters = centers, parameters
        self._cosine = is_cosine(parameters.distance_metric)
        self._moments = Moments(centers.shape[1], self._cosine)
        self._fingerprint = Fingerprint()
        self._loss = self._rows = self._dropped = 0
        self._weighted = False
        self._amounts = amounts
        self._unit, self._lengths = "", cast("Callable[[Floats], Floats] | None", None)
        self._sizes: Ints = np.zeros(k, np.int64)
        self._sums: Floats = np.zeros((4, k))
        self._farthest: Floats = np.full(k, np.nan)
        self._bars: Ints = np.zeros(BARS, np.int64)
        self._sample = Sample(amounts.sample, amounts.seed)
        self._near = Extremes(k, amounts.examples, farthest=False)
        self._far = Extremes(k, amounts.examples, farthest=True)
        self._dtype: np.dtype[Any] = np.dtype(centers.dtype)

    def add(self, block: Rows) -> None:
        """Take in a piece of at most ``PIECE_ROWS`` rows."""
        self._dropped += block.dropped
        if not len(block):
            return
        metric, threads = self._parameters.distance_metric, self._parameters.num_threads
        rows, number, k = block.rows, len(block), len(self._centers)
        labels = np.empty(number, np.int32)
        own: Floats = np.empty(number)
        _, loss = assign_block(block, self._centers, metric, threads, labels, own)
        other = np.full(number, np.nan)
        if k > 1:
            _, other = next_centers(rows, labels, self._centers, metric, threads)
        if self._lengths is None:
            self._unit, self._lengths = self._measure(rows)
        own = self._lengths(own)
        other = np.maximum(self._lengths(other), own)
        silhouettes = np.divide(other - own, other, out=np.zeros(number), where=other > 0)
        weights = np.ones(number) if block.weights is None else block.weights
        self._weighted |= block.weights is not None
        self._sizes += np.bincount(labels, minlength=k)
        for total, each in zip(self._sums, (1, own, other, silhouettes), strict=True):
            total += np.bincount(labels, weights * each, k)
        np.fmax.at(self._farthest, labels, own)
        self._bars += np.histogram(silhouettes, BARS, (0, 1))[0]
        for picked in (self._sample, self._near, self._far):
            picked.add(rows, block.numbers(), labels, own)
        self._moments.add(rows, block.weights)
        self._fingerprint.add(rows, block.weights)
        self._loss += loss
        self._rows += number
        self._dtype = rows.dtype

    def _measure(self, rows: Matrix) -> tuple[str, Callable[[Floats], Floats]]:
        """The unit of distances, and what makes them of the engine's."""
        metric = self._parameters.distance_metric
        if self._amounts.places and are_points(rows):
            return KM, lambda distances: sphere_km(np.minimum(distances, 2), metric)
        return "", (lambda distances: distances) if self._cosine else np.sqrt

    def found(self) -> Seen:
        """What all of them were."""
        if not self._sums[0].any():
            raise BadInputError("the data has no rows with a weight: give at least one")
        weights, own, other, silhouettes = self._sums
        mean, deviation = self._moments.found()
        far = self._far
        far.keep(np.flatnonzero(~np.isin(far.numbers, self._near.numbers)))
        some = np.where(weights > 0, weights, np.nan)
        total = float(weights.sum())
        one = len(weights) < 2
        return Seen(
            rows=self._rows,
            dropped=self._dropped,
            weighted=self._weighted,
            weight=total,
            loss=exact_to_float(self._loss),
            sizes=self._sizes,
            weights=weights,
            unit=self._unit,
            within=own / some,
            farthest=self._farthest,
            beyond=other / some,
            silhouettes=np.full(len(weights), np.nan) if one else silhouettes / some,
            silhouette=float("nan") if one else float(silhouettes.sum()) / total,
            bars=self._bars,
            mean=mean,
            deviation=deviation,
            sample=self._sample,
            near=self._near,
            far=far,
            dtype=self._dtype,
            fingerprint=self._fingerprint.text((self._rows, len(mean)), self._dtype),
        )


def read_all(
    inference: Inference, source: Source, amounts: Amounts, progress: Callable[[int], None]
) -> Seen:
    """Read all rows once, piece by piece; ``progress`` hears how many rows are done."""
    parameters = inference.parameters
    centers = inference.state.clusters
    reader = Reader(centers, parameters, amounts)
    for piece in _pieces(inference, source):
        reader.add(piece)
        progress(len(piece))
    return reader.found()


def _pieces(inference: Inference, source: Source) -> Iterator[Rows]:
    for blocks in inference.blocks(source, also_empty=True):
        for block in blocks:
            yield from block.pieces(PIECE_ROWS)


def are_points(rows: Matrix) -> bool:
    """Whether rows are points of the unit sphere."""
    if isinstance(rows, SparseRows) or rows.shape[1] != 3:
        return False
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    return bool((np.abs(lengths - 1) < NEAR).all())


def as_compared(rows: Matrix, metric: str) -> Any:
    """Rows as the metric sees them, float64: of length one under cosine, scipy's if sparse."""
    if isinstance(rows, SparseRows):
        matrix = rows.matrix.astype(np.float64)
        if not is_cosine(metric):
            return matrix
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).reshape(-1, 1)
        return matrix.multiply(1 / np.where(norms > 0, norms, 1)).tocsr()
    return users_clusters(rows.astype(np.float64), metric)
