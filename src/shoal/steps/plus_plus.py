"""k-means++ (Arthur & Vassilvitskii 2007), greedy: centers drawn by distance, one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shoal.config import Parameters
from shoal.executors.data import Data
from shoal.executors.potential import Potential
from shoal.metric import is_cosine
from shoal.shards.values import Begun, Drawn, joined
from shoal.sources.sparse import dense
from shoal.state import empty_state
from shoal.steps.random import SEEDING, Random
from shoal.steps.round import Round
from shoal.types import Floats, Indices

#: Picks between two moments at which a run can be stopped and its progress is told, and how many
#: values of rows they may pass over together, if there are several.
PICKS_AT_ONCE = 64
PICKED_VALUES = 1 << 24


def plus_plus(offered: Round) -> Floats:
    """k-means++, greedy over 1 + retries candidates per pick.

    Each pick is drawn in proportion to weight times distance to the nearest center so far; of the
    candidates, the one with the lowest resulting potential wins, the first on equality.
    """
    return dense(_picked(offered).rows)


def picked(data: Data, parameters: Parameters, seed: int) -> Indices:
    """Indices of the rows that k-means++ chooses, with the seed of a state, as first centers."""
    none = empty_state(len(data.scan().magnitude), np.float64, seed)
    return _picked(Round(data, none, parameters)).indices


def begun(data: Data, parameters: Parameters, seeds: Sequence[int]) -> Begun | None:
    """How runs with these seeds begin; None where one takes more than a message.

    They are the rows and draws that ``plus_plus`` offers states with these seeds, in the first
    round.
    """
    scan, k = data.scan(), parameters.num_clusters
    values = scan.rows * len(scan.magnitude)
    if scan.weighted or is_cosine(parameters.distance_metric) or scan.positive <= k:
        return None
    if k - 1 > max(1, min(PICKS_AT_ONCE, PICKED_VALUES // values)):
        return None
    m = 1 + parameters.kmeans_plus_plus_num_retries
    firsts = np.empty(len(seeds), np.int64)
    draws = np.empty((len(seeds), (k - 1) * m), np.uint64)
    for run, seed in enumerate(seeds):
        shares = Random(seed, SEEDING, 0, 0).shares(1 + (k - 1) * m)
        firsts[run] = scan.rows * int(shares[0]) >> 53
        draws[run] = shares[1:]
    return Begun(firsts, draws.reshape(-1, m))


def _picked(offered: Round) -> Drawn:
    if offered.too_few:
        return offered.data.take(None)
    drawn = _picked_at_once(offered, offered.random())
    if drawn is not None:
        return drawn
    random = offered.random()
    potential, chosen = first_center(offered, random)
    missing = pick(offered, potential, random, chosen)
    potential.close()
    if missing:  # every row is a center already
        chosen.append(offered.drawn(random, missing))
    return joined(chosen)


def _picked_at_once(offered: Round, random: Random) -> Drawn | None:
    """The same where one message will do: rows all have the same mass, and are in one place."""
    missing = offered.remaining - 1
    if len(offered.found) or offered.weighted or offered.cosine:
        return None
    if not 0 < missing <= _most_at_once(offered):
        return None
    offered.tell(1)
    first = _even(offered, random)
    draws = random.shares(missing, _candidates(offered))
    rows = offered.data.picked(first, draws, offered.budget)
    if rows is None or len(rows.indices) > missing:
        return rows
    return joined([rows, offered.drawn(random, 1 + missing - len(rows.indices))])


def _candidates(offered: Round) -> int:
    """How many each pick chooses from."""
    retries = offered.parameters.kmeans_plus_plus_num_retries
    if retries >= 0:
        return 1 + retries
    return 3 + math.floor(math.log(offered.remaining))


def _most_at_once(offered: Round) -> int:
    values: int = offered.rows * offered.found.shape[1]
    return max(1, min(PICKS_AT_ONCE, PICKED_VALUES // values))


def _even(offered: Round, random: Random) -> int:
    """A row, each as likely."""
    return offered.rows * int(random.shares(1)[0]) >> 53


def pick(offered: Round, potential: Potential, random: Random, chosen: list[Drawn]) -> int:
    """Pick further rows, which go to ``chosen``; returns how many are missing where all are."""
    missing = offered.remaining - sum(len(rows.indices) for rows in chosen)
    at_once = _most_at_once(offered)
    while missing:
        offered.tell(offered.remaining - missing)
        draws = random.shares(min(missing, at_once), _candidates(offered))
        rows = potential.pick(draws)
        done = 0 if rows is None else len(rows.indices)
        if rows is not None:
            chosen.append(rows)
        missing -= done
        if done < len(draws):
            break
    return missing


def first_center(offered: Round, random: Random) -> tuple[Potential, list[Drawn]]:
    """Distances to the centers so far, after a uniform first pick if there were none."""
    found = offered.found
    if len(found):
        return offered.potential(found), []
    first = first_row(offered, random)
    return offered.potential(dense(first.rows)), [first]


def first_row(offered: Round, random: Random) -> Drawn:
    """A row drawn evenly, or in proportion to weight, of those that have a direction."""
    if not offered.weighted and not offered.cosine:  # rows have the same mass: the same row
        return offered.data.take(np.array([_even(offered, random)]))
    even = offered.potential(offered.found)
    # Without mass, no row has a direction.
    first = even.draw_by(random.shares(1)) if even.mass() else offered.drawn(random, 1)
    even.close()
    return first
