"""Offsets of a series against time, and the loops of its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional
from coregister.plotting.look import BLUE, FAINT, GREEN, ORANGE, VERMILLION, style
from coregister.result import axis_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from coregister.stack import StackRegistration
    from coregister.stack.checks import Loop

Float = NDArray[np.float64]


def plot_stack(result: StackRegistration) -> Figure:
    """Offsets of a stack against time or frame number, one panel an axis, with bars and flags.

    Parameters
    ----------
    result : StackRegistration

    Returns
    -------
    Figure
    """
    optional("matplotlib.figure", "report")
    from matplotlib.figure import Figure

    with style():
        figure = Figure(
            figsize=(8.0, 1.2 + 1.9 * result.ndim), layout="constrained", facecolor="white"
        )
        axes = figure.subplots(result.ndim, 1, sharex=True, squeeze=False)[:, 0]
        for axis, panel in enumerate(axes):
            draw_offsets(panel, result, axis)
        axes[-1].set_xlabel(_along(result)[1])
        if result.times is None:
            axes[-1].xaxis.get_major_locator().set_params(integer=True)
        good = int(result.trusted.sum())
        verdict = f"{good} of {len(result)} frames trusted; offsets from {result.reference}"
        figure.suptitle(verdict, x=0.01, ha="left", fontsize=11)
    return figure


def draw_offsets(axes: Axes, result: StackRegistration, axis: int) -> None:
    """Offsets along one axis, 1-sigma bars, the smooth motion, and the frames that are flagged."""
    frames, good = _along(result)[0], result.trusted
    values, bars = result.offsets[:, axis], result.stderr[:, axis]
    shown = good & np.isfinite(bars)
    many = len(result) > 60
    if result.drift is not None:
        middle, half = result.drift.offsets[:, axis], result.drift.stderr[:, axis]
        axes.fill_between(frames, middle - half, middle + half, color=ORANGE, alpha=0.3, lw=0)
        axes.plot(frames, middle, color=ORANGE, lw=1.2, label="smooth motion")
    axes.errorbar(
        frames[shown],
        values[shown],
        yerr=bars[shown],
        fmt="." if many else "o",
        ms=3 if many else 4,
        lw=0.8,
        color=BLUE,
        ecolor=BLUE,
        label="trusted, 1 sigma",
    )
    if not good.all():
        axes.plot(
            frames[~good],
            np.zeros(np.count_nonzero(~good)),
            "x",
            color=VERMILLION,
            ms=6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="flagged",
        )
    axes.set_ylabel(f"{axis_names(result.ndim)[axis]}, px")
    axes.grid(visible=True, color=FAINT, alpha=0.25, lw=0.6)
    if axis == 0:
        # above the panel: inside there may be a bar anywhere
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=3,
            borderaxespad=0,
            frameon=False,
            fontsize=8.5,
        )


def _along(result: StackRegistration) -> tuple[Float, str]:
    """Where frames stand on the axis of a drift plot, and its label."""
    if result.times is None:
        return np.arange(len(result), dtype=np.float64), "frame"
    span = float(np.ptp(result.times))
    size, unit = next(
        ((s, u) for s, u in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")) if span > 3 * s),
        (1.0, "s"),
    )
    since = "" if result.start is None else f" from {result.start[:19].replace('T', ' ')}"
    return result.times / size, f"time{since}, {unit}"


def plot_loops(loops: Sequence[Loop], ndim: int) -> Figure:
    """Pairs against the joint answer, and what loops of three pairs leave over, in bars.

    Parameters
    ----------
    loops : sequence of Loop
    ndim : int
        Axes of a frame.

    Returns
    -------
    Figure
    """
    optional("matplotlib.figure", "report")
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(8.0, 2.9), layout="constrained", facecolor="white")
        pairs, closures = figure.subplots(1, 2, sharey=True)
        for axis, (name, colour, mark) in enumerate(
            zip(axis_names(ndim), (BLUE, VERMILLION, GREEN), "osD", strict=False)
        ):
            where = np.array([np.mean(loop.frames) for loop in loops])
            pulls = np.array([loop.pulls[:, axis] for loop in loops])
            closed = np.array([loop.closure[axis] for loop in loops])
            kind = {"color": colour, "ms": 4, "ls": "", "marker": mark, "alpha": 0.8}
            pairs.plot(np.repeat(where, 3), pulls.ravel(), label=name, **kind)
            closures.plot(where, closed, label=name, **kind)
        largest = max(max(np.abs(loop.pulls).max(), np.abs(loop.closure).max()) for loop in loops)
        for panel in (pairs, closures):
            panel.axhspan(-1, 1, color=FAINT, alpha=0.15, lw=0)
            panel.axhline(0, color=FAINT, lw=0.8)
            panel.set_xlabel("middle of the loop, frame")
            panel.set_ylim(-1.1 * max(largest, 2.0), 1.1 * max(largest, 2.0))
        pairs.set_ylabel("over 1 sigma")
        pairs.set_title("pulls: a pair alone minus the stack")
        closures.set_title("closures: left over around a loop")
        pairs.legend(loc="upper left", frameon=False, fontsize=8.5)
    return figure
