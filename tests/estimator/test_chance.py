"""How likely chance is to make a peak as high."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from coregister.estimator.search.chance import chance_by_null, chance_of_excess


@pytest.mark.parametrize("count", [4, 30])
def test_the_chance_of_a_peak_is_uniform_where_another_field_alone_tells_it(count):
    # peaks with an exponential tail: ranks are arrivals of a Poisson process
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(size=(4000, count + 1)), axis=1)
    known, own = -np.log(arrivals), -np.log(rng.exponential(size=4000))
    level = known[:, count]
    mean_excess = np.mean(known[:, :count], axis=1) - level
    excess = np.maximum(own - level, 0) / mean_excess
    found = np.array([chance_of_excess(x, count) for x in excess])
    # below the level of the other field nothing is told, and p is the same for all
    ranked = found < 0.9
    assert stats.kstest(found[ranked] / 0.9, "uniform").pvalue > 1e-3
    assert np.mean(ranked) == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 4000))
    # the control: what was read from a few peaks is no knowledge
    naive = -np.expm1(-count * np.exp(-excess))
    assert stats.kstest(naive, "uniform").pvalue < 1e-6


def test_the_chance_of_a_peak_falls_to_nothing():
    found = np.array([chance_of_excess(x, 30) for x in np.geomspace(0.1, 1e4, 40)])
    assert np.all(np.diff(found) < 0)
    assert np.isfinite(found).all()
    assert 0 < found[-1] < 1e-60
    # far out, so many peaks are expected as one excess of Pareto's has, for each
    assert chance_of_excess(200.0, 30) == pytest.approx(31 * (1 + 200 / 30) ** -30, rel=1e-6)


@pytest.mark.parametrize("rows", [8, 32])
def test_a_field_that_is_smaller_has_fewer_peaks(rows):
    rng = np.random.default_rng(8)
    everywhere = np.ones((64, 64), dtype=bool)
    inside = everywhere & (np.arange(64) < rows)[:, None]
    found, control = [], []
    for _ in range(800):
        null, own = (rng.standard_exponential((64, 64)) for _ in range(2))
        for told, allowed in ((found, inside), (control, everywhere)):
            chance = chance_by_null(null, everywhere, allowed, 1.0)
            assert chance is not None
            told.append(chance(own[inside].max()))
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    assert stats.kstest(control, "uniform").pvalue < 1e-6
