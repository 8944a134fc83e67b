"""model_dir: other models and versions are refused, damaged files are passed over."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_helpers import (
    X,
    files,
    fit,
    new,
    step_file,
)
from helpers import bits

import shoal
from shoal import (
    CheckpointError,
    RunConfig,
)
from shoal.storage import safetensors as tensors

# ---- Other models, other versions ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_clusters": 8}, r"num_clusters is 8, .* have 7"),
        ({"distance_metric": "cosine"}, r"distance_metric is 'cosine', .* 'squared_euclidean'"),
        ({"initial_clusters": X[:7, :3]}, r"columns of initial_clusters is 3, .* have 4"),
        ({"feature_columns": ["a", "b", "c", "e"]}, r"feature_columns is \['a', 'b', 'c', 'e'\]"),
        ({"feature_columns": ["d", "b", "c", "a"]}, r"feature_columns is .*have \['a', 'b'"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    fit(new(tmp_path), {name: X[:, i] for i, name in enumerate("abcd")}, steps=3)
    with pytest.raises(CheckpointError, match=words):
        new(tmp_path, **change)
    with pytest.raises(CheckpointError, match=words):
        new(**change).set_params(model_dir=str(tmp_path))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    before = bits(fit(new(tmp_path), steps=3))
    model = new(tmp_path)
    with pytest.raises(shoal.BadInputError, match=r"3 columns.* have 4"):
        fit(model, X[:, :3])
    assert bits(model) == bits(new(tmp_path)) == before


def test_other_parameters_may_differ(tmp_path: Path) -> None:
    fit(new(tmp_path), steps=3)
    model = new(tmp_path, "full batch", random_seed=3, initial_clusters="kmc2", num_threads=1)
    fit(model)
    assert model.state.global_step > 3
    assert model.state.seed == 11
    settings = json.loads((tmp_path / "shoal.json").read_text())
    assert settings["parameters"]["use_mini_batch"] is False


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON inside a checkpoint, and give it a right checksum."""
    arrays, metadata = tensors.unpack(path.read_bytes())
    content = json.loads(metadata["shoal"])
    change(content)
    metadata = {"shoal": json.dumps(content)}
    metadata["crc32"] = tensors.checksum(arrays, metadata)
    path.write_bytes(b"".join(tensors.pack(arrays, metadata)))


def test_a_later_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    fit(new(tmp_path), steps=3)
    model = new(tmp_path)
    edit(step_file(tmp_path, 3), lambda content: content.update(format=2, version="9.1"))
    was = step_file(tmp_path, 3).read_bytes()
    for call in (lambda: new(tmp_path), lambda: fit(model, steps=2), lambda: model.clusters()):
        with pytest.raises(CheckpointError, match=r"format 2, written by shoal 9\.1.*upgrade"):
            call()
    assert step_file(tmp_path, 3).read_bytes() == was
    step_file(tmp_path, 3).unlink()
    (tmp_path / "shoal.json").write_text('{"format": 3}')
    with pytest.raises(CheckpointError, match=r"shoal\.json has format 3"):
        new(tmp_path)


def test_an_older_library_of_the_same_format_is_fine(tmp_path: Path) -> None:
    model = fit(new(tmp_path), steps=3)

    def older(content: dict[str, Any]) -> None:
        content["version"] = "0.0.1"
        for name in ("idle_rounds", "unfinished"):  # fields with defaults came later
            del content["state"][name]

    edit(step_file(tmp_path, 3), older)
    assert bits(new(tmp_path)) == bits(model)


# ---- Damage ----


