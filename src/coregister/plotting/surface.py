"""What is known of an offset: delta chi^2 about the answer, and the coherence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional
from coregister.plotting.look import (
    BLUE,
    DELTA_CHI2,
    FAINT,
    INK,
    LEVELS,
    ORANGE,
    VERMILLION,
    Origin,
    add_bar,
    label_in_full,
    pretty,
    say,
)
from coregister.result import Registration, axis_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]


def draw_surface(axes: Axes, result: Registration, *, origin: Origin) -> None:
    """Delta chi^2 about the answer, its joint regions of 68 and 95 %, and other modes.

    For volumes: the plane of the last two axes through the minimum.
    """
    shown = min(result.ndim, 2)
    names = axis_names(result.ndim)[-shown:]
    axes.set_title(
        DELTA_CHI2
        + (f" of axes {result.ndim - 2} and {result.ndim - 1}" if result.ndim > 2 else "")
        + ", regions of 68 and 95 %"
    )
    if not np.any(result.information):
        say(axes, "nothing is known about the offset")
        return
    levels = [result.region_level(level) for level in LEVELS]
    others = [mode.offset[-shown:] for mode in result.modes[1:]]
    positions, delta = result.chi2_map(_half_width(result, others, levels[-1]), _points(result))
    delta = np.clip(delta[tuple(n // 2 for n in delta.shape[:-shown])], 0, None)
    centre = result.offset[-shown:]
    if any(np.ptp(p) <= 1e-14 * np.abs(p).max() for p in positions):
        say(axes, "the bars are too small to draw")
        return
    # positions are written in full where that is short, else as distances from the answer
    bases = np.array(
        [
            0.0 if np.ptp(p) > 1e-4 * np.abs(p).max() else d
            for p, d in zip(positions[-shown:], centre, strict=True)
        ]
    )
    grids = [p - base for p, base in zip(positions[-shown:], bases, strict=True)]
    labels = [
        f"offset along {name}, px" if base == 0 else f"{name}, px from {pretty(f'{base:.6g}')}"
        for name, base in zip(names, bases, strict=True)
    ]
    marks = [place - bases for place in (centre, *others)]
    mesh = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1) - marks[0]
    bars = np.einsum("...i,ij,...j->...", mesh, result.information[-shown:, -shown:], mesh)
    if shown == 1:
        _draw_curve(axes, grids[0], delta, bars, levels, marks)
        axes.set(xlabel=labels[0], ylabel=DELTA_CHI2)
        return
    _draw_map(axes, grids, delta, bars, levels, marks, origin)
    axes.set(xlabel=labels[1], ylabel=labels[0])


def _half_width(result: Registration, others: list[Float], level: float) -> float:
    """Half-width of the surface in bars: the regions with room, and other modes nearby."""
    half = 1.5 * float(np.sqrt(level))
    bars = np.where(np.isfinite(result.stderr), result.stderr, np.inf)[-min(result.ndim, 2) :]
    centre = result.offset[-bars.size :]
    reach = [float(np.max(np.abs(place - centre) / bars)) for place in others]
    return max([half, *(1.2 * r for r in reach if r < 40)])


def _points(result: Registration) -> int:
    return {1: 401, 2: 161, 3: 65}.get(result.ndim, 15)


def _draw_curve(
    axes: Axes, grid: Float, delta: Float, bars: Float, levels: list[float], marks: list[Float]
) -> None:
    top = max(1.6 * levels[-1], float(np.median(delta)))
    for level, probability, shade in zip(levels, LEVELS, (0.30, 0.14), strict=True):
        axes.fill_between(
            grid, 0, top, where=list(bars <= level), color=BLUE, alpha=shade, linewidth=0
        )
        axes.axhline(level, color=FAINT, linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{100 * probability:.0f} %",
            (grid[0], level),
            (3, 2),
            textcoords="offset points",
            fontsize=8.5,
        )
    axes.plot(grid, delta, color=BLUE)
    for place in marks[1:]:
        axes.axvline(place[0], color=VERMILLION, linestyle=":")
    axes.axvline(marks[0][0], color=INK, linewidth=0.8)
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, top))
    label_in_full(axes, (grid,))


def _draw_map(
    axes: Axes,
    grids: list[Float],
    delta: Float,
    bars: Float,
    levels: list[float],
    marks: list[Float],
    origin: Origin,
) -> None:
    colors = optional("matplotlib.colors", "report")
    rows, columns = grids
    extent = tuple(
        end + sign * (grid[1] - grid[0]) / 2
        for grid in (columns, rows)
        for end, sign in ((grid[0], -1), (grid[-1], 1))
    )
    top = float(max(2.5 * levels[-1], np.percentile(delta, 60)))
    image = axes.imshow(
        delta,
        origin="lower",
        extent=extent,
        aspect="auto",
        cmap="cividis",
        norm=colors.PowerNorm(0.5, 0, top),
        interpolation="bilinear",
    )
    for level, line in zip(levels, ("-", "--"), strict=True):
        if bars.min() < level < bars.max():
            axes.contour(
                columns, rows, bars, levels=[level], colors="white", linestyles=line, linewidths=1.4
            )
    for place in marks[1:]:
        axes.plot(place[1], place[0], "x", color=ORANGE, markersize=9, markeredgewidth=2)
    axes.plot(marks[0][1], marks[0][0], "+", color="white", markersize=11, markeredgewidth=1.6)
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(*(extent[2:] if origin == "lower" else extent[:1:-1]))
    label_in_full(axes, (columns, rows))
    add_bar(image, axes, aspect=24)


def draw_coherence(axes: Axes, result: Registration) -> None:
    """Correlation of the two images ring by ring, against frequency."""
    frequency, correlation = result.coherence
    axes.set_title("coherence")
    axes.set(xlabel="frequency, cycles/px", ylabel="correlation")
    if frequency.size == 0 or not np.any(np.isfinite(correlation)):
        say(axes, "not measured")
        return
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=":")
    if frequency.max() > 0.5:
        axes.axvline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
        axes.annotate(
            "Nyquist",
            (0.5, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8.5,
            ha="center",
        )
    axes.fill_between(frequency, 0, correlation, color=BLUE, alpha=0.12, linewidth=0)
    marker = "." if frequency.size < 80 else ""
    axes.plot(frequency, correlation, color=BLUE, marker=marker, markersize=4)
    axes.set_xlim(0, float(max(frequency.max(), 0.5)))
    axes.set_ylim(min(-0.1, 1.1 * float(np.nanmin(correlation))), 1.05)
