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
from coregister.place import Place, points

Float = NDArray[np.float64]
#: names of units as NGFF writes them
UNITS = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns"), "micrometer"),
    "nm": "nanometer",
    "mm": "millimeter",
    "m": "meter",
}


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


def check_spacing(spacing: Any, ndim: int) -> tuple[tuple[float, str], ...]:
    """The size and the unit of a pixel along each axis, as given; refused if it is not that."""
    entries = spacing if isinstance(spacing, (tuple, list)) else ()
    if len(entries) != ndim or not all(
        isinstance(entry, (tuple, list)) and len(entry) == 2 for entry in entries
    ):
        raise InputError(
            f"spacing={spacing!r} is not a size and a unit for each of {ndim} axes; "
            "give spacing=((0.1, 'um'), (0.1, 'um')) for instance"
        )
    return tuple(spacing)


def physical(
    offset: Float, covariance: Float, spacing: tuple[tuple[float, str], ...] | None
) -> Physical:
    """An offset in pixels, in the units of the pixels' size; refused if that is not known."""
    if spacing is None:
        raise InputError(
            "the size of a pixel is not known; one an axis is needed: "
            "pass spacing=((0.1, 'um'), (0.1, 'um'))"
        )
    sizes = np.array([size for size, _ in spacing])
    scale = np.outer(sizes, sizes)
    known = np.isfinite(covariance)
    carried = np.where(known, np.where(known, covariance, 0.0) * scale, covariance * np.sign(scale))
    return Physical(offset * sizes, carried, tuple(unit for _, unit in spacing))


def itk_text(
    offset: Float,
    spacing: tuple[tuple[float, str], ...] | None = None,
    places: tuple[Place, Place] | None = None,
) -> str:
    """The displacement as an ITK transform file: from points of the reference to the moving image.

    ITK counts x first. With the `places` of both images, from NIfTI or SimpleITK: points of space,
    with their origins and direction cosines. Else pixels of the size of `spacing`, or of 1, whose
    axes are those of space.
    """
    if places is None:
        matrix, step = np.eye(offset.size), (offset * _sizes(offset, spacing))[::-1]
    else:
        matrix, step = points(*places, offset)
    ndim = step.size
    alike = np.array_equal(matrix, np.eye(ndim))
    kind = "TranslationTransform" if alike else "AffineTransform"
    values = step if alike else np.concatenate([matrix.ravel(), step])
    centre = "" if alike else " ".join(["0"] * ndim)
    return (
        "#Insight Transform File V1.0\n#Transform 0\n"
        f"Transform: {kind}_double_{ndim}_{ndim}\n"
        f"Parameters: {' '.join(repr(float(value)) for value in values)}\n"
        f"FixedParameters: {centre}\n"
    )


def ngff_scene(
    offset: Float,
    *,
    moving: str = "moving",
    reference: str = "reference",
    spacing: tuple[tuple[float, str], ...] | None = None,
) -> dict[str, Any]:
    """The displacement as the metadata of an NGFF 0.6 scene: moving onto the reference.

    Two coordinate systems and the translation between them. NGFF maps points of the input to the
    output, in array-axis order; the content of `moving` lies at `+offset`, so its points go back
    by that.
    """
    if offset.size not in (2, 3):
        raise InputError(
            f"the images have {offset.size} axes; an NGFF scene has 2 or 3 of space: "
            "write an ITK transform, .tfm"
        )
    sizes = _sizes(offset, spacing)
    units = [None] * offset.size if spacing is None else [unit for _, unit in spacing]
    axes = [
        {"name": name, "type": "space", **({"unit": UNITS.get(unit, unit)} if unit else {})}
        for name, unit in zip("zyx"[-offset.size :], units, strict=True)
    ]
    scene = {
        "coordinateSystems": [{"name": name, "axes": axes} for name in (reference, moving)],
        "coordinateTransformations": [
            {
                "type": "translation",
                "input": {"name": moving},
                "output": {"name": reference},
                "translation": [float(-d) for d in offset * sizes],
            }
        ],
    }
    return {"ome": {"version": "0.6", "scene": scene}}


def _sizes(offset: Float, spacing: tuple[tuple[float, str], ...] | None) -> Float:
    return np.ones(offset.size) if spacing is None else np.array([size for size, _ in spacing])


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
    spacing: tuple[tuple[float, str], ...] | None,
    places: tuple[Place, Place] | None,
    overwrite: bool,
) -> None:
    """Write the displacement; the suffix says in which form: .tfm, .txt (ITK), .json (NGFF).

    JSON takes the whole result along, `record`, since no such form holds the bars.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".tfm", ".txt"):
        text = itk_text(offset, spacing, places)
    elif suffix == ".json":
        whole = {**ngff_scene(offset, spacing=spacing), "coregister": record}
        text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
    else:
        raise InputError(f"{path} has the suffix {suffix!r}; .tfm (ITK) or .json (NGFF) is needed")
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
