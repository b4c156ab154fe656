"""The picture of a grid: each figure of each cell beside its target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coregister.calibration import LEVELS, Calibration
from coregister.calibration.figures import Measured
from coregister.calibration.targets import COVERAGE_TARGET, PULL_TARGET, Verdict
from coregister.errors import optional
from coregister.grid.cell import Cell
from coregister.plotting import BLUE, FAINT, GREEN, ORANGE, VERMILLION, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]


def plot_grid(cells: Sequence[tuple[Cell, Calibration]]) -> Figure:
    """See `Grid.plot`."""
    figures = [found.figures() for _, found in cells]
    rows = np.arange(len(cells))[::-1]
    with style():
        figure = optional("matplotlib.figure", "report").Figure(
            figsize=(11.5, 1.2 + 0.19 * len(cells)), layout="constrained"
        )
        pull, cover, ratio = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1, 1.2))
        pull.set_xlim(0.6, 1.5)
        cover.set(xlim=(0.5, 1.03), xticks=[0.6, 0.7, 0.8, 0.9, 1.0])
        ratio.set_xlim(0.8, 2.2)
        _dots(pull, rows, [f.pull_width for f in figures], [PULL_TARGET] * len(cells))
        for i, (level, tolerance) in enumerate(zip(LEVELS, COVERAGE_TARGET, strict=True)):
            cover.axvline(level, color=FAINT, lw=1, zorder=0)
            limits = [(level - tolerance, level + tolerance)] * len(cells)
            _dots(cover, rows, [f.coverage[i] for f in figures], limits)
        limits = [(0.0, found.efficiency_target) for _, found in cells]
        _dots(ratio, rows, [f.efficiency for f in figures], limits)
        pull.axvline(1.0, color=FAINT, lw=1, zorder=0)
        ratio.axvline(1.0, color=FAINT, lw=1, zorder=0)
        pull.set(yticks=rows, ylim=(-0.8, len(cells) - 0.2))
        pull.set_yticklabels([cell.name for cell, _ in cells])
        pull.set_title("pull width (1: true bars)")
        cover.set_title("share in 68, 95 % regions")
        ratio.set_title("rms error / bound (1: ideal)")
        for axes in (pull, cover, ratio):
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", color=FAINT, alpha=0.2, lw=0.5)
    result: Figure = figure
    return result


def _dots(
    axes: Axes,
    rows: NDArray[np.int_],
    numbers: Sequence[Measured],
    limits: Sequence[tuple[float, float]],
) -> None:
    """One number a row with its uncertainty, over the range that it should reach."""
    colours = {"met": BLUE, "open": ORANGE, "missed": VERMILLION}
    left, right = axes.get_xlim()
    for row, number, (low, high) in zip(rows, numbers, limits, strict=True):
        axes.fill_betweenx([row - 0.5, row + 0.5], low, high, color=GREEN, alpha=0.15, lw=0)
        if math.isnan(number.value):
            continue
        colour = colours[Verdict(what="", measured=number, low=low, high=high).word]
        if left <= number.value <= right:
            axes.errorbar(number.value, row, xerr=number.stderr, fmt="o", ms=3, lw=1, color=colour)
        else:
            edge, arrow = (right, ">") if number.value > right else (left, "<")
            axes.plot(edge, row, arrow, ms=6, color=colour, clip_on=False)
    axes.set_xlim(left, right)
