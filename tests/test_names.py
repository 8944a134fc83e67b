"""Names of columns: their order, how data is matched by them, and what errors call things."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

import shoal
from shoal import load_model, save_model

NAMES = ["z", "a", "m"]
RNG = np.random.default_rng(4)
X = np.concatenate([RNG.normal(size=(40, 3)), RNG.normal((0, 9, -40), size=(40, 3))])
FRAME = pandas.DataFrame(X, columns=NAMES)
OTHER = FRAME.rename(columns={"a": "b"})
TURNED = FRAME[["m", "z", "a"]]

FRAMES: dict[str, Callable[[pandas.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "polars": polars.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "dict": lambda frame: {name: frame[name].to_numpy() for name in frame},
}


def csv(frame: pandas.DataFrame, path: Path) -> Path:
    frame.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def parquet_file(frame: pandas.DataFrame, path: Path) -> Path:
    parquet.write_table(pa.Table.from_pandas(frame), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def arrow_file(frame: pandas.DataFrame, path: Path) -> Path:
    feather.write_feather(frame, str(path.with_suffix(".feather")))
    return path.with_suffix(".feather")


FILES = {"csv": csv, "parquet": parquet_file, "feather": arrow_file}


def new(**given: Any) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(
        **{"num_clusters": 2, "initial_clusters": X[[0, -1]], "use_mini_batch": False, **given}
    )


def labels(model: shoal.KMeansClustering, data: Any) -> list[int]:
    return list(map(int, model.labels(data)))


PLAIN = new().fit(X)
RIGHT = labels(PLAIN, X)


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_and_arrays_are_the_same_data(kind: str) -> None:
    make = FRAMES[kind]
    model = new().fit(make(FRAME))
    assert model.columns == tuple(NAMES)
    assert model.clusters().tobytes() == PLAIN.clusters().tobytes()
    for data in (make(FRAME), X, make(TURNED), make(FRAME.assign(id=range(80)))):
        assert labels(model, data) == RIGHT
        assert model.score(data) == PLAIN.score(X)
    with pytest.raises(shoal.BadInputError, match=r"no column 'a'.*'b'.*the model has \['z', 'a'"):
        model.predict(make(OTHER))


@pytest.mark.parametrize("kind", FILES)
def test_files_and_arrays_are_the_same_data(kind: str, tmp_path: Path) -> None:
    write = FILES[kind]
    model = new().fit(write(FRAME, tmp_path / "x"))
    assert model.columns == tuple(NAMES)
    assert model.clusters().tobytes() == PLAIN.clusters().tobytes()
    assert labels(model, X) == labels(model, write(TURNED, tmp_path / "turned")) == RIGHT
    with pytest.raises(shoal.BadInputError, match=r"other\.\w+ has no column 'a'.*'b'.*'z', 'a'"):
        model.predict(write(OTHER, tmp_path / "other"))


@pytest.mark.parametrize("kind", FILES)
def test_files_of_a_directory_are_matched_by_name(kind: str, tmp_path: Path) -> None:
    FILES[kind](FRAME[:50], tmp_path / "1")
    FILES[kind](TURNED[50:], tmp_path / "2")
    assert new().fit(tmp_path).clusters().tobytes() == PLAIN.clusters().tobytes()
    FILES[kind](OTHER, tmp_path / "3")
    with pytest.raises(shoal.BadInputError, match=r"3\.\w+ has no column 'a'.*'b'.*1\.\w+ has"):
        new().fit(tmp_path)


DOORS: dict[str, Callable[[list[Any]], Any]] = {
    "list": lambda parts: parts,
    "generator": lambda parts: (part for part in parts),
    "callable": lambda parts: lambda: iter(parts),
    "shards of batches": lambda parts: lambda: iter([parts]),
}


@pytest.mark.parametrize(("door", "kind"), list(itertools.product(DOORS, FRAMES)))
def test_parts_are_matched_by_name(door: str, kind: str) -> None:
    make, enter = FRAMES[kind], DOORS[door]
    mini = {"use_mini_batch": door == "generator"}
    rows = [X[:50], X[50:]]
    model = new(**mini).fit(enter([make(FRAME[:50]), make(TURNED[50:])]))
    assert model.clusters().tobytes() == new(**mini).fit(enter(rows)).clusters().tobytes()
    with pytest.raises(shoal.BadInputError, match=r"no column 'a'.*'b'.*has \['z', 'a', 'm'\]"):
        new(**mini).fit(enter([make(FRAME), make(OTHER)]))
    with pytest.raises(shoal.BadInputError, match="column 'more' too many"):
        new(**mini).fit(enter([make(FRAME), make(FRAME.assign(more=1.0))]))
    chosen = new(feature_columns=NAMES, **mini)
    chosen.fit(enter([make(FRAME[:50]), make(TURNED[50:].assign(more=1.0))]))
    assert chosen.clusters().tobytes() == model.clusters().tobytes()


def test_calls_of_partial_fit_are_matched_by_name() -> None:
    model = new().partial_fit(FRAME[:50]).partial_fit(TURNED[50:])
    plain = new().partial_fit(X[:50]).partial_fit(X[50:])
    assert model.clusters().tobytes() == plain.clusters().tobytes()
    with pytest.raises(shoal.BadInputError, match=r"no column 'a'.*'b'.*the model"):
        model.partial_fit(OTHER)
    assert model.state.global_step == 2


def test_a_model_without_names_takes_them_by_position_and_remembers(tmp_path: Path) -> None:
    for first in (FRAME, iter([FRAME]), lambda: FRAME):
        model = new().fit(X)
        assert labels(model, first) == RIGHT
        assert model.columns == tuple(NAMES)
        assert labels(model, TURNED) == RIGHT
    model = new(model_dir=str(tmp_path / "run")).fit(X, steps=1)
    assert model.columns == ()
    model.fit(FRAME, steps=1)
    save_model(model, tmp_path / "m.npz")
    for again in (new(model_dir=str(tmp_path / "run")), load_model(tmp_path / "m.npz")):
        assert again.columns == tuple(NAMES)
        assert labels(again, TURNED) == labels(again, X) == labels(model, X)


def test_a_wrong_width_teaches_no_names() -> None:
    model = new().fit(X)
    with pytest.raises(shoal.BadInputError, match="2 columns"):
        model.predict(FRAME[["a", "m"]])
    assert model.columns == ()


def test_opened_data_is_matched_by_name(tmp_path: Path) -> None:
    model = new().fit(FRAME)
    for data in (TURNED, csv(TURNED, tmp_path / "x"), parquet_file(TURNED, tmp_path / "x")):
        assert labels(model, shoal.open(data)) == RIGHT
    assert labels(model, shoal.open(iter([TURNED, FRAME[:0]]))) == RIGHT
    wide = pandas.DataFrame({"v": X[:, :2].tolist(), "m": X[:, 2]})
    listed = new().fit(wide)
    assert labels(listed, shoal.open(wide[["m", "v"]])) == labels(listed, X) == RIGHT
    with pytest.raises(shoal.BadInputError, match=r"no column 'a'.*'b'"):
        model.predict(shoal.open(OTHER))


@pytest.mark.parametrize("kind", FRAMES)
def test_given_centers_are_matched_by_name(kind: str) -> None:
    centers = FRAMES[kind](TURNED.iloc[[0, -1]])
    for data in (FRAME, TURNED, iter([FRAME])):
        model = new(initial_clusters=centers, use_mini_batch=not isinstance(data, pandas.DataFrame))
        assert labels(model, data) == RIGHT  # before training
        assert model.columns == ("m", "z", "a")
    trained = new(initial_clusters=centers).fit(FRAME)
    assert trained.clusters()[:, [1, 2, 0]].tobytes() == PLAIN.clusters().tobytes()
    assert labels(trained, X[:, [2, 0, 1]]) == RIGHT  # by position
    with pytest.raises(shoal.BadInputError, match=r"no column 'a'.*'b'.*initial_clusters has"):
        new(initial_clusters=centers).fit(OTHER)
    with pytest.raises(shoal.BadInputError, match=r"'more' too many.*initial_clusters has"):
        new(initial_clusters=centers).fit(FRAME.assign(more=1.0))
    program = shoal.KMeans(FRAME, None, initial_clusters=centers)
    assert list(map(int, program.training_graph().cluster_idx())) == RIGHT
    chosen = new(
        initial_clusters=FRAMES[kind](TURNED.iloc[[0, -1]].assign(w=1.0, id=0)),
        feature_columns=NAMES,
        weight_column="w",
    )
    assert labels(chosen.fit(FRAME.assign(w=1.0)), X) == RIGHT


def test_given_centers_are_a_model_before_training(tmp_path: Path) -> None:
    centers = np.array([[0.0, 0], [6, 8]])
    rows = np.array([[3.0, 4], [6, 9], [0, 1]])
    model = shoal.KMeansClustering(None, initial_clusters=centers)
    assert model.is_fitted
    assert labels(model, rows) == [0, 1, 0]
    assert list(model.predict_cluster_idx(rows)) == [0, 1, 0]
    assert model.transform(rows).tolist() == [[25, 25], [117, 1], [1, 85]]
    assert model.score(rows) == 27
    measured = model.evaluate(rows)
    assert (measured["scores"], measured["num_rows"], measured["global_step"]) == (27, 3, 0)
    assert model.clusters().tolist() == centers.tolist()
    assert model.get_variable_value("clusters").tolist() == centers.tolist()
    save_model(model, tmp_path / "given.npz")
    assert labels(load_model(tmp_path / "given.npz"), rows) == [0, 1, 0]
    with pytest.raises(shoal.BadInputError, match=r"3 columns.*initial_clusters.*have 2"):
        model.predict(X)
    model.set_params(num_clusters=3, initial_clusters=rows)  # nothing is trained yet
    assert labels(model, rows) == [0, 1, 2]
    cosine = shoal.KMeansClustering(None, initial_clusters=centers + 1, distance_metric="cosine")
    assert np.allclose(np.linalg.norm(cosine.clusters(), axis=1), 1)


def test_a_checkpoint_wins_over_given_centers(tmp_path: Path) -> None:
    trained = new(model_dir=str(tmp_path)).fit(X)
    again = new(model_dir=str(tmp_path), initial_clusters=X[[3, 5]])
    assert again.clusters().tobytes() == trained.clusters().tobytes() != X[[3, 5]].tobytes()


@pytest.mark.parametrize("where", ["memory", "a new process"])
def test_centers_given_while_seeding_is_half_done_are_used(where: str, tmp_path: Path) -> None:
    folder = None if where == "memory" else str(tmp_path)
    model = shoal.KMeansClustering(5, model_dir=folder).partial_fit(FRAME[:2])
    if folder:
        model = shoal.KMeansClustering(5, model_dir=folder)
    assert not model.is_fitted
    centers = TURNED[:5]
    model.set_params(initial_clusters=centers)
    assert labels(model, FRAME[:5]) == [0, 1, 2, 3, 4]
    fresh = shoal.KMeansClustering(5, initial_clusters=centers).fit(FRAME, steps=3)
    assert model.fit(FRAME, steps=3).clusters().tobytes() == fresh.clusters().tobytes()
    assert model.columns == fresh.columns == ("m", "z", "a")


def labelled() -> Iterator[tuple[Any, list[Any]]]:
    yield FRAME, ["m", "z"]
    yield pandas.DataFrame(X), [2, 0]
    yield (
        pandas.DataFrame(X, columns=pandas.MultiIndex.from_product([["a"], [0, 1, 2]])),
        [
            ("a", 2),
            ("a", 0),
        ],
    )
    yield {"x": X[:, 0], 2.5: X[:, 1], 7: X[:, 2]}, [7, "x"]


@pytest.mark.parametrize("form", [list, tuple, pandas.Index, "array"])
@pytest.mark.parametrize(("data", "chosen"), list(labelled()))
def test_columns_are_chosen_by_labels_of_any_kind(
    data: Any, chosen: list[Any], form: Any, tmp_path: Path
) -> None:
    given = form(chosen) if form != "array" else pandas.Index(chosen).to_numpy()
    model = new(initial_clusters=X[[0, -1]][:, [2, 0]], feature_columns=given)
    model.fit(data)
    assert model.columns == tuple(chosen)
    plain = new(initial_clusters=X[[0, -1]][:, [2, 0]]).fit(X[:, [2, 0]])
    assert model.clusters().tobytes() == plain.clusters().tobytes()
    assert shoal.open(data, columns=given).columns == tuple(chosen)
    assert repr(chosen) in repr(model)
    save_model(model, tmp_path / "m.npz")
    again = load_model(tmp_path / "m.npz")
    assert again.columns == tuple(chosen)
    assert labels(again, data) == labels(model, data)


def test_labels_of_other_kinds_are_weights_too(tmp_path: Path) -> None:
    data = pandas.DataFrame(np.c_[X, np.arange(80)])
    model = new(weight_column=np.int64(3)).fit(data)
    assert (
        model.clusters().tobytes()
        == new().fit(shoal.Weighted(X, np.arange(80))).clusters().tobytes()
    )
    assert labels(model, data) == labels(model, data[[2, 0, 1]]) == labels(model, X)
    save_model(model, tmp_path / "m.npz")
    assert load_model(tmp_path / "m.npz").score(data) == model.score(data)
    with pytest.raises(shoal.BadInputError, match="no column 3, the weight"):
        model.score(data[[0, 1, 2]])


def test_numbers_name_the_columns_of_a_csv_without_names(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    np.savetxt(path, X, delimiter=",", fmt="%.17g")
    plain = new(initial_clusters=X[[0, -1]][:, [2, 0]]).fit(X[:, [2, 0]])
    for chosen in ([2, 0], ["2", "0"]):
        model = new(initial_clusters=X[[0, -1]][:, [2, 0]], feature_columns=chosen).fit(path)
        assert model.clusters().tobytes() == plain.clusters().tobytes()
        assert labels(model, path) == RIGHT


@pytest.mark.parametrize("kind", FRAMES)
def test_a_name_twice_is_refused(kind: str) -> None:
    for enter in (
        lambda: new(feature_columns=["a", "a"]),
        lambda: shoal.open(FRAMES[kind](FRAME), columns=["a", "z", "a"]),
    ):
        with pytest.raises(shoal.BadInputError, match="columns names 'a' twice"):
            enter()


def test_feature_columns_of_a_trained_model_cannot_change() -> None:
    model = new().fit(FRAME)
    with pytest.raises(shoal.BadInputError, match=r"\['a', 'z', 'm'\].*trained on \['z', 'a', 'm'"):
        model.set_params(feature_columns=["a", "z", "m"])
    assert labels(model.set_params(feature_columns=NAMES), TURNED) == RIGHT


def test_errors_name_the_column_and_the_file(tmp_path: Path) -> None:
    bad = FRAME.copy()
    bad.loc[7, "a"] = np.inf
    with pytest.raises(shoal.BadInputError, match="x holds inf in row 7, column 'a':"):
        new().fit(bad)
    listed = pandas.DataFrame({"v": bad[["z", "a"]].to_numpy().tolist(), "m": X[:, 2]})
    with pytest.raises(shoal.BadInputError, match="row 7, column 'v', value 1 of 2:"):
        new().fit(listed)
    for write in FILES.values():
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(FRAME, folder / "1")
        write(bad[["m", "z", "a"]], folder / "2")
        for mini in (False, True):
            with pytest.raises(shoal.BadInputError, match=r"2\.\w+ holds inf in row 7, column 'a'"):
                new(use_mini_batch=mini).fit(folder, batch_size=9 if mini else None)
        weighted = FRAME.assign(w=np.where(np.arange(80) == 5, -1.0, 1.0))
        write(FRAME.assign(w=1.0), folder / "1")
        write(weighted, folder / "2")
        with pytest.raises(shoal.BadInputError, match=r"weight of row 5 of .*2\.\w+ is -1"):
            new(weight_column="w").fit(folder)
    np.save(tmp_path / "x.npy", X[:, :2])
    with pytest.raises(shoal.BadInputError, match=r"x\.npy has 2 columns"):
        PLAIN.predict(tmp_path / "x.npy")


@pytest.mark.parametrize("make", [np.asarray, pandas.Series, polars.Series])
def test_a_single_row_is_told_what_it_needs(make: Any) -> None:
    model, row = new().fit(X), make(X[0])
    with pytest.raises(shoal.BadInputError, match=r"for one row.* for one column") as caught:
        model.predict(row)
    cure = str(caught.value).split("Use .")[1].split(" for one row")[0]
    assert labels(model, eval(f"row.{cure}", {"row": row})) == RIGHT[:1]


def test_names_that_cannot_be_saved_are_told_before_training(tmp_path: Path) -> None:
    dated = FRAME.set_axis(pandas.date_range("2024-01-01", periods=3), axis=1)
    assert labels(new().fit(dated), dated) == RIGHT
    with pytest.raises(shoal.BadInputError, match="cannot be saved"):
        new(model_dir=str(tmp_path)).fit(dated)


def test_messages_do_not_list_thousands_of_names() -> None:
    wide = {f"c{i}": X[:, 0] for i in range(5000)}
    with pytest.raises(shoal.BadInputError, match=r"no column 'nope'.* and 4980 more") as caught:
        new(feature_columns=["nope"]).fit(wide)
    assert len(str(caught.value)) < 1000
