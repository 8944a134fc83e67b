"""How much of the data is in memory or in work at a time changes no result."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

import shoal
from shoal.shards.rows import ignore
from shoal.sources import csv_parser
from shoal.sources.carried import CsvReader
from shoal.sources.carried_arrow import ArrowReader
from shoal.sources.kept import kept
from shoal.sources.limits import Limits
from shoal.sources.paths import find_files

X = np.random.default_rng(4).normal(size=(300, 3))
NAMES = ("a", "b", "c")
SMALL = Limits(
    piece=240,
    batch=480,
    csv_page=100,
    csv_kept=0,
    csv_records=3,
    answer_rows=17,
    answer_distances=20,
    candidate_rows=13,
)


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
        outputs = [model.clusters(), model.labels(source), model.transform(source)]
        found.append((*(one.tobytes() for one in outputs), model.score(source)))
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
        ({"answer_rows": 0}, r"limits\.answer_rows is 0"),
    ],
)
def test_limits_that_are_no_whole_numbers_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        Limits(**given)


def test_what_is_no_limits_is_refused() -> None:
    with pytest.raises(shoal.BadInputError, match="limits is of type int"):
        shoal.open(X, limits=9)  # type: ignore[arg-type]
    with pytest.raises(shoal.BadInputError, match="x is opened already: give its limits in the"):
        shoal.open(shoal.open(X), limits=SMALL)


# ---- Limits stay with the data ----


def sources(folder: Path) -> dict[str, Any]:
    return {
        "array": X,
        "parts": [X[:7], X[7:]],
        "files": written(folder, "parquet"),
        "iterator": iter([X]),
        "callable": lambda: iter([X]),
    }


@pytest.mark.parametrize("kind", ["array", "parts", "files", "iterator", "callable"])
def test_a_source_and_what_is_made_of_it_keep_its_limits(tmp_path: Path, kind: str) -> None:
    source = shoal.open(sources(tmp_path)[kind], limits=SMALL)
    made = [source, source.in_pieces(9), source.as_it_comes(), shoal.open(source)]
    if source.any_order:
        shares = source.split(2)
        made += [*shares, shares[1].alone(), shares[1].like(5, True), kept(shares[1], ignore)]
        made += [kept(source, ignore), source.weighted(np.ones(len(X)), "weights")]
    assert [one.limits for one in made] == [SMALL] * len(made)


@pytest.mark.parametrize(("rows", "pieces"), [(100, 3), (300, 1), (299, 2)])
@pytest.mark.parametrize("kind", ["array", "parts"])
def test_iterators_of_results_hold_as_many_rows_as_the_limits_say(
    kind: str, rows: int, pieces: int, tmp_path: Path
) -> None:
    model = shoal.KMeansClustering(4, use_mini_batch=False).fit(X, steps=1)
    source = shoal.open(sources(tmp_path)[kind], limits=Limits(answer_rows=rows))
    found = list(model.predict(source, iterate_batches=True))
    sizes = [len(batch["scores"]) for batch in found]  # type: ignore[index]
    assert sum(sizes) == len(X)
    assert max(sizes) <= rows
    assert len(sizes) >= pieces


def test_iterators_of_distances_hold_no_more_than_the_limits_say() -> None:
    model = shoal.KMeansClustering(4, use_mini_batch=False).fit(X, steps=1)
    source = shoal.open(X, limits=Limits(answer_distances=4 * 90))
    for outputs, most in ((["all_scores"], 90), (["cluster_idx"], 300)):
        found = list(model.predict(source, outputs=outputs, iterate_batches=True))
        assert max(len(batch[outputs[0]]) for batch in found) == most  # type: ignore[index]


def test_records_are_held_as_text_as_the_limits_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, take = [], csv_parser.Column.take

    def spy(self: Any, texts: Any, *more: Any) -> None:
        sizes.append(len(texts))
        take(self, texts, *more)

    monkeypatch.setattr(csv_parser, "_parsed_fast", lambda *_: None)
    monkeypatch.setattr(csv_parser.Column, "take", spy)
    shoal.open(written(tmp_path, "csv"), limits=Limits(csv_records=7))
    assert max(sizes) == 7


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_are_kept_are_read_as_the_limits_say(tmp_path: Path, kind: str) -> None:
    files = find_files(str(written(tmp_path, kind)))

    def most(limits: Limits) -> int:
        reader = CsvReader(files, False, limits) if kind == "csv" else ArrowReader(files, limits)
        sizes = [len(piece["b"]) for piece in reader.pieces(["b"])]
        assert sum(sizes) == len(X)
        return max(sizes)

    assert most(Limits(carried_rows=17)) == 17
    if kind == "csv":
        assert most(Limits(csv_page=2000)) < 50 < most(Limits())


# ---- Tests give limits, and patch none ----

TESTS = Path(__file__).parent
#: Modules of which no test patches a constant: what tests make small is in ``Limits``.
READERS_OF_DATA = {"sources", "inference", "steps", "shards"}


def patched_constants(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where a test sets a constant of a module that reads data, by ``setattr`` of any fixture."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "shoal":
            for one in node.names:
                modules[one.asname or one.name] = f"{node.module}.{one.name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "setattr" or len(node.args) < 2:
            continue
        first, second = node.args[:2]
        if isinstance(first, ast.Constant):
            owner, _, name = str(first.value).rpartition(".")
        elif isinstance(second, ast.Constant):
            whole, name = ast.unparse(first), str(second.value)
            head, dot, rest = whole.partition(".")
            owner = modules.get(head, head) + dot + rest
        else:
            continue
        parts = owner.split(".")
        of_data = parts[0] == "shoal" and parts[1:2] and parts[1] in READERS_OF_DATA
        if of_data and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name):
            yield node.lineno, f"{owner}.{name}"


def test_no_test_patches_a_constant_of_what_reads_data() -> None:
    program = (
        "from shoal import inference\n"
        "from shoal.steps import order as order_module\n"
        "from shoal.hooks import progress\n"
        "m.setattr(inference, 'PIECE_ROWS', 3)\n"
        "m.setattr(order_module, '_WINDOW', 3)\n"
        "m.setattr('shoal.sources.sparse.PIECE_ROWS', 3)\n"
        "m.setattr(progress, 'PATIENCE', 0.0)\n"
        "m.setattr(inference, 'warn_user', print)\n"
    )
    assert [line for line, _ in patched_constants(ast.parse(program))] == [4, 5, 6]
    found = [
        f"{path.relative_to(TESTS)}:{line} {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, name in patched_constants(ast.parse(path.read_text("utf-8"), str(path)))
    ]
    assert not found, "give Limits instead, shoal.open(x, limits=...):\n" + "\n".join(found)
