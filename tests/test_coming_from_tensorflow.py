"""People who come from TensorFlow: their scripts run, and every name of theirs is accounted for."""

from __future__ import annotations

import inspect
import re
import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "examples" / "original"
PAGE = (ROOT / "docs" / "coming-from-tensorflow.md").read_text("utf-8")

# ---- Scripts ----

#: What each prints, among other lines.
PRINTED = {
    "learn_blobs.py": [r"in the right blob: 1\.000", r"score per point: (1\.9|2\.0)\d"],
    "learn_continued.py": [r"step 200, scores \d+", r"distances: 3000 x 6", r".*score: True"],
    "learn_documents.py": ["one cluster per topic: True", r"within: 0\.[01]\d"],
    "estimator_until_it_stands_still.py": [
        r"stood still after \d+ epochs: True",
        "centers are means: True",
    ],
    "estimator_mini_batches.py": [
        "steps: 30",
        r"score: \d+ at step 30",
        "one cluster per kind: True",
        "variable: True",
    ],
    "estimator_palette.py": [r"mean error of a channel: [0-4]\.\d of 255", "nearest colours: True"],
    "program_batches.py": [
        r"distances of new rows: \(1000, 6\)",
        r"mean distance: (9|10)\.\d",
        "one cluster per middle: True",
    ],
    "program_digits.py": [r"accuracy: (0\.9[89]\d|1\.000)"],
}


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_a_script_of_the_original_runs(
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    for wanted in PRINTED[script]:
        assert any(re.fullmatch(wanted, line) for line in lines), (wanted, lines)


def test_there_are_scripts_for_each_of_the_three() -> None:
    assert sorted(PRINTED) == sorted(path.name for path in SCRIPTS.glob("*.py"))
    kinds = [name.partition("_")[0] for name in PRINTED]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "learn": 3,
        "estimator": 3,
        "program": 2,
    }


# ---- Names ----

DISTANCES = "SQUARED_EUCLIDEAN_DISTANCE COSINE_DISTANCE RANDOM_INIT KMEANS_PLUS_PLUS_INIT"
#: Everything public of the originals: names alone, and callables with their arguments.
ORIGINALS = {
    "tf.contrib.learn.KMeansClustering": [
        *f"{DISTANCES} SCORES CLUSTER_IDX CLUSTERS ALL_SCORES LOSS_OP_NAME".split(),
        "KMeansClustering(num_clusters, model_dir, initial_clusters, distance_metric, random_seed, "
        "use_mini_batch, mini_batch_steps_per_iteration, kmeans_plus_plus_num_retries, "
        "relative_tolerance, config)",
        "fit(x, y, input_fn, steps, batch_size, monitors, max_steps)",
        "partial_fit(x, y, input_fn, steps, batch_size, monitors)",
        "predict(x, input_fn, batch_size, outputs, as_iterable, iterate_batches)",
        "predict_cluster_idx(input_fn)",
        "transform(input_fn, as_iterable)",
        "score(input_fn, steps)",
        "evaluate(x, y, input_fn, feed_fn, batch_size, steps, metrics, name, checkpoint_path, "
        "hooks, log_progress)",
        "clusters()",
        "get_variable_names()",
        "get_variable_value(name)",
        "get_params(deep)",
        "set_params(params)",
        "export(export_dir, input_fn, input_feature_key, use_deprecated_input_fn, signature_fn, "
        "prediction_key, default_batch_size, exports_to_keep, checkpoint_path)",
        "export_savedmodel(export_dir_base, serving_input_fn, default_output_alternative_key, "
        "assets_extra, as_text, checkpoint_path, graph_rewrite_specs, strip_default_attrs)",
        *["config", "model_dir", "model_fn", "params"],
        *['predict["cluster_idx"]', 'predict["all_scores"]'],
        *['evaluate["scores"]', 'evaluate["loss"]', 'evaluate["global_step"]'],
        *["_InitializeClustersHook", "_LossRelativeChangeHook", "loss/raw"],
    ],
    "tf.contrib.factorization.KMeansClustering, tf.estimator.experimental.KMeans": [
        *f"{DISTANCES} SCORE CLUSTER_INDEX ALL_DISTANCES CLUSTER_CENTERS_VAR_NAME".split(),
        "KMeansClustering(num_clusters, model_dir, initial_clusters, distance_metric, random_seed, "
        "seed, use_mini_batch, mini_batch_steps_per_iteration, kmeans_plus_plus_num_retries, "
        "relative_tolerance, config, feature_columns)",
        "train(input_fn, hooks, steps, max_steps, saving_listeners)",
        "predict(input_fn, predict_keys, hooks, checkpoint_path, yield_single_examples)",
        "predict_cluster_index(input_fn)",
        "transform(input_fn)",
        "score(input_fn)",
        "cluster_centers()",
        "evaluate(input_fn, steps, hooks, checkpoint_path, name)",
        "export_savedmodel(export_dir_base, serving_input_receiver_fn, assets_extra, as_text, "
        "checkpoint_path, strip_default_attrs)",
        "export_saved_model(export_dir_base, serving_input_receiver_fn, assets_extra, as_text, "
        "checkpoint_path, experimental_mode)",
        "experimental_export_all_saved_models(export_dir_base, input_receiver_fn_map, "
        "assets_extra, as_text, checkpoint_path)",
        "get_variable_names()",
        "get_variable_value(name)",
        "latest_checkpoint()",
        "eval_dir(name)",
        *["config", "model_dir", "model_fn", "params"],
        *['predict["cluster_index"]', 'predict["all_distances"]'],
        *['evaluate["score"]', 'evaluate["loss"]', 'evaluate["global_step"]'],
        # Its first version.
        "fit(x, y, monitors, logdir, steps, batch_size, relative_tolerance)",
        "predict(x, batch_size)",
        "transform(x, batch_size)",
        "score(x, batch_size)",
        "clusters()",
        *["SCORES", "CLUSTER_IDX", "CLUSTERS", "ALL_SCORES", "_StopWhenConverged"],
    ],
    "tf.contrib.factorization.KMeans": [
        "KMeans(inputs, num_clusters, initial_clusters, distance_metric, use_mini_batch, "
        "mini_batch_steps_per_iteration, random_seed, kmeans_plus_plus_num_retries, "
        "kmc2_chain_length)",
        "training_graph()",
        *[
            "all_scores",
            "cluster_idx",
            "scores",
            "cluster_centers_initialized",
            "init_op",
            "training_op",
        ],
        *f"{DISTANCES} KMC2_INIT CLUSTERS_VAR_NAME".split(),
        *["clusters", "clusters_updated", "initialized", "update_in_steps", "cluster_counts"],
    ],
}


