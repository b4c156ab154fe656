"""The pictures of the blink control: grey, pixel for pixel, inside the page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional
from coregister.plotting.look import Origin
from coregister.plotting.views import Views

Float = NDArray[np.float64]

#: longest side of a picture, px; larger images are averaged over blocks
LONGEST = 1200


def blink(views: Views, origin: Origin) -> dict[str, Any] | None:
    """The three pictures of the blink control, pixel for pixel, in one grey scale."""
    if views.reference.ndim == 1:
        return None
    scale = views.grey_scale()
    rows, columns = views.reference.shape
    return {
        "reference": _png(views.reference, scale, origin),
        "before": _png(views.before, scale, origin),
        "after": _png(views.after, scale, origin),
        "rows": rows,
        "columns": columns,
    }


def _png(values: Float, scale: tuple[float, float, float], origin: Origin) -> str:
    """A grey picture as a data URL, transparent where nothing is known."""
    images = optional("matplotlib.image", "report")
    values = shrunk(values)
    if origin == "lower":
        values = values[::-1]
    known = np.isfinite(values)
    low, high, exponent = scale
    grey = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1) ** exponent
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(255 * grey)[..., None]
    pixels[..., 3] = 255 * known
    buffer = io.BytesIO()
    images.imsave(buffer, pixels, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def shrunk(values: Float) -> Float:
    """Means over blocks, so that no side is longer than `LONGEST`; unknown pixels left out."""
    factor = -(-max(values.shape) // LONGEST)
    if factor == 1:
        return values
    sides = [min(factor, n) for n in values.shape]
    rows, columns = (n // side for n, side in zip(values.shape, sides, strict=True))
    cut = values[: rows * sides[0], : columns * sides[1]]
    blocks = cut.reshape(rows, sides[0], columns, sides[1])
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3))
    means = np.full(total.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means
