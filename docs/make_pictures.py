"""Draw the pictures of the documents: ``make pictures``.

The frames of the Sun are those of ``coregister demo``; see `coregister.demo` for what they are.
"""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import coregister as cr
from coregister.demo import HALF_WINDOW, REBINNED, find_frames, mean_rotation, middle_of_disc
from coregister.io import read
from coregister.plotting import BLUE, FAINT, INK, ORANGE, style

IMAGES = Path(__file__).parent / "images"


def sun() -> Figure:
    """Half a day of the Sun: every frame against the first, and the rotation that is known."""
    found = find_frames()
    if found is None:
        raise SystemExit("the frames are not installed: make pictures")
    frames = [read(path) for path in sorted(found[0].parent.glob("efz*.fits"))]
    cuts = [middle_of_disc(frame) for frame in frames]
    times = [datetime.fromisoformat(cut.header["DATE_OBS"]) for cut in cuts]
    hours = np.array([(time - times[0]).total_seconds() / 3600 for time in times[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)  # flagged frames are drawn open
        results = [cr.register(cuts[0].data, cut.data) for cut in cuts[1:]]
    header = cuts[0].header
    radius = float(header["SOLAR_R"]) / REBINNED
    speed = mean_rotation(radius, np.radians(float(header["SOLAR_B0"])))

    with style():
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        disc, plot = figure.subplots(1, 2, width_ratios=(1, 1.5))
        light = np.sqrt(np.clip(frames[0].data - np.percentile(frames[0].data, 1), 0, None))
        disc.imshow(light, cmap="gray", vmax=np.percentile(light, 99.7), origin="lower")
        corner = [float(frames[0].header[f"CRPIX{n}"]) // 1 - HALF_WINDOW - 0.5 for n in (1, 2)]
        disc.add_patch(
            Rectangle(corner, 2 * HALF_WINDOW, 2 * HALF_WINDOW, fill=False, edgecolor=ORANGE)
        )
        disc.set_title(f"SOHO/EIT 195 \N{ANGSTROM SIGN}, {times[0]:%d %B %Y}")
        disc.set_axis_off()

        plot.plot([0, 13], [0, -13 * speed], color=FAINT, zorder=1)
        plot.plot([0, 13], [0, 0], color=FAINT, zorder=1)
        for axis, colour in ((1, BLUE), (0, ORANGE)):
            for hour, result in zip(hours, results, strict=True):
                plot.errorbar(
                    hour,
                    result.offset[axis],
                    result.stderr[axis] if result.trusted else None,
                    fmt="o",
                    markersize=4,
                    markerfacecolor=colour if result.trusted else "white",
                    capsize=2,
                    color=colour,
                )
        plot.text(12.8, -0.45, "along y", color=ORANGE, ha="right", va="top")
        plot.text(7.6, -2.45, "along x", color=BLUE)
        plot.text(1.0, -4.5, "lines: the known rotation, not a fit", color=INK)
        names = sorted({result.status.name for result in results if not result.trusted})
        if names:
            plot.text(1.0, -4.95, f"open: flagged {', '.join(names)}", color=INK)
        plot.set(
            title="offset of the middle of the disc from the first frame",
            xlabel="hours",
            ylabel="px",
            xlim=(0, 13),
            ylim=(-5.9, 0.6),
        )
    return figure


def signs() -> Figure:
    """Order, sign and what `apply` does, on one pair: measured, then drawn."""
    truth = np.array([6.0, -9.0])
    row, column = np.mgrid[:32, :40]

    def spots(offset: np.ndarray) -> np.ndarray:
        places = np.random.default_rng(6).uniform((-9, -12), (41, 52), (26, 2))
        places[0] = 9, 27  # the one that the arrow follows
        light = sum(np.exp(-((row - y) ** 2 + (column - x) ** 2) / 5) for y, x in places + offset)
        return light + 0.01 * np.random.default_rng(int(offset[0])).standard_normal(row.shape)

    reference, moving = spots(np.zeros(2)), spots(truth)
    result = cr.register(reference, moving)
    place = np.array([9.0, 27.0])
    found = place + result.offset
    with style():
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        panels = figure.subplots(1, 3)
        for panel, image, title in zip(
            panels,
            (reference, moving, result.apply(moving)),
            ("reference", "moving", "r.apply(moving)"),
            strict=True,
        ):
            panel.set_facecolor("#f7e6c8")
            panel.imshow(image, cmap="gray", origin="upper", vmin=-0.1, vmax=1.2)
            panel.set(title=title, xlabel="axis 1 (x), px", ylabel="axis 0 (y), px")
        mark = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "linestyle": "none"}
        for panel, (y, x), words in (
            (panels[0], place, "p"),
            (panels[1], found, "p + offset"),
            (panels[2], place, "p"),
        ):
            panel.plot(x, y, markeredgecolor=ORANGE, markeredgewidth=1.8, **mark)
            panel.text(x + 2.5, y + 1, words, color=ORANGE, va="top", fontweight="bold")
        panels[1].annotate(
            "",
            found[::-1],
            place[::-1],
            arrowprops={"arrowstyle": "->", "color": ORANGE, "linewidth": 1.8},
        )
        y, x = result.offset
        words = f"r.offset = ({y:+.1f}, {x:+.1f}): down, left".replace("-", "\N{MINUS SIGN}")
        panels[1].text(1, 30.5, words, color="white", va="bottom", fontsize=8.5)
        panels[2].text(10, 28.5, "NaN: moving does not show this", color=INK, fontsize=8.5)
    return figure


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    signs().savefig(IMAGES / "signs.png", dpi=110, metadata={"Software": None})
    sun().savefig(IMAGES / "sun.png", dpi=110, metadata={"Software": None})
