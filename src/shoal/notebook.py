"""What a model shows of itself in a notebook: a small table, all of it text."""

from __future__ import annotations

import html
import inspect
from typing import Any

from shoal.export.faces import exported

#: Names of columns, and characters of a value, that are shown.
MOST_COLUMNS = 8
MOST_CHARACTERS = 80

STYLE = (
    "border:1px solid #8886;border-radius:6px;padding:8px 12px;display:inline-block;"
    "font:13px system-ui,sans-serif"
)


def repr_html(model: Any) -> str:
    """The model as HTML: whether it is trained, on what, and parameters that are not the usual."""
    defaults = inspect.signature(type(model)).parameters
    lines = {}
    title = f"{type(model).__name__}, not trained yet"
    if model.is_fitted:
        state, _, columns = exported(model, "_repr_html_")
        k, dim = state.clusters.shape
        title = f"{type(model).__name__}: {k:,} clusters in {dim:,} columns"
        lines["steps"] = f"{state.global_step:,}"
        lines["dtype"] = str(state.clusters.dtype)
        if columns:
            more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
            lines["columns"] = ", ".join(map(str, columns[:MOST_COLUMNS])) + more
    for name, value in model.get_params().items():
        default = defaults[name].default
        if hasattr(value, "shape"):
            lines[name] = f"array of shape {tuple(value.shape)}"
        elif value is not default and not (type(value) is type(default) and value == default):
            lines[name] = repr(value)
    rows = "".join(
        f'<tr><td style="text-align:left">{html.escape(name)}</td>'
        f'<td style="text-align:left"><code>{html.escape(_cut(text))}</code></td></tr>'
        for name, text in lines.items()
    )
    return f'<div style="{STYLE}"><b>{html.escape(title)}</b><table>{rows}</table></div>'


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
