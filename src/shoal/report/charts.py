"""The plots of a report, by Bokeh: values in, figures out."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from shoal.errors import MissingExtraError
from shoal.report.history import Losses
from shoal.report.plane import Plane
from shoal.report.reading import Seen
from shoal.types import Floats

ACCENT = "#3b6fd4"
FONT = "system-ui, sans-serif"
TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
#: Colors of clusters: of about the same weight on light and on dark.
PALETTE = ["#3b7dd8", "#e8833a", "#3a9e5c", "#d8504d", "#8d6cc9", "#a0705a", "#d670b4"]
PALETTE += ["#7f8794", "#a8a62c", "#2aa5b8", "#5a56d6", "#c2912e"]
#: Neighbours on the map that get another color than a center, and the most centers for that.
NEIGHBOURS = 6
MOST_COLORED = 3000
#: Centers from which on they are drawn smaller.
MANY = 200
#: Where rows spread so many times as far along one direction, each gets a scale of its own.
FLAT = 6


def check_charts() -> None:
    """Raise MissingExtraError where nothing can be drawn."""
    missing = [name for name in ("bokeh", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError("a report", missing[0], "report")


def colors_of(places: Floats) -> list[str]:
    """A color for each center [k, 2]: of those near to each other on a map, different ones."""
    k, number = len(places), len(PALETTE)
    if k <= number or k > MOST_COLORED:
        return [PALETTE[i % number] for i in range(k)]
    known = np.nan_to_num(places)
    chosen = np.full(k, -1)
    for i in range(k):
        away = np.square(known - known[i]).sum(axis=1)
        away[i] = np.inf
        near = chosen[np.argpartition(away, NEIGHBOURS)[:NEIGHBOURS]]
        used = np.bincount(chosen[chosen >= 0], minlength=number).astype(float)
        used[near[near >= 0]] += k
        chosen[i] = int(used.argmin())
    return [PALETTE[i] for i in chosen]


def _figure(title: str, axes: tuple[str, str], **how: Any) -> Any:
    from bokeh.plotting import figure

    made = figure(
        title=None,
        name=title,
        x_axis_label=axes[0],
        y_axis_label=axes[1],
        tools=TOOLS,
        active_drag=None,
        active_scroll=None,
        sizing_mode="stretch_both",
        min_border_right=12,
        **how,
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.background_fill_color = made.border_fill_color = "white"  # as the theme of the page
    made.outline_line_color = None
    for axis in made.axis:
        axis.formatter = _plain()
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = None
    return made


def _hover(renderers: Sequence[Any], tips: Sequence[tuple[str, str]], **how: Any) -> Any:
    from bokeh.models import HoverTool

    return HoverTool(renderers=list(renderers), tooltips=list(tips), **how)


def map_of(
    plane: Plane, seen: Seen, colors: Sequence[str], names: Sequence[str], texts: Sequence[str]
) -> Any:
    """The sample of rows, and the centers; ``names`` of the rows, ``texts`` of the clusters."""
    from bokeh.models import ColumnDataSource

    made = _figure("map", plane.axes, match_aspect=plane.kind == "pca" and _is_wide(plane))
    sample, unit = seen.sample, f" {seen.unit}" if seen.unit else ""
    rows = ColumnDataSource(
        {
            "x": plane.rows[:, 0].astype(np.float32),
            "y": plane.rows[:, 1].astype(np.float32),
            "color": [colors[label] for label in sample.labels],
            "cluster": sample.labels.astype(np.int32),
            "number": list(map(str, sample.numbers.tolist())),
            "name": list(names),
            "distance": [f"{one:.4g}{unit}" for one in sample.distances],
        },
        name="rows",
    )
    centers = ColumnDataSource(
        {
            "x": plane.centers[:, 0],
            "y": plane.centers[:, 1],
            "color": list(colors),
            "cluster": np.arange(len(colors), dtype=np.int32),
            "rows": [f"{one:,}" for one in seen.sizes.tolist()],
            "name": list(texts),
        },
        name="centers",
    )
    if plane.kind == "world":
        _as_world(made, plane)
    size = 5 if len(sample) < 2000 else 4
    dots = made.scatter(
        "x", "y", source=rows, size=size, fill_color="color", line_color=None, fill_alpha=0.55,
        nonselection_fill_alpha=0.06, selection_fill_alpha=0.9,
    )  # fmt: skip
    many = len(colors) > MANY
    marks = made.scatter(
        "x", "y", source=centers, size=6 if many else 11, marker="circle", fill_color="color",
        line_color="white", line_width=0.8 if many else 1.8, name="marks",
        nonselection_fill_alpha=0.25, nonselection_line_alpha=0.25, selection_line_width=3,
    )  # fmt: skip
    of_row = [("row", "@number"), ("cluster", "@cluster"), ("distance", "@distance")]
    if any(names):
        of_row.insert(0, ("name", "@name"))
    of_center = [("center of cluster", "@cluster"), ("rows", "@rows")]
    if any(texts):
        of_center.append(("", "@name"))
    from bokeh.models import TapTool

    made.add_tools(
        _hover([marks], of_center, attachment="right"), _hover([dots], of_row, attachment="left")
    )
    made.add_tools(TapTool(renderers=[marks]))
    return made


def _is_wide(plane: Plane) -> bool:
    """Whether both directions can be seen on one scale."""
    along, across = plane.rows.std(axis=0)
    return bool(along < FLAT * across)


def _as_world(made: Any, plane: Plane) -> None:
    """Degrees, and as much of the world as there are rows in."""
    from bokeh.models import FixedTicker

    every = np.concatenate([plane.rows, plane.centers[np.isfinite(plane.centers).all(axis=1)]])
    (west, south), (east, north) = every.min(axis=0), every.max(axis=0)
    if east - west > 120:
        west, south, east, north = -180.0, -60.0 if south > -58 else -90.0, 180.0, 85.0
    else:
        room = max(0.05 * max(east - west, north - south), 0.05)
        west, south, east, north = west - room, south - room, east + room, north + room
    made.x_range.start, made.x_range.end = west, east
    made.y_range.start, made.y_range.end = south, north
    made.match_aspect = True
    if east - west > 120:
        made.xaxis.ticker = FixedTicker(ticks=list(range(-180, 181, 60)))
        made.yaxis.ticker = FixedTicker(ticks=list(range(-90, 91, 30)))


def sizes_of(seen: Seen, texts: Sequence[str]) -> Any:
    """Rows of each cluster, the largest first."""
    order = np.argsort(-seen.sizes, kind="stable")
    made = _figure("sizes", ("clusters, the largest first", "rows"), x_range=(-1, len(order)))
    bars = made.vbar(
        "x", top="rows", width=0.85 if len(order) < MANY else 1.0, bottom=0, name="accent",
        fill_color=ACCENT, line_color=None,
        source=_source(
            x=np.arange(len(order)),
            rows=seen.sizes[order],
            cluster=order,
            name=[texts[at] for at in order],
        ),
    )  # fmt: skip
    made.xaxis.visible = len(order) > 1
    made.xgrid.grid_line_color = None
    made.y_range.start = 0
    made.yaxis.formatter = _thousands()
    made.add_tools(_hover([bars], [("cluster", "@cluster"), ("rows", "@rows{0,0}"), *_also(texts)]))
    return made


def distances_of(seen: Seen, colors: Sequence[str], texts: Sequence[str]) -> Any:
    """Mean distance to the own center beside that to the next one, of each cluster."""
    unit = f" ({seen.unit})" if seen.unit else ""
    axes = f"mean distance to the own center{unit}", f"to the next center{unit}"
    made = _figure("distances", axes)
    there = np.isfinite(seen.within) & np.isfinite(seen.beyond)
    largest = float(seen.beyond[there].max(initial=0))
    made.line([0, largest], [0, largest], line_dash="dashed", name="ink", line_color="gray")
    share = np.sqrt(seen.sizes[there] / max(seen.sizes.max(initial=0), 1))
    which: list[int] = np.flatnonzero(there).tolist()
    dots = made.scatter(
        "x", "y", size="size", fill_color="color", line_color=None, fill_alpha=0.7,
        source=_source(
            x=seen.within[there],
            y=seen.beyond[there],
            size=5 + 13 * share,
            color=[colors[at] for at in which],
            cluster=np.array(which, np.int32),
            rows=seen.sizes[there],
            name=[texts[at] for at in which],
        ),
    )  # fmt: skip
    tips = [("cluster", "@cluster"), ("rows", "@rows{0,0}"), ("own", "@x"), ("next", "@y")]
    made.add_tools(_hover([dots], [*tips, *_also(texts)]))
    return made


def silhouettes_of(seen: Seen) -> Any:
    """How many rows have which simplified silhouette."""
    edges = np.linspace(0, 1, len(seen.bars) + 1)
    made = _figure("silhouettes", ("simplified silhouette", "rows"), x_range=(0, 1))
    bars = made.quad(
        left="left", right="right", top="rows", bottom=0, fill_color=ACCENT, line_color=None,
        name="accent", source=_source(left=edges[:-1] + 0.001, right=edges[1:], rows=seen.bars),
    )  # fmt: skip
    made.y_range.start = 0
    made.xgrid.grid_line_color = None
    made.yaxis.formatter = _thousands()
    tips = [("silhouette", "@left{0.00} to @right{0.00}"), ("rows", "@rows{0,0}")]
    made.add_tools(_hover([bars], tips))
    return made


def losses_of(losses: Losses) -> Any:
    """Loss by step."""
    made = _figure("loss", ("step", "loss per row" if losses.per_row else "loss"))
    source = _source(x=np.array(losses.steps), y=np.array(losses.values))
    made.line("x", "y", source=source, line_color=ACCENT, line_width=2, name="accent-line")
    dots = made.scatter(
        "x", "y", source=source, size=5, fill_color=ACCENT, line_color=None, name="accent",
    )  # fmt: skip
    made.add_tools(_hover([dots], [("step", "@x{0,0}"), ("loss", "@y{0.000000}")]))
    return made


def _source(**columns: Any) -> Any:
    from bokeh.models import ColumnDataSource

    narrow = {
        name: values.astype(np.int32)
        if getattr(values, "dtype", None) == np.int64 and values.max(initial=0) < 2**31
        else values
        for name, values in columns.items()
    }
    return ColumnDataSource(narrow)


def _also(texts: Sequence[str]) -> list[tuple[str, str]]:
    return [("", "@name")] if any(texts) else []


def _plain() -> Any:
    from bokeh.models import BasicTickFormatter

    return BasicTickFormatter(power_limit_high=7)


def _thousands() -> Any:
    from bokeh.models import NumeralTickFormatter

    return NumeralTickFormatter(format="0,0")
