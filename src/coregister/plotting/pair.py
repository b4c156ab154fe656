"""The picture of a pair: headline, images, differences, residual."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional
from coregister.images import Pair
from coregister.plotting.look import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    UNKNOWN,
    VERMILLION,
    Origin,
    add_bar,
    diverging,
    image_origin,
    pretty,
    style,
)
from coregister.plotting.surface import draw_coherence, draw_surface
from coregister.plotting.views import Views
from coregister.result import Registration, axis_names, round_pdg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]


def plot_registration(result: Registration, pair: Pair, *, origin: Origin | None = None) -> Figure:
    """Before and after, the chi^2 surface with its regions, the coherence: six panels.

    Parameters
    ----------
    result : Registration
        What was measured.
    pair : Pair
        The images that it was measured on.
    origin : {"upper", "lower"}, optional
        Where index (0, 0) is drawn. Default: matplotlib's ``rcParams["image.origin"]``, which
        is "upper" unless you set it.

    Returns
    -------
    matplotlib.figure.Figure
        12 inches wide, as high as the images need. Spectra and images as they are, volumes by
        their central plane.

    Raises
    ------
    InputError
        If `origin` is not known.
    MissingExtraError
        If matplotlib is not installed.
    """
    figures = optional("matplotlib.figure", "report")
    origin = image_origin(origin)
    views = Views.of(result, pair).plane()
    with style():
        figure: Figure = figures.Figure(figsize=(12, _height(views)), layout="compressed")
        top = draw_headline(figure, result)
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.set(rect=(0, 0, 1, top), w_pad=0.1, h_pad=0.08)  # type: ignore[call-arg]
        (a, c, e), (b, d, f) = figure.subplots(2, 3)
        if views.reference.ndim == 1:
            draw_before_after(a, b, views)
        else:
            draw_images(a, b, views, origin=origin)
        draw_differences(c, d, views, origin=origin)
        draw_surface(e, result, origin=origin)
        draw_coherence(f, result)
    return figure


def _height(views: Views) -> float:
    """Inches that two rows of panels and a headline need."""
    if views.reference.ndim == 1:
        return 7.0
    ratio = max(values.shape[0] / values.shape[1] for values in (views.reference, views.moving))
    return float(np.clip(2 * (2.9 * (ratio if ratio > 1 / 6 else 1) + 0.8) + 1.0, 5.2, 7.6))


def headline(result: Registration) -> list[str]:
    """One phrase an axis: its name, its offset with bar."""
    return [
        f"{name}: " + (f"{pretty(round_pdg(d, s))} px" if np.isfinite(s) else "undetermined")
        for name, d, s in zip(axis_names(result.ndim), result.offset, result.stderr, strict=True)
    ]


def asides(result: Registration) -> str:
    """Overlap and bound on what the bars cannot see, in a few words."""
    words = [f"overlap {100 * result.overlap:.0f} %"]
    if np.any(result.systematic > 0):
        words.append(f"systematic below {np.max(result.systematic):.2g} px")
    return ", ".join(words)


def draw_headline(figure: Figure, result: Registration) -> float:
    """Offset, verdict and remedies at the top of a figure; returns where they end."""
    line = 1 / (72 * figure.get_figheight())  # one point
    left, place = 0.012, 1 - 10 * line
    words = "Offset   " + "     ".join(headline(result))
    size = min(15.0, 15.0 * 86 / len(words))
    bold: dict[str, Any] = {"fontweight": "bold", "verticalalignment": "top"}
    figure.text(left, place, words, fontsize=size, **bold)
    place -= 25 * line
    colour = "#00664b" if result.trusted else "#b23c00"
    figure.text(left, place, result.verdict(), fontsize=11, color=colour, **bold)
    figure.text(
        1 - left,
        place,
        asides(result),
        fontsize=9.5,
        horizontalalignment="right",
        verticalalignment="top",
    )
    place -= 19 * line
    for remedy in result.remedies()[:2]:
        for row in textwrap.wrap(remedy, 170):
            figure.text(left, place, row, fontsize=9, verticalalignment="top")
            place -= 13 * line
    return float(place - 4 * line)


def draw_images(reference: Axes, moving: Axes, views: Views, *, origin: Origin) -> None:
    """The two images in one grey scale, each on its own grid; what both show is outlined."""
    colors = optional("matplotlib.colors", "report")
    low, high, exponent = views.grey_scale()
    for axes, values, name in (
        (reference, views.reference, "reference"),
        (moving, views.moving, "moving"),
    ):
        norm = colors.PowerNorm(exponent, low, high, clip=True)
        _draw_image(axes, values, views.ndim, origin, cmap="gray", norm=norm)
        axes.set_title(f"{name}, {views.title}" if views.title else name)
    if views.common is not None:
        _outline(reference, views.common, (0.0, 0.0))
        _outline(moving, views.common, views.offset)


def draw_before_after(before: Axes, after: Axes, views: Views) -> None:
    """Both spectra on the grid of the reference, before and after alignment."""
    for axes, values, name in ((before, views.before, "moving"), (after, views.after, "aligned")):
        axes.plot(views.reference, color=INK, label="reference")
        axes.plot(values, color=ORANGE, label=name)
        axes.set_title("before alignment" if axes is before else "after alignment")
        axes.set(xlabel=f"{axis_names(1)[0]}, px", ylabel="value")
        axes.margins(x=0, y=0.15)
        axes.legend(loc="upper right", ncols=2)


def draw_differences(before: Axes, after: Axes, views: Views, *, origin: Origin) -> None:
    """Moving minus reference before and after alignment, in one scale."""
    draw_difference(before, views, "before", origin=origin)
    image = draw_difference(after, views, "after", origin=origin)
    if image is not None:
        add_bar(image, [before, after], shrink=0.6, aspect=32)


def draw_difference(
    axes: Axes, views: Views, which: Literal["before", "after"], *, origin: Origin
) -> Any:
    """One of the two, in the scale of both; returns the image, for a colour bar."""
    scale = views.difference_scale()
    values = views.difference_before if which == "before" else views.difference_after
    axes.set_title(f"difference {which}, {_rms(values)}")
    if values.ndim > 1:
        return _draw_image(
            axes, values, views.ndim, origin, cmap=diverging(), vmin=-scale, vmax=scale
        )
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(values, color=VERMILLION if which == "before" else BLUE)
    axes.set(xlabel=f"{axis_names(1)[0]}, px", ylabel="moving minus reference")
    axes.set_ylim(-1.15 * scale, 1.15 * scale)
    axes.margins(x=0)
    return None


def draw_residual(axes: Axes, views: Views, *, origin: Origin) -> None:
    """Aligned minus reference in units of its own noise: what is left shows, if anything is."""
    values = views.difference_after / views.noise()
    if values.ndim == 1:
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.plot(values, color=BLUE)
        axes.set(xlabel=f"{axis_names(1)[0]}, px", ylabel="residual / its 1-sigma")
        axes.margins(x=0)
    else:
        image = _draw_image(axes, values, views.ndim, origin, cmap=diverging(), vmin=-4, vmax=4)
        add_bar(image, axes, shrink=0.9)
    axes.set_title(f"residual, unit {views.noise():.3g}")


def draw_histogram(axes: Axes, views: Views) -> None:
    """How the residual is distributed, beside a Gaussian of the same robust width."""
    values = views.difference_after / views.noise()
    values = values[np.isfinite(values)]
    edges = np.linspace(-6, 6, 61)
    if values.size:
        values = values - np.median(values)
        axes.hist(
            np.clip(values, -6, 6),
            list(edges),
            density=True,
            color=BLUE,
            alpha=0.75,
            histtype="stepfilled",
        )
    axes.plot(edges, np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi), color=VERMILLION)
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlim(-6, 6)
    axes.set(xlabel="residual / its 1-sigma (line: Gaussian)", ylabel="density")
    axes.set_title("distribution of the residual")


def _draw_image(axes: Axes, values: Float, ndim: int, origin: Origin, **scale: Any) -> Any:
    axes.patch.set(facecolor=UNKNOWN[0], edgecolor=UNKNOWN[1], hatch="/////", linewidth=0)
    ratio = values.shape[0] / values.shape[1]
    aspect: Literal["equal", "auto"] = "equal" if 1 / 6 < ratio < 6 else "auto"
    image = axes.imshow(values, origin=origin, aspect=aspect, **scale)
    vertical, horizontal = axis_names(ndim)[-2:]
    axes.set(xlabel=f"{horizontal}, px", ylabel=f"{vertical}, px")
    axes.locator_params(nbins=5)
    return image


def _outline(axes: Axes, common: Any, offset: Any) -> None:
    patches = optional("matplotlib.patches", "report")
    (top, bottom), (left, right) = common
    axes.add_patch(
        patches.Rectangle(
            (left + offset[1] - 0.5, top + offset[0] - 0.5),
            right - left + 1,
            bottom - top + 1,
            fill=False,
            edgecolor=ORANGE,
            linewidth=1.2,
            linestyle="--",
        )
    )


def _rms(values: Float) -> str:
    known = values[np.isfinite(values)]
    return f"rms {np.sqrt(np.mean(known**2)):.3g}" if known.size else "nothing in common"
