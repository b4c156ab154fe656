"""Small symmetric matrices, on which the checks of `numpy.linalg` take ten times the work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def principal(matrix: Float) -> tuple[Float, Float]:
    """Eigenvalues, in rising order, and eigenvectors; of many matrices, those of each."""
    if matrix.ndim > 2:
        many = np.linalg.eigh(matrix)
        return many.eigenvalues, many.eigenvectors
    from scipy.linalg.lapack import dsyev

    values, vectors, failed = dsyev(matrix)
    if failed:
        raise np.linalg.LinAlgError("the eigenvalues of a matrix did not converge")
    return values, vectors


def pseudo_inverse(values: Float, vectors: Float) -> Float:
    """Inverse of a matrix along the directions in which it is positive."""
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
    return np.asarray((vectors * inverse) @ vectors.T)


def inverse(matrix: Float, share: float = 1e-15) -> Float:
    """Inverse along the directions whose value exceeds this share of the largest, of any sign."""
    values, vectors = principal(matrix)
    known = np.abs(values) > share * np.abs(values).max()
    values = np.divide(1.0, values, out=np.zeros_like(values), where=known)
    return np.asarray((vectors * values) @ vectors.T)


def root(covariance: Float) -> Float:
    """Rows of which the products with the columns of a fit have unit variance."""
    values, vectors = principal(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))).T)
