"""Recordings of the original system, replayed: see README.md beside this file.

Every step of every trajectory is taken from the recorded state, so that each wanted difference
shows alone; where there is none, the whole trajectory is replayed freely as well. The wanted
differences are asserted. The original ...

- takes the cosine of rows shorter than 1e-6 as if their length were |x| / 1e-6, and picks centers
  by |x - c|² / 2, which is 1/2 instead of 1 for rows and centers without direction;
- divides a full-batch sum by the count + 1e-6: an empty cluster goes to the origin;
- syncs at the start of the step after the period, not at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import shoal

pytestmark = pytest.mark.usefixtures("placed")

HERE = Path(__file__).parent
TRAJECTORIES = sorted(path.stem for path in HERE.glob("*_*_*_*.npz"))
#: No empty full-batch cluster, no rows or centers without direction under cosine.
FREE = [
    name
    for name in TRAJECTORIES
    if name.startswith("blobs") or ("full" not in name and not ("edge" in name and "cos" in name))
]

ROUNDING = 2.0**-24  # of float32
CENTERS = 3e-7  # one step, relative to the length of the center
CENTERS_FREE = 1e-6  # after any number of steps
EXACT = 2 * ROUNDING  # float64 arithmetic, rounded to float32 (twice under cosine)
#: A recorded score against |x|² + |c|²: it is a difference of float32 sums of this size.
SCORES = 5 * ROUNDING

Array = Any


class Evaluation(NamedTuple):
    idx: Array  # [n]
    scores: Array  # [n]
    all_scores: Array  # [n, k]


class Recording:
    """One trajectory."""

    def __init__(self, name: str) -> None:
        with np.load(HERE / f"{name}.npz") as file:
            self.data = dict(file)
        self.rows = self.data["X"]
        self.k = int(self.data["k"])
        self.period = int(self.data["steps_per_iteration"])
        self.mini_batch = bool(self.data["use_mini_batch"])
        self.metric = str(self.data["metric"])
        self.cosine = self.metric == "cosine"
        self.steps = len(self.data["batch_size"])

    def indices(self, t: int) -> Array:
        return self.data["batch_index"][t, : self.data["batch_size"][t]]

    def batch(self, t: int) -> Array:
        return self.rows[self.indices(t)]

    def batches(self) -> Iterator[Array]:
        return (self.batch(t) for t in range(self.steps))

    def program(self, inputs: Any, **options: Any) -> shoal.KMeans:
        return shoal.KMeans(
            inputs,
            self.k,
            initial_clusters=self.data["initial_clusters"],
            distance_metric=self.metric,
            use_mini_batch=self.mini_batch,
            mini_batch_steps_per_iteration=self.period,
            num_threads=1,
            **options,
        )

    def evaluate(self, state: shoal.State, rows: Array) -> Evaluation:
        program = self.program(rows)
        program._state = state
        graph = program.training_graph()
        found = Evaluation(graph.cluster_idx(), graph.scores(), graph.all_scores())
        assert found.idx.dtype == np.int64
        assert found.scores.dtype == found.all_scores.dtype == np.float32
        return found

    def recorded(self, when: str, t: int) -> Evaluation:
        n = len(self.rows) if when == "post" else self.data["batch_size"][t]
        idx, scores = (self.data[f"{when}_{what}"][t][:n] for what in ("idx", "scores"))
        if when == "step" and self.period > 1:  # the centers it used are those after it
            return Evaluation(idx, scores, self.data["post_all_scores"][t][self.indices(t)])
        when = "pre" if when == "step" else when
        return Evaluation(idx, scores, self.data[f"{when}_all_scores"][t][:n])

    def state(self, initial: shoal.State, t: int, synced: bool) -> shoal.State:
        """The recorded state before step t; ``synced``: with the sync that step t begins with."""
        if t == 0:
            return initial
        clusters, updated = self.data["clusters"][t - 1], self.data["clusters_updated"][t - 1]
        counts = self.data["counts"][t - 1].astype(np.float64)
        left = int(self.data["update_in_steps"][t - 1])
        if synced and self.data["synced"][t]:
            assert left == 0
            clusters = lengthened(updated, False)[0] if self.cosine else updated
            counts, left = np.zeros(self.k), self.period
        return initial.replace(
            clusters=clusters.astype(np.float32),
            clusters_updated=updated.copy(),
            counts=counts,
            update_in_steps=left,
            global_step=t,
        )


# ---- The rules, in plain NumPy ----


def lengthened(rows: Array, original: bool) -> tuple[Array, Array]:
    """Rows of length one, and their length afterwards: less than one as the original has it."""
    wide = rows.astype(np.float64)
    length = np.sqrt((wide * wide).sum(axis=1))
    divisor = np.maximum(length, 1e-6) if original else np.where(length > 0, length, 1.0)
    return wide / divisor[:, None], length / divisor


def updated(rec: Recording, before: shoal.State, rows: Array, labels: Array, original: bool) -> Any:
    """(centers trained, counts) after a step that assigned ``labels``."""
    x = lengthened(rows, original)[0] if rec.cosine else rows.astype(np.float64)
    member = np.eye(rec.k)[labels]
    sums, weights = member.T @ x, member.sum(axis=0)
    old = before.clusters_updated.astype(np.float64)
    if rec.mini_batch:
        counts = before.counts + weights
        return old + (sums - weights[:, None] * old) / np.maximum(counts, 1)[:, None], counts
    if original:
        centers = sums / (weights + 1e-6)[:, None]
    else:
        centers = np.where(weights[:, None] > 0, sums / np.maximum(weights, 1)[:, None], old)
    if rec.cosine:
        direction = lengthened(centers, original)[0]
        centers = np.where(sums.any(axis=1)[:, None] | original, direction, old)
    return centers, weights


def relocated(rec: Recording, rows: Array, labels: Array, distances: Array) -> Array:
    """Labels after each empty cluster has taken the row farthest from its center."""
    labels = labels.copy()
    can_move = distances > 0
    if rec.cosine:
        can_move &= rows.any(axis=1)  # a row without direction makes no center
    for j in np.flatnonzero(np.bincount(labels, minlength=rec.k) == 0):
        sizes = np.bincount(labels, minlength=rec.k)
        possible = np.flatnonzero(can_move & (sizes[labels] > 1))
        row = possible[distances[possible].argmax()]
        labels[row] = j
        can_move[row] = False
    return labels


# ---- Comparisons ----


def assert_centers(found: Array, wanted: Array, tolerance: float) -> None:
    error = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    length = np.linalg.norm(np.asarray(wanted, np.float64), axis=1)
    assert (error <= tolerance * length).all(), (error / length, tolerance)


def short_rows(rec: Recording, rows: Array) -> Array:
    """Rows [n] that are shorter than one under the original's cosine."""
    return rec.cosine & (lengthened(rows, True)[1] < 1 - 1e-6)


