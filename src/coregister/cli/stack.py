"""The command for stacks: one call of `register_stack`, and its outputs."""

from __future__ import annotations

import contextlib
import glob
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from coregister.cli.options import (
    FLAGGED,
    boundary_option,
    check_outputs,
    needs_plot,
    needs_report,
    path_option,
    save_plot,
)
from coregister.errors import InputError, optional
from coregister.several import check_table

if TYPE_CHECKING:
    from concurrent.futures import Executor

#: options that say how to measure
MEASURING = (
    *("reference", "boundary", "max_offset", "drift", "interval"),
    *("checkpoint", "memory", "workers", "scheduler"),
)
#: formats that keep several channels
CHANNELLED = (".zarr", ".tif", ".tiff")
#: seconds in which a scheduler has to answer
ANSWER = 10
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
    help="Write copies of FITS files, or planes of a cube, with corrected coordinates.",
)
@path_option("--ngff", help="Write frames as they are with their translations: .zarr.")
@path_option("--plot", "plot_path", help="Draw offsets against frame number (PNG, PDF, SVG).")
@path_option("--report", help="Write an HTML report with a film of the frames.")
@path_option("--apply", "apply_path", help="Take the offsets of this table; measure nothing.")
@path_option("--checkpoint", help="Keep what is found here, and go on from it.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option(
    "--reference",
    default="all",
    show_default=True,
    metavar="WHAT",
    help="all, first, previous, the number of a frame, or an image file.",
)
@click.option(
    "--channel",
    metavar="CHANNEL",
    help="Channel of frames that have several: number, name or colour.",
)
@click.option("--all-channels", is_flag=True, help="Align the other channels too, by this one.")
@boundary_option
@click.option("--max-offset", type=float, metavar="PX", help="Look within this.")
@click.option("--drift", type=click.Choice(["smooth"]), help="Also fit a smooth motion.")
@click.option(
    "--interval",
    type=float,
    metavar="S",
    help="Seconds between frames.  [default: as the files say]",
)
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
    ngff: Path | None,
    plot_path: Path | None,
    report: Path | None,
    apply_path: Path | None,
    checkpoint: Path | None,
    overwrite: bool,
    reference: str,
    channel: str | None,
    all_channels: bool,
    boundary: str,
    max_offset: float | None,
    drift: str | None,
    interval: float | None,
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
    Register on one channel, align all of them, or those of another file:
      coregister stack movie.ome.tif --channel DAPI --all-channels -o aligned.zarr --table t.ecsv
      coregister stack other.tif --apply drift.ecsv -o other-aligned.zarr

    Exit status: 0 all frames trusted, 3 if any is flagged, 2 usage or unusable input, 1 anything
    else.
    """
    import numpy as np

    from coregister.io import check_output, open_stack, write_stack
    from coregister.stack import Frames, read_table, register_stack
    from coregister.stack.pointing import aligned_header, pointing_places

    if apply_path is not None:
        _only_applied(context)
    _check(
        frames if apply_path is None else (*frames, str(apply_path)),
        stacks=[output, mean_path, ngff],
        files=[table, plot_path, report],
        overwrite=overwrite,
    )
    start = _reference(reference)
    needs_plot(plot_path)
    if report is not None:
        needs_report(report)
    if workers is not None and scheduler is not None:
        raise InputError("--workers and --scheduler were both given; one of them is enough")
    source = open_stack(frames[0] if len(frames) == 1 else frames, channel=channel)
    channels = _channels(source, output) if all_channels else []
    exposures = _exposures(source) if headers is not None else []
    if headers is not None:
        for place in pointing_places(exposures, headers, len(source)):
            check_output(place, overwrite=overwrite)
    if ngff is not None and ngff.suffix.lower() != ".zarr":
        raise InputError(f"{ngff} has the suffix {ngff.suffix!r}; .zarr is needed")
    if apply_path is not None:
        result = read_table(apply_path)
    else:
        with _executor(workers, scheduler) as executor, _progress() as progress:
            result = register_stack(
                source,
                reference=start,
                boundary=boundary,  # type: ignore[arg-type]
                max_offset=max_offset,
                drift=drift,  # type: ignore[arg-type]
                times=None if interval is None else [t * interval for t in range(len(source))],
                memory=memory,
                executor=executor,
                checkpoint=checkpoint,
                progress=progress,
            )
    click.echo(str(result))
    opened = Frames.behind(result, source)
    scale = getattr(source, "scale", None)
    about = _provenance(frames, context.params)
    fits = any(p is not None and p.suffix.lower() == ".fits" for p in (output, mean_path))
    world = aligned_header(result, getattr(source, "path", source)) if fits else None
    if output is not None:
        streams = [result.aligned(one) for one in channels] or [result.aligned(opened)]
        write_stack(
            output,
            (np.stack(planes) for planes in zip(*streams, strict=True)) if channels else streams[0],
            count=len(result),
            shape=(len(channels), *result.shape) if channels else result.shape,
            scale=scale,
            times=result.times,
            header=world,
            channels=source.channel_names or [""] * len(channels) if channels else (),
            about=about,
            overwrite=overwrite,
        )
    if table is not None:
        result.save(table, provenance=about, overwrite=overwrite)
    if mean_path is not None:
        planes = result.mean(opened)
        write_stack(
            mean_path,
            planes,
            count=2,
            shape=result.shape,
            header=world,
            about=about,
            overwrite=overwrite,
        )
    if headers is not None and result.trusted.any():
        result.save_headers(exposures, headers, overwrite=overwrite)
    if ngff is not None and result.trusted.any():
        result.save_ngff(ngff, opened, provenance=about, overwrite=overwrite)
    if plot_path is not None:
        save_plot(result.plot(), plot_path, overwrite=overwrite)
    if report is not None:
        result.report(report, opened, provenance=about, overwrite=overwrite)
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
    from coregister.stack.table import SUFFIXES

    if files[0] is not None:
        check_table(files[0], SUFFIXES)


def _only_applied(context: click.Context) -> None:
    """Refuse options that say how to measure where a table says what was found."""
    for name in MEASURING:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"{option} was given with --apply, which measures nothing; leave one of them out"
            )


def _channels(source: Any, output: Path | None) -> list[Any]:
    """All channels of the file that holds the frames."""
    from coregister.io import open_stack

    if output is None or output.suffix.lower() not in CHANNELLED:
        raise InputError(f"--all-channels needs an output that holds them, -o {CHANNELLED[0]}")
    count = getattr(source, "channels", 1)
    if count < 2:
        raise InputError("--all-channels was given for frames of one channel; leave it out")
    return [open_stack(source.path, channel=channel) for channel in range(count)]


def _exposures(source: Any) -> Path | list[Path]:
    """The FITS files, or the one cube, whose coordinates can be corrected."""
    from coregister.io.stacks import FitsStack

    paths: Path | list[Path] = source.path if isinstance(source, FitsStack) else source
    if not isinstance(paths, (list, Path)):
        raise InputError("--headers needs FITS files or a cube; name them, or a pattern")
    return paths


def _reference(text: str) -> str | int | Path:
    """What offsets are counted from: a word, the number of a frame, or an image."""
    if text in ("all", "first", "previous"):
        return text
    if text.lstrip("-").isdigit():
        return int(text)
    path = Path(text)
    if not path.exists():
        raise InputError(
            f"--reference {text} is no file; give all, first, previous, a number or an image"
        )
    return path


def _provenance(sources: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """What made an output: program, sources, date, and the options that were given."""
    from coregister import __version__

    left_out = ("frames", "overwrite")
    kept = {
        k: v for k, v in options.items() if v is not None and v is not False and k not in left_out
    }
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
        try:
            client = optional("distributed", "cluster").Client(scheduler, timeout=ANSWER)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no scheduler answers at {scheduler}; the address of a running one, like "
                "tcp://host:8786, is needed: dask scheduler starts one"
            ) from error
        try:
            # asked here and now: `scheduler_info` is written over, without workers, by a timer
            if not client.nthreads():
                raise InputError(f"the cluster at {scheduler} has no workers; start some first")
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
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar with rate and time left on a terminal, nothing in a pipe.

    It begins anew with every pass over the frames: how many there will be is not known before.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(
        length=1, label="start", file=sys.stderr, show_pos=True, item_show_func=lambda rate: rate
    ) as bar:
        number, last = 0, time.time()

        def tell(done: int, count: int) -> None:
            nonlocal number, last
            if number == 0 or done <= bar.pos or count != bar.length:
                bar.label = f"pass {number}" if number else "links"
                bar.length, bar.pos, bar.finished, bar.avg = count, 0, False, []
                bar.start = bar.last_eta = last  # it began when the one before ended
                number += 1
            last = time.time()
            rate = done / max(last - bar.start, 1e-3)
            bar.update(done - bar.pos, f"{rate:.0f} frames/s")

        yield tell
