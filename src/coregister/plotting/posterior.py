"""The probability of every offset of a faint pair."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from coregister.errors import optional
from coregister.plotting.look import (
    BLUE,
    INK,
    LEVELS,
    ORANGE,
    Origin,
    image_origin,
    label_in_full,
    style,
)
from coregister.posterior import Posterior
from coregister.result import axis_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_posterior(posterior: Posterior, *, origin: Origin | None = None) -> Figure:
    """The probability of every offset: all of the grid, and the first mode from near.

    Parameters
    ----------
    posterior : Posterior
        What is drawn; of volumes the last two axes, whatever the others.
    origin : {"upper", "lower"}, optional
        Where small offsets are drawn. Default: matplotlib's ``rcParams["image.origin"]``.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels, 12 by 5 inches.

    Raises
    ------
    InputError
        If `origin` is not known.
    MissingExtraError
        If matplotlib is not installed.
    """
    figures = optional("matplotlib.figure", "report")
    origin = image_origin(origin)
    with style():
        figure: Figure = figures.Figure(figsize=(12, 5.2), layout="compressed")
        everything, near = figure.subplots(1, 2)
        draw_posterior(everything, posterior, origin=origin)
        everything.set_title("posterior, regions of 68 and 95 %")
        draw_posterior(near, posterior, origin=origin, near=True)
        near.set_title(
            f"the first mode, {100 * posterior.modes[0].probability:.3g} %"
            if posterior.modes
            else "no mode stands out"
        )
    return figure


def draw_posterior(axes: Axes, posterior: Posterior, *, origin: Origin, near: bool = False) -> None:
    """The density against offset with its regions of 68 and 95 %; `near`: about the first mode."""
    shown = min(posterior.ndim, 2)
    leading = tuple(range(posterior.ndim - shown))
    plane = replace(
        posterior,
        positions=posterior.positions[len(leading) :],
        probability=posterior.probability.sum(axis=leading),
    )
    names = [f"offset along {name}, px" for name in axis_names(posterior.ndim)[-shown:]]
    limits = [(p[0], p[-1]) for p in plane.positions]
    if near and posterior.modes:
        mode = posterior.modes[0]
        bars = np.sqrt(np.diag(mode.covariance))[-shown:]
        limits = [
            (max(low, d - 5 * bar), min(high, d + 5 * bar))
            for (low, high), d, bar in zip(limits, mode.offset[-shown:], bars, strict=True)
        ]
    marks = [(mode.offset[-shown:], mode.probability) for mode in posterior.modes]
    if shown == 1:
        grid, density = plane.positions[0], plane.density
        for level, shade in zip(LEVELS, (0.30, 0.14), strict=True):
            inside = list(plane.region(level))
            axes.fill_between(
                grid, 0, density, where=inside, color=BLUE, alpha=shade, linewidth=0, step="mid"
            )
        axes.plot(grid, density, color=BLUE)
        for place, _ in marks:
            axes.axvline(place[0], color=INK, linewidth=0.8, linestyle=":")
        axes.set(xlim=limits[0], xlabel=names[0], ylabel="probability per px")
        axes.set_ylim(bottom=0)
        return
    rows, columns = plane.positions
    density = plane.density
    # six decades: what is left over is as good as nothing
    top = np.log10(max(float(density.max()), 1e-300))
    values = np.log10(np.maximum(density, 10.0 ** (top - 6)))
    image = axes.pcolormesh(
        columns, rows, values, cmap="cividis_r", vmin=top - 6, vmax=top, rasterized=True
    )
    for level, line in zip(LEVELS, ("-", "--"), strict=True):
        region = plane.region(level)
        if not region.all() and min(region.shape) > 1:
            outline = axes.contour(
                columns,
                rows,
                region.astype(np.float64),
                levels=[0.5],
                colors="white",
                linestyles=line,
                linewidths=1.2,
            )
            # where noise alone is left the outline is longer than the picture
            outline.set_rasterized(sum(len(path) for path in outline.get_paths()) > 4000)
    for place, probability in marks:
        within = all(low <= d <= high for d, (low, high) in zip(place, limits, strict=True))
        if within:
            # a mode is a few pixels of dark in much that is bright: seen on both
            axes.plot(place[1], place[0], "+", color="black", markersize=11, markeredgewidth=3)
            axes.plot(place[1], place[0], "+", color=ORANGE, markersize=9, markeredgewidth=1.6)
        if within and not near and probability > 0.05:
            right = place[1] > np.mean(limits[1])  # the label stays in the picture
            axes.annotate(
                f"{100 * probability:.0f} %",
                (place[1], place[0]),
                (-6 if right else 6, 6),
                textcoords="offset points",
                horizontalalignment="right" if right else "left",
                color="white",
                fontsize=8.5,
                # black, not the ink of the page: it stays dark where the page is
                bbox={
                    "boxstyle": "round,pad=0.2",
                    "facecolor": "black",
                    "linewidth": 0,
                    "alpha": 0.7,
                },
            )
    axes.set_xlim(*limits[1])
    axes.set_ylim(*(limits[0] if origin == "lower" else limits[0][::-1]))
    axes.set(xlabel=names[1], ylabel=names[0])
    label_in_full(axes, (np.array(limits[1]), np.array(limits[0])))
    bar = image.figure.colorbar(image, ax=axes, pad=0.02, extend="min", aspect=24)
    bar.outline.set_visible(False)
    bar.set_label("log10 of the probability per px$^2$")
