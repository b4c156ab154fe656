"""The command. Each subcommand calls one function of the library a step.

Exit status: 0 trusted, 3 registered but flagged, 2 usage or unusable input, 1 anything else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import click
except ImportError:
    raise SystemExit(
        "coregister: error: click is not installed and is needed here: "
        "pip install 'coregister[cli]'"
    ) from None

from coregister.cli_options import FLAGGED, check_outputs, needs_report, path_option
from coregister.cli_sky import sky as sky_command
from coregister.cli_stack import stack
from coregister.errors import InputError, RegistrationWarning, optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from coregister.io import Loaded, SkyOffset
    from coregister.result import Registration

DEBUG = "COREGISTER_DEBUG"


def numbers(_: click.Context, __: click.Parameter, text: str | None) -> float | list[float] | None:
    """One number, which stands for every axis, or one for each, separated by commas."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a number, or numbers separated by commas."
        ) from None
    return values[0] if len(values) == 1 else values


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say what to read of a file."""
    for option in (
        click.option("--mask-ext", metavar="EXT", help="FITS mask, nonzero = bad; or 'none'."),
        click.option("--err-ext", metavar="EXT", help="FITS 1-sigma errors; or 'none'."),
        click.option(
            "--channel",
            metavar="CHANNEL",
            help="Of several: number, name, colour or 'grey' (mean).",
        ),
        click.option("--ext", metavar="EXT", help="FITS: HDU number or name. TIFF: page, or all."),
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coregister", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Measure how far two images of one scene are displaced, with error bars that are true.

    \b
    Examples:
      coregister pair reference.fits moving.fits -o aligned.fits
      coregister stack movie.tif -o aligned.tif --table drift.csv
      coregister sky deep.fits tonight.fits -o tonight-corrected.fits
      coregister info moving.fits
      coregister calibrate --scene power-law-3 --noise 0.1
      coregister demo

    Exit status: 0 trusted, 3 registered but flagged, 2 usage or unusable input, 1 anything else.
    COREGISTER_DEBUG=1 shows where an error came from.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(sky_command)
cli.add_command(stack)


@cli.command()
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
@click.option(
    "--boundary",
    type=click.Choice(["overlap", "periodic"]),
    default="overlap",
    show_default=True,
    help="Real edges, or images that repeat.",
)
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


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@reading_options
def info(
    file: Path,
    ext: str | None,
    channel: str | None,
    err_ext: str | None,
    mask_ext: str | None,
) -> None:
    """Show what FILE holds and what would be used of it.

    \b
    Examples:
      coregister info image.fits
      coregister info image.fits --ext SCI,2
      coregister info photo.png --channel green
      coregister info movie.zarr
    """
    from coregister.io import contents, read
    from coregister.io.stacks import described

    parts = [] if file.suffix.lower() in (".zarr", ".mrc", ".mrcs") else contents(file)
    for part in parts:
        click.echo("  ".join(str(x) for x in (part.label, part.shape or "", part.dtype) if x))
    rest = (ext, err_ext, mask_ext)
    frames = described(file, channel) if rest == (None, None, None) else None
    if frames is not None:
        click.echo(frames)
        return
    loaded = read(file, ext=ext, channel=channel, err_ext=err_ext, mask_ext=mask_ext)
    rows = describe(loaded)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        click.echo(f"  {label:<{width}}  {value}")


@cli.command()
@click.option(
    "--output",
    metavar="FOLDER",
    default="demo-output",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace what an earlier demo wrote there.")
@click.pass_context
def demo(context: click.Context, output: Path, overwrite: bool) -> None:
    """Measure the rotation of the Sun, from a pair of images and from a series.

    The images are real (SOHO/EIT) if the package that carries them is installed; else they are
    simulated.

    \b
    Example:
      coregister demo --output demo-output
    """
    from coregister.demo import make_folder, prepare_demo, prepare_series, series_files
    from coregister.errors import MissingExtraError
    from coregister.io import read
    from coregister.stack import register_stack

    names = ("aligned.fits", "result.json", "report.html", "series.ecsv", "series.html")
    paths = {name: output / name for name in names}
    make_folder(output / "series")
    also = [*paths.values(), *series_files(output / "series")]
    prepared = prepare_demo(output, also=also, overwrite=overwrite)
    series = prepare_series(output / "series", overwrite=overwrite)
    click.echo(prepared.story)
    report: Path | None = paths["report.html"]
    try:
        needs_report(paths["report.html"])
    except MissingExtraError as error:
        click.echo(f"No report: {error}")
        report = None
    result = measure(
        read(prepared.reference),
        read(prepared.moving),
        output=paths["aligned.fits"],
        json_path=paths["result.json"],
        report=report,
        overwrite=overwrite,
    )
    for line in prepared.compare(result):
        click.echo(line)
    click.echo(f"The same by hand: coregister pair {prepared.reference} {prepared.moving}\n")
    click.echo(series.story)
    moves = register_stack(series.frames, reference=series.reference)
    moves.save(paths["series.ecsv"], overwrite=overwrite)
    if report is not None:
        moves.report(paths["series.html"], series.frames, overwrite=overwrite)
    click.echo(str(moves))
    for line in series.compare(moves):
        click.echo(line)
    folder = series.frames[0].parent
    by_hand = f'"{folder}/*.fits" --reference {series.reference}'
    click.echo(f"The same by hand: coregister stack {by_hand}")
    click.echo("Written: " + ", ".join(str(path) for path in paths.values() if path.exists()))
    if not (result.trusted and moves.trusted[[0, -1]].all()):  # a frame between may be flagged
        context.exit(FLAGGED)


@cli.command()
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
    if plot_path is not None:
        optional("matplotlib", "report")
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
        figure = found.plot()
        with atomic_write(plot_path, overwrite=overwrite) as temporary:
            figure.savefig(temporary)
    if report is not None:
        found.report(report, overwrite=overwrite)
    if any(verdict.word == "missed" for verdict in found.verdicts()):
        context.exit(FLAGGED)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print the script that completes this command in SHELL (default: the one in $SHELL).

    \b
    Examples:
      eval "$(coregister completion bash)"      in ~/.bashrc
      eval "$(coregister completion zsh)"       in ~/.zshrc
      coregister completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name)
    if kind is None:
        raise InputError(f"the shell {name!r} is not known; name one: bash, zsh or fish")
    click.echo(kind(cli, {}, "coregister", "_COREGISTER_COMPLETE").source())


# -------------------------------------------------------------------- steps


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
            "covariance": [plain(row) for row in sky.covariance],
        }
    if reference.spacing is not None:
        real = result.physical(reference.spacing)
        record["physical"] = {
            "units": list(real.units),
            "offset": plain(real.offset),
            "stderr": plain(real.stderr),
            "covariance": [plain(row) for row in real.covariance],
        }
    with atomic_write(path, overwrite=overwrite) as temporary:
        text = json.dumps(record, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def plain(values: NDArray[np.float64]) -> list[float | str]:
    """Numbers that JSON knows; infinity as in `Registration.to_dict`."""
    return [float(value) if abs(value) < float("inf") else repr(float(value)) for value in values]


def describe(loaded: Loaded) -> list[tuple[str, str]]:
    """Label and value of what `info` shows of an image."""
    import numpy as np

    usable = np.isfinite(loaded.data)
    if loaded.valid is not None:
        usable &= loaded.valid
    values = loaded.data[usable]
    bad = loaded.data.size - values.size
    rows = [
        ("used", f"{loaded.format} {loaded.part}"),
        ("shape, type", f"{loaded.data.shape}, {loaded.data.dtype.name}"),
        ("not usable", f"{bad} of {loaded.data.size} pixels (NaN, blank or masked)"),
    ]
    if values.size:
        numbers = (values.min(), np.median(values), values.max())
        rows.append(("min, median, max", ", ".join(f"{float(n):.6g}" for n in numbers)))
    if loaded.err is not None:
        rows.append(("median error", f"{np.nanmedian(loaded.err):.6g}"))
    return [*rows, *describe_scale(loaded)]


def describe_scale(loaded: Loaded) -> list[tuple[str, str]]:
    """Size of the pixels and where they look, as far as the file says it."""
    import numpy as np

    from coregister.io import sky_jacobian

    if loaded.format == "TIFF":
        sizes = {k: v for k, v in loaded.header["metadata"].items() if k != "Info"}
        return [(key, str(value)) for key, value in sizes.items()]
    if loaded.spacing is not None:
        size = ", ".join(f"{step:.6g} {unit}" for step, unit in loaded.spacing)
        return [("pixel size", f"{size} along the array axes")]
    if loaded.format != "FITS":
        return []
    if loaded.wcs is None:
        return [("WCS", "none that can be used")]
    kinds = ", ".join(str(kind) for kind in loaded.wcs.wcs.ctype)
    jacobian = sky_jacobian(loaded)
    if jacobian is None:
        return [("WCS", f"{kinds}; not celestial")]
    scale = ", ".join(f"{value:.6g}" for value in np.hypot(*jacobian))
    return [("WCS", kinds), ("pixel size", f"{scale} arcsec along the array axes")]


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


# -------------------------------------------------------------------- process


def say(line: str) -> None:
    """One line on stderr."""
    click.echo(f"coregister: {' '.join(line.split())}", err=True)


def main() -> None:
    """Run the command; every error is one line, and the exit status tells its kind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # lets temporary files be removed
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    warnings.simplefilter("always", RegistrationWarning)
    try:
        status = cli.main(prog_name="coregister", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        status = fail(error)
    sys.exit(status)


def fail(error: BaseException) -> int:
    """Say what went wrong; the exit status."""
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "coregister"
        said = error.format_message().rstrip(".")
        if said.startswith("No such command"):
            said += "; for two images: coregister pair REF MOV"
        say(f"error: {said}. See '{where} --help'.")
        return 2
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        say("error: interrupted")
        return 1
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if type(error).__module__.startswith("coregister.") and text:
        say(f"error: {text}")
    else:
        say(f"error: {type(error).__name__}: {text} ({DEBUG}=1 shows where)")
    return 2 if isinstance(error, InputError) else 1
