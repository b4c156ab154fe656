"""The pictures of a result, all in one style.

Figures are made with `matplotlib.figure.Figure`, never through pyplot, so that nothing needs a
display and nothing stays behind. Each panel is a function that draws into given axes.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.images import Image, Pair
from coregister.posterior import Posterior
from coregister.resample import translate
from coregister.result import Registration, axis_names, round_pdg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from coregister.stack import StackRegistration
    from coregister.stack.checks import Loop
    from coregister.windows import WindowsRegistration

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


@dataclass(frozen=True, kw_only=True)
class Views:
    """A pair as it is shown: in units of the reference, NaN where unknown.

    Attributes
    ----------
    reference : array
    moving : array
        On its own grid, gain and background taken out.
    before : array
        The same on the grid of the reference, pixel for pixel.
    after : array
        The same brought onto the reference.
    common : tuple of (float, float), or None
        First and last index of the reference that both show, an axis each; None if nearly all.
    offset : array
        What takes an index of the reference to one of `moving`.
    ndim : int
        Axes of the data; `plane` keeps it.
    """

    reference: Float
    moving: Float
    before: Float
    after: Float
    common: tuple[tuple[float, float], ...] | None
    offset: Float
    ndim: int
    title: str = ""

    @classmethod
    def of(cls, result: Registration, pair: Pair) -> Views:
        """Apply the result to its pair."""
        reference, moving = _visible(pair.reference), _visible(pair.moving)
        if np.isfinite(result.gain) and result.gain != 0 and np.isfinite(result.background):
            moving = (moving - result.background) / result.gain
        before = translate(moving, np.zeros(moving.ndim), output_shape=reference.shape)
        after = result.apply(moving, output_shape=reference.shape)
        assert isinstance(before, np.ndarray)  # no variance was given
        assert isinstance(after, np.ndarray)
        return cls(
            reference=reference,
            moving=moving,
            before=before,
            after=after,
            common=_common(result, reference.shape, moving.shape),
            offset=result.offset,
            ndim=reference.ndim,
        )

    def plane(self) -> Views:
        """The central plane along the leading axes, so that at most two are left."""
        leading = self.ndim - 2
        if leading <= 0:
            return self
        middle = tuple(n // 2 for n in self.reference.shape[:leading])
        partner = tuple(
            min(max(round(i + d), 0), n - 1)
            for i, d, n in zip(middle, self.offset, self.moving.shape, strict=False)
        )
        return Views(
            reference=self.reference[middle],
            moving=self.moving[partner],
            before=self.before[middle],
            after=self.after[middle],
            common=self.common and self.common[leading:],
            offset=self.offset[leading:],
            ndim=self.ndim,
            title=", ".join(f"plane {i} of axis {axis}" for axis, i in enumerate(middle)),
        )

    @property
    def difference_before(self) -> Float:
        """Moving minus reference, pixel for pixel."""
        return self.before - self.reference

    @property
    def difference_after(self) -> Float:
        """Aligned minus reference."""
        return self.after - self.reference

    def difference_scale(self) -> float:
        """Half-range that suits the difference before; the one after is shown in it too."""
        for values in (self.difference_before, self.difference_after):
            known = np.abs(values[np.isfinite(values)])
            if known.size and (scale := float(np.percentile(known, 99.0))) > 0:
                return scale
        return 1.0

    def grey_scale(self) -> tuple[float, float, float]:
        """Black, white and exponent that show the reference well.

        The exponent is 1, or less where a few bright places would leave all else in the dark.
        """
        known = self.reference[np.isfinite(self.reference)]
        if known.size == 0:
            return 0.0, 1.0, 1.0
        low, middle, high = (float(value) for value in np.percentile(known, (0.5, 50.0, 99.7)))
        if high <= low:
            return low - 0.5, low + 0.5, 1.0
        level = (middle - low) / (high - low)
        lifted = np.log(0.25) / np.log(min(max(level, 1e-3), 0.999))
        return low, high, float(np.clip(lifted, 0.35, 1.0))

    def noise(self) -> float:
        """Robust 1-sigma of the difference after: 1.48 times its median absolute deviation."""
        known = self.difference_after[np.isfinite(self.difference_after)]
        if known.size == 0:
            return 1.0
        return float(1.4826 * np.median(np.abs(known - np.median(known)))) or 1.0


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


def image_origin(origin: Origin | None) -> Origin:
    """`origin` if it is given, else what matplotlib is set to."""
    chosen = optional("matplotlib", "report").rcParams["image.origin"] if origin is None else origin
    if chosen not in ("upper", "lower"):
        raise InputError(f"origin={origin!r} is not known; use 'upper' or 'lower'")
    return "lower" if chosen == "lower" else "upper"


# ------------------------------------------------------------------------ words


def pretty(text: str) -> str:
    """Plus-minus and minus signs as they are printed in books."""
    return text.replace("+-", "±").replace("-", "\N{MINUS SIGN}")


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


# ------------------------------------------------------------------------ images


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


def add_bar(image: Any, axes: Any, **options: Any) -> None:
    """A colour bar, open where values may lie beyond."""
    extend = "max" if image.norm.vmin == 0 else "both"
    bar = image.figure.colorbar(image, ax=axes, pad=0.02, extend=extend, **options)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)


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


def diverging() -> Any:
    """Colour map of differences: blue below, white at zero, orange above."""
    colors = optional("matplotlib.colors", "report")
    return colors.LinearSegmentedColormap.from_list("blue-orange", DIVERGING)


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


def _common(
    result: Registration, shape: tuple[int, ...], moving_shape: tuple[int, ...]
) -> tuple[tuple[float, float], ...] | None:
    sides = tuple(
        (max(0.0, -d), min(n, m - d) - 1.0)
        for d, n, m in zip(result.offset, shape, moving_shape, strict=True)
    )
    share = np.prod([max(0.0, last - first + 1) for first, last in sides])
    hidden = share > 0.98 * max(np.prod(shape), np.prod(moving_shape))
    return None if hidden or share == 0 or result.boundary == "periodic" else sides


def _visible(image: Image) -> Float:
    return image.data if image.valid is None else np.where(image.valid, image.data, np.nan)


def _rms(values: Float) -> str:
    known = values[np.isfinite(values)]
    return f"rms {np.sqrt(np.mean(known**2)):.3g}" if known.size else "nothing in common"


# ------------------------------------------------------------------------ diagnostics


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
        _say(axes, "nothing is known about the offset")
        return
    levels = [result.region_level(level) for level in LEVELS]
    others = [mode.offset[-shown:] for mode in result.modes[1:]]
    positions, delta = result.chi2_map(_half_width(result, others, levels[-1]), _points(result))
    delta = np.clip(delta[tuple(n // 2 for n in delta.shape[:-shown])], 0, None)
    centre = result.offset[-shown:]
    if any(np.ptp(p) <= 1e-14 * np.abs(p).max() for p in positions):
        _say(axes, "the bars are too small to draw")
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
    _label_in_full(axes, (grid,))


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
    _label_in_full(axes, (columns, rows))
    add_bar(image, axes, aspect=24)


def _label_in_full(axes: Axes, grids: tuple[Float, ...]) -> None:
    """Ticks without a common offset; powers of ten only where the numbers would be long."""
    names: tuple[Literal["x", "y"], ...] = ("x", "y")
    for which, grid in zip(names, grids, strict=False):
        power = np.log10(np.abs(grid).max())
        style: Literal["plain", "sci"] = "plain" if -4 < power < 6 else "sci"
        axes.ticklabel_format(axis=which, useOffset=False, style=style, useMathText=True)
        axes.locator_params(axis=which, nbins=5)


def draw_coherence(axes: Axes, result: Registration) -> None:
    """Correlation of the two images ring by ring, against frequency."""
    frequency, correlation = result.coherence
    axes.set_title("coherence")
    axes.set(xlabel="frequency, cycles/px", ylabel="correlation")
    if frequency.size == 0 or not np.any(np.isfinite(correlation)):
        _say(axes, "not measured")
        return
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=":")
    if frequency.max() > 0.5:
        axes.axvline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
        axes.annotate(
            "Nyquist",
            (0.5, 0.88),
            (3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8.5,
        )
    axes.fill_between(frequency, 0, correlation, color=BLUE, alpha=0.12, linewidth=0)
    marker = "." if frequency.size < 80 else ""
    axes.plot(frequency, correlation, color=BLUE, marker=marker, markersize=4)
    axes.set_xlim(0, float(max(frequency.max(), 0.5)))
    axes.set_ylim(min(-0.1, 1.1 * float(np.nanmin(correlation))), 1.05)


# ------------------------------------------------------------------------ posterior


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
    _label_in_full(axes, (np.array(limits[1]), np.array(limits[0])))
    bar = image.figure.colorbar(image, ax=axes, pad=0.02, extend="min", aspect=24)
    bar.outline.set_visible(False)
    bar.set_label("log10 of the probability per px$^2$")


def _say(axes: Axes, text: str) -> None:
    """A sentence in place of a picture."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.set(xticks=[], yticks=[])


# ------------------------------------------------------------------------------------ stacks


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
        axes.legend(loc="best", frameon=False, fontsize=8.5)


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


# ------------------------------------------------------------------------------------ windows


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
        low, high = centers.min(axis=0) - half, centers.max(axis=0) + half
        axes.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]), aspect="equal")
        axes.set(xlabel=f"{axis_names(2)[1]}, px", ylabel=f"{axis_names(2)[0]}, px")
        verdict = f"{int(good.sum())} of {len(result)} windows trusted"
        figure.suptitle(verdict, x=0.01, ha="left", fontsize=11)
    return figure
