"""Sums of products, without the threads of BLAS.

BLAS wakes its threads for a scalar product of more than some ten thousand numbers. On idle cores
that saves microseconds; where other processes keep them busy each product waits for a turn of the
scheduler, some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]

#: values that are worked on at a time: they stay in the processor's cache from one step to the next
PIECE = 2**16
#: numbers that OpenBLAS multiplies with a vector without waking its threads
VECTOR = 9216
#: the same for products of matrices, complex and real: so many multiplications
COMPLEX_MATRICES, REAL_MATRICES = 60_000, 2**18
#: rows of a contraction up to which it is limited by memory, not by arithmetic; and real ones up
#: to which a product with each is faster than one with all of them
FEW_ROWS, FEWEST_ROWS = 32, 4


def pieces(size: int) -> Iterator[slice]:
    """Parts of an array of so many values, one after the other."""
    return (slice(start, start + PIECE) for start in range(0, size, PIECE))


def dot(left: Real, right: Real) -> float:
    """Sum of the products of two arrays of one shape."""
    a, b = left.reshape(-1), right.reshape(-1)
    if a.size <= VECTOR:
        return float(a @ b)
    whole = a.size - a.size % VECTOR
    # a product of BLAS for every part, and no step of Python between two of them
    parts = np.matmul(a[:whole].reshape(-1, 1, VECTOR), b[:whole].reshape(-1, VECTOR, 1))
    return float(parts.sum(dtype=np.float64)) + float(a[whole:] @ b[whole:])


def products(left: Real, right: Real) -> NDArray[np.float64]:
    """All products of the rows of two arrays, summed: (len(left), len(right))."""
    if left is not right:
        return np.array([[dot(a, b) for b in right] for a in left])
    sums = np.empty((len(left), len(left)))
    for i, a in enumerate(left):
        for j in range(i + 1):
            sums[i, j] = sums[j, i] = dot(a, left[j])
    return sums


def energy(rows: NDArray[Any]) -> NDArray[Any]:
    """Sum of the squares of some arrays, element by element."""
    total: NDArray[Any] = np.square(rows[0])
    spare = np.empty_like(total)
    for row in rows[1:]:
        total += np.square(row, out=spare)
    return total


@lru_cache
def _orders(ndim: int, axis: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes with one put last, and the way back."""
    order = (*range(axis), *range(axis + 1, ndim), axis)
    return order, (*range(axis), ndim - 1, *range(axis, ndim - 1))


def contract(tensor: NDArray[Any], axis: int, rows: NDArray[Any]) -> NDArray[Any]:
    """Sum over one axis against each of `rows`, whose number takes the place of its length.

    Few rows are contracted in pieces too small for BLAS to start its threads: with so little to
    do for each number read, waking them costs more than they save.
    """
    lines = tensor.size // tensor.shape[axis]
    few = COMPLEX_MATRICES if min(len(rows), lines) > 1 else VECTOR
    if tensor.size * len(rows) <= few:
        if axis == tensor.ndim - 1:
            return np.asarray(tensor @ rows.T)
        if axis == 0:
            product = rows @ tensor.reshape(len(tensor), -1)
            return np.asarray(product.reshape(len(rows), *tensor.shape[1:]))
    order, back = _orders(tensor.ndim, axis)
    moved = tensor.transpose(order)
    count, length = rows.shape
    if count > FEW_ROWS:
        return np.asarray((moved @ rows.T).transpose(back))
    flat = moved.reshape(-1, length)
    pieces = min(len(flat) // 2, -(-flat.size * count // COMPLEX_MATRICES))
    if min(count, len(flat)) == 1:
        result = np.einsum("ij,kj->ik", flat, rows)
    elif pieces > 1 and count <= FEWEST_ROWS and length <= VECTOR and _long(moved):
        result = np.stack([_times(flat, row) for row in rows], axis=1)
    elif pieces <= 1:
        result = flat @ rows.T
    else:
        result = np.empty((len(flat), count), dtype=tensor.dtype)
        few = -(-len(flat) // pieces)
        for start in range(0, len(flat), few):
            np.matmul(flat[start : start + few], rows.T, out=result[start : start + few])
    return np.asarray(result.reshape(*moved.shape[:-1], count).transpose(back))


def _long(lines: NDArray[Any]) -> bool:
    """True of many real numbers that lie in memory as they are contracted."""
    return bool(lines.size > PIECE and lines.flags.c_contiguous and lines.dtype.kind == "f")


def _times(matrix: NDArray[Any], vector: NDArray[Any]) -> NDArray[Any]:
    """A matrix times a vector: a product of BLAS for every few rows, and no step of Python."""
    few = VECTOR // vector.size
    whole = len(matrix) - len(matrix) % few
    result = np.empty(len(matrix), dtype=matrix.dtype)
    parts = matrix[:whole].reshape(-1, few, vector.size)
    np.matmul(parts, vector, out=result[:whole].reshape(-1, few))
    np.matmul(matrix[whole:], vector, out=result[whole:])
    return result


def matmul(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """``left @ right``, of one pair of real matrices or of many."""
    rows, length, columns = *left.shape[-2:], right.shape[-1]
    if rows * length * columns <= REAL_MATRICES:
        return np.asarray(left @ right)
    some = min(rows, max(16, REAL_MATRICES // (length * columns)))
    wide = min(columns, max(2, REAL_MATRICES // (some * length)))
    many = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    result = np.empty((*many, rows, columns), dtype=np.result_type(left, right))
    for i in range(0, rows, some):
        for j in range(0, columns, wide):
            np.matmul(
                left[..., i : i + some, :],
                right[..., j : j + wide],
                out=result[..., i : i + some, j : j + wide],
            )
    return result
