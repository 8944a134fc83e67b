"""What a report is of, and what is wanted of it: checked values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.checks import one_of, whole_number
from shoal.config import ON_BAD_ROWS, Parameters
from shoal.errors import BadInputError
from shoal.export.faces import exported
from shoal.machine import available_threads
from shoal.metric import users_clusters
from shoal.report.images import Shape, check_image_shape
from shoal.report.plane import MAPS
from shoal.report.profile import check_vocabulary
from shoal.state import State
from shoal.types import Floats

#: Characters of the value of a parameter.
MOST_CHARACTERS = 120
#: Rows that a sample may have, so that the page stays small, and of which all pairs are compared.
MOST_SAMPLED, MOST_COMPARED = 20_000, 5_000


#: What the columns of pixels are called.
COLORS: dict[Shape | None, list[str]] = {
    (1, 1, 3): ["red", "green", "blue"],
    (1, 1, 4): ["red", "green", "blue", "alpha"],
}


@dataclass(frozen=True)
class Subject:
    """The model that a report is about."""

    state: State
    parameters: Parameters
    columns: tuple[Any, ...]
    on_bad_rows: str
    weight: Any  # name of the column of weights
    shown: Mapping[str, str]  # parameters, for people
    kind: str
    model_dir: str | None
    label: str = ""  # what it is called: a file, a directory

    @classmethod
    def of(cls, model: Any, num_threads: int | None = None, label: str = "") -> Subject:
        """Look at a trained model of any face."""
        state, parameters, columns = exported(model, "report")
        given = model.get_params() if hasattr(model, "get_params") else {}
        threads = given.get("num_threads") or available_threads()
        if num_threads is not None:
            threads = whole_number("num_threads", num_threads, 1)
        return cls(
            state,
            Parameters(
                len(state.clusters),
                distance_metric=parameters.distance_metric,
                num_threads=threads,
            ),
            tuple(columns or ()),
            given.get("on_bad_rows", ON_BAD_ROWS[0]),
            given.get("weight_column"),
            {name: _shown(value) for name, value in given.items()},
            type(model).__name__,
            getattr(model, "model_dir", None),
            label,
        )

    @property
    def centers(self) -> Floats:
        """The centers as users read them."""
        return users_clusters(self.state.clusters, self.parameters.distance_metric)

    @property
    def metric(self) -> str:
        """The distance."""
        return self.parameters.distance_metric


def _shown(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"array of shape {tuple(value.shape)}"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


@dataclass(frozen=True)
class Wanted:
    """What a report shows; every field checked."""

    title: str
    name_column: str | None
    keep: Sequence[str] | None  # columns of the source
    vocabulary: list[str] | None
    image_shape: Shape | None
    map_view: str
    sample_size: int
    silhouette_size: int
    num_examples: int
    random_seed: int

    @classmethod
    def checked(cls, subject: Subject, **given: Any) -> Wanted:
        """Check what the user gave."""
        columns = subject.state.clusters.shape[1]
        keep = given.get("keep")
        if isinstance(keep, str) or (keep is not None and not isinstance(keep, Sequence)):
            raise BadInputError(f"keep is {keep!r:.80}; it must be a list of names of columns")
        name = given.get("name_column")
        return cls(
            title=str(given.get("title") or "Clusters"),
            name_column=None if name is None else str(name),
            keep=None if keep is None else list(map(str, keep)),
            vocabulary=check_vocabulary(given.get("vocabulary"), columns),
            image_shape=check_image_shape(given.get("image_shape"), columns),
            map_view=one_of("map_view", given.get("map_view", MAPS[0]), MAPS),
            sample_size=whole_number(
                "sample_size", given.get("sample_size", 5000), 1, MOST_SAMPLED
            ),
            silhouette_size=whole_number(
                "silhouette_size", given.get("silhouette_size", 2000), 0, MOST_COMPARED
            ),
            num_examples=whole_number("num_examples", given.get("num_examples", 3), 0, 50),
            random_seed=whole_number("random_seed", given.get("random_seed", 0), 0, 2**64),
        )

    def names(self, subject: Subject, learned: Sequence[Any] | None) -> list[str]:
        """What the columns are called."""
        if self.vocabulary is not None:
            return self.vocabulary
        known = list(map(str, subject.columns or learned or ()))
        columns = subject.state.clusters.shape[1]
        if len(known) == columns:
            return known
        if self.image_shape in COLORS:
            return COLORS[self.image_shape]
        if len(known) == 1:  # lists of numbers
            return [f"{known[0]}[{at}]" for at in range(columns)]
        if self.image_shape is not None:
            return _pixels(self.image_shape)
        return [f"column {at}" for at in range(columns)]


def _pixels(shape: Shape) -> list[str]:
    """Names of the values of an image."""
    height, width, channels = shape
    colors = COLORS.get((1, 1, channels), [""])
    return [
        f"pixel {y},{x} {color}".rstrip()
        for y in range(height)
        for x in range(width)
        for color in colors
    ]