def same_rule(rec: Recording, rows: Array, centers: Array) -> Array:
    """Rows [n] that both assign by the same distances."""
    lost = rec.cosine and not centers.any(axis=1).all()
    return ~short_rows(rec, rows) & (not lost)


def assert_promises(rec: Recording, rows: Array, centers: Array, found: Evaluation) -> None:
    """What shoal says of its own results."""
    assert (found.all_scores >= 0).all()
    assert np.array_equal(found.scores, found.all_scores[np.arange(len(rows)), found.idx])
    assert np.array_equal(found.scores, found.all_scores.min(axis=1))
    if rec.cosine:
        assert (found.all_scores <= 2).all()
        directionless = ~rows.any(axis=1)
        assert (found.idx[directionless] == 0).all()
        assert (found.all_scores[directionless] == 1).all()
        assert (found.all_scores[:, ~centers.any(axis=1)] == 1).all()


def assert_evaluation(
    rec: Recording,
    rows: Array,
    centers: Array,
    found: Evaluation,
    recorded: Evaluation,
    drift: float = 0,
) -> Array:
    """Compare two evaluations of the same rows; returns the tolerance [n] of a score."""
    assert_promises(rec, rows, centers, found)
    at = np.arange(len(rows))
    all_scores = recorded.all_scores.astype(np.float64)
    # `assigned`: the distances by which the original picked. `wanted`: what shoal should say.
    if rec.cosine:
        length, center_length = lengthened(rows, True)[1][:, None], lengthened(centers, True)[1]
        assigned = all_scores - 1 + (length**2 + center_length**2) / 2
        divisor = np.where(length > 0, length, 1.0)
        wanted = 1 - (1 - all_scores) / divisor
        tolerance = np.broadcast_to((SCORES + drift) / divisor, wanted.shape)
    else:
        norms = (rows.astype(np.float64) ** 2).sum(axis=1)[:, None]
        wanted = assigned = all_scores
        tolerance = (SCORES + drift) * (norms + (centers.astype(np.float64) ** 2).sum(axis=1))
    worst = tolerance.max(axis=1)
    assert (abs(found.all_scores - wanted) <= tolerance).all()
    assert (abs(recorded.scores - assigned[at, recorded.idx]) <= 2 * worst).all()

    # Each picked a nearest center, and the same one: up to ties of float32.
    assert (assigned[at, recorded.idx] <= assigned.min(axis=1) + 2 * worst).all()
    near = wanted <= (wanted.min(axis=1) + 2 * worst)[:, None]
    assert near[at, found.idx].all()
    lowest = near.argmax(axis=1)
    equal = (centers[None] == centers[lowest][:, None]).all(axis=2)  # equal centers tie in both
    both = same_rule(rec, rows, centers)
    decided = both & (equal | ~near).all(axis=1)
    assert np.array_equal(found.idx[decided], recorded.idx[decided])
    assert np.array_equal(found.idx[decided], lowest[decided])
    assert (abs(found.scores - recorded.scores) <= 2 * worst)[both].all()
    return worst


