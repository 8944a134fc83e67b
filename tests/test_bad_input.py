"""Bad input: every case ends in an error that helps, and leaves the model as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bad_arguments import CALLS, parameter_cases
from bad_input_helpers import (
    MASKED,
    NO_ROWS,
    Batches,
    Case,
    OwnError,
    Sparse,
    X,
    changed,
    raising,
    trained,
    whole,
)

import shoal
from shoal import (
    BadInputError,
    EndOfDataError,
    NotFittedError,
    NotInitializedError,
    TooFewRowsError,
)
from shoal import KMeansClustering as Model

# ---- Data that nothing can be done with, through every door that takes data ----

WHERE = ("row 37", "column 1", "finite", "on_bad_rows")
WHOLE = ("{x} holds", "row 37", "column 1", "2**53", "Divide", ".astype(np.float64)")

#: Name, how to make it, words of the message; "{x}" is what the door calls its argument.
DATA: list[tuple[str, Callable[[], Any], tuple[str, ...]]] = [
    ("0-d", lambda: np.float64(3), ("{x} is of type float64", "rows and columns")),
    ("1-d", lambda: X[0], ("{x} has shape (3,)", "two dimensions", "reshape(-1, 1)")),
    ("3-d", lambda: X[None], ("{x} has shape (1, 60, 3)", "two dimensions", "reshape")),
    ("a set", lambda: {1, 2}, ("{x} is of type set", "rows and columns")),
    ("objects", lambda: X.astype(object), ("{x} has dtype object", "real numbers", "float32")),
    ("strings", lambda: X.astype(str), ("{x} has dtype <U", "real numbers", "float32")),
    ("complex", lambda: X * 1j, ("{x} has dtype complex128", "real numbers", "float32")),
    ("dates", lambda: X.astype("M8[s]"), ("{x} has dtype datetime64[s]", "real numbers")),
    ("times", lambda: X.astype("m8[s]"), ("{x} has dtype timedelta64[s]", "real numbers")),
    ("whole numbers", lambda: whole(2**53 + 1), WHOLE),
    ("negative whole numbers", lambda: whole(-(2**53) - 1), WHOLE),
    ("the smallest whole number", lambda: whole(-(2**63)), WHOLE),
    ("a list of whole numbers", lambda: whole(2**53 + 1).tolist(), WHOLE),
    ("positive whole numbers", lambda: whole(2**64 - 1, "u8"), WHOLE),
    ("F-order whole numbers", lambda: np.asfortranarray(whole(2**60)), WHOLE),
    ("other endian i2", lambda: X.astype(">i2"), ("{x} has dtype >i2", ".astype(np.int16)")),
    ("other endian f2", lambda: X.astype(">f2"), ("{x} has dtype >f2", ".astype(np.float16)")),
    ("other endian f4", lambda: X.astype(">f4"), ("{x} has dtype >f4", ".astype(np.float32)")),
    ("other endian f8", lambda: X.astype(">f8"), ("{x} has dtype >f8", ".astype(np.float64)")),
    ("masked", lambda: MASKED, ("{x} has masked values", ".filled(")),
    ("sparse", Sparse, ("{x} is a sparse matrix of type Sparse", "scipy", ".toarray()")),
    ("ragged", lambda: [[1.0, 2.0], [3.0]], ("{x} is not a rectangular array",)),
    ("texts", lambda: [["a", "b"], ["c", "d"]], ("{x} has dtype <U1", "real numbers")),
    ("no columns", lambda: X[:, :0], ("{x} has shape (60, 0)", "at least one column")),
    ("no rows", lambda: X[:0], ("rows",)),
    ("an empty list", list, ("{x} is empty", "at least one row")),
    ("no batches", lambda: Batches([]), ("rows",)),
    ("empty batches", lambda: Batches([X[:0], X[:0]]), ("rows",)),
    ("NaN f8", lambda: changed(np.nan), ("{x} holds nan", *WHERE)),
    ("NaN f4", lambda: changed(np.nan, x=X.astype("f4")), ("{x} holds nan", *WHERE)),
    ("NaN F-order", lambda: changed(np.nan, x=np.asfortranarray(X)), ("{x} holds nan", *WHERE)),
    ("NaN f2", lambda: changed(np.nan, x=X.astype("f2")), ("{x} holds nan", *WHERE)),
    ("inf f2", lambda: changed(np.inf, x=X.astype("f2")), ("{x} holds inf", *WHERE)),
    ("inf f8", lambda: changed(np.inf), ("{x} holds inf", *WHERE)),
    ("-inf f4", lambda: changed(-np.inf, x=X.astype("f4")), ("{x} holds -inf", *WHERE)),
    ("NaN strided", lambda: np.repeat(changed(np.nan), 2, 0)[::2], ("{x} holds nan", *WHERE)),
    (
        "the first of two NaN",
        lambda: changed(np.inf, 50, 0, changed(np.nan)),
        ("{x} holds nan", *WHERE),
    ),
    ("NaN in a shard", lambda: [X, changed(np.nan)], ("{x}[1] holds nan", *WHERE)),
    ("NaN in a later batch", lambda: Batches([X, changed(np.nan)]), ("{x}: batch 1", *WHERE)),
    (
        "NaN in a shard of a later batch",
        lambda: Batches([X, [X, changed(np.nan)]]),
        ("{x}: batch 1[1] holds nan", *WHERE),
    ),
    ("huge", lambda: X * 1e151, ("{x} holds values of magnitude", "e+151", "below 1e+150")),
    ("shards of other width", lambda: [X, X[:, :2]], ("{x}[1] has 2 columns", "{x}[0] has 3")),
    ("shards of other dtype", lambda: [X, X.astype("f4")], ("{x}[1]", "float32", "float64")),
    ("shards of other dtype f2", lambda: [X, X.astype("f2")], ("{x}[1]", "float16", "float64")),
    ("batches of other width", lambda: Batches([X, X[:, :2]]), ("batch 1 has 2 columns", "3")),
    ("batches of other dtype", lambda: Batches([X, X.astype("f4")]), ("batch 1", "float32")),
    ("ragged batch", lambda: Batches([X, [[1.0], [2.0, 3.0]]]), ("batch 1", "rectangular")),
    ("rows as batches", lambda: Batches(list(X)), ("batch 0 has shape (3,)", "two dimensions")),
    ("None as batches", lambda: Batches([None]), ("batch 0 is of type NoneType",)),
    ("a triple", lambda: (X, X, X), ("{x} is a tuple", "(60, 3)", "as a list", "Weighted")),
    (
        "weights negative",
        lambda: shoal.Weighted(X, -np.ones(60)),
        ("weight of row 0 of {x} is -1.0", ">= 0"),
    ),
    (
        "weights NaN",
        lambda: shoal.Weighted(X, changed(np.nan)[:, 1]),
        ("weight of row", "{x}", "finite"),
    ),
    (
        "weights inf",
        lambda: shoal.Weighted(X, [1.0] * 59 + [np.inf]),
        ("row 59 of {x} is inf", "finite"),
    ),
    (
        "weights short",
        lambda: shoal.Weighted(X, np.ones(59)),
        ("weights of {x}", "(59,)", "60 rows"),
    ),
    (
        "weights 2-d",
        lambda: shoal.Weighted(X, np.ones((60, 1))),
        ("weights of {x}", "(60, 1)", "(60,)"),
    ),
    ("weights a number", lambda: shoal.Weighted(X, 1.0), ("weights of {x}", "()", "(60,)")),
    (
        "weights text",
        lambda: shoal.Weighted(X, ["1"] * 60),
        ("weights of {x}", "<U1", "real numbers"),
    ),
    (
        "weights complex",
        lambda: shoal.Weighted(X, np.ones(60) * 1j),
        ("weights of {x}", "complex", "real"),
    ),
    (
        "weights dates",
        lambda: shoal.Weighted(X, np.zeros(60, "M8[s]")),
        ("weights of {x}", "datetime", "real"),
    ),
    (
        "weights ragged",
        lambda: shoal.Weighted(X, [[1], [2, 3]]),
        ("weights of {x}", "not an array"),
    ),
    (
        "weights huge",
        lambda: shoal.Weighted(X, np.full(60, 1e305)),
        ("weights of {x}", "1e+305", "Scale"),
    ),
    ("weights masked", lambda: shoal.Weighted(X, MASKED[:, 0]), ("weights of {x}", ".filled(0)")),
    ("labels short", lambda: (X, np.ones(59)), ("{x} is a tuple", "60 rows", "(59,)", "Weighted")),
    ("labels 2-d", lambda: (X, np.ones((60, 1))), ("{x} is a tuple", "(60, 1)", "sample_weight")),
    ("labels a number", lambda: (X, 1.0), ("{x} is a tuple", "float", "vector as long")),
    ("labels by name", lambda: (X, {"y": np.ones(60)}), ("{x} is a tuple", "dict")),
    ("a pair of parts", lambda: (X, X), ("{x} is a tuple", "(60, 3)", "as a list")),
    (
        "dict of other lengths",
        lambda: {"a": X[:, 0], "b": X[1:, 1], "c": X[:, 2]},
        ("columns of {x} differ in length", "60", "59"),
    ),
    (
        "dict with text",
        lambda: {"a": X[:, 0], "b": ["s"] * 60, "c": X[:, 2]},
        ("column 'b' of {x}", "<U1", "number"),
    ),
    (
        "dict with objects",
        lambda: {"a": X[:, 0], "b": X[:, 0].astype(object), "c": X[:, 2]},
        ("column 'b' of {x}", "object", "number"),
    ),
    (
        "dict with a long number",
        lambda: {"a": X[:, 0], "b": whole(2**53 + 1)[:, 1], "c": X[:, 2]},
        ("{x} holds 9007199254740993 in row 37, column 'b'", "2**53"),
    ),
    ("dict with a ragged column", lambda: {"a": [[1], [2, 3]]}, ("column 'a' of {x}",)),
    ("dict without columns", dict, ("{x} has no columns of data", "[]")),
]

DOORS: dict[str, tuple[str, Callable[[Model, Any], object]]] = {
    "fit": ("x", lambda _, data: Model(2).fit(data, steps=20, batch_size=rows_per_batch(data))),
    "fit full": ("x", lambda _, data: Model(2, use_mini_batch=False).fit(data, steps=3)),
    "fit on": ("x", lambda model, data: model.fit(data, steps=20, batch_size=rows_per_batch(data))),
    "fit on, full": ("x", lambda model, data: model.fit(data, steps=9)),
    "input_fn": ("input_fn", lambda model, data: model.fit(input_fn=lambda: data, steps=9)),
    "partial_fit": ("x", lambda model, data: model.partial_fit(data, steps=9)),
    "predict": ("x", lambda model, data: model.predict(data, as_iterable=False)),
    "predict rows": ("x", lambda model, data: list(model.predict(data))),  # type: ignore[arg-type]
    "predict_cluster_idx": ("x", lambda model, data: list(model.predict_cluster_idx(data))),
    "transform": ("x", lambda model, data: model.transform(data)),
    "score": ("x", lambda model, data: model.score(data)),
    "evaluate": ("x", lambda model, data: model.evaluate(data, batch_size=rows_per_batch(data))),
    "init_op": ("inputs", lambda _, data: program(data, num_clusters=99)),
    "training_op": ("inputs", lambda _, data: program(data, initial_clusters=X[:3])),
}


def rows_per_batch(data: Any) -> int | None:
    """A few, where the data leaves the choice: messages still name rows of the data."""
    return None if isinstance(data, Batches) else 7


def program(data: Any, num_clusters: int | None = None, **given: Any) -> None:
    graph = shoal.KMeans(data, num_clusters, **given).training_graph()
    for _ in range(3):
        graph.init_op()
    for _ in range(3):
        graph.training_op()


def data_cases() -> Iterator[Case]:
    for name, make, words in DATA:
        for door, (argument, enter) in DOORS.items():
            called = argument
            if argument == "input_fn" and not isinstance(make(), Batches):
                called = "input_fn()"  # what it returned
            expected = tuple(word.replace("{x}", called) for word in words)
            error: type[Exception] = shoal.ShoalError if name in NO_ROWS else BadInputError
            if door == "training_op" and name in ("no batches", "empty batches"):
                expected, error = ("inputs has no more batches",), EndOfDataError

            def call(model: Model, _: Path, enter: Any = enter, make: Any = make) -> object:
                return enter(model, make())

            yield Case(f"{name} - {door}", call, expected, error, full=door.endswith("full"))


# ---- The training program ----


def graph(inputs: Any = X, k: int | None = 3, **given: Any) -> Any:
    return shoal.KMeans(inputs, k, **given).training_graph()


def ready(inputs: Any) -> Any:
    return graph(inputs, None, initial_clusters=X[:3])


INIT_FIRST = ("0 of 3", "init_op()")
PROGRAM = [
    Case("state early", lambda *_: shoal.KMeans(X, 3).state, ("init_op()",), NotInitializedError),
    *[
        Case(
            f"{operation} early",
            lambda *_, operation=operation: getattr(graph(), operation)(),
            (f"{operation}()", *INIT_FIRST),
            NotInitializedError,
        )
        for operation in ("training_op", "all_scores", "cluster_idx", "scores")
    ],
    Case(
        "training_op half-way",
        lambda *_: (g := graph(iter([X[:2], X]))).init_op() or g.training_op(),
        ("2 of 3", "init_op()"),
        NotInitializedError,
    ),
    Case(
        "no second batch",
        lambda *_: (g := ready(iter([X]))).training_op() and g.training_op(),
        ("inputs has no more batches", "iterator"),
        EndOfDataError,
    ),
    Case(
        "no batch for init_op",
        lambda *_: graph(iter([])).init_op(),
        ("num_clusters is 3", "inputs ended after 0"),
        TooFewRowsError,
    ),
    Case("no batch to score", lambda *_: ready(iter([])).scores(), ("inputs",), EndOfDataError),
    Case(
        "scores width",
        lambda *_: ready(iter([X[:, :2]])).scores(),
        ("inputs has 2 columns", "have 3"),
    ),
    Case("inputs raise", lambda *_: ready(map(raising, [0])).training_op(), ("mine",), OwnError),
    Case(
        "callable raises, program",
        lambda *_: graph(k=3, initial_clusters=raising).init_op(),
        ("mine",),
        OwnError,
    ),
    Case(
        "k > n, for ever",
        lambda *_: [(g := graph(k=61)).init_op() for _ in range(1)] and g.training_op(),
        ("60 of 61", "init_op()"),
        NotInitializedError,
    ),
]


# ---- Before training ----

BEFORE = {
    "predict": lambda m: m.predict(X),
    "predict_cluster_idx": lambda m: m.predict_cluster_idx(X),
    "transform": lambda m: m.transform(X),
    "score": lambda m: m.score(X),
    "evaluate": lambda m: m.evaluate(X),
    "clusters": lambda m: m.clusters(),
    "get_variable_names": lambda m: m.get_variable_names(),
    "get_variable_value": lambda m: m.get_variable_value("clusters"),
}
EARLY = [
    Case(
        f"{method} early",
        lambda *_, call=call: call(Model(3)),
        (f"{method}()", "trained centers", "call fit(...)"),
        NotFittedError,
    )
    for method, call in BEFORE.items()
]

CASES = [*data_cases(), *parameter_cases(), *CALLS, *PROGRAM, *EARLY]


def holds(model: Model) -> dict[str, Any]:
    """Everything a model holds, as values that can be compared to the bit."""
    parts: dict[str, Any] = {
        name: model.get_variable_value(name) for name in model.get_variable_names()
    }
    parts |= {"users clusters": model.clusters(), "config": model.config}
    parts |= {f"parameter {name}": value for name, value in model.get_params().items()}
    return {
        name: (value.dtype, value.shape, value.tobytes())
        if isinstance(value, np.ndarray)
        else value
        for name, value in parts.items()
    }


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case: Case, tmp_path: Path) -> None:
    model = trained(case.full)
    before = holds(model)
    with pytest.raises(case.error) as caught:
        case.call(model, tmp_path)
    assert isinstance(caught.value, (shoal.ShoalError, NotImplementedError, OwnError))
    for word in case.words:
        assert word in str(caught.value)
    assert holds(model) == before
    assert len(model.predict(X, as_iterable=False)["cluster_idx"]) == 60
    untouched = trained(case.full)
    for one in (model, untouched):
        one.fit(X, steps=4, batch_size=25)
    assert holds(model) == holds(untouched)


def test_case_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("method", BEFORE)
def test_not_fitted_is_also_scikit_learns(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        from sklearn.exceptions import NotFittedError as Theirs
    except ImportError:
        Theirs = type("NotFittedError", (ValueError, AttributeError), {})
        module = ModuleType("sklearn.exceptions")
        module.NotFittedError = Theirs  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(Theirs) as caught:
        BEFORE[method](Model(3))
    assert isinstance(caught.value, NotFittedError)
