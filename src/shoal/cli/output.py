"""What the command line says: results, log lines, errors."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from shoal.hooks import LogProgress

Result = dict[str, Any]

logger = logging.getLogger("shoal")

#: Seconds between log lines of training.
PATIENCE = 1.0

#: What the parameters that messages name are called on the command line.
OPTIONS = {
    "on_bad_rows='skip'": "--on-bad-rows skip",
    "use_mini_batch=True": "--mini-batch",
    "num_clusters": "--clusters",
    "batch_size": "--batch-size",
    "relative_tolerance": "--tolerance",
    "random_seed": "--seed",
    "num_threads": "--threads",
    "empty_clusters": "--empty-clusters",
    "feature_columns": "--columns",
    "weight_column": "--weight",
    "model_dir": "--model-dir",
    "max_steps": "--max-steps",
    "save_checkpoints_steps": "--checkpoint-steps",
    "save_checkpoints_secs": "--checkpoint-secs",
    "save_summary_steps": "--summary-steps",
}
#: Remedies that need Python, and what helps on the command line.
REMEDIES = (
    (r"use \.astype\(np\.(\w+)\)", r"save the file as \1"),
    (r"\. Use \.reshape\(.*$", ""),
    (r", or model_dir=None to keep the model in memory", ""),
    (
        r"\. The model in memory is .* make room, then call fit again.*$",
        ": make room, then --resume",
    ),
)
_OPTION = re.compile(r"(?<![\w./-])(?:" + "|".join(map(re.escape, OPTIONS)) + r")(?![\w./-])")


class EverySecond(LogProgress):
    """Logs the last step, or what a long pass has done, once a second at most."""

    def __init__(self) -> None:
        super().__init__(None, PATIENCE)


def in_words_of_the_user(message: str, path: object) -> str:
    """Name the file where the library says ``x``, and options where it names parameters."""
    for remedy, instead in REMEDIES:
        message = re.sub(remedy, instead, message)
    message = _OPTION.sub(lambda found: OPTIONS[found[0]], message)
    return re.sub(r"^x(?=[ :])|(?<= of )x(?=[ :;])", lambda _: str(path), message)


@contextmanager
def messages_to_stderr(quiet: bool, path: object) -> Iterator[None]:
    """Log lines and warnings as lines of standard error; a kind of warning is shown once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("shoal: %(message)s"))
    level, shown = logger.level, set()

    def show(message: Warning | str, *_: Any) -> None:
        text = in_words_of_the_user(str(message), path)
        kind = re.sub(r"\d+", "#", text)
        if kind not in shown:
            shown.add(kind)
            print(f"shoal: warning: {text}", file=sys.stderr)

    logger.addHandler(handler)
    logger.setLevel("WARNING" if quiet else "INFO")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show  # type: ignore[assignment]
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def show_result(result: Result, as_json: bool) -> None:
    """Print a result; where standard output fails, nothing more is written to it."""
    if as_json:
        text = json.dumps(result)
    else:
        text = "\n".join(f"{name.replace('_', ' '):<14} {_text(v)}" for name, v in result.items())
    try:
        print(text, flush=True)
    except OSError:
        silence_stdout()
        raise


def silence_stdout() -> None:
    """Let what is still in the buffer of standard output go nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)
