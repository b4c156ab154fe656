"""The command for stacks: one call of `register_stack`, and its outputs."""

from __future__ import annotations

import contextlib
import glob
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregister.cli_options import FLAGGED, check_outputs, needs_report, path_option
from coregister.errors import InputError, optional

if TYPE_CHECKING:
    from concurrent.futures import Executor

TABLES = (".ecsv", ".csv", ".parquet", ".json")
UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


def size(_: click.Context, __: click.Parameter, text: str) -> float:
    """A number of bytes like 500MB."""
    number = text.upper().removesuffix("B")
    unit = number[-1:] if number[-1:] in UNITS and number[-1:] else ""
    try:
        return float(number.removesuffix(unit)) * UNITS[unit]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no size; give one like 500MB or 2GB.") from None


@click.command()
@click.argument("frames", nargs=-1, required=True, metavar="FRAMES...")
@path_option("-o", "--output", help="Write the aligned stack: .zarr, .tif, .fits or .npy.")
@path_option("--table", help="Write offsets and bars: .ecsv, .csv, .parquet or .json.")
@path_option(
    "--mean", "mean_path", help="Write mean and its variance, two planes: .fits, .tif, .npy."
)
@click.option(
    "--headers",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Write copies of FITS files with corrected coordinates; nothing is resampled.",
)
@path_option("--plot", "plot_path", help="Draw offsets against frame number (PNG, PDF, SVG).")
@path_option("--report", help="Write an HTML report with a film of the frames.")
@path_option("--checkpoint", help="Keep what is found here, and go on from it.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option(
    "--reference",
    default="all",
    show_default=True,
    metavar="WHAT",
    help="all, first, previous, the number of a frame, or an image file.",
)
@click.option("--channel", metavar="CHANNEL", help="Channel of stacks that have several.")
@click.option(
    "--boundary",
    type=click.Choice(["overlap", "periodic"]),
    default="overlap",
    show_default=True,
    help="Real edges, or images that repeat.",
)
@click.option("--max-offset", type=float, metavar="PX", help="Look within this.")
@click.option("--drift", type=click.Choice(["smooth"]), help="Also fit a smooth motion.")
@click.option("--memory", default="250MB", show_default=True, callback=size, help="May be kept.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Of a dask cluster, tcp://host:8786.")
@click.pass_context
def stack(
    context: click.Context,
    frames: tuple[str, ...],
    output: Path | None,
    table: Path | None,
    mean_path: Path | None,
    headers: Path | None,
    plot_path: Path | None,
    report: Path | None,
    checkpoint: Path | None,
    overwrite: bool,
    reference: str,
    channel: str | None,
    boundary: str,
    max_offset: float | None,
    drift: str | None,
    memory: float,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Register the frames of a series jointly, each with its bars.

    FRAMES is a stack (TIFF, OME-TIFF, FITS cube, MRC, OME-Zarr, NPY), a quoted pattern, or files.

    \b
    A movie: aligned stack, table, report:
      coregister stack movie.ome.tif -o aligned.zarr --table drift.ecsv --report drift.html
    Exposures of one field, one a file:
      coregister stack "night1/*.fits" --table offsets.csv --mean deep.fits
    Two processes, and a file to go on from if it is stopped:
      coregister stack movie.zarr -o aligned.zarr --workers 2 --checkpoint run.json

    Exit status: 0 all frames trusted, 3 if any is flagged, 2 usage or unusable input, 1 anything
    else.
    """
    from coregister.io import check_output, open_stack, write_stack
    from coregister.stack import Frames, register_stack

    _check(
        frames,
        stacks=[output, mean_path],
        files=[table, plot_path, report],
        overwrite=overwrite,
    )
    if plot_path is not None:
        optional("matplotlib", "report")
    if report is not None:
        needs_report(report)
    if workers is not None and scheduler is not None:
        raise InputError("--workers and --scheduler were both given; one of them is enough")
    source = open_stack(frames[0] if len(frames) == 1 else frames, channel=channel)
    if headers is not None and not isinstance(source, list):
        raise InputError("--headers needs a list of FITS files; name them, or a pattern")
    for place in [] if headers is None else [headers / path.name for path in source]:
        check_output(place, overwrite=overwrite)
    name: str | int | Path = reference
    if reference.lstrip("-").isdigit():
        name = int(reference)
    elif reference not in ("all", "first", "previous"):
        name = Path(reference)
        if not name.exists():
            raise InputError(
                f"--reference {name} is no file; give all, first, previous, a number or an image"
            )
    with _executor(workers, scheduler) as executor, _progress(len(source)) as progress:
        result = register_stack(
            source,
            reference=name,
            boundary=boundary,  # type: ignore[arg-type]
            max_offset=max_offset,
            drift=drift,  # type: ignore[arg-type]
            memory=memory,
            executor=executor,
            checkpoint=checkpoint,
            progress=progress,
        )
    click.echo(str(result))
    opened = Frames(source)
    scale = getattr(source, "scale", None)
    about = _provenance(frames, context.params)
    if output is not None:
        write_stack(
            output,
            result.aligned(opened),
            count=len(result),
            shape=result.shape,
            scale=scale,
            about=about,
            overwrite=overwrite,
        )
    if table is not None:
        result.save(table, provenance=about, overwrite=overwrite)
    if mean_path is not None:
        planes = result.mean(opened)
        write_stack(
            mean_path, planes, count=2, shape=result.shape, about=about, overwrite=overwrite
        )
    if headers is not None and result.trusted.any():
        result.save_headers(source, headers, overwrite=overwrite)
    if plot_path is not None:
        from coregister.io import atomic_write

        figure = result.plot()
        with atomic_write(plot_path, overwrite=overwrite) as temporary:
            figure.savefig(temporary)
    if report is not None:
        result.report(report, opened, overwrite=overwrite)
    if not result.trusted.all():
        context.exit(FLAGGED)


def _check(
    sources: tuple[str, ...],
    *,
    stacks: list[Path | None],
    files: list[Path | None],
    overwrite: bool,
) -> None:
    """Refuse outputs that exist, are inputs, share a name or are no table, before any work."""
    inputs = [Path(name) for text in sources for name in (glob.glob(text) or [text])]
    check_outputs(files, inputs, overwrite=overwrite, stacks=stacks)
    table = files[0]
    if table is not None and table.suffix.lower() not in TABLES:
        raise InputError(
            f"{table} has the suffix {table.suffix!r}; one of {', '.join(TABLES)} is needed"
        )


def _provenance(sources: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """What made an output: program, sources, date, and the options that were given."""
    from coregister import __version__

    left_out = ("frames", "overwrite")
    kept = {k: v for k, v in options.items() if v is not None and k not in left_out}
    return {
        "software": f"coregister {__version__}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "frames": list(sources),
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in kept.items()},
    }


@contextlib.contextmanager
def _executor(workers: int | None, scheduler: str | None) -> Iterator[Executor | None]:
    """Processes of this machine, those of a cluster, or none."""
    if scheduler is not None:
        client = optional("distributed", "cluster").Client(scheduler)
        try:
            yield client.get_executor()
        finally:
            client.close()
    elif workers is not None and workers > 1:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as executor:
            yield executor
    else:
        yield None


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Any]:
    """A bar with rate and time left on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=count, label="frames", file=sys.stderr, show_pos=True) as bar:
        yield lambda done, _: bar.update(done - bar.pos)
        bar.update(count - bar.pos)  # frames that needed no work were not told
