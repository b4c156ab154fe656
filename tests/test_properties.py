"""What holds for every pair, searched for counterexamples by hypothesis."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import coregister as cr

settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=12, phases=[Phase.generate]
)
settings.load_profile("suite")

offsets = st.tuples(*[st.floats(-6, 6).map(lambda d: round(d, 3))] * 2)
whole = st.tuples(*[st.integers(-30, 30)] * 2)
sides = st.tuples(*[st.integers(40, 56)] * 2)
seeds = st.integers(0, 999)
scales = st.floats(-6, 6).map(lambda power: 10.0**power)
boundaries = st.sampled_from(["overlap", "periodic"])


def pair_for(make_pair, boundary, offset, seed, **options):
    """A pair for which the boundary is the right one."""
    return make_pair((48, 52), offset, seed=seed, periodic=boundary == "periodic", **options)


def register(*args, **options):
    """Without the warning: what is claimed here holds for flagged results as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register(*args, **options)


def assert_same(result, expected, *, axes=(0, 1), sign=(1, 1)):
    """Equal flags, offsets within a hundredth of a bar, covariances within one per cent.

    `axes` and `sign` say how the axes of `result` were permuted and reversed.
    """
    axes, sign = list(axes), np.array(sign)
    offset = sign * result.offset[axes]
    covariance = np.outer(sign, sign) * result.covariance[np.ix_(axes, axes)]
    assert result.flags == expected.flags
    worst = np.max(np.abs(offset - expected.offset) / expected.stderr)
    assert worst < 0.01, f"{worst:.2g} of a bar"
    scale = np.outer(expected.stderr, expected.stderr)
    np.testing.assert_allclose(covariance / scale, expected.covariance / scale, atol=0.01)


@given(offset=offsets, seed=seeds, boundary=boundaries)
def test_swapping_the_images_changes_the_sign_and_keeps_the_bars(make_pair, offset, seed, boundary):
    reference, moving = pair_for(make_pair, boundary, offset, seed)
    there = register(reference, moving, boundary=boundary)
    back = register(moving, reference, boundary=boundary)
    assert_same(back, there, sign=(-1, -1))


@given(shape=sides, roll=whole, seed=seeds)
def test_a_roll_of_a_periodic_image_comes_back_exactly(make_pair, shape, roll, seed):
    image, _ = make_pair(shape, (0, 0), seed=seed)
    result = cr.register(image, np.roll(image, roll, axis=(0, 1)), boundary="periodic")
    period = np.array(shape)
    error = (result.offset - roll + period / 2) % period - period / 2
    assert np.max(np.abs(error)) < 1e-8
    assert result.trusted
    assert np.all(np.abs(result.offset) <= period / 2 + 1e-8)


@given(
    offset=offsets, seed=seeds, boundary=boundaries, first=scales, second=scales, up=st.booleans()
)
def test_scaling_either_image_leaves_the_answer(
    make_pair, offset, seed, boundary, first, second, up
):
    pair = pair_for(make_pair, boundary, offset, seed)
    expected = register(*pair, boundary=boundary)
    sign = 1 if up else -1  # both images as negatives: the gain stays positive
    result = register(sign * first * pair[0], sign * second * pair[1], boundary=boundary)
    assert_same(result, expected)
    assert result.gain == pytest.approx(expected.gain * second / first, rel=1e-3)


@given(offset=offsets, seed=seeds, boundary=boundaries, pedestals=offsets)
def test_adding_a_constant_leaves_the_answer(make_pair, offset, seed, boundary, pedestals):
    reference, moving = pair_for(make_pair, boundary, offset, seed)
    expected = register(reference, moving, boundary=boundary)
    result = register(
        reference + 100 * pedestals[0], moving + 100 * pedestals[1], boundary=boundary
    )
    assert_same(result, expected)


@given(offset=offsets, seed=seeds, boundary=boundaries)
def test_transposing_the_images_swaps_the_axes(make_pair, offset, seed, boundary):
    reference, moving = pair_for(make_pair, boundary, offset, seed)
    upright = register(reference, moving, boundary=boundary)
    lying = register(reference.T, moving.T, boundary=boundary)
    assert_same(lying, upright, axes=(1, 0))


@given(offset=offsets, seed=seeds, boundary=boundaries)
def test_reversing_an_axis_changes_the_sign_along_it(make_pair, offset, seed, boundary):
    reference, moving = pair_for(make_pair, boundary, offset, seed)
    expected = register(reference, moving, boundary=boundary)
    result = register(reference[:, ::-1], moving[:, ::-1], boundary=boundary)
    assert_same(result, expected, sign=(1, -1))


@given(
    offset=offsets,
    seed=seeds,
    boundary=boundaries,
    bad=hnp.arrays(bool, (48, 52), elements=st.booleans(), fill=st.just(False)),
    value=st.sampled_from([0.0, 1e9, -1e300, np.nan, np.inf]),
)
def test_the_value_of_a_masked_pixel_is_irrelevant(make_pair, offset, seed, boundary, bad, value):
    reference, moving = pair_for(make_pair, boundary, offset, seed)
    expected = register(reference, moving, moving_valid=~bad, boundary=boundary)
    result = register(reference, np.where(bad, value, moving), moving_valid=~bad, boundary=boundary)
    assert result.to_dict() == expected.to_dict()


@given(offset=offsets, seed=seeds, noise=st.sampled_from([0.02, 0.5, 5.0]), boundary=boundaries)
def test_json_there_and_back(make_pair, offset, seed, noise, boundary):
    result = register(*pair_for(make_pair, boundary, offset, seed, noise=noise), boundary=boundary)
    again = cr.Registration.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    for field in ("offset", "covariance", "information", "systematic"):
        np.testing.assert_array_equal(getattr(again, field), getattr(result, field))
    assert again.flags == result.flags
    assert str(again) == str(result)


@given(offset=offsets, seed=seeds)
def test_the_same_pair_gives_the_same_answer(make_pair, offset, seed):
    pair = make_pair((48, 52), offset, seed=seed)
    assert register(*pair).to_dict() == register(*pair).to_dict()
