"""The command for images of the sky on grids of their own: one call of `register_sky`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from coregister.cli.options import FLAGGED, check_outputs, needs_report, path_option
from coregister.errors import InputError


@click.command()
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path))
@click.argument("moving", metavar="MOV", type=click.Path(path_type=Path))
@path_option(
    "-o", "--output", help="Write MOV with its pointing corrected; the pixels stay as they are."
)
@path_option("--json", "json_path", help="Write the result as JSON.")
@path_option("--report", help="Write an HTML report of the pair on its common grid.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--ref-ext", metavar="EXT", help="HDU of REF, number or name.")
@click.option("--mov-ext", metavar="EXT", help="HDU of MOV, number or name.")
@click.option("--ref-plane", metavar="N|sum", help="If REF is a cube: a plane, from 0, or sum.")
@click.option("--mov-plane", metavar="N|sum", help="If MOV is a cube: a plane, from 0, or sum.")
@click.option("--max-offset", type=float, metavar="ARCSEC", help="Largest error of the pointing.")
@click.pass_context
def sky(
    context: click.Context,
    reference: Path,
    moving: Path,
    output: Path | None,
    json_path: Path | None,
    report: Path | None,
    overwrite: bool,
    ref_ext: str | None,
    mov_ext: str | None,
    ref_plane: str | None,
    mov_plane: str | None,
    max_offset: float | None,
) -> None:
    """Measure the pointing error of MOV against REF; scale, rotation and projection may differ.

    Both are FITS images with celestial coordinates, or cubes with one more axis.

    \b
    Examples:
      coregister sky deep.fits tonight.fits
      coregister sky deep.fits tonight.fits -o tonight-corrected.fits --json pointing.json
      coregister sky deep.fits tonight.fits --mov-ext SCI --max-offset 30
      coregister sky deep.fits cube.fits --mov-plane sum -o cube-corrected.fits

    The new header has the corrected coordinates, their bars (CRDERn, PNTCOVij) and the old ones as
    the alternate O.
    """
    from coregister.io import atomic_write, read
    from coregister.io.fits import write_header
    from coregister.sky import register_sky

    check_outputs([output, json_path, report], [reference, moving], overwrite=overwrite)
    if report is not None:
        needs_report(report)
    loaded = read(reference, ext=ref_ext), read(moving, ext=mov_ext)
    for image in loaded:
        if image.format != "FITS":
            raise InputError(
                f"{image.path} is {image.format}, which has no celestial coordinates; FITS is "
                "needed: use `coregister pair`"
            )
    result = register_sky(
        loaded[0].data,
        loaded[1].data,
        reference_wcs=loaded[0],
        moving_wcs=loaded[1],
        reference_err=loaded[0].err,
        moving_err=loaded[1].err,
        reference_valid=loaded[0].valid,
        moving_valid=loaded[1].valid,
        reference_plane=_plane(ref_plane, "--ref-plane"),
        moving_plane=_plane(mov_plane, "--mov-plane"),
        max_offset=max_offset,
    )
    click.echo(str(result))
    if output is not None:
        with atomic_write(output, overwrite=overwrite) as temporary:
            write_header(temporary, loaded[1], lambda header: result.to_wcs(header=header))
    if json_path is not None:
        with atomic_write(json_path, overwrite=overwrite) as temporary:
            text = json.dumps(result.to_dict(), indent=2, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    if report is not None:
        result.registration.report(report, overwrite=overwrite)
    if not result.trusted:
        context.exit(FLAGGED)


def _plane(text: str | None, option: str) -> int | Literal["sum"] | None:
    if text is None:
        return None
    if text == "sum":
        return "sum"
    try:
        return int(text)
    except ValueError as error:
        raise InputError(
            f"{option} {text} is not usable; the number of a plane, from 0, or sum is needed"
        ) from error
