"""Fits of one data set over a range of k."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from shoal.checks import one_of, whole_number
from shoal.choosing.choice import KChoice
from shoal.choosing.indices import distances, measured, silhouette
from shoal.choosing.plan import Plan, check_gap, gaps
from shoal.config import KMEANS_PLUS_PLUS_INIT, SEEDINGS, Parameters, check_executor
from shoal.errors import BadInputError, TooFewRowsError
from shoal.metric import SQUARED_EUCLIDEAN_DISTANCE, is_cosine
from shoal.other_names import own_arguments
from shoal.prepared import Prepared
from shoal.sources.columns import Columns
from shoal.sources.open import open_named, with_sample_weight
from shoal.sources.sparse import dense
from shoal.steps.random import SAMPLING, Random
from shoal.types import Indices

#: Numbers of clusters that are compared, at most.
MOST_NUMBERS = 10_000


@own_arguments
def choose_k(
    x: Any,
    k: Iterable[int] = range(2, 11),
    *,
    sample_weight: Any = None,
    distance_metric: str = SQUARED_EUCLIDEAN_DISTANCE,
    initial_clusters: str = KMEANS_PLUS_PLUS_INIT,
    num_runs: int = 1,
    warm_start: bool = False,
    max_steps: int = 300,
    tolerance: float = 1e-4,
    sample_size: int = 2000,
    gap: int = 0,
    random_seed: int | None = 0,
    num_threads: int | None = None,
    executor: Any = None,
) -> KChoice:
    """Cluster the same rows into each of several numbers of clusters, and compare.

    The rows are validated once. First centers are chosen once per run, for the largest k: those of
    k-means++ are chosen one after the other, and the first k of them are where k clusters begin.
    Each k is then trained by full batches, exactly as everything here.

    Parameters
    ----------
    x
        The data; see ``shoal.open``. What can be read once only is refused.
    k
        Numbers of clusters, such as ``range(2, 21)``.
    sample_weight
        Weights [n] of the rows of an array, a frame or files; or ``shoal.open(x, weight="name")``.
        The exact silhouette and the gap statistic are of rows without weights.
    distance_metric
        ``"squared_euclidean"`` or ``"cosine"``; indices are in terms of the same distance, not
        squared.
    initial_clusters
        ``"kmeans_plus_plus"``, ``"random"``, ``"kmeans_parallel"``, ``"kmc2"`` or
        ``"afkmc2"``.
    num_runs
        How often each k is fitted, from other first centers; the best inertia counts.
    warm_start
        Begin each k with the centers of the one before, and further ones chosen in addition; one
        run each, as the ones before have had theirs.
    max_steps, tolerance
        A run ends after so many steps, or when the squared shift of the centers is within this
        part of the mean variance of the columns, as in scikit-learn; 0: when no label changes.
    sample_size
        Rows of which the exact silhouette is computed, drawn evenly, the same for every k. Their
        distances to each other are computed once.
    gap
        Reference data sets of the gap statistic (Tibshirani et al. 2001), each as large as the data
        in memory, and fitted as often; 0: none is computed. Not of sparse rows, nor of randoms.
    random_seed
        Of every random choice; None draws a fresh one.
    num_threads
        None: the CPUs this process may use. Results do not depend on it.
    executor
        Where the rows of arrays and files are while they are trained on, as in
        ``RunConfig(executor=...)``. None: in this process. Results do not depend on it.

    Returns
    -------
    KChoice
        A table of arrays, with ``suggested``, ``best``, ``clusters``, ``to_frame()``, ``plot()``.

    Raises
    ------
    BadInputError, TooFewRowsError
        If the data or an argument cannot be used.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> corners = np.array([[0, 0], [0, 9], [9, 0]])[np.arange(60) % 3]
    >>> x = corners + np.random.default_rng(0).normal(size=(60, 2))
    >>> choice = shoal.choose_k(x, range(2, 7))
    >>> choice.best, choice.suggested["silhouette"].k
    (3, 3)
    """
    numbers = check_numbers(k)
    given = Parameters.checked(
        num_clusters=numbers[-1],
        initial_clusters=one_of("initial_clusters", initial_clusters, SEEDINGS),
        distance_metric=distance_metric,
        random_seed=random_seed,
        use_mini_batch=False,
        mini_batch_steps_per_iteration=1,
        kmeans_plus_plus_num_retries=2,
        kmc2_chain_length=200,
        num_threads=num_threads,
    )
    plan = Plan(
        whole_number("num_runs", num_runs, 1),
        bool(warm_start),
        whole_number("max_steps", max_steps, 1),
        _check_tolerance(tolerance),
    )
    size = whole_number("sample_size", sample_size, 2)
    references = whole_number("gap", gap, 0)
    source = open_named(x, Columns(), None, False, "x")
    if sample_weight is not None:
        source = with_sample_weight(source, sample_weight)
    if not source.rereadable:
        raise BadInputError(
            "x is an iterator, which can be read once, and rows are read again and again: pass a "
            "callable that returns a new one"
        )
    if references and is_cosine(distance_metric):
        raise BadInputError("the gap statistic is of Euclidean distances: leave gap at 0")
    if references:
        check_gap(source)
    with Prepared.of(source, given, executor=check_executor(executor)) as rows:
        return _choose(rows, plan, numbers, size, references)


def _choose(
    rows: Prepared, plan: Plan, numbers: list[int], sample_size: int, references: int
) -> KChoice:
    there = rows.data.scan().positive
    if references and rows.data.scan().weighted:
        raise BadInputError(
            "the gap statistic compares with reference data without weights: leave gap at 0, or "
            "give rows without weights"
        )
    if there < numbers[-1]:
        raise TooFewRowsError(
            f"k goes up to {numbers[-1]}, but the data has only {there} rows (with a weight): use "
            "smaller k or give more rows"
        )
    sample = _sample(len(rows), sample_size, rows.parameters.random_seed)
    drawn = dense(rows.data.take(sample).rows)
    pairs = distances(rows, drawn, drawn).astype(np.float64)
    total = rows.around_mean(rows.data.assign(np.zeros((1, rows.columns))))
    clusters, table = {}, []
    for number, found in zip(numbers, plan.fits(rows, numbers), strict=True):
        clusters[number] = found.centers
        exact = silhouette(pairs, found.labels[sample])
        indices = measured(rows.into(number), found, total)
        table.append((found.inertia, exact, found.steps, *indices))
    inertia, exact, steps, simplified, calinski, davies = np.array(table).T
    gap, error = gaps(rows, plan, numbers, references, inertia) if references else (None, None)
    return KChoice(
        k=np.array(numbers),
        inertia=inertia,
        simplified_silhouette=simplified,
        silhouette=exact,
        calinski_harabasz=calinski,
        davies_bouldin=davies,
        gap=gap,
        gap_error=error,
        steps=steps.astype(np.int64),
        sample=sample,
        clusters=clusters,
    )


def _sample(rows: int, size: int, seed: int) -> Indices:
    """Indices of rows drawn evenly, in order."""
    if size >= rows:
        return np.arange(rows)
    return np.sort(Random(seed, SAMPLING, 0).without_replacement(rows, size))


def check_numbers(k: Any) -> list[int]:
    """Numbers of clusters, each once and in order."""
    try:
        some = itertools.islice(k, MOST_NUMBERS + 1)
        numbers = sorted({whole_number("k", one, 1) for one in some})
    except TypeError:
        numbers = []
    if len(numbers) < 2:
        raise BadInputError(
            f"k is {k!r:.80}; it must be several numbers of clusters, such as range(2, 21)"
        )
    if len(numbers) > MOST_NUMBERS:
        raise BadInputError(
            f"k is {k!r:.80}; it must be at most {MOST_NUMBERS:,} numbers of clusters"
        )
    return numbers


def _check_tolerance(tolerance: object) -> float:
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float, np.number)):
        raise BadInputError(f"tolerance is {tolerance!r:.80}; it must be a number >= 0")
    number = float(tolerance)
    if not 0 <= number < np.inf:
        raise BadInputError(f"tolerance is {tolerance!r}; it must be finite and >= 0")
    return number
