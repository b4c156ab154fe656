"""The command for many windows of a pair: one call of `register_windows`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from coregister.cli.options import (
    FLAGGED,
    Command,
    check_outputs,
    needs_plot,
    numbers,
    path_option,
    reading_options,
    save_plot,
)
from coregister.several import check_table


def _pixels(name: str, help: str) -> Callable[[Command], Command]:
    """An option of one number of pixels, or two."""
    return click.option(name, metavar="PX[,PX]", callback=numbers, help=help)


@click.command()
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path))
@click.argument("moving", metavar="MOV", type=click.Path(path_type=Path))
@path_option("--table", help="Write offsets and bars: .ecsv, .csv or .parquet.")
@path_option("--plot", "plot_path", help="Write a picture of the offsets: .png, .pdf or .svg.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@_pixels("--size", "Rows and columns of a window; default 64.")
@_pixels("--step", "From one window to the next; default half the size.")
@_pixels("--max-offset", "Largest offset, around --initial; default a quarter of the size.")
@_pixels("--initial", "Prior guess of all offsets (y,x).")
@reading_options
@click.pass_context
def windows(
    context: click.Context,
    reference: Path,
    moving: Path,
    table: Path | None,
    plot_path: Path | None,
    overwrite: bool,
    size: float | list[float] | None,
    step: float | list[float] | None,
    max_offset: float | list[float] | None,
    initial: float | list[float] | None,
    ext: str | None,
    channel: str | None,
    err_ext: str | None,
    mask_ext: str | None,
) -> None:
    """Measure the displacement in many windows of REF and MOV: flow, strain, motion of tissue.

    \b
    Examples:
      coregister windows a.tif b.tif
      coregister windows a.tif b.tif --size 32 --step 16 --table flow.csv --plot flow.png
      coregister windows a.tif b.tif --size 32,64 --max-offset 6 --initial 0,12

    Exit status: 0 all windows trusted, 3 if any is flagged, 2 usage or unusable input, 1 anything
    else.
    """
    from coregister.io import read
    from coregister.windows import register_windows
    from coregister.windows.result import SUFFIXES

    check_outputs([table, plot_path], [reference, moving], overwrite=overwrite)
    if table is not None:
        check_table(table, SUFFIXES)
    needs_plot(plot_path)
    first, second = (
        read(path, ext=ext, channel=channel, err_ext=err_ext, mask_ext=mask_ext)
        for path in (reference, moving)
    )
    result = register_windows(
        first.data,
        second.data,
        size=size,
        step=step,
        max_offset=max_offset,
        initial=initial,
        reference_err=first.err,
        moving_err=second.err,
        reference_valid=first.valid,
        moving_valid=second.valid,
    )
    click.echo(str(result))
    if table is not None:
        result.save(table, overwrite=overwrite)
    if plot_path is not None:
        save_plot(result.plot(), plot_path, overwrite=overwrite)
    if not result.trusted.all():
        context.exit(FLAGGED)
