"""The HTML page of a stack: one file that opens anywhere, with the frames before and after."""

from __future__ import annotations

import base64
import html
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional
from coregister.io.atomic import atomic_write
from coregister.stack.frames import Frames

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Float = NDArray[np.float64]

#: frames that the film shows, and pixels a side that each of its pictures has at most
FILM, SIDE = 16, 360
#: rows of the table of flagged frames
ROWS = 200


def write_report(
    result: StackRegistration, frames: Any, path: str | os.PathLike[str], *, overwrite: bool
) -> None:
    """Write the page."""
    jinja2 = optional("jinja2", "report")
    source = frames if isinstance(frames, Frames) else Frames(frames)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    folder = Path(__file__).parents[1] / "templates"
    template = environment.from_string((folder / "stack.html.jinja").read_text("utf-8"))
    good = result.trusted
    chosen = np.flatnonzero(good)
    if chosen.size > FILM:
        chosen = chosen[np.linspace(0, chosen.size - 1, FILM).round().astype(int)]
    flagged = [
        {"frame": int(t), "status": str(result.status[t]), "what": _coded(result.status[t].value)}
        for t in np.flatnonzero(~good)[:ROWS]
    ]
    text = template.render(
        style=(folder / "style.css").read_text("utf-8"),
        trusted=int(good.sum()),
        count=len(result),
        ok=bool(good.all()),
        lines=[line.strip().replace("+-", "±") for line in str(result).splitlines()[1:]],
        plot=_figure(result),
        film=_film(result, source, chosen) if result.ndim == 2 else [],
        flagged=flagged,
        more=int((~good).sum()) - len(flagged),
    )
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, "utf-8")


def _coded(text: str) -> Any:
    """Names of arguments, between backticks, set as code."""
    markup = optional("markupsafe", "report").Markup
    return markup(re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text)))


def _figure(result: StackRegistration) -> str:
    buffer = io.BytesIO()
    result.plot().savefig(buffer, format="png", dpi=140)
    return base64.b64encode(buffer.getvalue()).decode()


def _film(
    result: StackRegistration, frames: Frames, chosen: NDArray[np.intp]
) -> list[dict[str, Any]]:
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
        before.append(data)
        after.append(moved)
    if not before:
        return []
    low, middle, high = np.nanpercentile(np.stack(before), (1, 50, 99.5))
    # faint structure beside few bright pixels: the median is brought towards a middle grey
    level = np.clip((middle - low) / max(high - low, 1e-300), 0.02, 0.4)
    exponent = float(np.log(0.4) / np.log(level))
    return [
        {
            "frame": int(t),
            "before": _png(a, low, high, exponent),
            "after": _png(b, low, high, exponent),
        }
        for t, a, b in zip(chosen, before, after, strict=True)
    ]


def _png(values: Any, low: float, high: float, exponent: float) -> str:
    """A grey picture, transparent where nothing is known."""
    image = optional("matplotlib.image", "report")
    step = max(1, -(-max(values.shape) // SIDE))
    shown = np.asarray(values)[::step, ::step]
    known = np.isfinite(shown)
    grey = np.clip((np.where(known, shown, low) - low) / max(high - low, 1e-300), 0, 1)
    pixels = np.empty((*shown.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(255 * grey**exponent)[..., None]
    pixels[..., 3] = 255 * known
    buffer = io.BytesIO()
    image.imsave(buffer, pixels, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
