"""The look that all pictures share: colours, style, signs, and what every panel may need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
Origin = Literal["upper", "lower"]
# Okabe & Ito's colours, told apart by all eyes
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, FAINT = "#1f2328", "#8a929b"
#: blue below, white at zero, orange above
DIVERGING = ("#053061", "#0072B2", "#8fc3e0", "#ffffff", "#f3b27a", "#D55E00", "#6b2400")
#: ground and hatching where nothing is known: no grey, so that it is no value of an image
UNKNOWN = ("#f7e6c8", "#d9b46a")
DELTA_CHI2 = "\N{GREEK CAPITAL LETTER DELTA}\N{GREEK SMALL LETTER CHI}\N{SUPERSCRIPT TWO}"
#: probabilities of the regions that are drawn
LEVELS = (0.6827, 0.95)
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 6.0,
    "axes.labelsize": 9.5,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "image.interpolation": "antialiased",
    "image.cmap": "gray",
    "figure.dpi": 100.0,
    "savefig.dpi": 100.0,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look that all pictures of the project share."""
    matplotlib = optional("matplotlib", "report")
    with matplotlib.rc_context(STYLE):
        yield


def image_origin(origin: Origin | None) -> Origin:
    """`origin` if it is given, else what matplotlib is set to."""
    chosen = optional("matplotlib", "report").rcParams["image.origin"] if origin is None else origin
    if chosen not in ("upper", "lower"):
        raise InputError(f"origin={origin!r} is not known; use 'upper' or 'lower'")
    return "lower" if chosen == "lower" else "upper"


def pretty(text: str) -> str:
    """Plus-minus and minus signs as they are printed in books."""
    return text.replace("+-", "±").replace("-", "\N{MINUS SIGN}")


def diverging() -> Any:
    """Colour map of differences: blue below, white at zero, orange above."""
    colors = optional("matplotlib.colors", "report")
    return colors.LinearSegmentedColormap.from_list("blue-orange", DIVERGING)


def add_bar(image: Any, axes: Any, **options: Any) -> None:
    """A colour bar, open where values may lie beyond."""
    extend = "max" if image.norm.vmin == 0 else "both"
    bar = image.figure.colorbar(image, ax=axes, pad=0.02, extend=extend, **options)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)


def label_in_full(axes: Axes, grids: tuple[Float, ...]) -> None:
    """Ticks without a common offset; powers of ten only where the numbers would be long."""
    names: tuple[Literal["x", "y"], ...] = ("x", "y")
    for which, grid in zip(names, grids, strict=False):
        power = np.log10(np.abs(grid).max())
        style: Literal["plain", "sci"] = "plain" if -4 < power < 6 else "sci"
        axes.ticklabel_format(axis=which, useOffset=False, style=style, useMathText=True)
        axes.locator_params(axis=which, nbins=5)


def say(axes: Axes, text: str) -> None:
    """A sentence in place of a picture."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.set(xticks=[], yticks=[])
