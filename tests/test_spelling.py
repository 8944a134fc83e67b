"""Names that are numbers in frames and text in files: one column, wherever it comes from."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

import shoal
from shoal.cli.commands import main
from shoal.export.npz import save_model

RNG = np.random.default_rng(6)
X = np.concatenate([RNG.normal(size=(20, 2)), RNG.normal((9, 0), size=(20, 2))])
NUMBERS = pandas.DataFrame(X)
TEXTS = NUMBERS.rename(columns=str)
TURNED = TEXTS[["1", "0"]]
RIGHT = np.repeat([0, 1], 20)


def new(**given: Any) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(
        **{"num_clusters": 2, "initial_clusters": X[[0, -1]], "use_mini_batch": False, **given}
    )


def forms(folder: Path) -> dict[str, Any]:
    TURNED.to_csv(folder / "turned.csv", index=False)
    TEXTS.to_csv(folder / "index.csv")
    TURNED.to_parquet(folder / "turned.parquet")
    np.savetxt(folder / "nameless.csv", X, delimiter=",")
    return {
        "numbers": NUMBERS,
        "numbers, turned": NUMBERS[[1, 0]],
        "texts": TEXTS,
        "polars": polars.from_pandas(TURNED),
        "pyarrow": pa.Table.from_pandas(TURNED),
        "dict": {1: X[:, 1], 0: X[:, 0]},
        "csv": folder / "turned.csv",
        "csv with an index": folder / "index.csv",
        "csv without names": folder / "nameless.csv",
        "parquet": folder / "turned.parquet",
    }


def test_a_number_is_the_column_that_its_text_names(tmp_path: Path) -> None:
    data = forms(tmp_path)
    for first, second in itertools.product(data, repeat=2):
        model = new(feature_columns=[0, 1]).fit(data[first])
        assert model.labels(data[second]).tolist() == RIGHT.tolist(), (first, second)
        assert model.columns == (0, 1)  # as they were asked for
    frame = new().fit(NUMBERS)
    for kind, one in data.items():
        assert frame.labels(one).tolist() == RIGHT.tolist(), kind
        assert frame.score(one) == frame.score(X), kind
        chosen = new(feature_columns=["1", "0"], initial_clusters=X[[0, -1]][:, ::-1]).fit(one)
        assert np.array_equal(chosen.clusters()[:, ::-1], frame.clusters()), kind


def test_parts_and_given_centers_may_spell_them_otherwise() -> None:
    model = new(num_clusters=None, initial_clusters=NUMBERS.iloc[[0, -1]])
    model.fit([NUMBERS, TURNED, polars.from_pandas(TEXTS)])
    assert model.clusters().tobytes() == new().fit([X, X, X]).clusters().tobytes()
    stream = shoal.KMeansClustering(2, initial_clusters=X[[0, -1]]).fit(iter([NUMBERS, TURNED]))
    assert stream.labels(TURNED).tolist() == RIGHT.tolist()


def test_a_column_of_that_very_label_comes_first() -> None:
    both = {"0": X[:, 1], 0: X[:, 0], 1: X[:, 1]}
    assert new().fit(NUMBERS).labels(both).tolist() == RIGHT.tolist()
    weights = {**{name: X[:, name] for name in (0, 1)}, "2": np.ones(40)}
    assert new(weight_column=2).fit(weights).columns == (0, 1)


def test_other_labels_are_other_columns() -> None:
    pairs = NUMBERS.set_axis(pandas.MultiIndex.from_tuples([("a", 0), ("a", 1)]), axis=1)
    with pytest.raises(shoal.BadInputError, match=r"no column \('a', 0\)"):
        new().fit(pairs).labels(NUMBERS)


def test_a_model_directory_and_the_command_line_know_the_same_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"model_dir": str(tmp_path / "run"), "feature_columns": ["0", "1"]}
    first = new(**given).fit(NUMBERS, steps=1)
    assert first.columns == ("0", "1")
    assert new(**given).labels(TURNED).tolist() == RIGHT.tolist()
    file = str(tmp_path / "model.npz")
    save_model(new().fit(NUMBERS), file)
    data = str(forms(tmp_path)["csv"])
    out = str(tmp_path / "labels.csv")
    assert main(["predict", data, "-m", file, "-o", out, "-q"]) == 0
    assert pandas.read_csv(out)["cluster_idx"].tolist() == RIGHT.tolist()
    assert main(["fit", data, "-k", "2", "-m", file, "--columns", "0,1", "--resume", "-q"]) == 0
    capsys.readouterr()
