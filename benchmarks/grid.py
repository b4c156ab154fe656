"""The committed grid of the calibration: some ninety kinds of pairs, none of them tuned to.

Every scene, geometry, noise and defect that the targets speak of appears, most of them alone, the
harder ones together; it is not the full product. `make calibrate` runs

    python benchmarks/grid.py --pairs 500 --workers 2 --output calibration.jsonl \\
        --page docs/calibration.md

A run that was stopped goes on where it was, as long as the code is the same. Noise is in units of
the scene's standard deviation; ``(0.05, 0.5)`` is reference and moving. A cell that does not reach
a target says why in its `note`, which the page shows.
"""

from __future__ import annotations

import os

# before numpy is imported, here and in the workers, which start as this file does: as many
# threads as processes are no faster, and sums in another order give other last digits
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

import coregister as cr
from coregister.calibration import METHODS, MODULES
from coregister.errors import CoregisterError
from coregister.grid import Cell, Grid, Group, code_digest, package_versions, run_grid

#: ours, and the other packages that are installed
PEERS = tuple(m for m in METHODS if importlib.util.find_spec(MODULES[m]) is not None)

SMALL, MEDIUM, LARGE, HUGE = (64, 64), (96, 96), (128, 128), (256, 256)


def cell(
    scene: Any,
    noise: float | tuple[float, float],
    shape: tuple[int, ...] = LARGE,
    label: str = "",
    *,
    group: Group = "standard",
    name: str = "",
    peers: bool = False,
    note: str = "",
    **options: Any,
) -> Cell:
    sides = "x".join(str(n) for n in shape)
    title = f"{name or scene}, {noise}, {sides}" + (f", {label}" if label else "")
    return Cell(
        name=title,
        group=group,
        options={"scene": scene, "noise": noise, "shape": shape, **options},
        methods=PEERS if peers else ("coregister",),
        note=note,
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
        cell("power-law-2", (0.02, 0.02), LARGE, peers=True),
        cell("power-law-2", (0.1, 0.1), HUGE),
        cell("power-law-2", (0.5, 0.5), LARGE, peers=True),
        cell("power-law-2", (1, 1), LARGE),
        cell("power-law-2", (0.05, 0.5), MEDIUM),
        cell("power-law-3", (0.02, 0.02), LARGE),
        cell("power-law-3", (0.1, 0.1), SMALL),
        cell("power-law-3", (0.1, 0.1), LARGE, peers=True),
        cell("power-law-3", (0.5, 0.5), LARGE, peers=True),
        cell("power-law-3", (1, 1), HUGE),
        cell("power-law-3", (0.1, 0.1), LARGE, "cut", psf="cut"),
        cell("power-law-2", (0.1, 0.1), LARGE, "cut", psf="cut"),
        cell("power-law-4", (0.02, 0.02), LARGE),
        cell("power-law-4", (0.1, 0.1), LARGE, peers=True),
        cell("power-law-4", (0.5, 0.5), HUGE),
        cell("power-law-4", (0.1, 0.1), SMALL),
        cell("power-law-4", (0.05, 0.05), LARGE, "cut", psf="cut"),
    ]


def other_scenes() -> list[Cell]:
    return [
        cell("band-limited", (0.02, 0.02), LARGE),
        cell("band-limited", (0.1, 0.1), LARGE, peers=True),
        cell("band-limited", (1, 1), MEDIUM),
        cell("blobs", (0, 0.1), LARGE),
        cell("blobs", (0.1, 0.1), LARGE, peers=True),
        cell("blobs", (0.5, 0.5), LARGE),
        cell("few-stars", (0.1, 0.1), LARGE),
        cell("few-stars", (0.5, 0.5), MEDIUM),
        cell("texture", (0.02, 0.02), LARGE),
        cell("texture", (0.5, 0.5), MEDIUM),
    ]


