"""How Sphinx builds the site: ``make docs``. Nothing is fetched; what is generated is in _made/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import site_pages  # noqa: E402

import shoal  # noqa: E402

project = "shoal"
author = "The shoal authors"
copyright = "the shoal authors; Apache-2.0"
release = version = shoal.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
myst_all_links_external = False

napoleon_numpy_docstring, napoleon_google_docstring = True, False
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes_style")]
autodoc_typehints = "none"  # they are in the signatures of the docstrings' words
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "shoal"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files: list[str] = []
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"image_light": "_static/logo.svg", "image_dark": "_static/logo.svg", "text": "shoal"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": []}


def as_rst(*given: Any) -> None:
    """Escape what docstrings, which are read as text, do not mean as markup."""
    lines = given[-1]
    for at, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = line.split("``")
        parts[::2] = [part.replace("|", r"\|").replace("_,)", r"\_,)") for part in parts[::2]]
        lines[at] = "``".join(parts)


def setup(app: Any) -> None:
    """Write the generated pages before sources are read."""
    site_pages.connect(app)
    app.connect("autodoc-process-docstring", as_rst, priority=400)
