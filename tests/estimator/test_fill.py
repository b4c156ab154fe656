"""Spikes and tracks are told from stars; holes cost what they hide, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from coregister.estimator.fill import _doubled, outliers, rims, spikes, suspects


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def sky(rng):
    return rng.normal(size=(40, 40))


def test_a_hot_pixel_is_a_spike_and_a_star_is_not(rng):
    data = sky(rng)
    data[10, 12] += 60
    row, column = np.indices(data.shape)
    data += 60 * np.exp(-((row - 25.3) ** 2 + (column - 20.6) ** 2) / 2)
    for alike in (0, 2):
        assert list(zip(*np.nonzero(spikes(data, suspects(data), alike)), strict=True)) == [
            (10, 12)
        ]


def test_a_dark_pixel_is_a_spike(rng):
    data = sky(rng)
    data[0, 39] -= 60
    assert list(zip(*np.nonzero(spikes(data, suspects(data))), strict=True)) == [(0, 39)]


@pytest.mark.parametrize("step", [(0, 1), (1, 1), (1, -1), (1, 0)])
def test_a_track_is_found_where_two_neighbours_may_be_alike(rng, step):
    data = sky(rng)
    track = tuple(20 + np.arange(5) * s for s in step)
    data[track] += 60
    expected = np.zeros(data.shape, bool)
    expected[track] = True
    np.testing.assert_array_equal(spikes(data, suspects(data), 2), expected)
    assert not spikes(data, suspects(data)).any()


def test_a_line_has_no_track_along_one_axis(rng):
    line = rng.normal(size=64)
    line[20:23] += 60
    assert not spikes(line, suspects(line), 2).any()


def test_noise_that_varies_makes_no_outliers(rng):
    residual = rng.normal(size=(64, 64))
    residual[:, 40:] *= 3
    assert outliers(residual)[0].size == 0
    residual[5, 7], residual[30, 50] = 12.0, 12.0
    assert list(zip(*outliers(residual), strict=True)) == [(5, 7)]


def test_wide_holes_are_felt_beside_them_and_narrow_ones_are_not():
    valid = np.ones((32, 32), bool)
    valid[4, 4] = valid[16:24, 16:24] = False
    spread = rims(valid, lambda frequency: (frequency < 0.4).astype(np.float64))
    assert spread[4, 5] == 0
    assert spread[15, 18] > spread[14, 18] > 0
    assert spread[13, 18] == 0


def test_what_is_felt_beside_a_hole_does_not_depend_on_deeper_ones_elsewhere():
    def finer(frequency):
        return np.exp(-5 * frequency)

    narrow = np.ones((40, 48), bool)
    narrow[4, 4] = narrow[8:10, 30] = narrow[20, 10:16] = False
    both = narrow.copy()
    both[28:35, 30:37] = False
    alone, together = (rims(valid, finer) for valid in (narrow, both))
    np.testing.assert_array_equal(alone[:25], together[:25])
    assert alone[4, 5] == pytest.approx(0.2**2 * finer(0.5))
    assert together[27, 33] == pytest.approx(0.2**2 * finer(0.5 / 7))


@pytest.mark.parametrize("length", [7, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_between_the_middles_of_cells_values_are_interpolated(axis, length, rng):
    cells = rng.normal(size=(4, 4))
    middles = 2 * np.arange(4) + 0.5
    expected = np.apply_along_axis(
        lambda line: np.interp(np.arange(length), middles, line), axis, cells
    )
    np.testing.assert_allclose(_doubled(cells, axis, length), expected, atol=1e-14)
