"""Progress: a bar on a terminal or in a notebook, log lines elsewhere, silence on request."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.hooks import History, log_lines, progress
from shoal.sources.limits import Limits

X = np.random.default_rng(3).normal(size=(600, 4))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work of any length has a bar."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)


class Bar:
    """Stands for tqdm in a notebook."""

    made: list[Bar]

    def __init__(self, **given: Any) -> None:
        self.given, self.n, self.words, self.closed = given, given["initial"], [], False
        self.positions = [self.n]
        Bar.made.append(self)

    def set_postfix_str(self, words: str, refresh: bool) -> None:
        assert not refresh
        self.words.append(words)

    def update(self, by: float) -> None:
        assert not self.closed
        self.n += by
        self.positions.append(self.n)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Bar]]:
    Bar.made = []
    auto = types.ModuleType("tqdm.auto")
    auto.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    yield Bar.made
    assert all(bar.closed for bar in Bar.made)


def read() -> Iterator[np.ndarray]:
    return iter([X[:300], X[300:450], X[450:]])


# ---- In a notebook ----


@pytest.mark.usefixtures("impatient")
def test_a_bar_of_steps(notebook: list[Bar]) -> None:
    shoal.KMeansClustering(5).fit(X, steps=9, batch_size=200)
    (bar,) = notebook
    assert bar.given["desc"] == "training"
    assert (bar.given["total"], bar.given["unit"], bar.positions) == (9, "step", [*range(10)])
    assert re.fullmatch(r"loss [\d.]+", bar.words[0])
    assert re.fullmatch(r"loss [\d.]+, epoch 3", bar.words[-1])


@pytest.mark.usefixtures("impatient")
def test_a_run_that_goes_on(notebook: list[Bar]) -> None:
    model = shoal.KMeansClustering(5).fit(X, steps=4)
    model.fit(X, max_steps=10)
    assert [(bar.given["total"], bar.n) for bar in notebook] == [(4, 4), (6, 6)]


@pytest.mark.usefixtures("impatient")
def test_a_run_of_unknown_length(notebook: list[Bar]) -> None:
    model = shoal.KMeansClustering(5, use_mini_batch=False).fit(X)
    (bar,) = notebook
    assert (bar.given["total"], bar.n) == (None, model.state.global_step)


class Batches:
    """Batches whose number is known, like those of a DataLoader."""

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[np.ndarray]:
        return (X[start : start + 100] for start in range(0, 600, 100))


@pytest.mark.usefixtures("impatient")
def test_batches_that_are_counted_say_when_it_ends(notebook: list[Bar]) -> None:
    model = shoal.KMeansClustering(5).fit(Batches())
    model.fit(Batches())
    model.fit(iter(Batches()))
    assert [(bar.given["total"], bar.n) for bar in notebook] == [(6, 6), (6, 6), (None, 6)]


@pytest.mark.usefixtures("impatient")
def test_where_epochs_end_the_run_it_says_which(notebook: list[Bar]) -> None:
    config = shoal.RunConfig(max_epochs=3, max_no_improvement=99)
    shoal.KMeansClustering(5, config=config).fit(X, batch_size=200)
    (bar,) = notebook
    assert (bar.given["total"], bar.n) == (None, 9)
    assert bar.words[2].endswith("epoch 1 of at most 3")


@pytest.mark.usefixtures("impatient")
def test_the_bar_moves_within_a_pass(notebook: list[Bar]) -> None:
    model = shoal.KMeansClustering(None, initial_clusters=X[:5], use_mini_batch=False)
    model.fit(read, steps=2)
    (bar,) = notebook
    assert bar.given["desc"] == "training"
    steps = [0.5, 0.75, 0.99, 1]
    assert bar.positions == [0, 0, 0, 0, *steps, *(1 + step for step in steps)]
    assert bar.words[:3] == ["300 rows", "450 rows", "600 rows"]  # the look at all rows
    assert "50% of a pass" in bar.words[3]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("init", ["kmeans_plus_plus", "kmc2"])
def test_the_choice_of_centers_is_shown(notebook: list[Bar], init: str) -> None:
    model = shoal.KMeansClustering(
        200, initial_clusters=init, use_mini_batch=False, kmc2_chain_length=100
    )
    model.fit(read, steps=1)
    seeding, training = notebook
    assert seeding.given["desc"] == "choosing centers"
    assert (seeding.given["total"], seeding.given["unit"], seeding.n) == (200, "center", 200)
    assert len(set(seeding.positions)) > 2
    assert training.given["desc"] == "training"


@pytest.mark.usefixtures("impatient")
def test_seeding_that_fails_closes_its_bar(notebook: list[Bar]) -> None:
    bad = X.copy()
    bad[500, 1] = np.nan
    model = shoal.KMeansClustering(5, initial_clusters="kmc2", use_mini_batch=False)
    with pytest.raises(ValueError, match="nan"):
        model.fit(lambda: iter([bad[:400], bad[400:]]))
    assert len(notebook) == 1  # closed: see the fixture


Call = Callable[[shoal.KMeansClustering, Any], object]
CALLS: dict[str, Call] = {
    "predict": lambda model, x: model.predict(x, as_iterable=False),
    "transform": lambda model, x: model.transform(x),
    "score": lambda model, x: model.score(x),
    "evaluate": lambda model, x: model.evaluate(x),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["stream", "array"])
@pytest.mark.parametrize("name", CALLS)
def test_rows_are_shown(notebook: list[Bar], name: str, kind: str) -> None:
    model = shoal.KMeansClustering(5, config=shoal.RunConfig(progress=False)).fit(X, steps=1)
    expected = {name: call(model, X) for name, call in CALLS.items()}[name]
    model.set_params(config=None)
    pieces = shoal.open(X, limits=Limits(answer_rows=200))
    found = CALLS[name](model, read if kind == "stream" else pieces)
    assert repr(found) == repr(expected)
    (bar,) = notebook
    assert bar.given["desc"] == name
    assert (bar.given["total"], bar.given["unit"]) == (None if kind == "stream" else 600, "row")
    assert bar.n == 600


@pytest.mark.usefixtures("impatient")
def test_what_is_done_at_once_has_no_bar(notebook: list[Bar]) -> None:
    model = shoal.KMeansClustering(5, config=shoal.RunConfig(progress=False)).fit(X, steps=1)
    model.set_params(config=None)
    for call in CALLS.values():
        call(model, X)
    list(model.predict(X))  # what the user goes through has none either
    assert notebook == []


@pytest.mark.parametrize("wanted", [True, "auto"])
def test_short_work_has_no_bar(notebook: list[Bar], wanted: bool | str) -> None:
    shoal.KMeansClustering(5, config=shoal.RunConfig(progress=wanted)).fit(X, steps=3)
    assert notebook == []


@pytest.mark.usefixtures("impatient")
def test_silence(notebook: list[Bar], caplog: pytest.LogCaptureFixture) -> None:
    config = shoal.RunConfig(progress=False, log_step_count_steps=1)
    with caplog.at_level(logging.INFO, "shoal"):
        model = shoal.KMeansClustering(5, config=config).fit(X, steps=3)
        for call in CALLS.values():
            call(model, read)
    assert notebook == []
    assert [record.message for record in caplog.records] == ["5 centers chosen"]


def test_without_tqdm(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with caplog.at_level(logging.INFO, "shoal"):
        config = shoal.RunConfig(log_step_count_steps=1)
        model = shoal.KMeansClustering(5, config=config).fit(X, steps=3)
    assert "step 3: loss" in caplog.text
    model.set_params(config=shoal.RunConfig(progress=True))
    calls = {"fit": lambda model, x: model.fit(x, steps=1), **CALLS}
    for call in calls.values():
        with pytest.raises(shoal.MissingExtraError, match=r"shoal\[progress\]"):
            call(model, X)
    assert model.state.global_step == 3


# ---- In a log ----


def test_long_work_is_logged_by_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_lines, "LOG_SECONDS", (0.0, 0.0))
    config = shoal.RunConfig(log_step_count_steps=1)
    model = shoal.KMeansClustering(
        50, initial_clusters="kmeans_plus_plus", use_mini_batch=False, config=config
    )
    with caplog.at_level(logging.INFO, "shoal"):
        model.fit(read, steps=1)
        model.score(read)
        model.score(X, steps=1)
    text = caplog.text
    assert re.search(r"choosing centers: \d+ found, \d", text)
    assert "step 1, reading: 300 rows, " in text
    assert "step 1, training: 300 of 600 rows, " in text
    assert "step 1: loss " in text
    assert "score: 450 rows, " in text
    assert "score: 600 of 600 rows, " in text


def test_lines_come_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(log_lines.time, "perf_counter", lambda: now)
    waits, at = log_lines.Waits(), []
    for tick in range(3600):
        now = 100.0 + tick / 4
        if waits.over():
            at.append(tick / 4)
    assert at[:9] == [1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert np.diff(at).max() == 60


def test_a_line_says_what_there_was_and_is_to_come(caplog: pytest.LogCaptureFixture) -> None:
    config = shoal.RunConfig(log_step_count_steps=4)
    model = shoal.KMeansClustering(5, config=config).fit(X, steps=3, batch_size=200)
    losses = History()
    with caplog.at_level(logging.INFO, "shoal"):
        model.fit(X, max_steps=9, batch_size=200, monitors=[losses])
    first, *lines = [record.message for record in caplog.records]
    assert first == "continuing from step 3"
    seen = {one["step"]: one for one in losses.records}
    for line, (step, done) in zip(lines, [(4, 1), (8, 5)], strict=True):
        loss, per_row = f"{seen[step]['loss']:.6g}", f"{seen[step]['loss_per_row']:.6g}"
        assert re.fullmatch(
            rf"step {step}: loss {re.escape(loss)} \({re.escape(per_row)} per row\), "
            rf"{done} of 6 steps, [\d.]+ s, about [\d.]+ s left",
            line,
        )


def test_slow_steps_have_lines_by_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_lines, "LOG_SECONDS", (0.0, 0.0))
    with caplog.at_level(logging.INFO, "shoal"):
        shoal.KMeansClustering(5).fit(X, steps=3)  # a line per 100 steps, and these
    assert len([line for line in caplog.messages if line.startswith("step ")]) == 3


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.24, "0.2 s"), (99.0, "99.0 s"), (121, "2 min"), (9000, "2 h 30 min")]
)
def test_times_are_short(seconds: float, words: str) -> None:
    assert log_lines.duration(seconds) == words


# ---- On a terminal ----

PROGRAM = """
import threading
import numpy as np
import shoal
from shoal.hooks import History, log_lines, progress

