"""The HTML page of a stack: one file that opens anywhere, with the frames before and after."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional
from coregister.io.atomic import atomic_write
from coregister.result import axis_names, round_pdg
from coregister.stack.checks import loops
from coregister.stack.frames import Frames

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Float = NDArray[np.float64]

#: frames that the film shows, and pixels a side that each of its pictures has at most
FILM, SIDE = 16, 360
#: rows of a table, and flagged frames that are shown
ROWS, PICTURES = 200, 12
#: loops that are measured, fewer of frames of more pixels than this, but so many in any case
LOOPS, PIXELS, FEWEST = 8, 512**2, 3


def write_report(
    result: StackRegistration,
    frames: Any,
    path: str | os.PathLike[str],
    *,
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> None:
    """Write the page."""
    from coregister.plotting import plot_loops

    jinja2 = optional("jinja2", "report")
    source = Frames.behind(result, frames)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    folder = Path(__file__).parents[1] / "templates"
    template = environment.from_string((folder / "stack.html.j2").read_text("utf-8"))
    good = result.trusted
    chosen = np.flatnonzero(good)
    if chosen.size > FILM:
        chosen = chosen[np.linspace(0, chosen.size - 1, FILM).round().astype(int)]
    bad = np.flatnonzero(~good)
    found = loops(
        result, source, max(FEWEST, min(LOOPS, LOOPS * PIXELS // math.prod(result.shape)))
    )
    film, grey = _film(result, source, chosen) if result.ndim > 1 else ([], None)
    text = template.render(
        style=(folder / "style.css").read_text("utf-8"),
        trusted=int(good.sum()),
        count=len(result),
        ok=bool(good.all()),
        lines=_lines(result),
        plot=_png_of(result.plot()),
        checks=_png_of(plot_loops(found, result.ndim)) if found else None,
        loops=len(found),
        film=film,
        volume=result.ndim == 3,
        flagged=[
            {
                "frame": int(t),
                "time": _time(result, t),
                "status": str(result.status[t]),
                "what": _coded(result.status[t].value),
                "picture": _thumbnail(source, int(t), grey) if i < PICTURES else None,
            }
            for i, t in enumerate(bad[:ROWS])
        ],
        more=max(bad.size - ROWS, 0),
        names=[name.split()[-1].strip("()") for name in axis_names(result.ndim)],
        rows=_rows(result),
        left=max(len(result) - ROWS, 0),
        provenance=_flat(provenance or {}),
    )
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, "utf-8")


def _lines(result: StackRegistration) -> list[list[str]]:
    """What the printed form says below its first line, label and value."""
    text = str(result).replace("+-", "\N{PLUS-MINUS SIGN}")
    return [re.split(" {2,}", line.strip(), maxsplit=1) for line in text.splitlines()[1:]]


def _rows(result: StackRegistration) -> list[dict[str, Any]]:
    """The table, frame by frame."""
    stderr = result.stderr
    return [
        {
            "frame": t,
            "time": _time(result, t),
            "offsets": [
                round_pdg(x, bar).replace("+-", "\N{PLUS-MINUS SIGN}")
                if np.isfinite(bar) and bar > 0
                else f"{x:.3g}"
                if bar == 0
                else "unknown"
                for x, bar in zip(result.offsets[t], stderr[t], strict=True)
            ],
            "status": str(result.status[t]),
        }
        for t in range(min(len(result), ROWS))
    ]


def _time(result: StackRegistration, t: int) -> str:
    """When a frame was taken: the date if it is known, or seconds from the first."""
    if result.times is None:
        return ""
    if result.start is None:
        return f"{result.times[t]:.6g} s"
    date = datetime.fromisoformat(result.start) + timedelta(seconds=float(result.times[t]))
    return date.isoformat(sep=" ", timespec="milliseconds")


def _flat(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value, nested ones in a line."""
    return [
        (
            name,
            ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, Mapping)
            else ", ".join(map(str, value))
            if isinstance(value, (list, tuple))
            else str(value),
        )
        for name, value in provenance.items()
    ]


def _coded(text: str) -> Any:
    """Names of arguments, between backticks, set as code."""
    markup = optional("markupsafe", "report").Markup
    return markup(re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text)))


def _png_of(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140, transparent=True)
    return base64.b64encode(buffer.getvalue()).decode()


class _Grey(NamedTuple):
    """How values become grey, the same for all frames."""

    low: float
    high: float
    exponent: float

    @classmethod
    def of(cls, values: Float) -> _Grey:
        low, middle, high = np.nanpercentile(values, (1, 50, 99.5))
        # faint structure beside few bright pixels: the median is brought towards a middle grey
        level = np.clip((middle - low) / max(high - low, 1e-300), 0.02, 0.4)
        return cls(low, high, float(np.log(0.4) / np.log(level)))


def _film(
    result: StackRegistration, frames: Frames, chosen: NDArray[np.intp]
) -> tuple[list[dict[str, Any]], _Grey | None]:
    """Pictures of some frames as they are and aligned, all in one scale of brightness."""
    from coregister.resample import translate

    before, after = [], []
    for t in chosen:
        data = frames.read(int(t)).data
        moved = translate(
            data,
            result.offsets[t],
            output_shape=frames.shape,
            interpolation="linear",
            variance=None,
            periodic=result.periodic,
        )
        assert isinstance(moved, np.ndarray)
        before.append(_shown(data))
        after.append(_shown(moved))
    if not before:
        return [], None
    grey = _Grey.of(np.stack(before))
    film = [
        {"frame": int(t), "time": _time(result, int(t)), "before": _png(a, grey)}
        | {"after": _png(b, grey)}
        for t, a, b in zip(chosen, before, after, strict=True)
    ]
    return film, grey


def _thumbnail(frames: Frames, index: int, grey: _Grey | None) -> str | None:
    """A frame that is flagged, as it is; in the scale of the others if they have one."""
    if len(frames.shape) < 2:
        return None
    data = _shown(frames.read(index).data)
    return _png(data, _Grey.of(data) if grey is None else grey)


def _shown(data: Float) -> Float:
    """What is shown of a frame: the plane in the middle of a volume."""
    plane = data[data.shape[0] // 2] if data.ndim == 3 else data
    step = max(1, -(-max(plane.shape) // SIDE))
    return np.asarray(plane[::step, ::step])


def _png(values: Float, grey: _Grey) -> str:
    """A grey picture, transparent where nothing is known."""
    image = optional("matplotlib.image", "report")
    known = np.isfinite(values)
    span = max(grey.high - grey.low, 1e-300)
    level = np.clip((np.where(known, values, grey.low) - grey.low) / span, 0, 1)
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(255 * level**grey.exponent)[..., None]
    pixels[..., 3] = 255 * known
    buffer = io.BytesIO()
    image.imsave(buffer, pixels, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
