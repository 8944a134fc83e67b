"""Interrupted training: the last completed step stays, and training goes on from there."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import shoal
from shoal import KMeansClustering as Model

X = np.random.default_rng(3).normal(size=(500, 4))
KINDS = ["mini-batch", "two copies", "cosine", "full batch"]
#: Rows per batch of mini-batch training: no divisor of the rows, several epochs in 20 steps.
BATCH = 90


class OwnError(Exception):
    pass


class At:
    """A monitor that acts once, before or after a step, and notes what it was told."""

    def __init__(self, step: int, event: str, act: Callable[[], object]) -> None:
        self.step, self.event, self.act = step, event, act
        self.told: list[str] = []

    def begin(self, context: Any) -> None:
        self._tell("begin", context)

    def before_step(self, context: Any) -> None:
        self._tell("before_step", context)

    def after_step(self, context: Any) -> None:
        self._tell("after_step", context)

    def end(self, context: Any) -> None:
        self._tell("end", context)

    def _tell(self, event: str, context: Any) -> None:
        self.told.append(event)
        if event == self.event and context.step == self.step:
            self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise OwnError("mine")


def new(kind: str) -> Model:
    return Model(
        7,
        random_seed=11,
        use_mini_batch=kind != "full batch",
        mini_batch_steps_per_iteration=3 if kind == "two copies" else 1,
        distance_metric="cosine" if kind == "cosine" else "squared_euclidean",
        config=shoal.RunConfig(progress=False),
    )


def fit(model: Model, x: Any = X, **given: Any) -> Model:
    return model.fit(x, batch_size=BATCH, **given)


def variables(model: Model) -> dict[str, Any]:
    values = {name: model.get_variable_value(name) for name in model.get_variable_names()}
    values["users clusters"] = model.clusters()
    return {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def steps_of(model: Model) -> int:
    return int(model.get_variable_value("global_step"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OwnError])
@pytest.mark.parametrize(
    ("event", "step"),
    [("before_step", 0), ("before_step", 8), ("after_step", 1), ("after_step", 8)],
)
def test_a_monitor_raises(kind: str, error: type[BaseException], event: str, step: int) -> None:
    monitor = At(step, event, interrupt if error is KeyboardInterrupt else fail)
    model = new(kind)
    with pytest.raises(error):
        fit(model, steps=20, monitors=[monitor])
    assert steps_of(model) == step
    assert monitor.told.count("after_step") == step
    assert monitor.told[0] == "begin"
    assert monitor.told[-2:] == [event, "end"]
    if step:
        assert variables(model) == variables(fit(new(kind), steps=step))
    else:
        assert model.clusters().shape == (7, 4)  # the chosen centers
    model.predict(X)
    fit(model, max_steps=20)
    assert variables(model) == variables(fit(new(kind), steps=20))


@pytest.mark.parametrize("kind", KINDS)
def test_all_monitors_are_told_the_end(kind: str) -> None:
    monitors = [At(-1, "", fail), At(4, "after_step", fail), At(-1, "", fail)]
    with pytest.raises(OwnError, match="mine"):
        fit(new(kind), steps=20, monitors=monitors)
    assert [monitor.told[-1] for monitor in monitors] == ["end"] * 3


def test_interrupted_again_and_again() -> None:
    model = new("mini-batch")
    for step in range(1, 20):
        with pytest.raises(KeyboardInterrupt):
            fit(model, steps=20, monitors=[At(step, "after_step", interrupt)])
        assert steps_of(model) == step
    assert variables(model) == variables(fit(new("mini-batch"), steps=19))


class Stream:
    """An iterator of batches, not a generator: it goes on after an exception."""

    def __init__(self, error: type[BaseException] | None = None, at: int = -1) -> None:
        self.position, self.error, self.at = 0, error, at

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.position == 20:
            raise StopIteration
        if self.position == self.at and self.error is not None:
            error, self.error = self.error, None
            raise error
        self.position += 1
        start = self.position * 20
        return X[start : start + 100]


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OwnError])
def test_the_iterator_raises(kind: str, error: type[BaseException]) -> None:
    stream = Stream(error, at=8)
    model = new(kind)
    with pytest.raises(error):
        model.fit(stream)
    assert steps_of(model) == 8
    assert variables(model) == variables(new(kind).fit(Stream(), steps=8))
    model.fit(stream)
    assert variables(model) == variables(new(kind).fit(Stream()))
    assert steps_of(model) == 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, OwnError])
def test_the_iterator_raises_before_the_first_batch(error: type[BaseException]) -> None:
    stream = Stream(error, at=0)
    model = new("mini-batch")
    with pytest.raises(error):
        model.fit(stream)
    with pytest.raises(shoal.NotFittedError):
        model.clusters()
    model.fit(stream)
    assert variables(model) == variables(new("mini-batch").fit(Stream()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OwnError])
def test_a_source_raises_within_a_full_batch_step(error: type[BaseException]) -> None:
    reads = 0

    def batches(fails_at: int) -> Iterator[Any]:
        nonlocal reads
        for start in range(0, 500, 100):
            reads += 1
            if reads == fails_at:
                raise error
            yield X[start : start + 100]

    def reference(steps: int) -> Model:
        return new("full batch").fit(input_fn=lambda: batches(-1), steps=steps)

    model = new("full batch")
    with pytest.raises(error):
        model.fit(input_fn=lambda: batches(28), steps=6)
    done = steps_of(model)
    assert 0 < done < 6
    assert variables(model) == variables(reference(done))
    model.fit(input_fn=lambda: batches(-1), max_steps=6)
    assert variables(model) == variables(reference(6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", ["before_step", "after_step"])
def test_a_signal_during_a_monitor(kind: str, event: str) -> None:
    model = new(kind)
    monitor = At(5, event, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        fit(model, steps=20, monitors=[monitor])
    assert steps_of(model) == 5
    assert monitor.told[-1] == "end"
    assert variables(model) == variables(fit(new(kind), steps=5))
    fit(model, max_steps=20)
    assert variables(model) == variables(fit(new(kind), steps=20))


@pytest.mark.parametrize("kind", ["mini-batch", "two copies", "full batch"])
@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011])
def test_a_signal_at_any_time(kind: str, delay: float) -> None:
    """The interrupt comes wherever the main thread is: in a step, or between two."""
    model, started = new(kind), threading.Event()
    fit(model, steps=1)

    def later() -> None:
        started.wait()
        time.sleep(delay)
        _thread.interrupt_main()

    thread = threading.Thread(target=later)
    thread.start()
    many = 100_000  # some ten seconds
    with pytest.raises(KeyboardInterrupt):
        fit(model, steps=many, monitors=[At(1, "before_step", started.set)])
    thread.join()
    done = steps_of(model)
    assert variables(model) == variables(fit(new(kind), steps=done))
    fit(model, steps=10)
    assert variables(model) == variables(fit(new(kind), steps=done + 10))


def test_an_interrupted_partial_fit_keeps_the_position_of_fit() -> None:
    model, other = fit(new("mini-batch"), steps=8), fit(new("mini-batch"), steps=8)
    other.partial_fit(X[:50])
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[:50], steps=5, monitors=[At(9, "after_step", interrupt)])
    assert variables(model) == variables(other)
    for one in (model, other):
        fit(one, steps=8)
    assert variables(model) == variables(other)


def test_seeding_is_interrupted() -> None:
    calls = 0

    def choose(inputs: list[Any], remaining: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return inputs[0][calls : calls + min(remaining, 2)]

    model = Model(7, initial_clusters=choose)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, steps=3)
    with pytest.raises(shoal.NotFittedError):
        model.clusters()
    assert steps_of(model.fit(X, steps=3)) == 3


def test_the_program_goes_on_after_its_inputs_raised() -> None:
    def program(inputs: Any) -> tuple[shoal.KMeans, Any]:
        kmeans = shoal.KMeans(inputs, None, initial_clusters=X[:7], use_mini_batch=True)
        return kmeans, kmeans.training_graph()

    kmeans, graph = program(Stream(KeyboardInterrupt, at=3))
    losses = [graph.training_op() for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        graph.training_op()
    assert kmeans.state.global_step == 3
    losses += [graph.training_op() for _ in range(5)]
    other, reference = program(Stream())
    assert losses == [reference.training_op() for _ in range(8)]
    assert kmeans.state.clusters.tobytes() == other.state.clusters.tobytes()


def test_evaluation_tells_its_hooks_the_end() -> None:
    model = fit(new("mini-batch"), steps=3)
    before = variables(model)
    hook = At(3, "after_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(X, hooks=[hook])
    assert hook.told[-1] == "end"
    assert variables(model) == before
