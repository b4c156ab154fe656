"""The command for a pair of images, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregister.cli.options import (
    FLAGGED,
    boundary_option,
    check_outputs,
    needs_report,
    numbers,
    path_option,
    reading_options,
    say,
)

if TYPE_CHECKING:
    from coregister.io import Loaded, SkyOffset
    from coregister.result import Registration


@click.command()
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path))
@click.argument("moving", metavar="MOV", type=click.Path(path_type=Path))
@path_option("-o", "--output", help="Write MOV aligned to REF, in the format of MOV.")
@path_option("--json", "json_path", help="Write the result as JSON.")
@path_option("--report", help="Write an HTML report with pictures.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@reading_options
@click.option("--ref-ext", metavar="EXT", help="As --ext, for REF alone.")
@click.option("--mov-ext", metavar="EXT", help="As --ext, for MOV alone.")
@click.option("--ref-err", type=float, metavar="NUMBER", help="1-sigma pixel noise of REF.")
@click.option("--mov-err", type=float, metavar="NUMBER", help="1-sigma pixel noise of MOV.")
@boundary_option
@click.option(
    "--max-offset",
    metavar="NUMBER[,NUMBER...]",
    callback=numbers,
    help="Look within this of --initial, px; one number or one for each axis (y,x).",
)
@click.option(
    "--initial",
    metavar="NUMBER[,NUMBER...]",
    callback=numbers,
    help="Prior guess of the offset, px (y,x).",
)
@click.option(
    "--interpolation",
    default="cubic",
    show_default=True,
    type=click.Choice(["nearest", "linear", "cubic", "quintic"]),
    help="Spline of the aligned image.",
)
@click.pass_context
def pair(
    context: click.Context,
    reference: Path,
    moving: Path,
    output: Path | None,
    json_path: Path | None,
    report: Path | None,
    overwrite: bool,
    ext: str | None,
    ref_ext: str | None,
    mov_ext: str | None,
    channel: str | None,
    err_ext: str | None,
    mask_ext: str | None,
    ref_err: float | None,
    mov_err: float | None,
    boundary: str,
    max_offset: float | list[float] | None,
    initial: float | list[float] | None,
    interpolation: str,
) -> None:
    """Measure the offset of MOV with respect to REF.

    The content of MOV sits at +offset from where it sits in REF; axis 0 is y, axis 1 is x.

    \b
    Examples:
      coregister pair a.fits b.fits
      coregister pair a.fits b.fits -o b-on-a.fits --json pair.json --report pair.html
      coregister pair a.fits b.fits --ext SCI --max-offset 20
      coregister pair a.png b.png --channel green
      coregister pair a.tif b.tif --ref-ext 0 --mov-ext 5 --initial -3.5,12
    """
    from coregister.io import read

    check_outputs([output, json_path, report], [reference, moving], overwrite=overwrite)
    if report is not None:
        needs_report(report)
    choice = {"channel": channel, "err_ext": err_ext, "mask_ext": mask_ext}
    result = measure(
        read(reference, ext=ref_ext or ext, **choice),
        read(moving, ext=mov_ext or ext, **choice),
        output=output,
        json_path=json_path,
        report=report,
        overwrite=overwrite,
        interpolation=interpolation,
        options={
            "reference_err": ref_err,
            "moving_err": mov_err,
            "boundary": boundary,
            "max_offset": max_offset,
            "initial": initial,
        },
    )
    if not result.trusted:
        context.exit(FLAGGED)


def measure(
    reference: Loaded,
    moving: Loaded,
    *,
    output: Path | None,
    json_path: Path | None,
    report: Path | None,
    overwrite: bool,
    interpolation: str = "cubic",
    options: dict[str, Any] | None = None,
) -> Registration:
    """Register, print, write what was asked for."""
    from coregister.io import same_format, sky_offset
    from coregister.register import register

    if output is not None:
        same_format(output, moving)
    chosen = {key: value for key, value in (options or {}).items() if value is not None}
    result = register(
        reference.data,
        moving.data,
        reference_valid=reference.valid,
        moving_valid=moving.valid,
        **{"reference_err": reference.err, "moving_err": moving.err, **chosen},
    )
    sky = sky_offset(reference, result.offset, result.covariance)
    click.echo("\n".join([str(result), *more_lines(sky, reference, result)]))
    if output is not None:
        write_aligned(output, result, reference, moving, interpolation, overwrite=overwrite)
    if json_path is not None:
        write_json(json_path, result, reference, moving, sky, chosen, overwrite=overwrite)
    if report is not None:
        result.report(report, overwrite=overwrite)
    return result


def more_lines(sky: SkyOffset | None, reference: Loaded, result: Registration) -> list[str]:
    """The offset on the sky and in the units of the pixels, in line with the rows of the result."""
    from coregister.result import physical_rows, round_pdg

    rows = []
    if reference.spacing is not None:
        rows += physical_rows(result.physical(reference.spacing))
    if sky is not None:
        rows += [
            (f"on the sky, along {name}", f"{round_pdg(value, bar)} arcsec")
            for name, value, bar in zip(sky.names, sky.offset, sky.stderr, strict=True)
        ]
    width = max(len(label) for label, _ in result.rows())
    return [f"  {label:<{width}}  {value}" for label, value in rows]


def write_aligned(
    path: Path,
    result: Registration,
    reference: Loaded,
    moving: Loaded,
    interpolation: Any,
    *,
    overwrite: bool,
) -> None:
    """Write `moving` on the grid of `reference`; pixels that are not valid count as unknown."""
    import numpy as np

    from coregister import __version__
    from coregister.io import write

    usable = np.ones(moving.data.shape, bool) if moving.valid is None else moving.valid
    variance = None
    if moving.err is not None:  # errors that exclude a pixel, see `register`
        usable = usable & np.isfinite(moving.err) & (moving.err > 0)
        variance = np.where(usable, moving.err, np.nan) ** 2
    image = np.where(usable, moving.data, np.nan)
    aligned = result.apply(image, interpolation=interpolation, variance=variance)
    pixels, spread = aligned if isinstance(aligned, tuple) else (aligned, None)
    place = ", ".join(f"{value:.5f}" for value in result.offset)
    notes = write(
        path,
        pixels,
        like=moving,
        reference=reference,
        offset=result.offset,
        history=f"coregister {__version__}: resampled to the grid of {reference.path.name}, "
        f"offset ({place}) px in array-axis order",
        cards=fits_cards(result, reference),
        err=None if spread is None else np.sqrt(spread),
        overwrite=overwrite,
    )
    for note in notes:
        say(f"note: {path}: {note}")


def fits_cards(result: Registration, reference: Loaded) -> list[tuple[str, float | str, str]]:
    """The result as FITS keywords; FITS counts axes from the last array axis."""
    cards: list[tuple[str, float | str, str]] = [
        ("CRGREF", reference.path.name, "image that this one is aligned to"),
        ("CRGSTAT", result.status.name, "coregister: OK, or what is wrong"),
    ]
    for number, (offset, bar) in enumerate(
        zip(result.offset[::-1], result.stderr[::-1], strict=True), start=1
    ):
        cards += [
            (f"CRGOFF{number}", float(offset), "[pix] offset that was taken out"),
            (f"CRGERR{number}", float(bar), "[pix] its standard error"),
        ]
    return cards


def write_json(
    path: Path,
    result: Registration,
    reference: Loaded,
    moving: Loaded,
    sky: SkyOffset | None,
    options: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write the result and where it came from; `Registration.from_dict` reads it back."""
    from coregister import __version__
    from coregister.io import atomic_write
    from coregister.result import plain

    record = result.to_dict()
    record["provenance"] = {
        "coregister": __version__,
        "reference": {"file": str(reference.path), "part": reference.part},
        "moving": {"file": str(moving.path), "part": moving.part},
        "options": options,
    }
    if sky is not None:
        record["sky"] = {
            "axes": list(sky.names),
            "unit": "arcsec",
            "offset": plain(sky.offset),
            "stderr": plain(sky.stderr),
            "covariance": plain(sky.covariance),
        }
    if reference.spacing is not None:
        real = result.physical(reference.spacing)
        record["physical"] = {
            "units": list(real.units),
            "offset": plain(real.offset),
            "stderr": plain(real.stderr),
            "covariance": plain(real.covariance),
        }
    with atomic_write(path, overwrite=overwrite) as temporary:
        text = json.dumps(record, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
