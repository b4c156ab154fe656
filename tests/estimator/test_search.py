"""What the search takes for a candidate."""

from __future__ import annotations

import numpy as np
import pytest

from coregister.estimator.search import pick
from coregister.estimator.search.correlation import signed_lags

SHAPE = (64, 64)
WIDTH = 8.0


def found(peaks, *, uniform, reach=None):
    """Offsets that are found where the correlation has these peaks, 8 px wide: {offset: height}."""
    lags = signed_lags(list(SHAPE))
    correlation = 0.001 * np.random.default_rng(3).normal(size=SHAPE)
    correlation += sum(
        height
        * np.exp(-sum((lag - at) ** 2 for lag, at in zip(lags, offset, strict=True)) / WIDTH**2)
        for offset, height in peaks.items()
    )
    everywhere = np.ones(SHAPE, dtype=bool)
    allowed = everywhere
    if reach is not None:
        allowed = np.all(np.abs(np.broadcast_arrays(*lags)) <= reach, axis=0)
    candidates = pick(
        correlation,
        4000.0 if uniform else np.full(SHAPE, 4000.0),
        null=0.01 * np.random.default_rng(4).normal(size=SHAPE),
        counted=everywhere,
        allowed=allowed,
        lags=lags,
        roughness=1.0,
        edge=lambda offset: False,
        band=1.0,
        periodic=uniform,
        sparse_fields=None,
    )
    return [tuple(np.rint(candidate.offset).astype(int)) for candidate in candidates]


@pytest.mark.parametrize("uniform", [True, False])
def test_the_flank_of_a_broad_peak_is_no_candidate(uniform):
    """Six samples from the top it is as high as a rival has to be."""
    assert found({(2, -31): 0.8}, uniform=uniform) == [(2, -31)]


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("second", [(20, 5), (-14, 30), (2, 14)])
def test_a_peak_of_its_own_is_one(uniform, second):
    """Also where it stands out of the flank of a higher one."""
    assert found({(2, -31): 0.8, second: 0.7}, uniform=uniform) == [(2, -31), second]


def test_the_limit_of_the_search_is_no_flank_of_what_lies_beyond():
    """The first is the highest lag that may be answered, wherever the way uphill leads."""
    assert found({(0, 12): 0.8, (0, -9): 0.6}, uniform=True, reach=10) == [(0, 10), (0, -9)]
