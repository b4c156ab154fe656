"""What the figures of `speed.py` say: ratios, the targets, the tables and the picture.

Nothing here measures. A row is one kind of pair at one size; ``times`` holds the seconds of every
system in every repetition, so that two systems are compared within the same repetition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

FLOOR, OURS, SKIMAGE, OPENCV, STACKREG, ORIGINAL = (
    "floor",
    "coregister",
    "scikit-image",
    "OpenCV",
    "pystackreg",
    "image_registration",
)
BATCHED, LOOP, KEPT = "coregister, batched", "coregister, loop", "coregister, Reference"
#: columns of the tables, left to right
SYSTEMS = (FLOOR, OURS, BATCHED, KEPT, LOOP, SKIMAGE, OPENCV, STACKREG, ORIGINAL)
LARGEST_GROWTH = 1.25  # memory a pixel, from the smallest size to the largest: linear


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of pair at one size.

    Attributes
    ----------
    case, label
        The section of the page and what is special within it.
    size
        Pixels along each axis.
    times
        Seconds of each system, one a repetition.
    accuracy
        Rms error over the smallest possible one, by system.
    peak
        Memory above the inputs, by system, in float64 images.
    """

    case: str
    label: str
    size: int
    times: dict[str, list[float]] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return ", ".join(str(part) for part in (self.case, self.label, self.size) if part)

    def ratio(self, system: str, to: str) -> float:
        """Median of the ratios within each repetition; NaN where either was not measured."""
        if not self.times.get(system) or not self.times.get(to):
            return math.nan
        return float(np.median(np.divide(self.times[system], self.times[to])))

    def milliseconds(self, system: str) -> float:
        return 1e3 * float(np.median(self.times[system]))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One figure against one target."""

    what: str
    target: str
    found: float
    reached: bool

    def __str__(self) -> str:
        figure = "not measured" if math.isnan(self.found) else f"{self.found:.3g}"
        return f"{self.what}: {figure}, {self.target}: {'reached' if self.reached else 'MISSED'}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A limit on a ratio for all rows of a case from one size on."""

    case: str
    system: str
    to: str
    limit: float
    at_least: bool = False
    smallest: int = 512

    def judge(self, rows: Iterable[Row]) -> list[Verdict]:
        word = "at least" if self.at_least else "at most"
        target = f"{word} {self.limit:g}"
        what = f"{self.system} / {self.to}"
        # in whatever is measured below the smallest size nothing is promised
        mine = [r for r in rows if r.case == self.case and r.size >= self.smallest]
        if not mine:  # a target that nobody looked at is not reached
            return [Verdict(what=f"{self.case}: {what}", target=target, found=math.nan,
                            reached=False)]  # fmt: skip
        verdicts = []
        for row in mine:
            found = row.ratio(self.system, self.to)
            reached = found >= self.limit if self.at_least else found <= self.limit
            verdicts.append(
                Verdict(what=f"{row.name}: {what}", target=target, found=found, reached=reached)
            )
        return verdicts


PERIODIC, EDGES, CHI2, MASKS, VOLUMES, WINDOWS, REFERENCE, MEMORY, IMPORT = (
    "periodic",
    "real edges",
    "chi2_shift",
    "masks",
    "volumes",
    "windows",
    "one reference",
    "memory",
    "import",
)
LIMIT_OF_MEMORY = 10.0
TARGETS = (
    Target(case=PERIODIC, system=OURS, to=FLOOR, limit=2),
    Target(case=PERIODIC, system=SKIMAGE, to=OURS, limit=2, at_least=True, smallest=128),
    Target(case=CHI2, system=ORIGINAL, to=OURS, limit=4, at_least=True, smallest=64),
    Target(case=EDGES, system=OURS, to=FLOOR, limit=10),
    Target(case=MASKS, system=SKIMAGE, to=OURS, limit=3, at_least=True),
    Target(case=VOLUMES, system=OURS, to=FLOOR, limit=10, smallest=128),
    Target(case=WINDOWS, system=LOOP, to=BATCHED, limit=5, at_least=True, smallest=64),
    Target(case=IMPORT, system=OURS, to=FLOOR, limit=1.3, smallest=0),
)


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Every target, in the order of the issue's table."""
    verdicts = [verdict for target in TARGETS for verdict in target.judge(rows)]
    return [*verdicts, *judge_memory(rows)]