@pytest.fixture(name="two")
def _two(tmp_path: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A directory with the checkpoints of steps 3 and 4, and what each holds."""
    run = RunConfig(
        progress=False, tensorboard=False, save_checkpoints_steps=1, keep_checkpoint_max=2
    )
    first = bits(fit(new(tmp_path, config=run), steps=3))
    last = bits(fit(new(tmp_path, config=run), steps=1))
    return tmp_path, first, last


Two = tuple[Path, dict[str, Any], dict[str, Any]]


def test_any_damaged_byte_is_found(two: Two) -> None:
    folder, first, last = two
    path = step_file(folder, 4)
    whole = path.read_bytes()
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    rng = np.random.default_rng(seed)
    places = sorted({0, 7, 8, 9, len(whole) - 1, *rng.integers(len(whole), size=60).tolist()})
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            with pytest.warns(UserWarning, match=path.name):
                found = bits(new(folder))
        except pytest.fail.Exception:
            # Spaces that fill up the header may change: they mean nothing.
            assert whole[place] == ord(" "), f"byte {place} of {len(whole)}"
            continue
        assert found == first
    path.write_bytes(whole)
    assert bits(new(folder)) == last


@pytest.mark.parametrize("length", [0, 5, 8, 100, -40, -1])
def test_a_cut_off_file_is_passed_over(two: Two, length: int) -> None:
    folder, first, _ = two
    path = step_file(folder, 4)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(UserWarning, match=r"step-000000004\S* cannot be used: it has .* bytes"):
        model = new(folder)
    assert bits(model) == first
    # Going on from the one before, the damaged one is put aside, and not met again.
    fit(model, max_steps=9)
    assert bits(new(folder)) == bits(fit(new(), max_steps=9))
    fit(new(folder / "other"), max_steps=9)


def test_a_damaged_file_of_a_later_step_is_put_aside(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _, _ = two
    step_file(folder, 4).rename(step_file(folder, 30))
    step_file(folder, 30).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="step-000000030"):
        model = new(folder)
    fit(model, max_steps=9)
    assert "step-000000030.safetensors.damaged" in files(folder)
    assert "step-000000030" in caplog.text
    assert bits(new(folder)) == bits(fit(new(), max_steps=9))


def test_all_damaged(two: Two) -> None:
    folder, _, _ = two
    for step in (3, 4):
        step_file(folder, step).write_bytes(b"12345678" * 20)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be used .*4.*3"):
        new(folder)
    assert len(files(folder)) == 2


@pytest.mark.parametrize("name", ["checkpoint.json", "shoal.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[3]", b'{"latest": "step-9"}'])
def test_lists_may_be_missing_or_damaged(two: Two, name: str, content: bytes | None) -> None:
    folder, _, last = two
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    model = new(folder)
    assert bits(model) == last
    fit(model, steps=1)
    assert json.loads((folder / "shoal.json").read_text())["format"] == 1
    assert json.loads((folder / "checkpoint.json").read_text())["latest"].startswith("step-")


WRONG_STATES: list[tuple[str, Any]] = [
    ("global_step", -1),
    ("global_step", "4"),
    ("global_step", True),
    ("seed", 1.5),
    ("initialized", 1),
    ("unfinished", [1, 2]),
    ("unfinished", [0, "x", 0, 0, 0]),
    ("color", "blue"),
]


@pytest.mark.parametrize(("field", "value"), WRONG_STATES)
def test_wrong_values_are_found(two: Two, field: str, value: Any) -> None:
    folder, first, _ = two
    edit(step_file(folder, 4), lambda content: content["state"].update({field: value}))
    with pytest.warns(UserWarning, match=field):
        assert bits(new(folder)) == first


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("counts", np.ones(6)),
        ("counts", np.ones((7, 1))),
        ("clusters", np.ones((6, 4), np.float32)),
        ("clusters", np.full((7, 4), np.nan, np.float32)),
        ("clusters_updated", np.ones((7, 5), np.float32)),
        ("colors", np.ones(3)),
        ("counts", None),
    ],
)
def test_wrong_arrays_are_found(two: Two, name: str, array: Any) -> None:
    folder, first, _ = two
    arrays, metadata = tensors.unpack(step_file(folder, 4).read_bytes())
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    del metadata["crc32"]
    metadata["crc32"] = tensors.checksum(arrays, metadata)
    step_file(folder, 4).write_bytes(b"".join(tensors.pack(arrays, metadata)))
    with pytest.warns(UserWarning, match="step-000000004"):
        assert bits(new(folder)) == first


def test_headers_of_safetensors_are_checked() -> None:
    whole = b"".join(tensors.pack({"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}, {}))
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])

    def refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
        changed = copy.deepcopy(header)
        change(changed)
        text = json.dumps(changed).encode()
        with pytest.raises(tensors.FormatError, match=words):
            tensors.unpack(len(text).to_bytes(8, "little") + text + whole[end:])

    refused(lambda h: h["a"].update(dtype="F16"), "a: ")
    refused(lambda h: h["a"].update(dtype=[]), "a: ")
    refused(lambda h: h["a"].update(shape=[4]), "a has 24 bytes, .* needs 32")
    refused(lambda h: h["a"].update(shape=[-3, -1]), "a: ")
    refused(lambda h: h["a"].update(data_offsets=[0, 24.0]), "a: ")
    refused(lambda h: h["a"].update(data_offsets=[0, 24, 3]), "a: ")
    refused(lambda h: h["b"].update(data_offsets=[8, 24]), "gap or overlap")
    refused(lambda h: h["b"].update(data_offsets=[32, 48]), "should reach")
    refused(lambda h: h.pop("b"), "arrays end at")
    refused(lambda h: h.update(__metadata__={"a": 3}), "dictionary of texts")
    refused(lambda h: h.update(c=3), "c: 3")
    refused(lambda h: h["a"].update(shape=[3, *[1] * 70]), "a has shape")
    refused(
        lambda h: h.update(c={**h["a"], "shape": [0, 1 << 70], "data_offsets": [0, 0]}), "c has"
    )
    deep = b"[" * 100_000
    with pytest.raises(tensors.FormatError, match="JSON"):
        tensors.unpack(len(deep).to_bytes(8, "little") + deep)
    for content in (b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{x"):
        with pytest.raises(tensors.FormatError):
            tensors.unpack(content)
