"""The page of a calibration."""

from __future__ import annotations

import os
from functools import partial
from importlib.metadata import version

from coregister.calibration import Calibration
from coregister.calibration.pictures import draw_bars, draw_coverage, draw_pulls
from coregister.io.atomic import atomic_write, check_html
from coregister.plotting.look import pretty
from coregister.report.vector import page_template, svg


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
    template = page_template("calibration.html.j2")
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
            name: svg(name, partial(draw, found=found), label)
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
