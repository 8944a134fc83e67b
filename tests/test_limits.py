"""How much of files is in memory at a time changes no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

import shoal
from shoal.sources.limits import Limits

X = np.random.default_rng(4).normal(size=(300, 3))
NAMES = ("a", "b", "c")
SMALL = Limits(piece=240, batch=480, csv_page=100, csv_kept=0)


def written(folder: Path, kind: str) -> Path:
    path = folder / f"x.{kind}"
    table = pa.table(dict(zip(NAMES, X.T, strict=True)))
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=70)
    elif kind == "feather":
        feather.write_feather(table, path, compression="uncompressed")
    else:
        lines = [",".join(map(repr, row)) for row in X.tolist()]
        path.write_text("\n".join([",".join(NAMES), *lines, ""]))
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather"])
@pytest.mark.parametrize("mini_batch", [False, True])
def test_small_limits_give_the_same_bits(tmp_path: Path, kind: str, mini_batch: bool) -> None:
    path = written(tmp_path, kind)
    found = []
    for limits in (None, SMALL):
        source = shoal.open(path, limits=limits)
        model = shoal.KMeansClustering(4, use_mini_batch=mini_batch, memory_budget=0)
        size = 60 if mini_batch else None
        model.fit(source, steps=6, batch_size=size)
        found.append((model.clusters().tobytes(), model.labels(source).tobytes()))
    assert found[0] == found[1]
    pieces = [len(part) for [part] in shoal.open(path, limits=SMALL).batches()]
    assert sum(pieces) == len(X)
    assert max(pieces) <= 20


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"piece": 0}, r"limits\.piece is 0"),
        ({"csv_kept": -1}, r"limits\.csv_kept is -1"),
        ({"batch": 1.5}, r"limits\.batch is 1\.5"),
    ],
)
def test_limits_that_are_no_numbers_of_bytes_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        Limits(**given)


def test_what_is_no_limits_is_refused() -> None:
    with pytest.raises(shoal.BadInputError, match="limits is of type int"):
        shoal.open(X, limits=9)  # type: ignore[arg-type]