def assert_loss(
    loss: float,
    recorded_loss: float,
    found: Evaluation,
    recorded: Evaluation,
    both: Array,
    tolerance: Array,
) -> None:
    other = (found.scores.astype(np.float64) - recorded.scores)[~both].sum()
    assert abs(loss - (recorded_loss + other)) <= tolerance.sum()
    assert loss == pytest.approx(found.scores.astype(np.float64).sum(), rel=2 * ROUNDING)


# ---- Trajectories ----

CASES = [
    (name, empty)
    for name in TRAJECTORIES
    for empty in (("keep", "relocate") if "_full_" in name else ("relocate",))
]


def test_all_recordings_are_here() -> None:
    assert len(TRAJECTORIES) == 18
    assert len(FREE) == 12


def assert_initial(rec: Recording, program: shoal.KMeans) -> None:
    assert program.training_graph().cluster_centers_initialized is True
    state = program.state
    assert_centers(state.clusters, rec.data["clusters_after_init"], CENTERS)
    assert np.array_equal(state.clusters, state.clusters_updated)
    if not rec.cosine:
        assert np.array_equal(state.clusters, rec.data["initial_clusters"])
    if rec.mini_batch:
        assert (state.counts == (1 if rec.period == 1 else 0)).all()
        assert state.update_in_steps == (0 if rec.period == 1 else rec.period)
    assert state.global_step == 0


def assert_copies(rec: Recording, before: shoal.State, after: shoal.State, t: int) -> None:
    """How the two copies of the centers, the counts and the countdown go on."""
    assert after.global_step == t + 1
    if rec.period == 1:
        assert np.array_equal(after.clusters, after.clusters_updated)
    elif (t + 1) % rec.period:
        assert np.array_equal(after.clusters, before.clusters)
        assert after.update_in_steps == rec.data["update_in_steps"][t]
    else:  # the sync that the recording shows one step later
        assert rec.data["update_in_steps"][t] == 0
        assert t + 1 == rec.steps or rec.data["synced"][t + 1]
        wanted = after.clusters_updated
        assert_centers(
            after.clusters, lengthened(wanted, False)[0] if rec.cosine else wanted, EXACT
        )
        assert (after.counts == 0).all()
        assert after.update_in_steps == rec.period


def assert_update(
    rec: Recording, t: int, before: shoal.State, after: shoal.State, labels: Array
) -> int:
    """Compare the centers after step t; returns how many were compared directly."""
    rows, picked = rec.batch(t), rec.recorded("step", t).idx
    recorded = rec.data["clusters_updated"][t].astype(np.float64)
    theirs, their_counts = updated(rec, before, rows, picked, original=True)
    assert_centers(recorded, theirs, CENTERS)
    ours, counts = updated(rec, before, rows, labels, original=False)
    assert_centers(after.clusters_updated, ours, EXACT)
    if rec.mini_batch:
        assert np.array_equal(their_counts, rec.data["counts"][t])
    if after.update_in_steps != rec.period or rec.period == 1:
        assert np.array_equal(after.counts, counts)
    # Clusters of the same rows, all treated alike: nothing stands between the two.
    member = np.eye(rec.k, dtype=bool)
    alike = (member[labels] == member[picked]).all(axis=0)
    alike &= ~(member[labels] & (short_rows(rec, rows) & rows.any(axis=1))[:, None]).any(axis=0)
    if not rec.mini_batch:
        alike &= their_counts > 0
        if not rec.cosine:
            recorded *= 1 + 1e-6 / np.maximum(their_counts, 1)[:, None]
    assert_centers(after.clusters_updated[alike], recorded[alike], CENTERS)
    return int(alike.sum())


