"""What the subcommands share: exit status, options, checks before any work, lines on stderr."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from coregister.errors import InputError, optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Command = TypeVar("Command", bound=Callable[..., Any])

#: exit status of what was done and must not be trusted
FLAGGED = 3
#: kinds of pictures that are drawn
PICTURES = (".png", ".pdf", ".svg")


def path_option(*names: str, help: str) -> Callable[[Command], Command]:
    """An option that names a file."""
    return click.option(*names, metavar="FILE", type=click.Path(path_type=Path), help=help)


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


#: of `register` and its kin
boundary_option = click.option(
    "--boundary",
    type=click.Choice(["overlap", "periodic"]),
    default="overlap",
    show_default=True,
    help="Real edges, or images that repeat.",
)


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


def check_outputs(
    outputs: Sequence[Path | None],
    inputs: Sequence[Path],
    *,
    overwrite: bool,
    stacks: Sequence[Path | None] = (),
) -> None:
    """Refuse outputs that exist, that are inputs, or that share a name, before any work.

    Parameters
    ----------
    outputs : sequence of path or None
        Files.
    inputs : sequence of path
    overwrite : bool
    stacks : sequence of path or None
        Outputs that may be stores.
    """
    from coregister.io import check_output, check_stack_output

    seen = {Path(os.path.realpath(path)) for path in inputs}
    for check, paths in ((check_stack_output, stacks), (check_output, outputs)):
        for path in paths:
            if path is None:
                continue
            place = Path(os.path.realpath(path))
            if place in seen:
                raise InputError(f"{path} is named twice; every output needs a name of its own")
            check(path, overwrite=overwrite)
            seen.add(place)


def needs_report(path: Path) -> None:
    """Say before any work if the report cannot be made."""
    from coregister.io.atomic import check_html

    check_html(path)
    optional("matplotlib", "report")
    optional("jinja2", "report")


def needs_plot(path: Path | None) -> None:
    """Say before any work if the picture cannot be drawn."""
    if path is None:
        return
    optional("matplotlib", "report")
    if path.suffix.lower() not in PICTURES:
        raise InputError(
            f"{path} does not say what kind of picture to draw; end its name in .png, .pdf or .svg"
        )


def save_plot(figure: Figure, path: Path, *, overwrite: bool) -> None:
    """Write a picture, whole or not at all."""
    from coregister.io import atomic_write

    with atomic_write(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary)


def say(line: str) -> None:
    """One line on stderr."""
    click.echo(f"coregister: {' '.join(line.split())}", err=True)
