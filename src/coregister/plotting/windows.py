"""The arrows of many windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coregister.errors import optional
from coregister.plotting.look import BLUE, VERMILLION, style
from coregister.result import axis_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from coregister.windows import WindowsRegistration


def plot_windows(result: WindowsRegistration, *, scale: float | None = None) -> Figure:
    """Arrows on the reference's pixels; windows that are not trusted are crosses.

    Parameters
    ----------
    result : WindowsRegistration
    scale : float, optional
        Pixels that an offset of one pixel takes.

    Returns
    -------
    Figure
    """
    optional("matplotlib.figure", "report")
    from matplotlib.figure import Figure

    good, centers, offsets = result.trusted, result.centers, result.offsets
    longest = float(np.max(np.hypot(*offsets[good].T), initial=1e-9))
    if scale is None:
        spacing = float(min(result.size))
        if len(result.shape) == 2 and min(result.shape) > 1:
            lines = result.on_grid(centers)
            spacing = float(min(lines[1, 1] - lines[0, 0]))
        scale = 0.9 * spacing / longest
    with style():
        figure = Figure(figsize=(6.4, 6.0), layout="constrained", facecolor="white")
        axes = figure.subplots()
        y, x = centers[good].T
        v, u = offsets[good].T
        arrows = axes.quiver(x, y, u, v, color=BLUE, angles="xy", scale_units="xy", scale=1 / scale)
        label = f"{longest:.3g} px"
        axes.quiverkey(arrows, 0.9, 1.02, longest, label, labelpos="W", coordinates="axes")
        if not good.all():
            axes.plot(*centers[~good].T[::-1], "x", color=VERMILLION, ms=4, label="not trusted")
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.06), frameon=False, fontsize=8.5)
        half = np.array(result.size) / 2
        tips = centers[good] + scale * offsets[good]
        low = np.minimum(centers.min(axis=0) - half, tips.min(axis=0, initial=np.inf))
        high = np.maximum(centers.max(axis=0) + half, tips.max(axis=0, initial=-np.inf))
        axes.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]), aspect="equal")
        axes.set(xlabel=f"{axis_names(2)[1]}, px", ylabel=f"{axis_names(2)[0]}, px")
        verdict = f"{int(good.sum())} of {len(result)} windows trusted"
        figure.suptitle(verdict, x=0.01, ha="left", fontsize=11)
    return figure
