"""What the pages are made of: templates, and figures as vector graphics in them."""

from __future__ import annotations

import importlib.resources
import io
import re
from collections.abc import Callable
from typing import Any

from coregister.errors import optional
from coregister.plotting.look import BLUE, FAINT, INK, UNKNOWN, style


def page_template(name: str) -> Any:
    """A template of ours, strict about names and escaping what it is given."""
    jinja2 = optional("jinja2", "report")
    folder = importlib.resources.files("coregister").joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda part: folder.joinpath(part).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def svg(
    name: str,
    draw: Callable[[Any], None],
    label: str,
    *,
    height: float = 3.6,
    rows: int = 1,
    small: bool = False,
) -> str:
    """One figure as inline SVG, whose lines and letters take the colours of the page.

    Images are stored pixel for pixel if they are `small`, else as they appear.
    """
    matplotlib = optional("matplotlib", "report")
    figures = optional("matplotlib.figure", "report")
    options = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "axes.facecolor": "none",
        "image.interpolation": "none" if small else "antialiased",
    }
    with style(), matplotlib.rc_context(options):
        figure = figures.Figure(figsize=(4.5, height), layout="compressed")
        figure.patch.set_alpha(0)
        draw(figure.subplots(rows, 1))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # only what is referred to keeps its name: names must be unique in the page
    referred = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in referred else "", text)
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg role="img" aria-label="{label}" viewBox="\1" xmlns:xlink='
        r'"http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">',
        text,
        count=1,
    )
    ground, hatching = UNKNOWN
    for colour, name in (
        (INK, "ink"),
        (FAINT, "faint"),
        (BLUE, "accent"),
        (ground, "unknown"),
        (hatching, "unknown-line"),
    ):
        text = text.replace(colour.lower(), f"var(--{name})")
    return text