@pytest.mark.parametrize(("name", "empty"), CASES)
def test_each_step_from_the_recorded_state(name: str, empty: str) -> None:
    rec = Recording(name)
    program = rec.program(rec.batches(), empty_clusters=empty)
    graph = program.training_graph()
    initial = program.state
    assert_initial(rec, program)
    compared = 0
    for t in range(rec.steps):
        rows = rec.batch(t)
        lagging = rec.state(initial, t, synced=False)
        found = rec.evaluate(lagging, rows)
        assert_evaluation(rec, rows, lagging.clusters, found, rec.recorded("pre", t))

        before = rec.state(initial, t, synced=True)
        found = rec.evaluate(before, rows)
        recorded = rec.recorded("step", t)
        tolerance = assert_evaluation(rec, rows, before.clusters, found, recorded)
        program._state = before
        loss = graph.training_op()
        after = program.state
        both = same_rule(rec, rows, before.clusters)
        assert_loss(loss, rec.data["step_loss"][t], found, recorded, both, tolerance)

        labels = found.idx
        if not rec.mini_batch and empty == "relocate":
            labels = relocated(rec, rows, labels, found.scores)
        compared += assert_update(rec, t, before, after, labels)
        assert_copies(rec, before, after, t)
        now = rec.evaluate(after, rows)
        assert np.array_equal(graph.cluster_idx(), now.idx)
        assert np.array_equal(graph.scores(), now.scores)
        assert np.array_equal(graph.all_scores(), now.all_scores)

        later = rec.state(initial, t + 1, synced=False)
        found = rec.evaluate(later, rec.rows)
        assert_evaluation(rec, rec.rows, later.clusters, found, rec.recorded("post", t))
    with pytest.raises(shoal.EndOfDataError):
        graph.training_op()
    print(f"{name} {empty}: {compared} of {rec.steps * rec.k} centers compared directly")
    assert compared >= (rec.steps * rec.k if name in FREE else 14)


@pytest.mark.parametrize("name", FREE)
def test_free_running(name: str) -> None:
    rec = Recording(name)
    program = rec.program(rec.batches())
    graph = program.training_graph()
    states = [program.state]
    assert_initial(rec, program)

    def compare(state: shoal.State, rows: Array, recorded: Evaluation) -> tuple[Evaluation, Array]:
        found = rec.evaluate(state, rows)
        drift = 2 * CENTERS_FREE
        return found, assert_evaluation(rec, rows, state.clusters, found, recorded, drift)

    for t in range(rec.steps):
        rows = rec.batch(t)
        # The recording evaluates with the centers of the step before, until it syncs.
        lag = rec.period > 1 and t > 0
        compare(states[t - 1 if lag else t], rows, rec.recorded("pre", t))
        found, tolerance = compare(states[t], rows, rec.recorded("step", t))
        loss = graph.training_op()
        states.append(program.state)
        both = np.ones(len(rows), bool)
        recorded = rec.recorded("step", t)
        assert_loss(loss, rec.data["step_loss"][t], found, recorded, both, tolerance)
        before, after = states[-2:]
        assert_centers(after.clusters_updated, rec.data["clusters_updated"][t], CENTERS_FREE)
        used = before if rec.period > 1 else after
        assert_centers(used.clusters, rec.data["clusters"][t], CENTERS_FREE)
        counts = np.bincount(found.idx, minlength=rec.k)
        if rec.mini_batch:
            assert np.array_equal(before.counts + counts, rec.data["counts"][t])
        else:
            assert np.array_equal(after.counts, counts)
        assert_copies(rec, before, after, t)
        compare(used, rec.rows, rec.recorded("post", t))


