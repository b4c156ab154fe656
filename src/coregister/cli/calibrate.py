"""The command that asks whether the bars are true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregister.cli.options import (
    FLAGGED,
    check_outputs,
    needs_plot,
    needs_report,
    numbers,
    path_option,
    reading_options,
    save_plot,
)
from coregister.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from coregister.io import Loaded


@click.command()
@click.argument("image", metavar="[IMAGE]", required=False, type=click.Path(path_type=Path))
@click.option("--scene", metavar="KIND", help="Built-in scene, instead of IMAGE.")
@click.option(
    "--noise",
    metavar="NUMBER[,NUMBER]",
    callback=numbers,
    required=True,
    help="1-sigma noise of both images, or of reference and moving, in units of IMAGE "
    "(a built-in scene has unit deviation).",
)
@click.option(
    "--image-noise",
    type=float,
    metavar="NUMBER",
    help="Noise of IMAGE itself, which is taken out of it; 0 = none.  [default: estimated]",
)
@click.option(
    "--shape",
    metavar="N[,N...]",
    callback=numbers,
    help="Size of the pairs, px.  [default: half of IMAGE, or 128,128]",
)
@click.option(
    "--offsets",
    metavar="NUMBER[,NUMBER...]",
    callback=numbers,
    help="Largest offset, px.  [default: a tenth of the side]",
)
@click.option("--pairs", default=200, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Of the random numbers.")
@click.option("--peers", is_flag=True, help="Judge other packages on the same pairs (slow).")
@path_option("--json", "json_path", help="Write every pair and the figures as JSON.")
@path_option("--plot", "plot_path", help="Draw pulls, bars and coverage (PNG, PDF, SVG).")
@path_option("--report", help="Write the page: table, verdicts and pictures in one HTML file.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@reading_options
@click.pass_context
def calibrate(
    context: click.Context,
    image: Path | None,
    scene: str | None,
    noise: float | list[float],
    image_noise: float | None,
    shape: float | list[float] | None,
    offsets: float | list[float] | None,
    pairs: int,
    seed: int,
    peers: bool,
    json_path: Path | None,
    plot_path: Path | None,
    report: Path | None,
    overwrite: bool,
    ext: str | None,
    channel: str | None,
    err_ext: str | None,
    mask_ext: str | None,
) -> None:
    """Are the bars true? Simulate pairs of IMAGE, or of a built-in scene, register them and count.

    The offset of every pair is known, and so is the smallest error that any method can reach on it
    (the bound). Printed are the error in units of the bound, the error in units of the bar (pull
    width: 1 if the bars are true), how many claimed regions hold the truth, and what became of each
    target: met, MISSED for certain, or OPEN: not reached, but maybe by chance; more pairs tell.
    Seed and arguments give the same pairs everywhere.

    \b
    A built-in scene, noise a tenth of its deviation:
      coregister calibrate --scene power-law-3 --noise 0.1
    An image and the noise of your own, in its units; windows are cut from it:
      coregister calibrate image.fits --noise 12
    The page to look at, or to send around; a picture; every pair for programs:
      coregister calibrate image.fits --noise 12 --report proof.html
      coregister calibrate image.fits --noise 12 --plot proof.png --json proof.json
    Other packages on the same pairs (extra bench):
      coregister calibrate --scene blobs --noise 0.05,0.5 --shape 96,96 --pairs 500 --peers

    \b
    Scenes: power-law-1 to power-law-4 (power falls as frequency to the -1 ... -4), band-limited,
    blobs, few-stars, texture, stripes, lattice, white.
    Exit status: 0, or 3 if a target is missed for certain.
    """
    from coregister.calibration import METHODS
    from coregister.calibration import calibrate as proof
    from coregister.io import atomic_write, read

    if (image is None) == (scene is None):
        raise InputError("one of IMAGE and --scene is needed, and not both")
    check_outputs([json_path, plot_path, report], [image] if image else [], overwrite=overwrite)
    needs_plot(plot_path)
    if report is not None:
        needs_report(report)
    source: Any = scene
    if image is not None:
        loaded = read(image, ext=ext, channel=channel, err_ext=err_ext, mask_ext=mask_ext)
        source = masked(loaded)
    found = proof(
        source,
        noise=pair_of(noise),
        image_noise=image_noise,
        shape=sides(shape),
        offsets=offsets,
        n_pairs=pairs,
        seed=seed,
        methods=tuple(METHODS) if peers else ("coregister",),
    )
    click.echo(str(found))
    if json_path is not None:
        with atomic_write(json_path, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(found.to_dict(), allow_nan=False) + "\n", "utf-8")
    if plot_path is not None:
        save_plot(found.plot(), plot_path, overwrite=overwrite)
    if report is not None:
        found.report(report, overwrite=overwrite)
    if any(verdict.word == "missed" for verdict in found.verdicts()):
        context.exit(FLAGGED)


def masked(loaded: Loaded) -> NDArray[np.float64]:
    """The pixels, NaN where they are not valid."""
    import numpy as np

    valid = np.isfinite(loaded.data) if loaded.valid is None else loaded.valid
    return np.asarray(np.where(valid, loaded.data, np.nan), dtype=np.float64)


def pair_of(noise: float | list[float]) -> float | tuple[float, float]:
    """One noise for both images, or one each."""
    if not isinstance(noise, list):
        return noise
    if len(noise) != 2:
        raise InputError(f"--noise has {len(noise)} numbers; one, or two, are needed")
    return noise[0], noise[1]


def sides(shape: float | list[float] | None) -> tuple[int, ...] | None:
    """Whole numbers of pixels; one alone stands for a line of pixels."""
    if shape is None:
        return None
    values = shape if isinstance(shape, list) else [shape]
    if any(n != int(n) or n < 8 for n in values):
        raise InputError(f"--shape {shape}: whole numbers of at least 8 px are needed")
    return tuple(int(n) for n in values)