def judge_memory(rows: Iterable[Row]) -> list[Verdict]:
    mine = sorted((r for r in rows if r.case == MEMORY and OURS in r.peak), key=lambda r: r.size)
    target = f"at most {LIMIT_OF_MEMORY:g}"
    if not mine:
        return [Verdict(what="memory", target=target, found=math.nan, reached=False)]
    verdicts = [
        Verdict(
            what=f"{row.name}: float64 images above the inputs",
            target=target,
            found=row.peak[OURS],
            reached=row.peak[OURS] <= LIMIT_OF_MEMORY,
        )
        for row in mine
    ]
    growth = math.nan
    if len(mine) > 1:
        growth = mine[-1].peak[OURS] / max(mine[0].peak[OURS], 1e-9)
    return [
        *verdicts,
        Verdict(
            what=f"memory a pixel, {mine[-1].size} / {mine[0].size}",
            target=f"at most {LARGEST_GROWTH:g}",
            found=growth,
            reached=growth <= LARGEST_GROWTH,
        ),
    ]


# ------------------------------------------------------------------------------------ page


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(c) + " |" for c in [header, ["---"] * len(header), *lines])


def plain(value: float, digits: int = 3) -> str:
    """Some digits, and no power of ten for what is larger."""
    return f"{value:.{digits}g}" if value < 10**digits - 0.5 else f"{value:.0f}"


def table(rows: Sequence[Row]) -> str:
    """Milliseconds, times the floor, and the rms error over the smallest possible one."""
    systems = [s for s in SYSTEMS if any(r.times.get(s) for r in rows)]

    def cell(row: Row, system: str) -> str:
        if not row.times.get(system):
            return ""
        text = f"{plain(row.milliseconds(system))} ms"
        if system != FLOOR and row.times.get(FLOOR):
            text += f", **{plain(row.ratio(system, FLOOR), 2)}x**"
        if system in row.accuracy:
            text += f", {plain(row.accuracy[system])}"
        return text

    lines = [[r.label, str(r.size or ""), *(cell(r, s) for s in systems)] for r in rows]
    return markdown(["pair", "size", *systems], lines)


def table_of_memory(rows: Sequence[Row]) -> str:
    systems = [s for s in SYSTEMS if any(s in r.peak for r in rows)]
    lines = [
        [str(r.size), *(f"{r.peak[s]:.1f}" if s in r.peak else "" for s in systems)] for r in rows
    ]
    return markdown(["size", *systems], lines)


def table_of_verdicts(verdicts: Iterable[Verdict]) -> str:
    lines = [
        [
            v.what,
            v.target,
            "not measured" if math.isnan(v.found) else f"{v.found:.3g}",
            "yes" if v.reached else "**NO**",
        ]
        for v in verdicts
    ]
    return markdown(["figure", "to reach", "found", "reached"], lines)


SECTIONS: tuple[tuple[str, str, str], ...] = (
    (
        PERIODIC,
        "Pairs that wrap",
        '`register(..., boundary="periodic")`, bars and trust included. power-law-3, noise 0.1 of '
        "the scene's standard deviation in both images, offsets up to a quarter of the size.",
    ),
    (
        EDGES,
        "Real edges",
        "`register` as it comes: search, bars, trust. power-law-3 is red, power-law-2 less so, "
        "texture is fine all over; noise 0.1 in both images, offsets up to 8 px.",
    ),
    (
        CHI2,
        "chi2_shift",
        "`chi2_shift` beside the function of the same name in image_registration: err a number, "
        "or an array that varies over the field. power-law-3, a reference without noise, 0.1 in "
        "moving.",
    ),
    (
        MASKS,
        "Masks",
        "A quarter of the side squared without data (block), or 5 % bad pixels (scattered), in "
        "both images; power-law-3, noise 0.1. scikit-image's call with masks finds whole pixels.",
    ),
    (VOLUMES, "Volumes", "Real edges, power-law-3, noise 0.1, offsets up to 4 px."),
    (
        WINDOWS,
        "Many small windows",
        "All windows of one field, power-law-2 with noise 0.1; times are those of all of them.",
    ),
    (
        REFERENCE,
        "One reference, many images",
        "`Reference(image).register(moving)` for eight images, against eight calls of `register`; "
        "power-law-3, noise 0.1.",
    ),
    (
        IMPORT,
        "Import",
        "`import coregister` in a fresh interpreter, all modules compiled before; the floor is "
        "`import numpy, scipy.fft`.",
    ),
)


CEILING = """\
No compiled kernel would reach most of the missed ones. `python benchmarks/ceiling.py` gives back at
no cost what is computed between the transforms (fits of spectra, sums over rings, values at modes,
contractions, the sandwich, bands of frequencies, peaks, trust), and times what is left. Of pairs
that wrap: 512 px in double precision 2.9 -> 2.1 times the floor, in single precision 4.5 -> 3.1,
1024 px in single precision 2.4 -> 1.8. Of real edges: power-law-2 16.5 -> 12.6 at 512 px and
11.0 -> 9.8 at 1024 px, texture 16.1 -> 12.0 and 10.1 -> 8.2. No kernel is free: none was built."""


