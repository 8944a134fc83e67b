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

Result = dict[str, Any]

logger = logging.getLogger("shoal")

#: Centers in degrees that are shown; --json has all.
MOST_PLACES = 20

#: What the parameters that messages name are called on the command line.
OPTIONS = {
    "on_bad_rows='skip'": "--on-bad-rows skip",
    "dtype='float64'": "--dtype float64",
    "opset": "--opset",
    "use_mini_batch=True": "--mini-batch",
    "distance_metric": "--metric",
    "num_clusters": "--clusters",
    "num_workers": "--workers",
    "max_staleness": "--max-staleness",
    "asynchronous=True": "--asynchronous",
    "batch_size": "--batch-size",
    "relative_tolerance": "--tolerance",
    "random_seed": "--seed",
    "num_threads": "--threads",
    "empty_clusters": "--empty-clusters",
    "start_on_sample": "--start-on-sample",
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
    (r"asynchronous=True \(RunConfig\)", "asynchronous=True"),
    (r"\b(asynchronous|use_mini_batch) is False", r"\1=True is not given"),
    (
        r"Train on shoal\.to_sphere.*\(on the command line: (--sphere .*)\)$",
        r"Pass \1, which trains on points of the sphere",
    ),
    (r"use \.astype\(np\.(\w+)\)", r"save the file as \1"),
    (r"\. Use \.reshape\(.*$", ""),
    (r", or model_dir=None to keep the model in memory", ""),
    (
        r"\. The model in memory is .* make room, then call fit again.*$",
        ": make room, then --resume",
    ),
)
_OPTION = re.compile(r"(?<![\w./-])(?:" + "|".join(map(re.escape, OPTIONS)) + r")(?![\w./-])")


def in_words_of_the_user(message: str, path: object) -> str:
    """Name the file where the library says ``x``, and options where it names parameters."""
    for remedy, instead in REMEDIES:
        message = re.sub(remedy, instead, message)
    message = _OPTION.sub(lambda found: OPTIONS[found[0]], message)
    return re.sub(r"^x(?=[ :])|(?<= of )x(?=[ :;])", lambda _: str(path), message)


class _OneLine(logging.Formatter):
    """A log record as one line for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, of warnings marked as such."""
        marked = "warning: " if record.levelno == logging.WARNING else ""
        return f"shoal: {marked}{printable(record.getMessage())}"


def printable(text: str) -> str:
    """The text with escape codes written out: names of columns and files may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(message: str) -> None:
    """Write a line to standard error."""
    if sys.stderr is not None:
        print(f"shoal: {printable(message)}", file=sys.stderr)


@contextmanager
def messages_to_stderr(quiet: bool, path: object) -> Iterator[None]:
    """Log lines and warnings as lines of standard error; a kind of warning is shown once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    level, shown = logger.level, set()

    def show(message: Warning | str, *_: Any) -> None:
        text = in_words_of_the_user(str(message), path)
        kind = re.sub(r"\d+", "#", text)
        if kind not in shown:
            shown.add(kind)
            say(f"warning: {text}")

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


def show_result(result: Result, as_json: bool, to_stderr: bool = False) -> None:
    """Print a result; where standard output fails, nothing more is written to it."""
    if as_json:
        text = json.dumps(result)
    else:
        text = "\n".join(f"{name.replace('_', ' '):<14} {_text(v)}" for name, v in result.items())
    try:
        print(text, flush=True, file=sys.stderr if to_stderr else sys.stdout)
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
        if any(isinstance(one, list) for one in value):  # places
            shown = "; ".join(" ".join(map(_text, one or ["none"])) for one in value[:MOST_PLACES])
            more = len(value) - MOST_PLACES
            return shown + (f"; and {more} more (--json has all)" if more > 0 else "")
        return ", ".join(_text(item) for item in value)
    return printable(str(value))
