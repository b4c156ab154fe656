"""The pictures of a calibration: pulls, bars against errors, coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coregister.calibration.methods import SMALLEST_VARIANCE
from coregister.errors import optional
from coregister.plotting import BLUE, FAINT, GREEN, INK, ORANGE, VERMILLION, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from coregister.calibration.result import Calibration


def plot_calibration(found: Calibration) -> Figure:
    """See `Calibration.plot`."""
    with style():
        figure: Figure = optional("matplotlib.figure", "report").Figure(
            figsize=(11.5, 3.8), layout="constrained"
        )
        first, second, third = figure.subplots(1, 3)
        draw_pulls(first, found)
        draw_bars(second, found)
        draw_coverage(third, found)
    return figure


def draw_pulls(axes: Axes, found: Calibration) -> None:
    """Histogram of the whitened errors of trusted results, beside the unit normal."""
    pulls = found.trials["coregister"].pulls
    if pulls.size:
        edges = np.linspace(-5, 5, 41).tolist()
        inside = np.clip(pulls, -4.99, 4.99).ravel()
        axes.hist(inside, edges, density=True, color=BLUE, alpha=0.6)
    z = np.linspace(-5, 5, 301)
    axes.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=INK, label="unit normal")
    axes.set(xlabel="whitened error", ylabel="density")
    axes.set_title(f"pull width {found.figures().pull_width}" if len(pulls) else "no bars")
    axes.legend()


def draw_bars(axes: Axes, found: Calibration) -> None:
    """Error against claimed bar, a point for each trusted result of the methods that have bars."""
    low, high = np.inf, 0.0
    for method, colour in _coloured(found):
        trials = found.trials[method]
        error = np.sqrt(np.mean(trials.error**2, axis=1))
        bar = np.sqrt(np.einsum("nii->n", trials.covariance) / trials.error.shape[1])
        use = trials.trusted & np.isfinite(bar) & (bar**2 > SMALLEST_VARIANCE) & (error > 0)
        if use.any():
            axes.plot(bar[use], error[use], ".", ms=4, color=colour, label=method)
            low, high = min(low, bar[use].min()), max(high, bar[use].max())
    if high > 0:
        axes.plot([low, high], [low, high], color=FAINT, lw=1, zorder=0, label="error = bar")
        axes.legend()
    axes.set(xscale="log", yscale="log", xlabel="claimed bar, px", ylabel="error, px")
    axes.set_title("each trusted pair")


def draw_coverage(axes: Axes, found: Calibration) -> None:
    """Share of the claimed regions that hold the truth, against their probability."""
    claimed = np.linspace(0, 1, 201)
    for method, colour in _coloured(found):
        trials = found.trials[method]
        level = np.sort(1 - trials.surprise[trials.trusted & np.isfinite(trials.surprise)])
        if level.size:
            share = np.searchsorted(level, claimed, side="right") / level.size
            axes.plot(claimed, share, color=colour, label=method)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, zorder=0)
    axes.set(xlabel="claimed probability", ylabel="share that holds the truth")
    axes.set_title("coverage")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _coloured(found: Calibration) -> list[tuple[str, str]]:
    """Methods that have bars, each with its colour."""
    methods = [m for m, t in found.trials.items() if np.isfinite(t.covariance).any()]
    return list(zip(methods, (BLUE, ORANGE, VERMILLION, GREEN), strict=False))
