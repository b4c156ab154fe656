"""The HTML reports: one file that holds its pictures and opens without a network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from coregister.images import Pair
from coregister.io.atomic import atomic_write, check_html
from coregister.plotting.look import Origin, add_bar, image_origin, pretty
from coregister.plotting.pair import (
    draw_before_after,
    draw_difference,
    draw_histogram,
    draw_residual,
)
from coregister.plotting.posterior import draw_posterior
from coregister.plotting.surface import draw_coherence, draw_surface
from coregister.plotting.views import Views
from coregister.report.blink import blink
from coregister.report.vector import page_template, svg
from coregister.report.words import assumptions, flag, intervals, matrices, modes, offsets
from coregister.result import Registration, axis_names
from coregister.status import Status

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
    template = page_template("report.html.j2")
    origin = image_origin(origin)
    views = Views.of(result, pair).plane()
    page: str = template.render(
        result=result,
        offsets=offsets(result),
        flags=[flag(remedy) for remedy in result.remedies()],
        rows=[(label, pretty(value)) for label, value in result.rows()],
        matrices=matrices(result),
        intervals=intervals(result),
        modes=modes(result),
        names=axis_names(result.ndim),
        assumptions=assumptions(result, pair),
        blink=blink(views, origin),
        plane=views.title,
        figures=_figures(result, views, origin),
        record=json.dumps(result.to_dict()).replace("</", "<\\/"),
        version=version("coregister"),
    )
    return page


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
        "before": svg("before", differences("before"), "Difference before alignment", **pictures),
        "after": svg("after", differences("after"), "Difference after alignment", **pictures),
        "residual": svg(
            "residual",
            lambda axes: draw_residual(axes, views, origin=origin),
            "Residual in units of its own noise",
            **pictures,
        ),
        "histogram": svg(
            "histogram",
            lambda axes: draw_histogram(axes, views),
            "Histogram of the residual beside a Gaussian",
        ),
        "surface": svg(
            "surface",
            lambda axes: draw_surface(axes, result, origin=origin),
            "Chi squared about the measured offset with regions of 68 and 95 %",
        ),
        "coherence": svg(
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

        drawn["posterior"] = svg(
            "posterior",
            probability,
            "Probability of every offset with regions of 68 and 95 %",
        )
    if views.reference.ndim == 1:
        drawn["lines"] = svg(
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
