"""k-means|| (Bahmani et al. 2012, "Scalable k-means++"): first centers in a few passes.

In each of a few rounds every row is drawn by itself, in proportion to weight times distance to the
nearest candidate so far. Candidates are weighed by the rows nearest to each, and greedy k-means++
chooses the centers from them. Which row is drawn is a function of seed, round and its index.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from shoal.executors.data import Data
from shoal.executors.local import LocalExecutor
from shoal.shards.candidates import Draw
from shoal.shards.part import Part
from shoal.shards.values import Drawn, joined
from shoal.sources.rows import Rows
from shoal.sources.sparse import dense
from shoal.steps.plus_plus import first_center, first_row, pick
from shoal.steps.random import SEEDING
from shoal.steps.round import Round, distinct
from shoal.types import Floats

logger = logging.getLogger("shoal")

#: Which random numbers of a seeding round are whose.
FIRST, CHOICE, FILLING, ROUNDS = range(4)


def parallel(offered: Round) -> Floats:
    """As many rows as are missing, chosen from candidates; from all rows where these repeat."""
    if offered.too_few:
        return dense(offered.data.take(None).rows)
    chosen = _chosen(offered, *_candidates(offered))
    missing = offered.remaining - sum(len(rows.indices) for rows in chosen)
    if missing:
        before = np.concatenate([offered.found, *(dense(rows.rows) for rows in chosen)])
        random, potential = offered.random(FILLING), offered.potential(before)
        missing = pick(offered, potential, random, chosen)
        potential.close()
        if missing:  # every row is a center already
            chosen.append(offered.drawn(random, missing))
    return np.concatenate([dense(rows.rows) for rows in chosen])


def _candidates(offered: Round) -> tuple[Floats, Floats]:
    """Rows [m, d] drawn in rounds, and the weight [m] of the rows nearest to each."""
    drawn: list[Drawn] = []
    if len(offered.found) == 0:
        drawn.append(first_row(offered, offered.random(FIRST)))
        offered.tell(1)
    last = dense(drawn[0].rows) if drawn else offered.found[:0]
    of = offered.data.candidates(offered.found, offered.negligible)
    number = 0
    while number < offered.parameters.kmeans_parallel_rounds or _too_few(offered, drawn, number):
        draw = _draw(offered, number)
        mass = of.measure(last, draw)
        last, number = last[:0], number + 1
        if mass == 0:  # every row is a candidate or a center already
            break
        if (found := of.drawn(draw.bar(mass))) is not None:
            drawn.append(found)
            last = dense(found.rows)
        offered.tell(min(1, len(drawn)))
    weights = of.weigh(last)
    of.close()
    rows = np.concatenate([dense(rows.rows) for rows in drawn]) if drawn else last
    logger.info("k-means||: %d candidates after %d rounds", len(rows), number)
    return rows, weights


def _draw(offered: Round, number: int) -> Draw:
    seed, batch = offered.state.seed, offered.state.seeding_rounds
    expected = offered.parameters.kmeans_parallel_oversampling * offered.remaining
    if number >= offered.parameters.kmeans_parallel_rounds:  # what is missing is to be found
        expected = max(expected, offered.remaining)
    return Draw(seed, (SEEDING, batch, ROUNDS + number), expected)


def _too_few(offered: Round, drawn: list[Drawn], number: int) -> bool:
    """Whether further rounds are needed for as many candidates as centers are missing."""
    rows = [dense(rows.rows) for rows in drawn] or [offered.found[:0]]
    found = len(distinct(np.concatenate(rows), offered))
    if found >= offered.remaining:
        return False
    logger.info(
        "k-means||: %d rounds drew %d candidates where %d centers are missing: one round more",
        number,
        found,
        offered.remaining,
    )
    return True


def _chosen(offered: Round, rows: Floats, weights: Floats) -> list[Drawn]:
    """Greedy k-means++ over the candidates, in this process."""
    some = np.flatnonzero(weights > 0)
    if len(some) == 0:
        return []
    given = offered.parameters
    candidates = Rows(rows[some], weights[some], "the candidates of k-means||")
    part = Part(None, given.distance_metric, given.num_threads, rows=[candidates])
    data = Data.of(LocalExecutor(), [part])
    of_them = replace(offered, data=data, inputs=list, whole=True)
    random = of_them.random(CHOICE)
    potential, chosen = first_center(of_them, random)
    pick(of_them, potential, random, chosen)
    potential.close()
    data.close()
    return [joined(chosen)] if chosen else []
