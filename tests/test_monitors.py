"""Monitors see every step and may stop a run; progress is shown."""

from __future__ import annotations

import logging
import re

import pytest
from estimator_helpers import Recorder, metrics, step_of
from helpers import distances, make_rows

import shoal

# ---- Monitors ----


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_monitors_are_told_in_order(use_mini_batch):
    rows = make_rows()
    log = []

    class Named:
        def __init__(self, name):
            self.name = name

        def begin(self, context):
            log.append((self.name, "begin", context.step))

        def before_step(self, context):
            log.append((self.name, "before_step", context.step))

        def after_step(self, context):
            log.append((self.name, "after_step", context.step))

        def end(self, context):
            log.append((self.name, "end", context.step))

    class OnlyEnd:
        def end(self, context):
            log.append(("only", "end", context.step))

    model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch)
    model.fit(rows, steps=1)
    model.fit(rows, steps=2, monitors=[Named("a"), Named("b"), OnlyEnd()])
    expected = [("begin", 1), ("before_step", 1), ("after_step", 2), ("before_step", 2)]
    expected += [("after_step", 3), ("end", 3)]
    told = [(name, *event) for event in expected for name in "ab"]
    assert log == [*told, ("only", "end", 3)]


@metrics
@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_context(metric, use_mini_batch):
    rows = make_rows()
    test = {}

    class Look:
        def begin(self, context):
            assert context.loss is None
            assert context.total_steps == 3

        def before_step(self, context):
            test["before"] = context.clusters

        def after_step(self, context):
            nearest = distances(rows, test["before"], metric).min(axis=1)
            assert context.loss == pytest.approx(nearest.sum(), rel=1e-12)
            assert context.rows == len(rows)
            assert context.elapsed >= 0
            assert not context.stop_requested
            test["after"] = context.clusters
            with pytest.raises(ValueError, match="read-only"):
                context.clusters[0] = 0

    model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch, distance_metric=metric)
    model.fit(rows, steps=3, monitors=[Look()])
    assert test["after"].tobytes() == model.clusters().tobytes()
    assert test["after"].tobytes() != test["before"].tobytes()


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_monitors_stop_the_run(use_mini_batch):
    rows = make_rows()

    class Ask:
        def __init__(self, event):
            self.event = event

        def before_step(self, context):
            if self.event == "before_step" and context.step == 2:
                context.request_stop()

        def after_step(self, context):
            if self.event == "after_step" and context.step == 3:
                context.request_stop()

    for monitor in (Ask("before_step"), Ask("after_step"), Recorder(stop_at=3)):
        seen = Recorder()
        model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch)
        model.fit(rows, steps=9, batch_size=30, monitors=[monitor, seen])
        assert step_of(model) == 3
        assert seen.steps == [1, 2, 3]  # the others are still told
        assert seen.events[-1] == "end"


def test_a_monitor_that_fails_loses_no_step():
    class Fail:
        def after_step(self, context):
            if context.step == 2:
                raise RuntimeError("no more")

    rows = make_rows()
    seen = Recorder()
    model = shoal.KMeansClustering(5)
    with pytest.raises(RuntimeError, match="no more"):
        model.fit(rows, steps=5, batch_size=30, monitors=[seen, Fail()])
    assert step_of(model) == 2
    assert seen.events[-1] == "end"
    model.fit(rows, steps=3, batch_size=30)
    whole = shoal.KMeansClustering(5).fit(rows, steps=5, batch_size=30)
    assert model.clusters().tobytes() == whole.clusters().tobytes()


@pytest.mark.parametrize("monitors", [Recorder(), [Recorder, object()], [3]])
def test_refused_monitors(monitors):
    with pytest.raises(ValueError, match="monitors"):
        shoal.KMeansClustering(2).fit(make_rows(), steps=1, monitors=monitors)


# ---- Progress ----


def test_progress_is_logged_where_there_is_no_terminal(caplog):
    rows = make_rows()
    config = shoal.RunConfig(log_step_count_steps=2)
    with caplog.at_level(logging.INFO, "shoal"):
        shoal.KMeansClustering(5, config=config).fit(rows, steps=5)
    lines = [record for record in caplog.records if "loss" in record.message]
    assert [record.name for record in lines] == ["shoal"] * 2
    assert [re.match(r"step (\d+): loss \S+", line.message)[1] for line in lines] == ["2", "4"]


@pytest.mark.parametrize("progress", [False, "auto"])
def test_progress_writes_nothing_by_itself(progress, capfd, caplog):
    config = shoal.RunConfig(progress=progress, log_step_count_steps=1)
    with caplog.at_level(logging.INFO, "shoal"):
        shoal.KMeansClustering(5, config=config).fit(make_rows(), steps=5)
    if progress is False:
        assert not [record for record in caplog.records if "loss" in record.message]
    assert capfd.readouterr() == ("", "")


def test_progress_bar(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("shoal.hooks.Context.elapsed", property(lambda _: 2.0))
    shoal.KMeansClustering(5, config=shoal.RunConfig(progress=True)).fit(make_rows(), steps=5)
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert "loss" in shown


def test_progress_bar_waits_a_second(capsys):
    pytest.importorskip("tqdm")
    shoal.KMeansClustering(5, config=shoal.RunConfig(progress=True)).fit(make_rows(), steps=5)
    assert capsys.readouterr().err == ""
