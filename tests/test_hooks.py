"""Monitors: the protocol, what they see, what happens where one fails, and the ready-made ones."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.hooks import EarlyStopping, History

X = np.random.default_rng(3).normal(size=(300, 4))
KINDS = {"full batch": False, "mini-batch": True}
kinds = pytest.mark.parametrize("kind", KINDS)


def new(kind: str, **given: Any) -> shoal.KMeansClustering:
    given = {"config": shoal.RunConfig(progress=False), **given}
    return shoal.KMeansClustering(7, use_mini_batch=KINDS[kind], **given)


class Monitor:
    """Notes what it is told, and does something at it."""

    def __init__(self, **acts: Any) -> None:
        self.acts = acts
        self.told: list[str] = []

    def begin(self, context: Any) -> Any:
        return self._tell("begin", context)

    def before_step(self, context: Any) -> Any:
        return self._tell("before_step", context)

    def after_step(self, context: Any) -> Any:
        return self._tell("after_step", context)

    def end(self, context: Any) -> Any:
        return self._tell("end", context)

    def _tell(self, event: str, context: Any) -> Any:
        self.told.append(event)
        return self.acts[event](context) if event in self.acts else None


def fail(_context: Any) -> None:
    raise RuntimeError("mine")


# ---- What they see ----


@kinds
def test_the_state_is_the_one_after_the_step(kind: str) -> None:
    seen: list[shoal.State] = []
    steps: list[tuple[int, int]] = []

    def after(context: Any) -> None:
        seen.append(context.state)
        steps.append((context.step, context.epoch))

    model = new(kind)
    model.fit(X, steps=7, batch_size=100, monitors=[Monitor(after_step=after)])
    assert [state.global_step for state in seen] == list(range(1, 8))
    epochs = [0, 0, 1, 1, 1, 2, 2] if KINDS[kind] else [0] * 7
    assert steps == list(zip(range(1, 8), epochs, strict=True))
    assert seen[-1].clusters.tobytes() == model.state.clusters.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        seen[0].clusters[0] = 0
    # A state from the middle of the run goes on to the same end.
    other = new(kind)
    other.restore(seen[3])
    other.fit(X, max_steps=7, batch_size=100)
    assert other.clusters().tobytes() == model.clusters().tobytes()


@kinds
def test_the_state_at_the_end_is_the_one_of_the_model(kind: str) -> None:
    last: list[shoal.State] = []
    model = new(kind)
    model.fit(X, batch_size=100, monitors=[Monitor(end=lambda c: last.append(c.state))])
    for name in shoal.State.__dataclass_fields__:
        assert np.array_equal(getattr(last[0], name), getattr(model.state, name)), name


@pytest.mark.parametrize("weighted", [False, True])
@kinds
def test_cluster_sizes_and_loss_per_row(kind: str, weighted: bool) -> None:
    weights = np.random.default_rng(4).uniform(0.5, 2, len(X)) if weighted else None
    data = shoal.Weighted(X, weights) if weighted else X
    before: list[np.ndarray] = []
    checked = []

    def after(context: Any) -> None:
        distances = ((X[:, None] - before[-1]) ** 2).sum(axis=2)
        sizes = np.bincount(distances.argmin(axis=1), weights, minlength=7)
        assert context.cluster_sizes == pytest.approx(sizes, rel=1e-9)
        with pytest.raises(ValueError, match="read-only"):
            context.cluster_sizes[0] = 1
        total = len(X) if weights is None else weights.sum()
        assert context.loss_per_row == pytest.approx(context.loss / total, rel=1e-9)
        assert context.step_seconds > 0
        checked.append(context.step)

    monitor = Monitor(before_step=lambda c: before.append(c.clusters), after_step=after)
    new(kind).fit(data, steps=3, monitors=[monitor])
    assert checked == [1, 2, 3]


def test_before_the_first_step_there_is_no_loss() -> None:
    def begin(context: Any) -> None:
        nothing = (context.loss, context.loss_per_row, context.cluster_sizes, context.step_seconds)
        assert nothing == (None, None, None, None)
        assert context.phase == "training"
        assert context.rows_total == len(X)

    monitor = Monitor(begin=begin)
    new("full batch").fit(X, steps=1, monitors=[monitor])
    assert monitor.told[0] == "begin"


# ---- Where one fails ----


@kinds
@pytest.mark.parametrize("event", ["begin", "before_step", "after_step"])
def test_the_others_are_told_the_end(kind: str, event: str) -> None:
    monitors = [Monitor(), Monitor(**{event: fail}), Monitor()]
    model = new(kind)
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, steps=5, monitors=monitors)
    first, failing, last = (monitor.told for monitor in monitors)
    assert first[-1] == failing[-1] == "end"
    if event == "begin":  # what was not told the begin is not told the end
        assert last == []
    else:
        assert last[-1] == "end"
        assert event not in last
    assert model.state.global_step == (1 if event == "after_step" else 0)


def test_a_failure_at_the_end_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail_too(_context: Any) -> None:
        raise OSError("another")

    monitors = [Monitor(end=fail), Monitor(end=fail_too), Monitor()]
    model = new("mini-batch")
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, steps=5, monitors=monitors)
    assert [monitor.told[-1] for monitor in monitors] == ["end"] * 3
    assert model.state.global_step == 5
    assert "another" in caplog.text
    model.fit(X, steps=5)
    assert model.state.global_step == 10


def test_the_end_knows_why() -> None:
    why: list[Any] = []
    note = Monitor(end=lambda context: why.append(context.error))
    new("mini-batch").fit(X, steps=2, monitors=[note])
    with pytest.raises(RuntimeError):
        new("mini-batch").fit(X, steps=2, monitors=[note, Monitor(after_step=fail)])
    with pytest.raises(ValueError, match="nan"):
        new("mini-batch").fit(iter([X, X * np.nan]), monitors=[note])
    assert [type(error) for error in why] == [type(None), RuntimeError, shoal.BadInputError]


def test_monitors_can_be_used_again() -> None:
    monitor = Monitor()
    model = new("full batch")
    for _ in range(2):
        model.fit(X, steps=1, monitors=[monitor])
    assert monitor.told == ["begin", "before_step", "after_step", "end"] * 2


def test_only_what_is_there_is_called() -> None:
    class Silent:
        def progress(self, context: Any) -> None:
            del context

    new("full batch").fit(X, steps=2, monitors=[Silent()])


def test_progress_is_told_piece_by_piece() -> None:
    seen: list[tuple[str, int, int | None, int]] = []

    class Progress:
        def progress(self, context: Any) -> None:
            seen.append(
                (context.phase, context.rows_done, context.rows_total, context.centers_found)
            )

    def read() -> Any:
        return iter([X[:100], X[100:150], X[150:]])

    model = new("full batch", initial_clusters="kmeans_plus_plus")
    model.fit(read, steps=2, monitors=[Progress()])
    phases = [phase for phase, *_ in seen]
    assert list(dict.fromkeys(phases)) == ["choosing centers", "reading", "training"]
    assert phases == sorted(phases)
    assert [rows for phase, *rows, _ in seen if phase == "reading"] == [
        [100, None],
        [150, None],
        [300, None],
    ]
    training = [rows for phase, *rows, _ in seen if phase == "training"]
    assert training == [[100, 300], [150, 300], [300, 300]] * 2


# ---- EarlyStopping ----


class Losses:
    """Makes a run of the losses it is given, for EarlyStopping to see."""

    def __init__(self, *losses: float) -> None:
        self.losses = losses

    def __call__(self, context: Any) -> float:
        return self.losses[context.step - 1]


@pytest.mark.parametrize(
    ("losses", "given", "step", "best"),
    [
        ([5, 4, 4, 4, 3, 2], {"patience": 2}, 4, 4),
        ([5, 4, 4, 3, 3, 3], {"patience": 3}, None, 3),
        ([5, 4, 4, 3, 3, 3], {"patience": 2}, 6, 3),
        ([5, 4.5, 4, 3.5, 3, 2], {"patience": 2, "min_delta": 0.5}, None, 2),
        ([5, 4.9, 4.8, 4.7, 3, 2], {"patience": 2, "min_delta": 0.5}, 3, 5),
        ([9, 10, 11, 12, 13, 1], {"patience": 1}, 2, 9),
        ([np.nan, 4, 3, np.nan, np.nan, 1], {"patience": 2}, 5, 3),
    ],
)
def test_early_stopping(
    losses: list[float], given: dict[str, Any], step: int | None, best: float
) -> None:
    stop = EarlyStopping(**given, monitor=Losses(*losses))
    model = new("mini-batch").fit(X, steps=6, batch_size=50, monitors=[stop])
    assert model.state.global_step == (step or 6)
    assert stop.stopped_step == step
    assert stop.best == best


def test_early_stopping_by_the_loss(caplog: pytest.LogCaptureFixture) -> None:
    history, stop = History(), EarlyStopping(patience=3)
    with caplog.at_level(logging.INFO, "shoal"):
        new("mini-batch").fit(X, steps=1000, batch_size=50, monitors=[history, stop])
    losses = [record["loss_per_row"] for record in history.records]
    assert 4 <= len(losses) < 1000
    assert stop.best == min(losses)
    assert losses[-4] == min(losses)
    assert f"stopped after step {len(losses)}" in caplog.text


def test_early_stopping_starts_anew() -> None:
    stop = EarlyStopping(patience=1, monitor=Losses(1, 1, 1, 1))
    model = new("mini-batch")
    for steps in (2, 4):
        model.fit(X, steps=4, batch_size=50, monitors=[stop])
        assert model.state.global_step == steps


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"patience": 1.5}, "patience is 1.5"),
        ({"min_delta": -1}, "min_delta is -1"),
        ({"min_delta": float("nan")}, "min_delta is nan"),
        ({"min_delta": "1"}, "min_delta is '1'"),
        ({"monitor": "accuracy"}, "monitor is 'accuracy'.*loss_per_row"),
    ],
)
def test_refused_arguments(given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        EarlyStopping(**given)


# ---- History ----


def test_history() -> None:
    history = History(every=2)
    model = new("full batch")
    model.fit(X, steps=5, monitors=[history])
    model.fit(X, steps=1, monitors=[history])
    assert [record["step"] for record in history.records] == [2, 4, 6]
    assert history.losses == sorted(history.losses, reverse=True)
    assert history.records[0]["rows"] == len(X)
