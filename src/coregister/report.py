"""The HTML reports: one file that holds its pictures and opens without a network."""

from __future__ import annotations

import base64
import html
import importlib.resources
import io
import json
import os
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.calibration import Calibration
from coregister.calibration.pictures import draw_bars, draw_coverage, draw_pulls
from coregister.errors import optional
from coregister.images import Image, Pair
from coregister.io.atomic import atomic_write, check_html
from coregister.plotting.look import (
    BLUE,
    FAINT,
    INK,
    UNKNOWN,
    Origin,
    add_bar,
    image_origin,
    pretty,
    style,
)
from coregister.plotting.pair import (
    draw_before_after,
    draw_difference,
    draw_histogram,
    draw_residual,
)
from coregister.plotting.posterior import draw_posterior
from coregister.plotting.surface import draw_coherence, draw_surface
from coregister.plotting.views import Views
from coregister.result import Registration, axis_names, round_pdg
from coregister.status import Status

Float = NDArray[np.float64]

#: longest side of a picture, px; larger images are averaged over blocks
LONGEST = 1200
#: pixels of an image up to which the posterior is drawn: a second or two
SMALL = 128**2
#: flags under which there is more to see than the surface about one offset
MANY_OFFSETS = frozenset({Status.NO_MATCH, Status.AMBIGUOUS})


def write_report(
    result: Registration,
    pair: Pair,
    path: str | os.PathLike[str],
    *,
    origin: Origin | None = None,
    overwrite: bool = False,
) -> None:
    """Write a self-contained HTML report.

    Parameters
    ----------
    result : Registration
        What was measured.
    pair : Pair
        The images that it was measured on.
    path : path
        The file to write: whole, or not at all.
    origin : {"upper", "lower"}, optional
        Where index (0, 0) is drawn. Default: matplotlib's ``rcParams["image.origin"]``.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If `path` exists, is a folder or not named .html, or its folder is missing.
    OutputError
        If the file cannot be written.
    MissingExtraError
        If matplotlib or jinja2 is not installed.
    """
    check_html(path)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(render(result, pair, origin=origin), encoding="utf-8")


def render(result: Registration, pair: Pair, *, origin: Origin | None = None) -> str:
    """The report as HTML; the same result gives the same text."""
    template = _template("report.html.j2")
    origin = image_origin(origin)
    views = Views.of(result, pair).plane()
    page: str = template.render(
        result=result,
        offsets=_offsets(result),
        flags=[_flag(remedy) for remedy in result.remedies()],
        rows=[(label, pretty(value)) for label, value in result.rows()],
        matrices=_matrices(result),
        intervals=_intervals(result),
        modes=_modes(result),
        names=axis_names(result.ndim),
        assumptions=assumptions(result, pair),
        blink=_blink(views, origin),
        plane=views.title,
        figures=_figures(result, views, origin),
        record=json.dumps(result.to_dict()).replace("</", "<\\/"),
        version=version("coregister"),
    )
    return page


def _template(name: str) -> Any:
    jinja2 = optional("jinja2", "report")
    folder = importlib.resources.files("coregister").joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda part: folder.joinpath(part).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


# ------------------------------------------------------------------------ calibration


