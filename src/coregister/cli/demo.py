"""The command that runs the main job on real images."""

from __future__ import annotations

from pathlib import Path

import click

from coregister.cli.options import FLAGGED, needs_report
from coregister.cli.pair import measure


@click.command()
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
