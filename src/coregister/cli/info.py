"""The command that shows what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from coregister.cli.options import reading_options

if TYPE_CHECKING:
    from coregister.io import Loaded


@click.command()
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