def page(
    rows: Sequence[Row],
    *,
    machine: str,
    absent: Sequence[str],
    repetitions: str,
    picture: str,
) -> str:
    """The document, Markdown."""
    verdicts = judge(rows)
    missed = sum(not v.reached for v in verdicts)
    parts = [
        "# Speed",
        f"*Written by `make bench` on {machine}.*",
        GUIDE.format(repetitions=repetitions),
        f"Not installed and left out: {', '.join(absent)}." if absent else "",
        f"![Time and memory against size]({picture})",
        "*One curve a system; below, what is used besides the images, in units of one float64 "
        "image.*",
        "## Targets",
        f"{len(verdicts) - missed} of {len(verdicts)} figures are reached. `make bench-check` "
        "exits with 1 while one is missed.",
        table_of_verdicts(verdicts),
        CEILING,
    ]
    for case, title, words in SECTIONS:
        if mine := [r for r in rows if r.case == case]:
            parts += [f"## {title}", words, table(mine)]
    if mine := [r for r in rows if r.case == MEMORY]:
        parts += [
            "## Memory",
            "The largest resident memory during a call for a real-edge pair (float64, "
            "power-law-3), less what was there before it, in units of one float64 image.",
            table_of_memory(mine),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


GUIDE = """\
All systems take turns within every repetition, on fresh copies of the same images and with one
thread each; the order changes from one repetition to the next ({repetitions}). The *floor* is
what no method by FFT can go below: two `scipy.fft.rfftn` and one `irfftn` of the same images in
the same precision. Times are of the processor, so that other work on the machine counts little,
and medians; the factor in bold is the median of the ratios to the floor of the same repetition. The
last figure is the accuracy: the rms error over the smallest one that any method can reach (the
Cramer-Rao bound), of the two to four pairs that were timed, so good to about a third; 1 is the
best there can be. [calibration.md](calibration.md) has the accuracy of many pairs. Bars come
with the times of coregister and of image_registration only, the verdict with those of
coregister. scikit-image is `phase_cross_correlation` with `upsample_factor=100`, the rest as it
comes, or its call with masks; calibration.md shows what its phase normalization costs in accuracy.
OpenCV is `phaseCorrelate` (with a Hann window where the edges are real)."""


def draw(rows: Sequence[Row]) -> Any:
    """Time and memory against size, one curve a system."""
    from matplotlib.figure import Figure

    from coregister.plotting import BLUE, FAINT, GREEN, INK, ORANGE, VERMILLION, style

    colours = dict(
        zip(
            (FLOOR, OURS, SKIMAGE, OPENCV, STACKREG, ORIGINAL),
            (INK, BLUE, ORANGE, GREEN, VERMILLION, "#CC79A7"),
            strict=True,
        )
    )
    panels = (
        (PERIODIC, "float64", "pairs that wrap"),
        (EDGES, "power-law-3", "real edges, red scene"),
        (EDGES, "texture", "real edges, fine scene"),
        (CHI2, "err array", "chi2_shift, array of errors"),
        (MASKS, "block", "masks, one block"),
        (MEMORY, "", "memory above the inputs"),
    )
    with style():
        figure = Figure(figsize=(10, 6.4), layout="constrained")
        for axes, (case, label, title) in zip(figure.subplots(2, 3).flat, panels, strict=True):
            mine = [r for r in rows if r.case == case and (r.label == label or case == MEMORY)]
            for system, colour in colours.items():
                held = [r for r in mine if r.times.get(system) or system in r.peak]
                if case == MEMORY:
                    values = [r.peak[system] for r in held]
                else:
                    values = [r.milliseconds(system) for r in held]
                axes.plot(
                    [r.size for r in held],
                    values,
                    marker="o",
                    markersize=3,
                    color=colour,
                    linestyle="--" if system == FLOOR else "-",
                    linewidth=2 if system == OURS else 1.2,
                    label=system,
                )
            axes.set_xscale("log", base=2)
            sizes = sorted({r.size for r in mine})
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            if case == MEMORY:
                axes.axhline(LIMIT_OF_MEMORY, color=FAINT, linewidth=0.8, linestyle=":")
                axes.set_ylim(bottom=0)
            elif mine:
                axes.set_yscale("log")
                axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
            axes.set(
                title=title,
                xlabel="size, px a side",
                ylabel="float64 images" if case == MEMORY else "ms",
            )
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure
