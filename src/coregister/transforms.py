"""The measured displacement in the forms of other tools: ITK, NGFF, scikit-image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.io.atomic import atomic_write

Float = NDArray[np.float64]


class Physical(NamedTuple):
    """An offset in the units of the images.

    Attributes
    ----------
    offset : (ndim,) array
        Along the array axes.
    covariance : (ndim, ndim) array
        In the squares and products of the units.
    units : tuple of str
        One an axis.
    """

    offset: Float
    covariance: Float
    units: tuple[str, ...]

    @property
    def stderr(self) -> Float:
        """1-sigma bars."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def physical(offset: Float, covariance: Float, spacing: tuple[tuple[float, str], ...]) -> Physical:
    """An offset in pixels, in the units of the pixels' size."""
    sizes = np.array([size for size, _ in spacing])
    scale = np.outer(sizes, sizes)
    known = np.isfinite(covariance)
    carried = np.where(known, np.where(known, covariance, 0.0) * scale, covariance * np.sign(scale))
    return Physical(offset * sizes, carried, tuple(unit for _, unit in spacing))


def itk_text(offset: Float, spacing: tuple[float, ...] | None = None) -> str:
    """The displacement as an ITK transform file: from points of the reference to the moving image.

    ITK counts x first and in physical units; `spacing` is the pixel size along the array axes,
    1 if it is left out.
    """
    ndim = offset.size
    sizes = np.ones(ndim) if spacing is None else np.asarray(spacing, dtype=np.float64)
    values = " ".join(repr(float(d)) for d in (offset * sizes)[::-1])
    return (
        "#Insight Transform File V1.0\n#Transform 0\n"
        f"Transform: TranslationTransform_double_{ndim}_{ndim}\n"
        f"Parameters: {values}\nFixedParameters: \n"
    )


def ngff(
    offset: Float,
    *,
    source: str = "moving",
    target: str = "reference",
    spacing: tuple[float, ...] | None = None,
) -> dict[str, Any]:
    """The displacement as an NGFF coordinate transformation (RFC-5): moving onto the reference.

    NGFF maps from the input to the output system, and in array-axis order; the content of
    `moving` lies at `+offset`, so its points go back by that.
    """
    sizes = np.ones(offset.size) if spacing is None else np.asarray(spacing, dtype=np.float64)
    return {
        "type": "translation",
        "input": source,
        "output": target,
        "translation": [float(-d) for d in offset * sizes],
    }


def skimage_matrix(offset: Float) -> Float:
    """Homogeneous matrix for scikit-image: (x, y) of the reference to (x, y) of the moving image.

    ``skimage.transform.warp(moving, AffineTransform(matrix=...))`` aligns with it.
    """
    matrix = np.eye(offset.size + 1)
    matrix[:-1, -1] = offset[::-1]
    return matrix


def save(
    offset: Float,
    record: dict[str, Any],
    path: str | os.PathLike[str],
    *,
    spacing: tuple[float, ...] | None,
    overwrite: bool,
) -> None:
    """Write the displacement; the suffix says in which form: .tfm, .txt (ITK), .json (NGFF).

    JSON takes the whole result along, `record`.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".tfm", ".txt"):
        text = itk_text(offset, spacing)
    elif suffix == ".json":
        whole = {"coordinateTransformations": [ngff(offset, spacing=spacing)], "coregister": record}
        text = json.dumps(whole, indent=2) + "\n"
    else:
        raise InputError(f"{path} has the suffix {suffix!r}; .tfm (ITK) or .json (NGFF) is needed")
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text)