def write_calibration(
    found: Calibration, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write the page of a calibration, as `write_report` does that of a result.

    Parameters
    ----------
    found : Calibration
        What was counted.
    path : path
        The file to write: whole, or not at all.
    overwrite : bool
        Replace an existing file.
    """
    check_html(path)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(render_calibration(found), encoding="utf-8")


def render_calibration(found: Calibration) -> str:
    """The page of a calibration as HTML."""
    template = _template("calibration.html.j2")
    figures, verdicts = found.figures(), found.verdicts()
    missed = [verdict for verdict in verdicts if verdict.word == "missed"]
    headline = [
        (name, *str(measured).split(" +- "))
        for name, measured in (
            ("pull width, 1 is true", figures.pull_width),
            ("in the 68.3 % region", figures.coverage[0]),
            ("in the 95 % region", figures.coverage[1]),
            ("rms error / bound", figures.efficiency),
        )
    ]
    page: str = template.render(
        figures=figures,
        scene=found.setup["scene"],
        headline=[(*entry, "")[:3] for entry in headline],
        missed=missed,
        verdict=f"{len(missed)} of {len(verdicts)} targets missed"
        if missed
        else "no target missed",
        verdicts=[pretty(str(verdict)) for verdict in verdicts],
        drawn={
            name: _svg(name, partial(draw, found=found), label)
            for name, draw, label in (
                ("pulls", draw_pulls, "Histogram of the errors in units of their bars"),
                ("bars", draw_bars, "Errors against bars"),
                ("coverage", draw_coverage, "Share that holds the truth against probability"),
            )
        },
        table=[[pretty(entry) for entry in row] for row in found.rows()],
        setup=[*found.described(), ("bound", f"{figures.bound:.3g} px")],
        version=version("coregister"),
    )
    return page


# ------------------------------------------------------------------------ words


def assumptions(result: Registration, pair: Pair) -> list[tuple[str, str]]:
    """What was taken for granted, label and value."""
    edges = {
        "overlap": "real edges: only what both images show is compared",
        "periodic": "periodic: the images are one period each",
    }
    rows = [
        ("model", "one translation for the whole field; gain and background are free"),
        ("edges", edges[result.boundary]),
        ("reference", _describe(pair.reference)),
        ("moving", _describe(pair.moving)),
    ]
    if result._pair is None:
        return [*rows, ("options", "unknown: the result was read back from a file")]
    return [
        *rows,
        ("noise of reference", _noise(pair.reference)),
        ("noise of moving", _noise(pair.moving)),
        ("initial guess", _pixels(pair.initial)),
        (
            "search",
            "everywhere" if pair.max_offset is None else f"within {_pixels(pair.max_offset)} of it",
        ),
    ]


def _flag(remedy: str) -> tuple[str, str]:
    """Name and meaning, the latter as HTML with its names of arguments set as code."""
    name, _, meaning = remedy.partition(": ")
    return name, re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(meaning))


def _describe(image: Image) -> str:
    shape = " x ".join(str(n) for n in image.data.shape)
    if image.valid is None:
        return f"{shape} px, all used"
    left_out = image.valid.size - int(np.count_nonzero(image.valid))
    return f"{shape} px, {left_out} left out ({100 * left_out / image.valid.size:.2g} %)"


def _noise(image: Image) -> str:
    if image.sigma is None:
        return "learnt from the pair"
    if isinstance(image.sigma, float):
        return f"{image.sigma:.4g}, one for all pixels" if image.sigma else "noiseless"
    return f"one for each pixel, median {np.median(image.sigma):.4g}"


def _pixels(values: Float) -> str:
    return pretty("(" + ", ".join(f"{value:g}" for value in values) + ") px")


def _number(value: float) -> str:
    if np.isinf(value):
        return "\N{MINUS SIGN}\N{INFINITY}" if value < 0 else "\N{INFINITY}"
    return pretty(f"{value:.4g}")


def _offsets(result: Registration) -> list[tuple[str, str, str]]:
    """Axis, value and bar."""
    phrases = []
    for name, d, s in zip(axis_names(result.ndim), result.offset, result.stderr, strict=True):
        value, _, bar = pretty(round_pdg(d, s)).partition(" ± ")
        phrases.append((name, value, bar) if np.isfinite(s) else (name, "undetermined", ""))
    return phrases


def _matrices(result: Registration) -> list[tuple[str, str, list[list[str]]]]:
    """Caption, unit and entries."""
    return [
        (name, unit, [[_number(entry) for entry in row] for row in matrix])
        for name, unit, matrix in (
            ("covariance", "px²", result.covariance),
            ("information", "px⁻²", result.information),
        )
    ]


def _intervals(result: Registration) -> list[tuple[str, str, str, str]]:
    """Axis, interval of 68.27 %, interval of 95 %, bound on the systematic."""
    texts = []
    for level in (0.6827, 0.95):
        texts.append(
            [
                pretty(f"{low:.{places}f} to {high:.{places}f}")
                if np.isfinite(high)
                else "everything"
                for (low, high), places in zip(
                    result.interval(level), _places(result.stderr), strict=True
                )
            ]
        )
    systematic = [f"{value:.2g}" for value in result.systematic]
    return list(zip(axis_names(result.ndim), *texts, systematic, strict=True))


def _places(stderr: Float) -> list[int]:
    """Decimals that show two digits of each bar."""
    return [
        int(np.clip(1 - np.floor(np.log10(s)), 0, 12)) if np.isfinite(s) and s > 0 else 3
        for s in stderr
    ]


def _modes(result: Registration) -> list[tuple[list[str], str]]:
    """Offsets with bars, and probability."""
    if len(result.modes) < 2:
        return []
    return [
        (
            [
                pretty(round_pdg(d, s))
                for d, s in zip(mode.offset, np.sqrt(np.diag(mode.covariance)), strict=True)
            ],
            f"{mode.probability:.2g}",
        )
        for mode in result.modes
    ]


# ------------------------------------------------------------------------ pictures


def _figures(result: Registration, views: Views, origin: Origin) -> dict[str, str]:
    """Vector graphics by name."""

    def differences(which: Any) -> Callable[[Any], None]:
        def draw(axes: Any) -> None:
            image = draw_difference(axes, views, which, origin=origin)
            if image is not None:
                add_bar(image, axes, shrink=0.9)

        return draw

    pictures = {"small": max(views.reference.shape) <= 512, "height": 3.6}
    if views.reference.ndim == 2:
        ratio = views.reference.shape[0] / views.reference.shape[1]
        pictures["height"] = float(np.clip(3.2 * (ratio if ratio > 1 / 6 else 1) + 0.7, 2.0, 4.0))
    drawn = {
        "before": _svg("before", differences("before"), "Difference before alignment", **pictures),
        "after": _svg("after", differences("after"), "Difference after alignment", **pictures),
        "residual": _svg(
            "residual",
            lambda axes: draw_residual(axes, views, origin=origin),
            "Residual in units of its own noise",
            **pictures,
        ),
        "histogram": _svg(
            "histogram",
            lambda axes: draw_histogram(axes, views),
            "Histogram of the residual beside a Gaussian",
        ),
        "surface": _svg(
            "surface",
            lambda axes: draw_surface(axes, result, origin=origin),
            "Chi squared about the measured offset with regions of 68 and 95 %",
        ),
        "coherence": _svg(
            "coherence",
            lambda axes: draw_coherence(axes, result),
            "Coherence of the two images against spatial frequency",
        ),
    }
    if MANY_OFFSETS & result.flags and _is_small(result):
        probable = result.posterior()

        def probability(axes: Any) -> None:
            axes.set_title("probability, regions of 68 and 95 %")
            draw_posterior(axes, probable, origin=origin)

        drawn["posterior"] = _svg(
            "posterior",
            probability,
            "Probability of every offset with regions of 68 and 95 %",
        )
    if views.reference.ndim == 1:
        drawn["lines"] = _svg(
            "lines",
            lambda axes: draw_before_after(axes[0], axes[1], views),
            "Both spectra before and after alignment",
            height=4.8,
            rows=2,
        )
    return drawn


def _is_small(result: Registration) -> bool:
    """True if the result holds its images and their posterior takes no time."""
    pair = result._pair
    return pair is not None and max(image.data.size for image in pair.images) <= SMALL


def _svg(
    name: str,
    draw: Callable[[Any], None],
    label: str,
    *,
    height: float = 3.6,
    rows: int = 1,
    small: bool = False,
) -> str:
    """One figure as inline SVG, whose lines and letters take the colours of the page.

    Images are stored pixel for pixel if they are `small`, else as they appear.
    """
    matplotlib = optional("matplotlib", "report")
    figures = optional("matplotlib.figure", "report")
    options = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "axes.facecolor": "none",
        "image.interpolation": "none" if small else "antialiased",
    }
    with style(), matplotlib.rc_context(options):
        figure = figures.Figure(figsize=(4.5, height), layout="compressed")
        figure.patch.set_alpha(0)
        draw(figure.subplots(rows, 1))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # only what is referred to keeps its name: names must be unique in the page
    referred = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in referred else "", text)
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg role="img" aria-label="{label}" viewBox="\1" xmlns:xlink='
        r'"http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">',
        text,
        count=1,
    )
    ground, hatching = UNKNOWN
    for colour, name in (
        (INK, "ink"),
        (FAINT, "faint"),
        (BLUE, "accent"),
        (ground, "unknown"),
        (hatching, "unknown-line"),
    ):
        text = text.replace(colour.lower(), f"var(--{name})")
    return text


def _blink(views: Views, origin: Origin) -> dict[str, Any] | None:
    """The three pictures of the blink control, pixel for pixel, in one grey scale."""
    if views.reference.ndim == 1:
        return None
    scale = views.grey_scale()
    rows, columns = views.reference.shape
    return {
        "reference": _png(views.reference, scale, origin),
        "before": _png(views.before, scale, origin),
        "after": _png(views.after, scale, origin),
        "rows": rows,
        "columns": columns,
    }


def _png(values: Float, scale: tuple[float, float, float], origin: Origin) -> str:
    """A grey picture as a data URL, transparent where nothing is known."""
    images = optional("matplotlib.image", "report")
    values = _shrunk(values)
    if origin == "lower":
        values = values[::-1]
    known = np.isfinite(values)
    low, high, exponent = scale
    grey = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1) ** exponent
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(255 * grey)[..., None]
    pixels[..., 3] = 255 * known
    buffer = io.BytesIO()
    images.imsave(buffer, pixels, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _shrunk(values: Float) -> Float:
    """Means over blocks, so that no side is longer than `LONGEST`; unknown pixels left out."""
    factor = -(-max(values.shape) // LONGEST)
    if factor == 1:
        return values
    sides = [min(factor, n) for n in values.shape]
    rows, columns = (n // side for n, side in zip(values.shape, sides, strict=True))
    cut = values[: rows * sides[0], : columns * sides[1]]
    blocks = cut.reshape(rows, sides[0], columns, sides[1])
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3))
    means = np.full(total.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means
