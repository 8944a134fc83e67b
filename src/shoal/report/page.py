"""The page itself: one file of HTML with everything in it, which asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Scripts of BokehJS that plots need: no widgets, no tables, no WebGL.
COMPONENTS: Any = ["bokeh"]


def figure(value: float) -> str:
    """A number for people."""
    if value == 0 or 1e-4 <= abs(value) < 1:
        return f"{value:.4g}"
    if 1 <= abs(value) < 1e12:
        digits = max(0, 4 - len(str(int(abs(value)))))
        return f"{value:,.{digits}f}"
    return f"{value:.3e}"


def as_script(value: Any) -> str:
    """JSON that is safe inside of a script element, whatever the texts hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def bokeh_script() -> str:
    """BokehJS, to be put into the page."""
    from bokeh.resources import Resources

    found = Resources(mode="inline", components=COMPONENTS).js_raw[0]
    return str(found).replace("</script", "<\\/script")


def plots_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as values of JSON, by the id of the element that they go to."""
    from bokeh.embed import json_item

    embed: Any = json_item
    return {name: embed(figure, f"plot-{name}") for name, figure in figures.items()}


def rendered(values: Mapping[str, Any], data: Any, figures: Mapping[str, Any]) -> str:
    """Fill in the page.

    Texts are escaped by the template, or are values of JSON that the script writes as text. The
    page lets no script run but its own two, whose hashes it names, and loads nothing from anywhere.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(HERE),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own, library = (HERE / "page.js").read_text("utf-8"), bokeh_script()
    environment.filters["figure"] = figure
    page: str = environment.get_template("page.html").render(
        **values,
        style=_safe((HERE / "page.css").read_text("utf-8")),
        script=_safe(own),
        library=_safe(library),
        data=_safe(as_script(data)),
        plots=_safe(as_script(plots_of(figures))),
        hashes=" ".join(f"'sha256-{_hash(one)}'" for one in (library, own)),
    )
    return page


def _safe(text: str) -> Any:
    """Text that is markup already: of this module's own files."""
    from markupsafe import Markup

    return Markup(text)


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
