"""Where the pixels of an image lie in space, as ITK and NIfTI know it."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


class Place(NamedTuple):
    """Points of space from indices: ``point = origin + matrix @ index``, x first, as ITK counts.

    Attributes
    ----------
    origin : (n,) array
        The point of index 0.
    matrix : (n, n) array
        Direction cosines times the size of a pixel.
    long : (n,) bool array
        The axes that the array has: those of one pixel are dropped when a file is read.
    """

    origin: Float
    matrix: Float
    long: NDArray[np.bool_]

    def moved(self, offset: Float) -> Float:
        """The step in space of an offset in pixels, array-axis order."""
        index = np.zeros(self.long.size)
        index[self.long] = offset[::-1]
        return np.asarray(self.matrix @ index)


def nifti_place(affine: ArrayLike, shape: tuple[int, ...]) -> Place:
    """From the affine matrix of NIfTI, whose x and y grow to the right and to the front.

    Parameters
    ----------
    affine : (4, 4) array_like
        As nibabel has it.
    shape : tuple of int
        Of the volume, x first.
    """
    signs = np.array([-1.0, -1.0, 1.0])  # ITK's grow to the left and to the back
    matrix = np.asarray(affine, dtype=np.float64)
    return Place(signs * matrix[:3, 3], signs[:, None] * matrix[:3, :3], np.array(shape) != 1)


def is_itk(source: Any) -> bool:
    """True for an image of SimpleITK."""
    return type(source).__module__.split(".")[0] == "SimpleITK" and hasattr(source, "GetDirection")


def itk_array(source: Any) -> tuple[NDArray[Any], Place]:
    """Array and place of an image of SimpleITK, which is imported since there is one."""
    array = sys.modules["SimpleITK"].GetArrayFromImage(source)
    ndim = source.GetDimension()
    directions = np.reshape(source.GetDirection(), (ndim, ndim))
    place = Place(
        np.array(source.GetOrigin()),
        directions * np.array(source.GetSpacing()),
        np.ones(ndim, dtype=bool),
    )
    return array, place


def points(reference: Place, moving: Place, offset: Float) -> tuple[Float, Float]:
    """Matrix and translation that take points of the reference to those of the same content.

    Parameters
    ----------
    reference, moving : Place
        Of as many axes; their pixels may differ.
    offset : (ndim,) array
        Pixels, array-axis order.
    """
    matrix = moving.matrix @ np.linalg.inv(reference.matrix)
    if np.allclose(moving.matrix, reference.matrix, rtol=1e-6, atol=0):
        matrix = np.eye(matrix.shape[0])
    return matrix, moving.origin - matrix @ reference.origin + moving.moved(offset)