progress.PATIENCE = 0.0
x = np.random.default_rng(0).normal(size=(2000, 4))
read = lambda: (x[i : i + 100] for i in range(0, 2000, 100))
model = shoal.KMeansClustering(5, use_mini_batch=False).fit(read, steps=6)
model.score(read)
assert threading.active_count() == 1, threading.enumerate()
"""


def on_terminal(
    program: str, monkeypatch: pytest.MonkeyPatch, lines: int = 24, columns: int = 100
) -> str:
    """What a program writes to the terminal that is its standard error."""
    pty, termios, fcntl = map(pytest.importorskip, ("pty", "termios", "fcntl"))
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    written = io.BytesIO()

    def drain() -> None:
        with contextlib.suppress(OSError):  # its end, on Linux
            while piece := os.read(ours, 4096):
                written.write(piece)

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stderr=theirs, stdout=subprocess.PIPE, timeout=120
        )
    finally:
        os.close(theirs)
        reader.join(30)
        os.close(ours)
    text = written.getvalue().decode("utf-8", "replace")
    assert done.returncode == 0, text
    assert done.stdout == b""
    return text


@pytest.mark.parametrize(("lines", "columns"), [(24, 100), (0, 100), (0, 0)])
def test_a_terminal(monkeypatch: pytest.MonkeyPatch, lines: int, columns: int) -> None:
    pytest.importorskip("tqdm")
    shown = on_terminal(PROGRAM, monkeypatch, lines, columns)
    assert re.search(r"\rtraining: 100%.*6/6 \[.*loss [\d.]+\]", shown)
    assert re.search(r"\rscore: 2\.00krow \[", shown)
    assert "Warning" not in shown
    assert not re.search(r"\d\.\d{3,}/6", shown)


def test_a_terminal_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal("import sys\nsys.modules['tqdm.auto'] = None\n" + PROGRAM, monkeypatch)
    lines = shown.replace("\r\n", "\n").split("\n")
    training = next(line for line in lines if "training" in line).split("\r")[-1]
    assert re.match(r"training: 100% 6 of 6 steps, [\d.]+ s, loss [\d.]+ *$", training)
    assert any("score: 2,000 rows, " in line.split("\r")[-1] for line in lines)
    assert "Traceback" not in shown


def test_a_terminal_with_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAM.replace(
        "use_mini_batch=False", "use_mini_batch=False, config=shoal.RunConfig(progress=False)"
    )
    assert on_terminal(program, monkeypatch) == ""
