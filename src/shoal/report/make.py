"""``report``: a model and its data as one page of HTML."""

from __future__ import annotations

import html
import os
import platform
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np

from shoal.build import build_info
from shoal.choosing.indices import silhouette
from shoal.inference import Inference
from shoal.metric import all_distances, is_cosine
from shoal.report import charts
from shoal.report.beside import Beside, beside, of_metadata
from shoal.report.content import Composer, Content, rounded
from shoal.report.given import Subject, Wanted
from shoal.report.history import Change, Losses, changes_of, losses_of
from shoal.report.images import shown_shape
from shoal.report.page import rendered
from shoal.report.plane import Plane, may_be_points, plane_of
from shoal.report.reading import Amounts, Seen, as_compared, read_all
from shoal.shards.rows import ignore
from shoal.sources.columns import Columns
from shoal.sources.open import Source, is_path, open_named, with_sample_weight
from shoal.sources.sparse import Matrix, SparseRows
from shoal.storage.files import whole_file
from shoal.types import Floats
from shoal.version import __version__

#: Share of the variance from which on a column is said to decide alone.
UNEVEN = 0.95


class Report:
    """A page about a model and its data.

    Attributes
    ----------
    html
        The page: one text, which needs no other file and no network.
    measured
        What was measured for it, by name: rows, clusters, loss, silhouettes.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
    >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    >>> page = shoal.report(model, x)
    >>> page.html.startswith("<!doctype html>")
    True
    """

    def __init__(self, html: str, measured: dict[str, Any]) -> None:
        self.html = html
        self.measured = measured

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page as a file, which appears whole or not at all."""
        with whole_file(path) as file:
            file.write(self.html.encode("utf-8"))

    def _repr_html_(self) -> str:
        """The page inside of a notebook."""
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="Report" '
            'style="width:100%;height:80vh;border:1px solid #8884"></iframe>'
        )

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.measured.items())
        return f"Report({told}, {len(self.html) / 1e6:.1f} MB)"


def report(
    model: Any,
    data: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    metadata: Any = None,
    name_column: str | None = None,
    keep: Sequence[str] | None = None,
    vocabulary: Any = None,
    image_shape: Sequence[int] | None = None,
    map_view: str = "auto",
    history: Any = None,
    sample_weight: Any = None,
    sample_size: int = 5000,
    silhouette_size: int = 2000,
    num_examples: int = 3,
    random_seed: int = 0,
    num_threads: int | None = None,
) -> Report:
    """Write one page about a model and its data: self-contained HTML, with plots and tables.

    It shows the loss by step, sizes of clusters, distances to the own and to the next center, the
    simplified silhouette of all rows and the exact one of a sample, a map of the centers and a
    sample of the rows, and for each cluster the columns that make it different and the rows nearest
    to and farthest from its center, with the other columns of their source; what changed between
    checkpoints; parameters, versions and a fingerprint of the data. The data is read once, piece by
    piece, and files of tables once more for their other columns. What is of a sample says so.

    Parameters
    ----------
    model
        A trained model: a ``KMeansClustering``, or a ``KMeans`` or ``MiniBatchKMeans`` of
        ``shoal.sklearn`` or scikit-learn.
    data
        The rows, of any kind that ``shoal.open`` reads.
    path
        File to write; what is there is replaced. None: none is written.
    title
        Heading of the page.
    metadata
        Other columns of the rows, where their source has none: a frame, a table, a dict of columns,
        a list of names, or a file of a table, with a row for each row of the data.
    name_column
        The column that names rows (default: the first of text whose values differ).
    keep
        Columns of the source that are shown of rows (default: all, 40 at most).
    vocabulary
        The term of each column: a list, or a dict of terms and their columns.
    image_shape
        (height, width) or (height, width, channels) of rows that are pictures; (1, 1, 3) of rows
        that are pixels.
    map_view
        ``"pca"``, ``"world"`` or ``"columns"`` (of two); ``"auto"``: the world where columns are
        latitude and longitude or rows are points of the sphere, the columns where there are two.
    history
        The losses of training: a ``shoal.hooks.History``, a list, a ``metrics.jsonl`` (default:
        those in the model's ``model_dir``).
    sample_weight
        A weight [n] for each row, as for ``fit``.
    sample_size, silhouette_size
        Rows on the map, at most 20,000, and rows of the exact silhouette, at most 5,000.
    num_examples
        Rows that are shown of each cluster, nearest and farthest.
    random_seed
        Of the sample.
    num_threads
        None: the model's, or the CPUs this process may use.

    Returns
    -------
    Report
        With the page as ``html``, ``save(path)``, and shown as such in notebooks.

    Raises
    ------
    MissingExtraError
        Without the extra ``shoal[report]``.
    NotFittedError
        Before training.
    BadInputError
        If the data or an argument cannot be used.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [10.0, 9.0], [11.0, 10.0]])
    >>> model = shoal.KMeansClustering(None, initial_clusters=x[[0, 2]], use_mini_batch=False)
    >>> found = shoal.report(model.fit(x), x, "report.html", metadata=["a", "b", "c", "d"])
    >>> found.measured["rows"], round(found.measured["simplified_silhouette"], 2)
    (4, 0.95)
    """
    charts.check_charts()
    subject = Subject.of(model, num_threads)
    wanted = Wanted.checked(
        subject,
        title=title,
        name_column=name_column,
        keep=keep,
        vocabulary=vocabulary,
        image_shape=image_shape,
        map_view=map_view,
        sample_size=sample_size,
        silhouette_size=silhouette_size,
        num_examples=num_examples,
        random_seed=random_seed,
    )
    losses = losses_of(subject.model_dir if history is None else history)
    named = Columns(weight=subject.weight, learned=subject.columns)
    source = open_named(data, named, None, False, _label(data))
    if sample_weight is not None:
        source = with_sample_weight(source, sample_weight)
    besides = beside(data, wide_columns(source)) if metadata is None else None
    if besides is None:
        besides = of_metadata(metadata, source.rows)
    made = make_report(subject, source, besides, wanted, losses)
    if path is not None:
        made.save(path)
    return made


def _label(data: Any) -> str:
    """What the data is called."""
    paths = data if isinstance(data, list) else [data]
    if not is_path(data):
        return "data"
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return os.fsdecode(paths[0]) + more


def wide_columns(source: Source) -> list[str]:
    """Names of columns that hold many numbers in a row."""
    widths = getattr(getattr(source, "pages", None), "widths", None) or {}
    return [str(name) for name, width in widths.items() if width is not None and width > 1]


class Found(NamedTuple):
    """All that a page is made of."""

    seen: Seen
    plane: Plane
    exact: float | None  # silhouette of a sample
    exact_rows: int
    losses: Losses | None
    changes: list[Change]


def make_report(
    subject: Subject,
    source: Source,
    besides: Beside,
    wanted: Wanted,
    losses: Losses | None,
    progress: Callable[[int], None] = ignore,
) -> Report:
    """Read the data, and make the page of what is found."""
    inference = Inference(subject.state, subject.parameters, subject.on_bad_rows)
    source.must_end("all of it is read", "give what is to be shown of it")
    places = may_be_points(list(map(str, subject.columns)), subject.state.clusters.shape[1])
    amounts = Amounts(wanted.sample_size, wanted.num_examples, wanted.random_seed, places)
    seen = read_all(inference, source, amounts, progress)
    assert seen.sample.rows is not None
    names = wanted.names(subject, source.columns)
    columns = names if subject.columns or source.columns else ()
    metric, threads = subject.metric, subject.parameters.num_threads
    plane = plane_of(seen.sample.rows, subject.centers, metric, columns, wanted.map_view)
    exact, exact_rows = _exact(subject, seen, wanted.silhouette_size)
    changes = changes_of(subject.model_dir, seen.sample.rows, subject.state, metric, threads)
    found = Found(seen, plane, exact, exact_rows, losses, changes)
    composer = Composer(subject, wanted, seen, names)
    content = composer.made(besides)
    composer.paint_rows(content)
    return Report(_page(subject, source, wanted, found, content), _measured(found))


def _exact(subject: Subject, seen: Seen, size: int) -> tuple[float | None, int]:
    """The silhouette of some rows of the sample among themselves."""
    rows, labels = seen.sample.rows, seen.sample.labels[:size]
    if rows is None or len(labels) < 2:
        return None, len(labels)
    pairs = _pairs(rows[: len(labels)], subject)
    found = silhouette(pairs if is_cosine(subject.metric) else np.sqrt(pairs), labels)
    return (None if np.isnan(found) else found), len(labels)


def _pairs(rows: Matrix, subject: Subject) -> Floats:
    """Distances [m, m] of rows to each other, as the engine has them: of sparse ones by scipy."""
    metric = subject.metric
    if not isinstance(rows, SparseRows):
        return all_distances(rows, rows, metric, subject.parameters.num_threads).astype(np.float64)
    compared = as_compared(rows, metric)
    products = np.asarray((compared @ compared.T).toarray())
    squares = np.diag(products)
    if is_cosine(metric):
        distances: Floats = 1 - products
    else:
        distances = squares[:, None] + squares - 2 * products
    return np.maximum(distances, 0, out=distances)


def _measured(found: Found) -> dict[str, Any]:
    """The numbers that stand for the whole."""
    seen = found.seen
    return {
        "rows": seen.rows,
        "clusters": len(seen.sizes),
        "empty": int(np.count_nonzero(seen.sizes == 0)),
        "loss": seen.loss,
        "loss_per_row": seen.loss / seen.weight,
        "simplified_silhouette": rounded(seen.silhouette),
        "silhouette_of_sample": None if found.exact is None else rounded(found.exact),
    }


def _figures(found: Found, content: Content, colors: list[str]) -> dict[str, Any]:
    seen = found.seen
    drawn = {
        "map": charts.map_of(found.plane, seen, colors, content.of_sample, content.texts),
        "sizes": charts.sizes_of(seen, content.texts),
    }
    if len(seen.sizes) > 1:
        drawn["distances"] = charts.distances_of(seen, colors, content.texts)
        drawn["silhouettes"] = charts.silhouettes_of(seen)
    if found.losses is not None:
        drawn["loss"] = charts.losses_of(found.losses)
    return drawn


def _page(subject: Subject, source: Source, wanted: Wanted, found: Found, content: Content) -> str:
    seen, names = found.seen, wanted.names(subject, source.columns)
    colors = charts.colors_of(found.plane.centers) if content.colors is None else content.colors
    figures = _figures(found, content, colors)
    data = {
        "clusters": content.clusters,
        "names": content.names,
        "mean": content.mean,
        "deviation": content.deviation,
        "shown": content.shown,
        "terms": content.terms,
        "unit": seen.unit,
        "colors": colors,
        "weighted": seen.weighted,
        "places": bool(seen.unit),
        "pixel": wanted.image_shape is not None and wanted.image_shape[:2] == (1, 1),
    }
    values = {
        "title": wanted.title,
        "subject": subject,
        "seen": seen,
        "found": found,
        "plane": found.plane,
        "measured": _measured(found),
        "drawn": list(figures),
        "notes": content.notes,
        "warning": _uneven(seen, names, subject.metric),
        "columns": subject.state.clusters.shape[1],
        "source": source.name,
        "about": _about(subject, source, wanted, seen),
        "versions": _versions(),
        "listed": len(content.clusters),
        "settled": len(content.clusters) == len(seen.sizes),
    }
    return rendered(values, data, figures)


def _uneven(seen: Seen, names: Sequence[str], metric: str) -> str | None:
    """A word on a column that decides nearly all, for being in larger units."""
    variances = seen.deviation**2
    total = float(variances.sum())
    if is_cosine(metric) or len(variances) < 2 or total == 0:
        return None
    share = float(variances.max()) / total
    if share < UNEVEN:
        return None
    return (
        f"One column, {names[int(variances.argmax())]}, has {share:.1%} of the variance of the "
        "data: it decides the clusters nearly alone. If its unit is not meant to count for so "
        "much, scale the columns before training."
    )


def _about(subject: Subject, source: Source, wanted: Wanted, seen: Seen) -> dict[str, str]:
    """The data and the model, in lines."""
    told = {
        "data": source.name,
        "rows": f"{seen.rows:,}",
        "columns": f"{subject.state.clusters.shape[1]:,}",
        "dtype": str(seen.dtype),
        "fingerprint": f"SHA-256 {seen.fingerprint}",
        "distance": subject.metric.replace("_", " "),
        "model": subject.label or subject.kind,
        "steps": f"{subject.state.global_step:,}",
        "seed": str(subject.state.seed),
    }
    if seen.dropped:
        told["rows left out"] = f"{seen.dropped:,}, with values that are missing or not finite"
    if wanted.image_shape is not None:
        told["rows are images"] = shown_shape(wanted.image_shape)
    return told


def _versions() -> dict[str, str]:
    info = build_info()
    import bokeh

    return {
        "shoal": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Bokeh": str(bokeh.__version__),
        "SIMD": str(info["simd_target"]),
        "machine": platform.machine(),
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
