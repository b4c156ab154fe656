"""What holds for every pair, searched for counterexamples by hypothesis."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import coregister as cr

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=12)
settings.load_profile("suite")

offsets = st.tuples(*[st.floats(-6, 6).map(lambda d: round(d, 3))] * 2)
whole = st.tuples(*[st.integers(-30, 30)] * 2)
sides = st.tuples(*[st.integers(40, 56)] * 2)
seeds = st.integers(0, 999)
scales = st.floats(-6, 6).map(lambda power: 10.0**power)
boundaries = st.sampled_from(["overlap", "periodic"])


def register(*args, **options):
    """Without the warning: what is claimed here holds for flagged results as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register(*args, **options)


def assert_same(result, expected, *, of_a_bar=1e-3):
    """Equal offsets, to a small part of a bar, and equal bars."""
    assert result.flags == expected.flags
    np.testing.assert_allclose(result.covariance, expected.covariance, rtol=0.01)
    worst = np.abs(result.offset - expected.offset) / np.minimum(result.stderr, 1e9)
    assert worst.max() < of_a_bar, f"{worst.max():.2g} of a bar"


@given(offset=offsets, seed=seeds, boundary=boundaries)
def test_swapping_the_images_changes_the_sign_and_keeps_the_bars(make_pair, offset, seed, boundary):
    reference, moving = make_pair((48, 52), offset, seed=seed)
    there = register(reference, moving, boundary=boundary)
    back = register(moving, reference, boundary=boundary)
    assert there.flags == back.flags
    np.testing.assert_allclose(back.covariance, there.covariance, rtol=0.01)
    assert np.max(np.abs(there.offset + back.offset) / there.stderr) < 1e-3


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
    pair = make_pair((48, 52), offset, seed=seed)
    expected = register(*pair, boundary=boundary)
    sign = 1 if up else -1  # both images as negatives: the gain stays positive
    result = register(sign * first * pair[0], sign * second * pair[1], boundary=boundary)
    assert_same(result, expected)
    assert result.gain == pytest.approx(expected.gain * second / first, rel=1e-3)


@given(offset=offsets, seed=seeds, boundary=boundaries, pedestals=offsets)
def test_adding_a_constant_leaves_the_answer(make_pair, offset, seed, boundary, pedestals):
    reference, moving = make_pair((48, 52), offset, seed=seed)
    expected = register(reference, moving, boundary=boundary)
    result = register(
        reference + 100 * pedestals[0], moving + 100 * pedestals[1], boundary=boundary
    )
    assert_same(result, expected)


@given(offset=offsets, seed=seeds, boundary=boundaries)
def test_transposing_the_images_swaps_the_axes(make_pair, offset, seed, boundary):
    reference, moving = make_pair((48, 52), offset, seed=seed)
    upright = register(reference, moving, boundary=boundary)
    lying = register(reference.T, moving.T, boundary=boundary)
    assert lying.flags == upright.flags
    np.testing.assert_allclose(lying.covariance[::-1, ::-1], upright.covariance, rtol=0.01)
    assert np.max(np.abs(lying.offset[::-1] - upright.offset) / upright.stderr) < 1e-3


@given(offset=offsets, seed=seeds, boundary=boundaries)
def test_reversing_an_axis_changes_the_sign_along_it(make_pair, offset, seed, boundary):
    reference, moving = make_pair((48, 52), offset, seed=seed)
    expected = register(reference, moving, boundary=boundary)
    result = register(reference[:, ::-1], moving[:, ::-1], boundary=boundary)
    assert result.flags == expected.flags
    mirror = np.array([1, -1])
    np.testing.assert_allclose(
        result.covariance * np.outer(mirror, mirror), expected.covariance, rtol=0.01, atol=1e-9
    )
    assert np.max(np.abs(result.offset * mirror - expected.offset) / expected.stderr) < 1e-3


@given(
    offset=offsets,
    seed=seeds,
    boundary=boundaries,
    bad=hnp.arrays(bool, (48, 52), elements=st.booleans(), fill=st.just(False)),
    value=st.sampled_from([0.0, 1e9, -1e300, np.nan, np.inf]),
)
def test_the_value_of_a_masked_pixel_is_irrelevant(make_pair, offset, seed, boundary, bad, value):
    reference, moving = make_pair((48, 52), offset, seed=seed)
    expected = register(reference, moving, moving_valid=~bad, boundary=boundary)
    result = register(reference, np.where(bad, value, moving), moving_valid=~bad, boundary=boundary)
    assert result.to_dict() == expected.to_dict()


@given(offset=offsets, seed=seeds, noise=st.sampled_from([0.02, 0.5, 5.0]), boundary=boundaries)
def test_json_there_and_back(make_pair, offset, seed, noise, boundary):
    result = register(*make_pair((48, 52), offset, seed=seed, noise=noise), boundary=boundary)
    again = cr.Registration.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    for field in ("offset", "covariance", "information", "systematic"):
        np.testing.assert_array_equal(getattr(again, field), getattr(result, field))
    assert again.flags == result.flags
    assert str(again) == str(result)


@given(offset=offsets, seed=seeds)
def test_the_same_pair_gives_the_same_answer(make_pair, offset, seed):
    pair = make_pair((48, 52), offset, seed=seed)
    assert register(*pair).to_dict() == register(*pair).to_dict()