@pytest.mark.parametrize("name", ["empty_full_l2_tf", "empty_full_cos_tf"])
def test_empty_full_batch_cluster(name: str) -> None:
    rec = Recording(name)
    start = rec.data["clusters_after_init"]
    assert not (rec.data["step_idx"][0] == 4).any()
    assert (rec.data["clusters"][0][4] == 0).all()  # the original: to the origin

    keep = rec.program(rec.rows, empty_clusters="keep")
    keep.training_graph().training_op()
    assert_centers(keep.state.clusters[4:], start[4:], EXACT)
    assert keep.state.counts[4] == 0

    relocate = rec.program(rec.rows)
    graph = relocate.training_graph()
    farthest = int(graph.scores().argmax())
    old = int(graph.cluster_idx()[farthest])
    graph.training_op()
    row = rec.rows[farthest : farthest + 1]
    assert_centers(
        relocate.state.clusters[4:], lengthened(row, False)[0] if rec.cosine else row, EXACT
    )
    assert relocate.state.counts[4] == 1
    assert relocate.state.counts[old] == (rec.data["step_idx"][0] == old).sum() - 1
    assert graph.cluster_idx()[farthest] == 4

    error = rec.program(rec.rows, empty_clusters="error")
    with pytest.raises(ValueError, match="cluster 4 has no rows"):
        error.training_graph().training_op()
    assert error.state.global_step == 0


@pytest.mark.parametrize("empty", ["keep", "relocate"])
def test_center_of_directionless_rows_stays(empty: str) -> None:
    """Zero rows count for center 0 and add nothing: they cannot turn it, nor fill a cluster."""
    rows = np.array([[0, 0], [0, 0], [1, 0.1], [1, -0.3]], np.float32)
    centers = np.array([[0, 1], [1, 0], [0, -1]], np.float32)
    program = shoal.KMeans(
        rows, 3, centers, "cosine", empty_clusters=empty, num_threads=1, use_mini_batch=False
    )
    program.training_graph().training_op()
    state = program.state
    assert np.array_equal(state.clusters[0], centers[0])
    assert state.counts.tolist() == ([2, 2, 0] if empty == "keep" else [2, 1, 1])
    turned = lengthened(rows[3:], False)[0]
    assert_centers(state.clusters[2:], centers[2:] if empty == "keep" else turned, EXACT)


# ---- Nearest centers ----

with np.load(HERE / "nearest_neighbors.npz") as _file:
    NEAREST = dict(_file)
NEAREST_CASES = sorted({name.rsplit("_", 1)[0] for name in NEAREST})
#: All values and squares are small whole numbers or halves: float32 is exact.
EXACT_CASES = ("ties", "dupcenters", "hand", "sameblock")


def test_nearest_cases() -> None:
    assert len(NEAREST_CASES) == 15


@pytest.mark.parametrize("case", NEAREST_CASES)
def test_nearest_neighbors(case: str) -> None:
    points, centers = NEAREST[f"{case}_points"], NEAREST[f"{case}_centers"]
    wanted, wanted_distances = NEAREST[f"{case}_idx"], NEAREST[f"{case}_dist"]
    k = min(int(NEAREST[f"{case}_k"]), len(centers))
    graph = shoal.KMeans(points, None, initial_clusters=centers, num_threads=1).training_graph()
    all_scores = graph.all_scores()
    order = np.argsort(all_scores, axis=1, kind="stable")[:, :k]  # by distance, then by index
    assert np.array_equal(graph.cluster_idx(), order[:, 0])
    assert np.array_equal(graph.scores(), all_scores.min(axis=1))
    distances = np.take_along_axis(all_scores, order, axis=1)
    assert (distances >= 0).all()

    norms = (points.astype(np.float64) ** 2).sum(axis=1)[:, None]
    norms = norms + (centers.astype(np.float64) ** 2).sum(axis=1)
    tolerance = SCORES * norms.max(axis=1)[:, None]
    if case.startswith(EXACT_CASES):
        tolerance = np.zeros_like(tolerance)
    assert order.shape == wanted.shape
    assert (abs(distances - wanted_distances) <= tolerance).all()
    picked = np.take_along_axis(all_scores, wanted, axis=1)
    assert (abs(picked - wanted_distances) <= tolerance).all()
    if not case.startswith("offset"):  # the original's float32 cancels: it picks farther ones
        assert np.array_equal(order, wanted)
    else:
        exact = ((points.astype(np.float64)[:, None] - centers) ** 2).sum(axis=2)
        assert np.array_equal(order[:, 0], exact.argmin(axis=1))
        assert (order != wanted).any()
