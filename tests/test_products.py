"""Sums of products in parts: what BLAS gives, and no part so large that it wakes its threads."""

from __future__ import annotations

import numpy as np
import pytest

from coregister import products
from coregister.products import REAL_MATRICES, VECTOR, contract, dot, matmul


@pytest.mark.parametrize("size", [1, VECTOR, VECTOR + 1, 3 * VECTOR + 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalar_products(size, dtype):
    rng = np.random.default_rng(size)
    left, right = rng.normal(size=(2, size)).astype(dtype)
    expected = float(np.sum(left.astype(float) * right))
    tolerance = 20 * np.finfo(dtype).eps * np.sqrt(size)
    assert dot(left, right) == pytest.approx(expected, abs=tolerance)
    table = products.products(np.stack([left, right]), right[np.newaxis])
    assert table[:, 0] == pytest.approx([expected, dot(right, right)], abs=tolerance)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_products_of_rows_with_themselves_are_those_of_any_two_arrays(rows):
    values = np.random.default_rng(rows).normal(size=(rows, 3 * VECTOR + 17))
    np.testing.assert_array_equal(
        products.products(values, values), products.products(values, values.copy())
    )
    np.testing.assert_allclose(products.energy(values), np.sum(values**2, axis=0), rtol=1e-14)


def test_single_precision_does_not_grow_with_the_number_of_values():
    """Parts are added in double precision: the sum of a million equal values is right."""
    ones = np.full(2**20 + 1, 0.1, dtype=np.float32)
    assert dot(ones, ones) == pytest.approx(ones.size * float(ones[0]) ** 2, rel=1e-6)


def test_no_scalar_product_is_long_enough_for_threads(monkeypatch):
    """And none is left to a loop of Python: BLAS is given all parts at once, and what is over."""
    lengths = []
    plain = np.matmul

    def recorded(x, y):
        lengths.append((len(x), x.shape[-1]))
        return plain(x, y)

    monkeypatch.setattr(np, "matmul", recorded)
    values = np.ones(5 * VECTOR + 3)
    assert dot(values, values) == values.size
    assert lengths == [(5, VECTOR)]


@pytest.mark.parametrize("unit", [0.0, 1j])
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(5, 6, 7), (40, 50, 60)])
def test_contractions(shape, axis, rows, unit):
    rng = np.random.default_rng(0)
    tensor = rng.normal(size=shape) + unit * rng.normal(size=shape)
    lines = rng.normal(size=(rows, shape[axis]))
    letters = "abc".replace("abc"[axis], "k")
    expected = np.einsum(f"abc,k{'abc'[axis]}->{letters}", tensor, lines)
    np.testing.assert_allclose(contract(tensor, axis, lines), expected, rtol=1e-10, atol=1e-10)


def test_few_real_rows_are_multiplied_one_by_one(monkeypatch):
    """In products too small for BLAS to start its threads, and no loop of Python over them."""
    sizes = []
    plain = np.matmul

    def recorded(x, y, out=None):
        sizes.append(x.shape[-2:] + y.shape)
        return plain(x, y, out=out)

    monkeypatch.setattr(np, "matmul", recorded)
    rng = np.random.default_rng(0)
    tensor, rows = rng.normal(size=(300, 256)), rng.normal(size=(3, 256))
    np.testing.assert_allclose(contract(tensor, 1, rows), tensor @ rows.T, rtol=1e-10, atol=1e-10)
    few = VECTOR // 256
    assert sizes == 3 * [(few, 256, 256), (300 % few, 256, 256)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((7, 128, 72), (7, 72, 72)),
        ((200, 4096), (4096, 3)),
        ((6, 100, 40), (40, 3000)),
        ((300, 12), (12, 9000)),
    ],
)
def test_products_of_matrices(monkeypatch, left, right):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=left), rng.normal(size=right)
    expected = np.einsum("...ij,...jk->...ik", a, b)
    sizes = []
    plain = np.matmul

    def recorded(x, y, out):
        sizes.append(x.shape[-2] * x.shape[-1] * y.shape[-1])
        return plain(x, y, out=out)

    monkeypatch.setattr(np, "matmul", recorded)
    np.testing.assert_allclose(matmul(a, b), expected, rtol=1e-10, atol=1e-10)
    whole = left[-2] * left[-1] * right[-1]
    assert sizes if whole > REAL_MATRICES else not sizes
    assert all(size <= REAL_MATRICES for size in sizes)
