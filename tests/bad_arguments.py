"""Cases of bad arguments, of the constructor and of methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bad_input_helpers import (
    MASKED,
    Batches,
    Case,
    OwnError,
    X,
    changed,
    raising,
    touched,
    whole,
)

import shoal
from shoal import (
    CheckpointError,
    TooFewRowsError,
)
from shoal import KMeansClustering as Model

# ---- Parameters, given to the constructor, to set_params and to the training program ----

SEEDINGS = ("initial_clusters", "'kmeans_plus_plus'", "'kmeans_parallel'", "'kmc2'", "'afkmc2'")

#: Name, bad values, words of the message beside the name.
PARAMETERS: list[tuple[str, list[Any], tuple[str, ...]]] = [
    ("num_clusters", [0, -1], (">= 1",)),
    ("num_clusters", [2.0, "3", True, np.float64(3), [3]], ("whole number >= 1",)),
    ("num_clusters", [None], ("None", "whole number >= 1", "initial_clusters")),
    ("initial_clusters", ["kmeans++", ""], SEEDINGS),
    ("initial_clusters", [None], ("None", "array [k, d]", "callable", *SEEDINGS)),
    ("initial_clusters", [5, X[0], X[None], [], X[:0], X[:3, :0]], ("shape", "(k, d)")),
    ("initial_clusters", [[[1.0, 2.0], [3.0]]], ("rectangular",)),
    ("initial_clusters", [X[:3].astype(">f4"), X[:3].astype(">f2")], ("byte order", ".astype(")),
    ("initial_clusters", [whole(2**60)[36:39]], ("row 1", "column 1", "2**53")),
    ("initial_clusters", [X[:3] * 1j, [["a"] * 3] * 3], ("dtype", "float32", "float64")),
    ("initial_clusters", [X[:3].astype(object)], ("dtype object", "float32", "float64")),
    ("initial_clusters", [changed(np.nan, 2)[:3]], ("nan", "row 2", "column 1", "finite")),
    ("initial_clusters", [changed(-np.inf, 2)[:3]], ("-inf", "row 2", "column 1", "finite")),
    ("initial_clusters", [X[:3] * 1e155], ("magnitude", "1e+150")),
    ("initial_clusters", [X[:2]], ("num_clusters is 3", "2 rows", "must agree")),
    ("distance_metric", ["euclidean", None, 2], ("'squared_euclidean'", "'cosine'")),
    ("random_seed", [-1, 1.5, "0", True], (">= 0",)),
    ("use_mini_batch", ["no", None, 1], ("True or False",)),
    ("mini_batch_steps_per_iteration", [-1, 1.5, None], (">= 0",)),
    ("kmeans_plus_plus_num_retries", [1.5, None, "2"], ("whole number",)),
    ("kmc2_chain_length", [0, -5, 2.5], (">= 1",)),
    ("kmeans_parallel_rounds", [0, -1, 2.5, None], (">= 1",)),
    ("kmeans_parallel_oversampling", [0, -0.5, np.nan, np.inf, "2", None], ("> 0",)),
    ("empty_clusters", ["drop", None], ("'relocate'", "'keep'", "'error'")),
    ("start_on_sample", [True, 0.5, {"steps": 3}], ("samples already", "use_mini_batch=False")),
    ("num_threads", [0, -1, 1.5], (">= 1",)),
    ("num_threads", [2**31, 10**400], ("<= 2147483647",)),
    ("kmc2_chain_length", [2**31, 2**62], ("<= 1048576",)),
    ("kmeans_plus_plus_num_retries", [2**62], ("<= 1048576",)),
    ("mini_batch_steps_per_iteration", [2**62], ("<= 2147483647",)),
    ("memory_budget", [2**63], ("<= 9223372036854775807",)),
    ("num_clusters", [2**64], ("<= 9223372036854775807",)),
    ("on_bad_rows", ["drop", None], ("'error'", "'skip'")),
    ("relative_tolerance", [0, 0.0, -1e-3, np.nan, np.inf, "1e-3", True], ("> 0",)),
    ("memory_budget", [-1, 1.5, "1 GB"], (">= 0",)),
    ("feature_columns", ["abc", [], [["a"], 2], 5, {"a"}], ("list of names",)),
    ("feature_columns", [["a", "b", "a"]], ("'a' twice", "once")),
    ("weight_column", [["w"]], ("must be a name",)),
    ("config", [{}, "auto", shoal.RunConfig], ("RunConfig or None",)),
]
OF_THE_PROGRAM = inspect.signature(shoal.KMeans).parameters


def parameter_cases() -> Iterator[Case]:
    for number, (name, values, words) in enumerate(PARAMETERS):
        expected = (name, *words)
        for value in values:
            given = {"num_clusters": 3, name: value}
            told = f"{repr(value)[:20]} ({number})"
            doors: dict[str, Any] = {
                "constructor": lambda _, given=given: Model(**given),
                "set_params": lambda model, given={name: value}: model.set_params(**given),
            }
            if name in OF_THE_PROGRAM:
                doors["program"] = lambda _, given=given: shoal.KMeans(X, **given)
            for door, enter in doors.items():

                def call(model: Model, _: Path, enter: Any = enter) -> object:
                    return enter(model)

                yield Case(f"{name}={told} - {door}", call, expected)
    for name, values, words in [
        ("progress", ["yes", None, 1, X], ("True, False and 'auto'",)),
        ("tensorboard", ["yes", None, 1, X], ("True, False and 'auto'",)),
        ("save_checkpoints_steps", [0, 1.5, "9", X], (">= 1", "or None")),
        ("save_checkpoints_secs", [0, -1.0, np.inf, np.nan, "9", True, X], ("> 0", "or None")),
        ("keep_checkpoint_max", [0, 2.5], (">= 1", "or None")),
        ("save_summary_steps", [0, -100, 1e2], (">= 1", "or None")),
        ("executor", ["ray", 5, X], ("must be None or an executor",)),
        ("log_step_count_steps", [0, 1.5], (">= 1",)),
        ("max_no_improvement", [0, None], (">= 1",)),
        ("max_epochs", [-1, "9"], (">= 1",)),
        ("init_buffer_rows", [-1, 1e6], (">= 0",)),
    ]:
        for value in values:
            told = repr(value)[:20]
            given = {name: value}
            yield Case(
                f"RunConfig({name}={told})",
                lambda *_, given=given: shoal.RunConfig(**given),
                (name, *words),
            )
            yield Case(
                f"RunConfig.replace({name}={told})",
                lambda *_, given=given: shoal.RunConfig().replace(**given),
                (name, *words),
            )


# ---- Arguments of methods ----

FULL_STREAM = ("source changed", "same data at each pass", "new iterator")
CHUNKS = [X[:30], X[30:]]


def full(*passes: list[Any]) -> Any:
    """A full-batch fit on a source whose passes differ."""
    source = Batches(*[CHUNKS] * 3, *passes)
    return lambda model, _: model.fit(source, steps=9)


def seeded(function: Callable[[Any, int], Any], x: Any = X) -> Any:
    return lambda *_: Model(3, initial_clusters=function).fit(x)


def with_file(name: str, content: bytes, columns: list[str] | None = None) -> Any:
    def call(_: Model, folder: Path) -> object:
        (folder / name).write_bytes(content)
        return Model(1, feature_columns=columns).fit(folder / name)

    return call


class Monitor:
    def __init__(self, **events: Callable[[Any], object]) -> None:
        self.__dict__.update(events)


CALLS = [
    Case("x and input_fn", lambda m, _: m.fit(X, input_fn=lambda: X), ("both of x and input_fn",)),
    Case("neither", lambda m, _: m.fit(), ("neither of x and input_fn", "exactly one")),
    Case("predict both", lambda m, _: m.predict(X, lambda: X), ("both of x and input_fn",)),
    Case("transform nothing", lambda m, _: m.transform(), ("neither of x and input_fn",)),
    Case("input_fn an array", lambda m, _: m.fit(input_fn=X), ("input_fn is ndarray", "callable")),
    Case("callable of a callable", lambda m, _: m.fit(lambda: len), ("x() returned", "callable")),
    Case("steps and max_steps", lambda m, _: m.fit(X, steps=1, max_steps=2), ("steps", "one of")),
    Case("steps 0", lambda m, _: m.fit(X, steps=0), ("steps is 0", ">= 1")),
    Case("steps -1", lambda m, _: m.fit(X, steps=-1), ("steps is -1", ">= 1")),
    Case("steps 1.5", lambda m, _: m.fit(X, steps=1.5), ("steps is 1.5", "whole number")),
    Case("steps '2'", lambda m, _: m.fit(X, steps="2"), ("steps is '2'", "whole number")),
    Case("max_steps 0", lambda m, _: m.fit(X, max_steps=0), ("max_steps is 0", ">= 1")),
    Case("max_steps True", lambda m, _: m.fit(X, max_steps=True), ("max_steps is True", ">= 1")),
    Case("partial_fit steps", lambda m, _: m.partial_fit(X, steps=0), ("steps is 0", ">= 1")),
    Case("partial_fit None", lambda m, _: m.partial_fit(X, steps=None), ("steps is None", ">= 1")),
    Case("score steps", lambda m, _: m.score(X, steps=0), ("steps is 0", ">= 1")),
    Case("evaluate steps", lambda m, _: m.evaluate(X, steps=-2), ("steps is -2", ">= 1")),
    Case("batch_size 0", lambda m, _: m.fit(X, batch_size=0), ("batch_size is 0", ">= 1")),
    Case("batch_size -1", lambda m, _: m.predict(X, batch_size=-1), ("batch_size is -1", ">= 1")),
    Case("batch_size 9.0", lambda m, _: m.fit(X, batch_size=9.0), ("batch_size is 9.0", "whole")),
    Case("open batch_size", lambda *_: shoal.open(X, batch_size=0), ("batch_size is 0", ">= 1")),
    Case("open columns", lambda *_: shoal.open({"a": X}, columns="a"), ("columns is 'a'", "list")),
    Case(
        "batch_size with a stream",
        lambda m, _: m.fit(iter([X]), batch_size=9),
        ("batch_size is 9", "x gives batches of its own", "batch_size=None"),
    ),
    Case(
        "batch_size with input_fn",
        lambda m, _: m.fit(input_fn=lambda: iter([X]), batch_size=9),
        ("batch_size is 9", "input_fn gives batches of its own", "batch_size=None"),
    ),
    Case("monitors an object", lambda m, _: m.fit(X, monitors=Monitor()), ("monitors", "list")),
    Case(
        "monitors without methods",
        lambda m, _: m.fit(X, steps=1, monitors=[Monitor(end=print), 5]),
        ("monitors[1] is 5", "begin", "after_step", "end"),
    ),
    Case("hooks an object", lambda m, _: m.evaluate(X, hooks=5), ("hooks is int", "list")),
    Case("metrics a list", lambda m, _: m.evaluate(X, metrics=[len]), ("metrics is [", "dict")),
    Case("metrics names", lambda m, _: m.evaluate(X, metrics={"a": "b"}), ("metrics is {", "call")),
    Case("outputs", lambda m, _: m.predict(X, outputs=["labels"]), ("outputs", "'labels'", "scor")),
    Case("outputs empty", lambda m, _: m.predict(X, outputs=[]), ("outputs is empty", "'scores'")),
    Case("outputs a number", lambda m, _: m.predict(X, outputs=3), ("outputs is 3", "'scores'")),
    Case("set_params", lambda m, _: m.set_params(k=3), ("no parameter 'k'", "'num_clusters'")),
    Case("variable", lambda m, _: m.get_variable_value("w"), ("variable 'w'", "'clusters'")),
    Case("variable []", lambda m, _: m.get_variable_value([]), ("variable []", "'clusters'")),
    Case("mode", lambda m, _: m.model_fn(X, None, "fit"), ("mode is 'fit'", "'train'", "'infer'")),
    Case("replace", lambda m, _: m.config.replace(steps=3), ("no 'steps'", "'max_epochs'")),
    Case("num_clusters later", lambda m, _: m.set_params(num_clusters=4), ("num_clusters", "new")),
    Case(
        "distance_metric later",
        lambda m, _: m.set_params(distance_metric="cosine"),
        ("distance_metric", "cannot change", "new KMeansClustering"),
    ),
    Case("model_dir 3", lambda *_: Model(3, model_dir=3), ("model_dir is 3", "path")),
    Case("model_dir empty", lambda *_: Model(3, model_dir=""), ("model_dir is ''", "path")),
    Case(
        "model_dir remote",
        lambda *_: Model(3, model_dir="s3://bucket/run"),
        ("model_dir is 's3://bucket/run'", "of this machine"),
    ),
    Case(
        "model_dir file",
        lambda _, folder: Model(3, model_dir=str(touched(folder / "file"))),
        ("file", "not a directory"),
    ),
    Case(
        "model_dir later",
        lambda m, folder: m.set_params(model_dir=str(touched(folder / "file"))),
        ("file", "not a directory"),
    ),
    Case(
        "checkpoint_path",
        lambda m, _: m.evaluate(X, checkpoint_path="step-1"),
        ("no checkpoint step-1",),
        CheckpointError,
    ),
    # Too few rows
    Case("k > n", lambda *_: Model(61).fit(X), ("61", "60 rows", "fewer"), TooFewRowsError),
    Case(
        "k > n, full batch",
        lambda *_: Model(61, use_mini_batch=False).fit(X),
        ("num_clusters is 61", "60 rows", "fewer"),
        TooFewRowsError,
    ),
    Case(
        "k > n, shards",
        lambda *_: Model(61).fit(CHUNKS),
        ("num_clusters is 61", "60 rows", "fewer"),
        TooFewRowsError,
    ),
    Case(
        "k > n, stream",
        lambda *_: Model(61).fit(iter(CHUNKS)),
        ("num_clusters is 61", "60 centers", "fewer"),
        TooFewRowsError,
    ),
    Case(
        "k > n, full-batch stream",
        lambda *_: Model(61, use_mini_batch=False).fit(Batches(CHUNKS)),
        ("num_clusters is 61", "60 centers", "fewer"),
        TooFewRowsError,
    ),
    Case(
        "k > rows with weight",
        lambda *_: Model(5).fit(X, sample_weight=np.arange(60) < 4),
        ("num_clusters is 5", "4 centers", "fewer"),
        TooFewRowsError,
    ),
    Case(
        "empty iterator",
        lambda *_: Model(3).fit(iter([])),
        ("num_clusters is 3", "0 centers", "rows"),
        TooFewRowsError,
    ),
    # Weights that are all zero
    Case(
        "no weight",
        lambda *_: Model(3).fit(X, sample_weight=np.zeros(60)),
        ("all weights are zero",),
    ),
    Case(
        "no weight on",
        lambda m, _: m.fit(X, sample_weight=np.zeros(60)),
        ("all weights", "one must be"),
    ),
    Case(
        "no weight on, batches",
        lambda m, _: m.fit(X, sample_weight=np.zeros(60), batch_size=7),
        ("all weights are zero", "one must be positive"),
    ),
    Case(
        "no weight on, full",
        lambda m, _: m.fit(X, sample_weight=np.zeros(60)),
        ("all weights are zero", "one must be positive"),
        full=True,
    ),
    # Columns by name
    Case(
        "feature column missing",
        lambda *_: Model(3, feature_columns=["a", "z"]).fit({"a": X[:, 0], "b": X[:, 1]}),
        ("x has no column 'z'", "['a', 'b']"),
    ),
    Case(
        "sample_weight short",
        lambda m, _: m.fit(X, sample_weight=np.ones(59)),
        ("weights (sample_weight)", "(59,)", "x has 60 rows"),
    ),
    Case(
        "sample_weight NaN",
        lambda m, _: m.score(X, sample_weight=[np.nan] * 60),
        ("weight of row 0 of x is nan", "finite"),
    ),
    Case(
        "sample_weight negative",
        lambda m, _: m.partial_fit(X, sample_weight=-np.ones(60)),
        ("weight of row 0 of x is -1.0", ">= 0"),
    ),
    Case(
        "sample_weight masked",
        lambda m, _: m.evaluate(X, sample_weight=MASKED[:, 0]),
        ("weights (sample_weight) have masked values", ".filled(0)"),
    ),
    Case(
        "sample_weight a number",
        lambda m, _: m.fit(X, sample_weight=2),
        ("weights (sample_weight) have shape ()", "(60,)"),
    ),
    Case(
        "sample_weight of a stream",
        lambda m, _: m.fit(iter([X]), sample_weight=np.ones(60)),
        ("sample_weight", "x comes in batches", "shoal.Weighted(rows, weights)", "weight_column"),
    ),
    Case(
        "sample_weight of a callable of batches",
        lambda m, _: m.score(lambda: iter([X]), sample_weight=np.ones(60)),
        ("sample_weight", "input_fn comes in batches", "shoal.Weighted"),
    ),
    Case(
        "sample_weight beside weights",
        lambda m, _: m.fit(shoal.Weighted(X, np.ones(60)), sample_weight=np.ones(60)),
        ("x has weights of its own", "sample_weight", "once"),
    ),
    Case(
        "sample_weight beside weight_column",
        lambda *_: Model(3, weight_column="b").fit(
            {"a": X, "b": np.ones(60)}, sample_weight=np.ones(60)
        ),
        ("x has weights of its own", "weight_column", "once"),
    ),
    Case(
        "sample_weight of other parts",
        lambda m, _: m.fit([X, X], sample_weight=[np.ones(60)] * 3),
        ("weights of x are 3 arrays", "2 parts"),
    ),
    Case(
        "weight column missing",
        lambda *_: Model(3, weight_column="w").fit({"a": X[:, 0], "b": X[:, 1]}),
        ("x has no column 'w'", "['a', 'b']"),
    ),
    Case(
        "weight column negative",
        lambda *_: Model(3, weight_column="b").fit({"a": X[:, 0], "b": -abs(X[:, 1])}),
        ("weight of row 0 of x", ">= 0"),
    ),
    Case(
        "weights twice",
        lambda *_: Model(3, weight_column="b").fit(
            shoal.Weighted({"a": X, "b": abs(X[:, 1])}, np.ones(60))
        ),
        ("x has weights of its own", "weight_column", "once"),
    ),
    Case(
        "feature_columns with an array",
        lambda *_: Model(3, feature_columns=["a"]).fit(X),
        ("feature_columns", "x is ndarray", "dict or a frame"),
    ),
    Case(
        "weight_column with a stream of arrays",
        lambda *_: Model(3, weight_column="w").fit(iter([X])),
        ("weight_column", "batch 0 is ndarray", "dict or a frame"),
    ),
    Case(
        "feature_columns with an open source",
        lambda *_: Model(3, feature_columns=["b"]).fit(shoal.open({"a": X})),
        ("x is opened already", "shoal.open(..., columns="),
    ),
    # Other columns than the centers have
    Case("predict width", lambda m, _: m.predict(X[:, :2]), ("x has 2 columns", "have 3")),
    Case("transform width", lambda m, _: m.transform(X[:, :2]), ("x has 2 columns", "have 3")),
    Case("score width", lambda m, _: m.score(np.c_[X, X]), ("x has 6 columns", "have 3")),
    Case("evaluate width", lambda m, _: m.evaluate(iter([X[:, :2]])), ("batch 0", "2 col", "e 3")),
    Case("fit width", lambda m, _: m.fit(X[:, :2]), ("x has 2 columns", "have 3", "agree")),
    Case("fit full width", lambda m, _: m.fit(X[:, :2]), ("2 columns", "have 3"), full=True),
    Case("partial_fit width", lambda m, _: m.partial_fit(X[:, :2]), ("x has 2 col", "have 3")),
    Case("stream width", lambda m, _: m.fit(iter([X[:, :2]])), ("batch 0 has 2 columns", "have 3")),
    Case(
        "full-batch stream width",
        lambda m, _: m.fit(input_fn=lambda: iter([np.c_[X, X]])),
        ("input_fn has 6 columns", "have 3", "agree"),
        full=True,
    ),
    Case(
        "given centers width",
        lambda *_: Model(None, initial_clusters=X[:3, :2]).fit(X),
        ("initial_clusters", "x has 3 columns", "have 2"),
    ),
    Case(
        "given centers width, full-batch stream",
        lambda *_: Model(None, initial_clusters=X[:3], use_mini_batch=False).fit(
            Batches([X[:, :2]])
        ),
        ("initial_clusters", "x has 2 columns", "have 3"),
    ),
    Case(
        "given centers width, program",
        lambda *_: shoal.KMeans(X, None, initial_clusters=X[:3, :2]),
        ("initial_clusters", "inputs has 3 columns", "have 2"),
    ),
    # Callables that choose centers
    Case("too many", seeded(lambda _, m: X[: m + 1]), ("initial_clusters", "4 rows", "at most")),
    Case("wrong width", seeded(lambda *_: X[:1, :2]), ("initial_clusters", "(1, 2)", "(m, 3)")),
    Case("1-d rows", seeded(lambda *_: X[0]), ("initial_clusters", "(3,)", "(m, 3)")),
    Case("None", seeded(lambda *_: None), ("initial_clusters", "()", "object", "(m, 3)")),
    Case("strings", seeded(lambda *_: X[:1].astype(str)), ("initial_clusters", "<U", "numbers")),
    Case("complex", seeded(lambda *_: X[:1] * 1j), ("initial_clusters", "complex128", "numbers")),
    Case("ragged", seeded(lambda *_: [[1.0], [2.0, 3.0]]), ("initial_clusters", "ragged")),
    Case(
        "not finite",
        seeded(lambda *_: changed(np.nan, 1)[:2]),
        ("initial_clusters returned nan", "row 1", "column 1", "finite"),
    ),
    Case(
        "beyond float32",
        seeded(lambda *_: changed(1e200, 1)[:2], X.astype("f4")),
        ("initial_clusters returned 1e+200", "row 1", "column 1", "float32"),
    ),
    Case("huge", seeded(lambda *_: X[:1] * 1e200), ("initial_clusters", "e+1", "1e+150")),
    Case(
        "never anything",
        seeded(lambda *_: []),
        ("initial_clusters gave no rows for 100 batches", "0 of 3"),
    ),
    Case(
        "never anything, stream",
        seeded(lambda *_: X[:0], iter([X[:4]] * 150)),
        ("initial_clusters gave no rows for 100 batches", "0 of 3"),
    ),
    Case(
        "nothing more",
        seeded(lambda _, missing: X[: missing - 1]),
        ("initial_clusters gave no rows for 100 batches", "2 of 3"),
    ),
    Case(
        "nothing before the end",
        seeded(lambda *_: X[:0], iter([X] * 5)),
        ("num_clusters is 3", "0 centers"),
        TooFewRowsError,
    ),
    # The user's own exceptions
    Case("callable raises", seeded(raising), ("mine",), OwnError),
    Case("input_fn raises", lambda m, _: m.fit(input_fn=raising), ("mine",), OwnError),
    Case("iterator raises", lambda m, _: m.fit(map(raising, [0])), ("mine",), OwnError),
    Case(
        "metric raises",
        lambda m, _: m.evaluate(X, metrics={"own": raising}),
        ("mine",),
        OwnError,
    ),
    Case(
        "begin raises",
        lambda m, _: m.fit(X, monitors=[Monitor(begin=raising)]),
        ("mine",),
        OwnError,
    ),
    # Full batches need data that can be read again, and is the same each time
    Case(
        "one-shot iterator",
        lambda m, _: m.fit(iter([X])),
        ("full-batch", "iterator", "callable", "use_mini_batch=True"),
        full=True,
    ),
    Case(
        "one-shot iterator, new model",
        lambda *_: Model(3, use_mini_batch=False).fit(X[i : i + 9] for i in range(9)),
        ("full-batch", "iterator", "callable", "use_mini_batch=True"),
    ),
    Case(
        "the same iterator again",
        lambda m, _: (same := iter([X])) and m.fit(input_fn=lambda: same, steps=9),
        ("input_fn() returned the same iterator again", "a new one at each call"),
        full=True,
    ),
    Case("fewer rows later", full([X[:30]]), (*FULL_STREAM, "60 rows", "30 now"), full=True),
    Case("more rows later", full([X, X]), FULL_STREAM, full=True),
    Case("larger values later", full([X[:30], X[30:] * 9]), FULL_STREAM, full=True),
    Case("weights later", full([shoal.Weighted(X, np.ones(60))]), FULL_STREAM, full=True),
    Case("other columns later", full([np.c_[X, X]]), FULL_STREAM, full=True),
    Case("other batches later", full([X[:40], X[40:]]), FULL_STREAM, full=True),
    Case(
        "other dtype later",
        lambda m, _: m.fit(Batches(*[[X.astype("f4")]] * 3, [X.astype("f4").astype("f8")])),
        FULL_STREAM,
        full=True,
    ),
    Case(
        "an empty cluster",
        lambda *_: Model(
            None,
            initial_clusters=np.r_[X[:2], [[1e9] * 3]],
            use_mini_batch=False,
            empty_clusters="error",
        ).fit(X),
        ("cluster 2 has no rows", "empty_clusters='error'", "'relocate'"),
    ),
    # Files
    Case("no file", lambda m, d: m.fit(d / "x.npy"), ("there is no file", "x.npy")),
    Case("a folder", lambda m, d: m.fit(str(d)), ("no known kind", ".npy", ".csv", ".parquet")),
    Case("suffix", with_file("x.txt", b"1,2"), ("x.txt", "no known kind", ".npy", ".csv")),
    Case("empty .npy", with_file("x.npy", b""), ("x.npy", "cannot be read")),
    Case("damaged .npy", with_file("x.npy", b"\x93NUMPY\x01"), ("x.npy", "cannot be read")),
    Case("other .npy", with_file("x.npy", b"1,2\n3,4"), ("x.npy", "cannot be read")),
    Case("empty .csv", with_file("x.csv", b""), ("x.csv", "empty")),
    Case("only a header", with_file("x.csv", b"a,b\n"), ("x.csv", "header", "no rows")),
    Case(
        "text in .csv", with_file("x.csv", b"a,b\n1,2\n3,oh\n"), ("x.csv", "'b'", "'oh'", "row 1")
    ),
    Case("hole in .csv", with_file("x.csv", b"a,b\n1,2\n3,\n"), ("x.csv", "'b'", "''", "row 1")),
    Case(
        "NaN in .csv",
        with_file("x.csv", b"a,b\n1,2\n3,nan\n"),
        ("x.csv holds nan", "row 1, column 'b'"),
    ),
    Case(
        "short .csv line", with_file("x.csv", b"1,2\n3\n"), ("x.csv", "row 1", "1 f", "2 columns")
    ),
    Case("same names", with_file("x.csv", b"a,a\n1,2\n"), ("x.csv", "one name", "['a', 'a']")),
    Case(
        "long field",
        with_file("x.csv", b"a\n" + b"9" * 200_000),
        ("x.csv holds inf", "row 0, column 'a'"),
    ),
    Case("not text", with_file("x.csv", b"a,b\n\xff\xfe,2\n"), ("x.csv", "cannot be read")),
    Case("no numbers", with_file("x.csv", b"a\nb\n"), ("x.csv", "no columns of numbers", "['a']")),
    Case("text asked for", with_file("x.csv", b"a,b\n1,c\n", ["b"]), ("column 'b'", "object")),
    Case("not a column", with_file("x.csv", b"a,b\n1,2\n", ["z"]), ("no column 'z'", "['a', 'b']")),
]