def pieces(text: str) -> Iterator[str]:
    """The names in code: `a`, `a(b, c)` as `a`, `a(b` and `a(c`, `a["b"]`."""
    for code in re.findall(r"`([^`]+)`", text):
        name, bracket, arguments = code.partition("(")
        yield name
        if bracket:
            yield from (f"{name}({one}" for one in re.findall(r"\w+", arguments))


def tables() -> dict[str, list[tuple[str, str, str]]]:
    """The rows of the tables of names, by heading."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for heading, text in re.findall(r"(?m)^### (.+)\n((?:(?!^#).*\n?)*)", PAGE):
        rows = [line.strip("|").split(" | ") for line in text.splitlines() if line[:1] == "|"]
        found[heading.replace("`", "")] = [
            (original.strip(), here.strip(), note.strip()) for original, here, note in rows[2:]
        ]
    return found


@pytest.mark.parametrize("which", ORIGINALS)
def test_every_name_of_the_original_is_accounted_for(which: str) -> None:
    rows = tables()[which]
    listed = {piece for original, _, _ in rows for piece in pieces(original)}
    public = {piece for code in ORIGINALS[which] for piece in pieces(f"`{code}`")}
    assert sorted(public - listed) == [], "missing in docs/coming-from-tensorflow.md"
    assert sorted(listed - public) == [], "no such name in the original"


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What methods return that give dicts."""
    rows = np.random.default_rng(0).normal(size=(30, 2))
    model = shoal.KMeansClustering(2).fit(rows, steps=1)
    predicted = model.predict(rows, as_iterable=False)
    variables = {name: model.get_variable_value(name) for name in model.get_variable_names()}
    evaluated = model.evaluate(rows)
    return {"predict": predicted, "evaluate": evaluated, "get_variable_value": variables}


@pytest.mark.parametrize("which", ORIGINALS)
def test_every_name_of_ours_exists(which: str, answers: dict[str, Any]) -> None:
    for original, here, note in tables()[which]:
        if here == "nothing":
            assert len(note) > 10, f"{original}: why is there nothing?"
            continue
        codes = re.findall(r"`([^`]+)`", here)
        assert codes, original
        for code in codes:
            check_exists(code, answers)


def check_exists(code: str, answers: dict[str, Any]) -> None:
    """`KMeansClustering.fit(x, steps)` and its parameters; `predict["scores"]` in an answer."""
    if key := re.fullmatch(r'(\w+)\["(\w+)"\]', code):
        assert key[2] in answers[key[1]], code
        return
    name, bracket, arguments = code.partition("(")
    found: Any = shoal
    for part in name.removeprefix("shoal.").split("."):
        found = getattr(found, part)
    if bracket:
        parameters = inspect.signature(found).parameters
        for argument in re.findall(r"\w+", arguments):
            assert argument in parameters, f"{name} has no parameter {argument}"


# ---- What they bring ----


def test_where_a_model_is_kept(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    alone = shoal.KMeansClustering(2).fit(rows, steps=1)
    assert alone.latest_checkpoint() is None
    assert alone.eval_dir() is None
    model = shoal.KMeansClustering(2, model_dir=str(tmp_path / "kept"))
    assert model.latest_checkpoint() is None
    model.fit(rows, steps=3)
    path = model.latest_checkpoint()
    assert path == str(tmp_path / "kept" / "checkpoints" / "step-000000003.safetensors")
    assert np.array_equal(shoal.load_model(path).clusters(), model.clusters())
    for name in (None, "test"):
        model.evaluate(rows, name=name)
        folder = model.eval_dir(name)
        assert folder is not None
        assert (Path(folder) / "step-000000003.json").is_file()
    with pytest.raises(shoal.BadInputError, match="name"):
        model.eval_dir("a/b")


@pytest.mark.parametrize("method", ["before_run", "after_run", "step_end"])
def test_a_hook_of_a_session_is_refused(method: str) -> None:
    kind = type("LossHook", (), {"begin": lambda _: None, method: lambda *_: None})
    with pytest.raises(shoal.BadInputError, match=rf"hooks\[0\] is a LossHook with {method}"):
        shoal.KMeansClustering(2).train(lambda: np.eye(3), hooks=[kind()])
    also = type("Both", (kind,), {"after_step": lambda *_: True, "begin": lambda *_: None})
    assert shoal.KMeansClustering(2).fit(np.eye(3), monitors=[also()]).state.global_step == 1
