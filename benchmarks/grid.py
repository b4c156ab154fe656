"""The committed grid of the calibration: some eighty kinds of pairs, none of them tuned to.

Every scene, geometry, noise and defect that the targets speak of appears, most of them alone, the
harder ones together; it is not the full product. Run it with

    python benchmarks/grid.py --pairs 500 --workers 2 --output grid.jsonl

A run that was stopped goes on where it was, as long as the code is the same. Noise is in units of
the scene's standard deviation; ``(0.05, 0.5)`` is reference and moving.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregister.calibrate import Cell, Grid, run_grid
from coregister.errors import InputError

Group = Literal["standard", "undersampled", "unrelated", "flagged"]

SMALL, MEDIUM, LARGE, HUGE = (64, 64), (96, 96), (128, 128), (256, 256)


def cell(
    scene: Any,
    noise: float | tuple[float, float],
    shape: tuple[int, ...] = LARGE,
    label: str = "",
    *,
    group: Group = "standard",
    name: str = "",
    **options: Any,
) -> Cell:
    sides = "x".join(str(n) for n in shape)
    title = f"{name or scene}, {noise}, {sides}" + (f", {label}" if label else "")
    return Cell(
        name=title,
        group=group,
        options={"scene": scene, "noise": noise, "shape": shape, **options},
    )


def vignette(shape: tuple[int, ...]) -> np.ndarray:
    """Noise that doubles from the centre to the corners, with one bad quarter."""
    row, column = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    sigma = 1 + 0.5 * (row**2 + column**2)
    sigma[(row > 0.3) & (column < -0.2)] *= 3
    return sigma


def power_laws() -> list[Cell]:
    return [
        cell("power-law-1", (0.02, 0.02), MEDIUM),
        cell("power-law-1", (0.5, 0.5), SMALL),
        cell("power-law-2", (0, 0.1), LARGE),
        cell("power-law-2", (0.02, 0.02), LARGE),
        cell("power-law-2", (0.1, 0.1), HUGE),
        cell("power-law-2", (0.5, 0.5), LARGE),
        cell("power-law-2", (1, 1), LARGE),
        cell("power-law-2", (0.05, 0.5), MEDIUM),
        cell("power-law-3", (0, 0.1), LARGE),
        cell("power-law-3", (0.02, 0.02), LARGE),
        cell("power-law-3", (0.1, 0.1), SMALL),
        cell("power-law-3", (0.1, 0.1), LARGE),
        cell("power-law-3", (0.5, 0.5), LARGE),
        cell("power-law-3", (1, 1), HUGE),
        cell("power-law-3", (0.05, 0.5), LARGE),
        cell("power-law-3", (0.1, 0.1), LARGE, "cut", psf="cut"),
        cell("power-law-2", (0.1, 0.1), LARGE, "cut", psf="cut"),
        cell("power-law-4", (0.02, 0.02), LARGE),
        cell("power-law-4", (0.1, 0.1), LARGE),
        cell("power-law-4", (0.5, 0.5), HUGE),
        cell("power-law-4", (0.1, 0.1), SMALL),
        cell("power-law-4", (0.05, 0.05), LARGE, "cut", psf="cut"),
    ]


def other_scenes() -> list[Cell]:
    return [
        cell("band-limited", (0.02, 0.02), LARGE),
        cell("band-limited", (0.1, 0.1), LARGE),
        cell("band-limited", (1, 1), MEDIUM),
        cell("blobs", (0, 0.1), LARGE),
        cell("blobs", (0.1, 0.1), LARGE),
        cell("blobs", (0.5, 0.5), LARGE),
        cell("few-stars", (0.1, 0.1), LARGE),
        cell("few-stars", (0.5, 0.5), MEDIUM),
        cell("texture", (0.02, 0.02), LARGE),
        cell("texture", (0.5, 0.5), MEDIUM),
    ]


def geometry() -> list[Cell]:
    return [
        cell("power-law-3", (0.1, 0.1), LARGE, "periodic", boundary="periodic", offsets=60),
        cell("power-law-2", (0.5, 0.5), LARGE, "periodic", boundary="periodic", offsets=60),
        cell("blobs", (0.1, 0.1), LARGE, "periodic", boundary="periodic", offsets=60),
        cell("power-law-2", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("power-law-3", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("power-law-2", (0.1, 0.1), LARGE, "offsets to 55 %", offsets=0.55 * 128),
        cell("blobs", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("power-law-2", (0.1, 0.1), LARGE, "moving 64x80", moving_shape=(64, 80)),
        cell("power-law-3", (0.1, 0.1), MEDIUM, "moving 128x140", moving_shape=(128, 140)),
        cell("power-law-2", (0.1, 0.1), (48, 48)),
        cell("power-law-2", (0.1, 0.1), (48, 200)),
        cell("power-law-3", (0.1, 0.1), (512, 512)),
        cell("power-law-2", (0.1, 0.1), (512,)),
        cell("power-law-1", (0.3, 0.3), (256,)),
        cell("power-law-3", (0.1, 0.1), (48, 48, 48), offsets=5),
        cell("blobs", (0.3, 0.3), (24, 48, 64), offsets=3),
    ]


def noises() -> list[Cell]:
    beam2, beam4 = 2 / 2.355, 4 / 2.355
    return [
        cell("power-law-3", (0.1, 0.1), LARGE, "beam 2", noise_beam=2.0, psf=beam2),
        cell("power-law-3", (0.1, 0.1), LARGE, "beam 4", noise_beam=4.0, psf=beam4),
        cell("power-law-2", (0.5, 0.5), LARGE, "beam 3", noise_beam=3.0, psf=3 / 2.355),
        cell("band-limited", (0.1, 0.1), LARGE, "beam 3", noise_beam=3.0),
        cell("power-law-3", (0.1, 0.1), LARGE, "noise varies", noise_map=vignette(LARGE)),
        cell("power-law-2", (0.05, 0.5), LARGE, "noise varies", noise_map=vignette(LARGE)),
        cell("blobs", 0.02, LARGE, "Poisson 100, moving on sky 1", poisson=100.0, background=1.0),
        cell("few-stars", 0.05, LARGE, "Poisson 20, moving on sky 2", poisson=20.0, background=2.0),
    ]


def photometry() -> list[Cell]:
    return [
        cell("power-law-3", (0.1, 0.1), LARGE, "gain 0.3", gain=0.3),
        cell("power-law-2", (0.5, 0.5), LARGE, "gain 3, pedestal 1e5", gain=3.0, background=1e5),
        cell("power-law-3", (0.05, 0.5), LARGE, "gain 3", gain=3.0),
        cell("power-law-3", (0.1, 0.1), LARGE, "slope", slope=(0.01, -0.02)),
        cell("blobs", (0.1, 0.1), LARGE, "slope, gain 2", slope=(0.01, 0.01), gain=2.0),
    ]


def defects() -> list[Cell]:
    return [
        cell("power-law-3", (0.1, 0.1), LARGE, "holes 1 %", holes=0.01),
        cell("power-law-3", (0.1, 0.1), LARGE, "holes 10 % of 4 px", holes=0.1, hole_size=4),
        cell("power-law-2", (0.5, 0.5), LARGE, "holes 30 %", holes=0.3),
        cell(
            "power-law-2",
            (0.1, 0.1),
            LARGE,
            "holes 10 % of 5 px on sky",
            holes=0.1,
            hole_size=5,
            holes_on="sky",
        ),
        cell(
            "blobs",
            (0.1, 0.1),
            LARGE,
            "holes 30 % of 3 px on sky",
            holes=0.3,
            hole_size=3,
            holes_on="sky",
        ),
        cell("power-law-3", (0.1, 0.1), LARGE, "5 cosmic rays", cosmic_rays=5),
        cell("power-law-2", (0.5, 0.5), LARGE, "30 cosmic rays", cosmic_rays=30),
        cell("blobs", (0.1, 0.1), LARGE, "5 cosmic rays", cosmic_rays=5),
    ]


def photographs() -> list[Cell]:
    """Crops of real pictures, where scikit-image brings them."""
    if importlib.util.find_spec("skimage") is None:
        return []
    from skimage import data

    cells = []
    for name, noise, shape in (
        ("camera", 0.1, LARGE),
        ("camera", 0.02, MEDIUM),
        ("moon", 0.1, LARGE),
        ("brick", 0.3, LARGE),
        ("coins", 0.05, MEDIUM),
    ):
        image = np.asarray(getattr(data, name)(), dtype=np.float64)
        image /= image.std()
        cells.append(cell(image, noise, shape, name=f"photograph {name}"))
    return cells


def undersampled() -> list[Cell]:
    return [
        cell("power-law-1", (0.02, 0.02), MEDIUM, "2x", binning=2, group="undersampled"),
        cell("power-law-2", (0.02, 0.02), MEDIUM, "3x", binning=3, group="undersampled"),
        cell("few-stars", (0.05, 0.05), MEDIUM, "3x", binning=3, group="undersampled"),
        cell("power-law-3", (0.02, 0.02), MEDIUM, "2x, sharp", binning=2, psf=0.0,
             group="undersampled"),
    ]  # fmt: skip


def untrusted() -> list[Cell]:
    return [
        cell("white", 0.1, SMALL, "unrelated", group="unrelated"),
        cell("white", 0.1, LARGE, "unrelated, periodic", boundary="periodic", group="unrelated"),
        cell("power-law-2", 0.02, SMALL, "unrelated", group="unrelated"),
        cell("power-law-3", 0.02, MEDIUM, "unrelated", group="unrelated"),
        cell("power-law-3", 0.02, LARGE, "unrelated, periodic", boundary="periodic",
             group="unrelated"),
        cell("power-law-4", 0.1, SMALL, "unrelated", group="unrelated"),
        cell("texture", 0.1, MEDIUM, "unrelated", group="unrelated"),
        cell("stripes", 0.1, MEDIUM, "one direction only", group="flagged"),
        cell("lattice", 0.1, MEDIUM, "repeats", group="flagged"),
    ]  # fmt: skip


def all_cells() -> list[Cell]:
    """The grid."""
    return [
        *power_laws(),
        *other_scenes(),
        *geometry(),
        *noises(),
        *photometry(),
        *defects(),
        *photographs(),
        *undersampled(),
        *untrusted(),
    ]


def page(grid: Grid, *, pairs: int, seed: int) -> str:
    """All tables, Markdown."""
    parts = [
        f"{len(grid.results)} cells, {pairs} pairs each, seed {seed}.",
        "## Targets",
        grid.summary(),
    ]
    for group, title in (
        ("standard", "Cells"),
        ("undersampled", "Undersampled scenes"),
        ("unrelated", "Unrelated images: nothing may be trusted"),
        ("flagged", "Scenes that leave the offset open: nothing may be trusted"),
    ):
        if grid.of(group):
            parts += [f"## {title}", grid.table(group)]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Calibrate over the committed grid.")
    parser.add_argument("--pairs", type=int, default=500, help="pairs a cell (default 500)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON lines; a stopped run goes on from it")
    parser.add_argument("--table", type=Path, help="write the tables (Markdown) here")
    parser.add_argument("--plot", type=Path, help="write the picture here")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    chosen = parser.parse_args(arguments)
    cells = [c for c in all_cells() if chosen.only in c.name]
    if not cells:
        parser.error(f"no cell's name holds {chosen.only!r}")
    results = []
    try:
        for done, result in enumerate(
            run_grid(
                cells,
                n_pairs=chosen.pairs,
                seed=chosen.seed,
                workers=chosen.workers,
                output=chosen.output,
            ),
            start=1,
        ):
            results.append(result)
            f = result[1].figures()
            sys.stderr.write(
                f"{done}/{len(cells)} {result[0].name}: bound {f.bound:.3g} px, rms/bound "
                f"{f.efficiency}, pull {f.pull_width}, flagged {f.flagged.value:.1%}, "
                f"silent {f.silent}\n"
            )
    except InputError as error:
        parser.error(str(error))
    order = {c.name: place for place, c in enumerate(cells)}
    grid = Grid(tuple(sorted(results, key=lambda result: order[result[0].name])))
    text = page(grid, pairs=chosen.pairs, seed=chosen.seed)
    if chosen.table:
        chosen.table.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    if chosen.plot:
        grid.plot().savefig(chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
