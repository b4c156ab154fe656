"""How the site is built: ``make docs``. Nothing is fetched while building or reading."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE / "gallery")]

import samples  # noqa: E402  (its folder is put on the path above)
from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import coregister  # noqa: E402

project = "coregister"
author = copyright = "The coregister developers"
version = release = coregister.__version__

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "sg_execution_times.rst"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

missing = samples.missing()
for script, package in missing.items():
    print(f"gallery: {script} is left out, {package} is not installed")

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": "|".join(["samples", *(re.escape(script) for script in missing)]),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "run_stale_examples": True,  # the library may have changed though the script has not
    "capture_repr": ("_repr_html_", "__repr__"),
    "reset_modules": ("looks.use_house_style",),
    "min_reported_time": 1e9,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "coregister"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
#: pages without pages below them need no list of these
html_sidebars = {
    page: []
    for page in (
        "index",
        "quickstart",
        "conventions",
        "choose",
        "trust",
        "theory",
        "astronomy",
        "microscopy",
        "posterior",
        "calibration",
        "compare",
        "chi2_shift",
        "migration",
        "speed",
    )
}
html_show_copyright = False
html_last_updated_fmt = None
html_theme_options = {
    "show_prev_next": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["sphinx-version"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
copybutton_exclude = ".linenos, .gp, .go"


def _links_of_the_site(app: Sphinx, name: str, source: list[str]) -> None:
    """Links out of the folder lead to the repository, so they are set as plain code here."""
    if not str(app.env.doc2path(name)).endswith(".md"):
        return
    source[0] = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", source[0])


def _leave_out_aliases(
    app: Sphinx, kind: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Aliases of types are no classes, which autodoc takes them for."""
    return True if isinstance(value, types.GenericAlias) else None


def setup(app: Sphinx) -> None:
    """Outputs in the documents are plain text."""
    app.add_lexer("output", TextLexer)
    app.connect("source-read", _links_of_the_site)
    app.connect("autodoc-skip-member", _leave_out_aliases)
