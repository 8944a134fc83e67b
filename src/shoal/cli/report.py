"""``shoal report``: a page about a model and data."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from shoal.cli.data import files_of, is_read
from shoal.cli.models import trained_model, with_progress
from shoal.cli.output import Result
from shoal.errors import BadInputError
from shoal.hooks import rows_shown
from shoal.report.beside import Beside, beside, of_files
from shoal.report.charts import check_charts
from shoal.report.given import Subject, Wanted
from shoal.report.history import losses_of
from shoal.report.make import make_report, wide_columns


def report(options: argparse.Namespace) -> Result:
    """Write the page, and say what stands for the whole."""
    check_charts()
    target = _target(options)
    model, source = trained_model(options, weighted=True)
    subject = Subject.of(model, label=options.model)
    wanted = Wanted.checked(
        subject,
        title=options.title,
        name_column=options.name_column,
        keep=options.keep,
        vocabulary=_vocabulary(options.vocabulary),
        image_shape=options.image_shape,
        map_view=options.map,
        sample_size=options.sample_size,
        silhouette_size=options.silhouette_size,
        num_examples=options.examples,
        random_seed=options.seed,
    )
    losses = losses_of(options.history or subject.model_dir)
    besides: Beside
    if options.metadata is None:
        besides = of_files(files_of(options), wide_columns(source))
    else:
        besides = beside(options.metadata)
    with rows_shown(with_progress(options), "report", source.rows) as progress:
        made = make_report(subject, source, besides, wanted, losses, progress)
    made.save(target)
    return {**made.measured, "output": options.output}


def _target(options: argparse.Namespace) -> Path:
    """Where the page goes, before anything is read."""
    target = Path(options.output)
    if target.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"{target} is of another kind: the report is a page, .html")
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} for {target.name}")
    given = [options.metadata, options.vocabulary, options.history]
    if is_read(target, [*options.data, options.model, *filter(None, given)]):
        raise BadInputError(f"{target} is read by this command: choose another file to write")
    if target.exists() and not options.force:
        raise BadInputError(f"{target} exists: pass --force to replace it")
    return target


def _vocabulary(path: str | None) -> Any:
    """The terms of a file, a line each."""
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"--vocabulary {os.fsdecode(path)} cannot be read: {reason}") from None
