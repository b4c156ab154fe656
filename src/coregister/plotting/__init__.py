"""The pictures of a result, all in one style.

Figures are made with `matplotlib.figure.Figure`, never through pyplot, so that nothing needs a
display and nothing stays behind. Each panel is a function that draws into given axes.
"""

from __future__ import annotations

from coregister.plotting.look import (
    BLUE,
    DELTA_CHI2,
    DIVERGING,
    FAINT,
    GREEN,
    INK,
    LEVELS,
    ORANGE,
    STYLE,
    UNKNOWN,
    VERMILLION,
    image_origin,
    style,
)
from coregister.plotting.pair import plot_registration
from coregister.plotting.posterior import plot_posterior
from coregister.plotting.stack import plot_loops, plot_stack
from coregister.plotting.views import Views
from coregister.plotting.windows import plot_windows

__all__ = [
    "BLUE",
    "DELTA_CHI2",
    "DIVERGING",
    "FAINT",
    "GREEN",
    "INK",
    "LEVELS",
    "ORANGE",
    "STYLE",
    "UNKNOWN",
    "VERMILLION",
    "Views",
    "image_origin",
    "plot_loops",
    "plot_posterior",
    "plot_registration",
    "plot_stack",
    "plot_windows",
    "style",
]