def geometry() -> list[Cell]:
    return [
        cell(
            "power-law-3",
            (0.1, 0.1),
            LARGE,
            "periodic",
            boundary="periodic",
            offsets=60,
            peers=True,
        ),
        cell("power-law-2", (0.5, 0.5), LARGE, "periodic", boundary="periodic", offsets=60),
        cell("blobs", (0.1, 0.1), LARGE, "periodic", boundary="periodic", offsets=60),
        cell("power-law-2", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("power-law-3", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("power-law-2", (0.1, 0.1), LARGE, "offsets to 55 %", offsets=0.55 * 128),
        cell("blobs", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("few-stars", (0.1, 0.1), LARGE, "offsets to 30 %", offsets=0.3 * 128),
        cell("power-law-2", (0.1, 0.1), LARGE, "moving 64x80", moving_shape=(64, 80)),
        cell("power-law-3", (0.1, 0.1), MEDIUM, "moving 128x140", moving_shape=(128, 140)),
        cell("power-law-2", (0.1, 0.1), (48, 48)),
        cell("power-law-2", (0.1, 0.1), (48, 200)),
        cell("power-law-3", (0.1, 0.1), (512, 512)),
        cell("power-law-2", (0.1, 0.1), (512,)),
        cell("power-law-1", (0.3, 0.3), (256,)),
        cell("power-law-1", (0.3, 0.3), (256,), "periodic", boundary="periodic", offsets=100),
        cell("power-law-3", (0.1, 0.1), (48, 48, 48), offsets=5),
        cell("blobs", (0.3, 0.3), (24, 48, 64), offsets=3),
    ]


def noises() -> list[Cell]:
    beam2, beam4 = 2 / 2.355, 4 / 2.355
    return [
        cell("power-law-3", (0.1, 0.1), LARGE, "beam 2", noise_beam=2.0, psf=beam2),
        cell("power-law-3", (0.1, 0.1), LARGE, "beam 4", noise_beam=4.0, psf=beam4),
        cell(
            "power-law-2",
            (0.5, 0.5),
            LARGE,
            "beam 3",
            noise_beam=3.0,
            psf=3 / 2.355,
            note="the scene is faint at all frequencies, and what is in doubt counts less",
        ),
        cell("band-limited", (0.1, 0.1), LARGE, "beam 3", noise_beam=3.0),
        cell("power-law-3", (0.1, 0.1), LARGE, "noise varies", noise_map=vignette(LARGE)),
        cell("power-law-2", (0.05, 0.5), LARGE, "noise varies", noise_map=vignette(LARGE)),
        cell(
            "blobs",
            0.02,
            LARGE,
            "Poisson 100, moving on sky 1",
            poisson=100.0,
            background=1.0,
        ),
        cell(
            "few-stars",
            0.05,
            LARGE,
            "Poisson 20, moving on sky 2",
            poisson=20.0,
            background=2.0,
        ),
        cell(
            "blobs",
            0,
            LARGE,
            "Poisson 1, moving on sky 1",
            poisson=1.0,
            background=1.0,
        ),
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


def pictures() -> list[Cell]:
    """Crops of real pictures and maps, where scikit-image and matplotlib bring them."""
    found: list[tuple[str, Any, float, tuple[int, ...]]] = []
    if importlib.util.find_spec("skimage") is not None:
        from skimage import data

        found += [
            ("photograph camera", data.camera(), 0.1, LARGE),
            ("photograph camera", data.camera(), 0.02, MEDIUM),
            ("photograph moon", data.moon(), 0.1, LARGE),
            ("photograph brick", data.brick(), 0.3, LARGE),
            ("photograph coins", data.coins(), 0.05, MEDIUM),
            ("Hubble deep field", data.hubble_deep_field().mean(axis=2), 0.1, LARGE),
        ]
    if importlib.util.find_spec("matplotlib") is not None:
        from matplotlib import cbook

        heights = cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"]
        found.append(("map of heights", heights, 0.05, LARGE))
    cells = []
    for name, values, noise, shape in found:
        image = np.asarray(values, dtype=np.float64)
        note = (
            "some crops are plain sky: of 23 that are flagged, 20 have bounds of their own of 0.04 "
            "to 0.15 px"
            if "camera" in name
            else ""
        )
        cells.append(cell(image / image.std(), noise, shape, name=name, note=note))
    return cells


def undersampled() -> list[Cell]:
    return [
        cell("power-law-1", (0.02, 0.02), MEDIUM, "2x", binning=2, group="undersampled"),
        cell("power-law-2", (0.02, 0.02), MEDIUM, "3x", binning=3, group="undersampled"),
        cell("few-stars", (0.05, 0.05), MEDIUM, "3x", binning=3, group="undersampled"),
        cell("power-law-3", (0.02, 0.02), MEDIUM, "2x, sharp", binning=2, psf=0.0,
             group="undersampled"),
        cell("power-law-2", (0.02, 0.02), MEDIUM, "2x, periodic", binning=2, boundary="periodic",
             offsets=40, group="undersampled"),
    ]  # fmt: skip


def untrusted() -> list[Cell]:
    return [
        cell("white", 0.1, SMALL, "unrelated", group="unrelated"),
        cell("white", 0.1, LARGE, "unrelated, periodic", boundary="periodic", group="unrelated"),
        cell("power-law-2", 0.02, SMALL, "unrelated", group="unrelated"),
        cell("power-law-2", 0.1, LARGE, "unrelated", group="unrelated"),
        cell("power-law-3", 0.02, MEDIUM, "unrelated", group="unrelated"),
        cell("power-law-3", 0.02, LARGE, "unrelated, periodic", boundary="periodic",
             group="unrelated"),
        cell("power-law-4", 0.1, SMALL, "unrelated", group="unrelated"),
        cell("texture", 0.1, MEDIUM, "unrelated", group="unrelated"),
        cell("few-stars", 0.1, LARGE, "unrelated", group="unrelated"),
        cell("blobs", 0.1, LARGE, "unrelated", group="unrelated"),
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
        *pictures(),
        *undersampled(),
        *untrusted(),
    ]


GUIDE = """\
Are the bars true? Each line of the tables below is one kind of pair (a cell): {pairs} pairs of
images of one scene are simulated with offsets that are known, registered, and the answers
counted. *bound* is the smallest error that any method can reach (Cramer-Rao, of each pair, on
what both images show); *rms / bound* compares the error with it: 1 is the best there can be.
*pull width* is the rms of error / bar: 1 if the bars are true, more if they are too small.
*bias* is the mean of error / bar along the worse axis. *in 68.3 %* and *in 95 %* are the shares
of claimed regions that hold the truth. These count trusted results only. *flagged* is the share
of pairs that are not trusted; *flags* counts all flags, the advisory one too ([each
explained](trust.md)). *silent* counts the failures that must not be: trusted, wrong by more than
3 times the bound, and impossible (probability below 6e-7) under the bars. *missed* names the
targets that a cell does not reach, in capitals if that is certain (more than 3 times its
uncertainty). What follows +- is the uncertainty of a figure, from the number of pairs.

Everything can be repeated: `make calibrate` writes this page and its picture, and nothing on it
was written or chosen by hand but the column *why*. The seed is {seed}: pair number i of a cell
is drawn from `numpy.random.default_rng([{seed} + zlib.crc32(name), i])`, so each cell, and each
pair, can be looked at alone (`benchmarks/grid.py --only NAME`). Names give the scene ([what they
are](../src/coregister/simulate/scenes.py)), the noise of reference and moving in units of the
scene's deviation, the size in pixels, and what is special. No figure depends on the speed of a
machine.
coregister is told nothing about the noise, but where it varies from pixel to pixel. The command
`coregister calibrate` draws the same figures for a picture and a noise of your own."""

UNDERSAMPLED = """\
Detail finer than two pixels is aliased, and moves the answer in a way that no residual shows.
The bar cannot hold this; `systematic` is there to bound it and the flag UNDERSAMPLED to say so.
*within* is the share of trusted pairs with the error of every axis within systematic + 3 stderr.
A silent failure is a trusted pair without the flag that is impossible under its bars, or one
beyond systematic + 5 stderr."""

PEER_RULE = """\
The same pairs, the same run. The others are told the noise where they ask for it, and everything
they return counts: they flag nothing. *median error / bound* is that of single pairs, which a
few outliers do not move. A silent failure is an error of more than 3 times the bound that is
impossible under the bar given (probability below 6e-7); where a method has no bar, every error
beyond 3 times the bound counts. A bar of exactly 0 is taken for 1e-10 px. `opencv` is
phaseCorrelate with a Hann window, `phase_correlation` and `cross_correlation` are scikit-image's
`phase_cross_correlation` with and without normalization, to 1/100 px; pystackreg and the window
of OpenCV are not made for images that wrap. [When to use something else](compare.md)."""


def page(grid: Grid, *, pairs: int, seed: int, picture: str = "", only: str = "") -> str:
    """The document, Markdown."""
    packages = ", ".join(f"{name} {number}" for name, number in package_versions([]).items())
    which = f'those of {len(all_cells())} whose name holds "{only}"' if only else "all"
    parts = [
        "# Calibration",
        f"*Written by `make calibrate` with coregister {cr.__version__} (sources "
        f"{code_digest()[:12]}), {packages}: {len(grid.results)} cells ({which}), {pairs} pairs "
        f"each, seed {seed}.*",
        GUIDE.format(pairs=pairs, seed=seed),
        "## Targets",
        grid.summary(),
    ]
    if picture:
        parts += [
            f"![Pull width, coverage and efficiency of every cell]({picture})",
            "*Each standard cell with the range it should reach (green). Blue: reached; orange: "
            "not reached, maybe by chance; red: not reached. An arrow points to a figure outside "
            "of the panel.*",
        ]
    if grid.of("standard"):
        parts += ["## Cells", grid.table(), "## Not reached", grid.not_reached()]
    for group, title, words in SECTIONS:
        if grid.of(group):
            parts += [f"## {title}", *words, grid.table(group)]
    if any(len(found.trials) > 1 for _, found in grid.results):
        parts += ["## Other packages", PEER_RULE, grid.peers()]
    return "\n\n".join(parts) + "\n"


SECTIONS: tuple[tuple[Group, str, tuple[str, ...]], ...] = (
    ("undersampled", "Undersampled scenes", (UNDERSAMPLED,)),
    ("unrelated", "Unrelated images: nothing may be trusted", ()),
    ("flagged", "Scenes that leave the offset open: nothing may be trusted", ()),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Calibrate over the committed grid.")
    parser.add_argument("--pairs", type=int, default=500, help="pairs a cell (default 500)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON lines; a stopped run goes on from it")
    parser.add_argument(
        "--page", type=Path, help="write the page (Markdown) here, its picture into images/ beside"
    )
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    chosen = parser.parse_args(arguments)
    cells = [c for c in all_cells() if chosen.only in c.name]
    if not cells:
        parser.error(f"no cell's name holds {chosen.only!r}")
    if missing := [m for m in METHODS if m not in PEERS]:
        sys.stderr.write(f"not installed and left out: {', '.join(missing)} (extra bench)\n")
    results = {}
    try:
        for cell, found in run_grid(
            cells,
            n_pairs=chosen.pairs,
            seed=chosen.seed,
            workers=chosen.workers,
            output=chosen.output,
        ):
            results[cell.name] = found
            f = found.figures()
            sys.stderr.write(
                f"{len(results)}/{len(cells)} {cell.name}: bound {f.bound:.3g} px, rms/bound "
                f"{f.efficiency}, pull {f.pull_width}, flagged {f.flagged.value:.1%}, "
                f"silent {f.silent}, {1e3 * f.seconds:.0f} ms\n"
            )
    except CoregisterError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped after {len(results)} of {len(cells)} cells\n")
        return 130
    grid = Grid(tuple((cell, results[cell.name]) for cell in cells))
    picture = ""
    if chosen.page is not None and grid.of("standard"):
        path = chosen.page.parent / "images" / f"{chosen.page.stem}.png"
        path.parent.mkdir(exist_ok=True)
        grid.plot().savefig(path, metadata={"Software": None})
        picture = f"images/{path.name}"
    text = page(grid, pairs=chosen.pairs, seed=chosen.seed, picture=picture, only=chosen.only)
    if chosen.page is None:
        sys.stdout.write(text)
    else:
        chosen.page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
