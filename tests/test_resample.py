"""The resampling against scipy, against dense sums, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from coregister.errors import InputError
from coregister.resample import DEGREES, translate

SPLINES = ["linear", "cubic", "quintic"]


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(5).normal(3.0, 1.0, (23, 31))


def operator(size, offset, interpolation, **options):
    """The linear map of one axis, column by column: the slow way."""
    columns = [
        translate(unit, [offset], output_shape=(size,), interpolation=interpolation, **options)
        for unit in np.eye(size)
    ]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("interpolation", SPLINES)
@pytest.mark.parametrize("offset", [(2.3, -1.4), (-0.5, 0.5), (0.001, 7.0), (-3.999, -2.75)])
def test_agrees_with_scipy_up_to_the_edges(image, interpolation, offset):
    ours = translate(image, offset, output_shape=image.shape, interpolation=interpolation)
    order = DEGREES[interpolation]
    known = np.isfinite(ours)
    theirs = scipy.ndimage.affine_transform(image, np.eye(2), offset, order=order, mode="mirror")
    np.testing.assert_allclose(ours[known], theirs[known], atol=1e-10)
    grid = np.indices(image.shape) + np.reshape(offset, (2, 1, 1))
    inside = [(g >= 0) & (g <= n - 1) for g, n in zip(grid, image.shape, strict=True)]
    np.testing.assert_array_equal(known, inside[0] & inside[1])


@pytest.mark.parametrize("interpolation", SPLINES)
def test_periodic_agrees_with_scipy_and_knows_every_pixel(image, interpolation):
    offset = (40.3, -1.4)
    ours = translate(
        image, offset, output_shape=image.shape, interpolation=interpolation, periodic=True
    )
    theirs = scipy.ndimage.affine_transform(
        image, np.eye(2), offset, order=DEGREES[interpolation], mode="grid-wrap"
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize("interpolation", DEGREES)
def test_a_whole_offset_copies_pixels(image, interpolation):
    holed = image.copy()
    holed[4, 5] = np.nan
    moved = translate(holed, (2, -3), output_shape=image.shape, interpolation=interpolation)
    np.testing.assert_array_equal(moved[:-2, 3:], holed[2:, :-3])
    assert np.isnan(moved[-2:]).all()
    assert np.isnan(moved[:, :3]).all()


def test_an_offset_that_is_whole_but_for_rounding_loses_no_edge(image):
    moved = translate(image, (1e-13, -1e-13), output_shape=image.shape)
    np.testing.assert_array_equal(moved, image)


def test_nearest_takes_whole_pixels(image):
    moved = translate(image, (0.4, -0.6), output_shape=image.shape, interpolation="nearest")
    np.testing.assert_array_equal(moved[:, 1:], image[:, :-1])
    assert np.isnan(moved[:, 0]).all()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_reads_a_smooth_scene_at_index_plus_offset_in_any_dimension(ndim):
    def scene(*axes):
        return sum(np.sin(0.3 * x + n) for n, x in enumerate(axes))

    offset = np.array([0.37, -1.2, 2.5])[:ndim]
    shape, wanted = (20, 24, 22)[:ndim], (17, 30, 21)[:ndim]
    ours = translate(scene(*np.indices(shape)), offset, output_shape=wanted)
    truth = scene(*(np.indices(wanted) + offset.reshape(-1, *[1] * ndim)))
    assert ours.shape == wanted
    inner = (slice(8, 14),) * ndim
    np.testing.assert_allclose(ours[inner], truth[inner], atol=2e-3)


def test_far_outside_nothing_is_known(image):
    for offset in [(1e3, 0), (0, -1e9), (22.5, 0)]:
        moved, variance = translate(image, offset, output_shape=image.shape, variance=1.0)
        assert np.isnan(moved).all()
        assert np.isnan(variance).all()


@pytest.mark.parametrize("interpolation", DEGREES)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("offset", [0.5, -1.25, 3.0])
def test_variance_is_the_sum_of_squared_weights(interpolation, periodic, offset):
    size = 12
    spread = np.random.default_rng(1).uniform(0.5, 2.0, size)
    _, variance = translate(
        np.zeros(size),
        [offset],
        output_shape=(size,),
        interpolation=interpolation,
        variance=spread,
        periodic=periodic,
    )
    weights = operator(size, offset, interpolation, periodic=periodic)
    np.testing.assert_allclose(variance, weights**2 @ spread, rtol=1e-10)


def test_variance_in_two_dimensions_is_the_scatter_of_noise(image):
    rng = np.random.default_rng(2)
    spread = rng.uniform(0.5, 2.0, (9, 8))
    draws = 4000
    frames = rng.normal(0, np.sqrt(spread)[..., None], (9, 8, draws))
    moved = translate(frames, (0.5, -0.3, 0), output_shape=frames.shape)
    _, variance = translate(np.zeros((9, 8)), (0.5, -0.3), output_shape=(9, 8), variance=spread)
    known = np.isfinite(variance)
    ratio = moved.var(axis=-1)[known] / variance[known]
    # 56 pixels, each known to sqrt(2 / draws) = 2.2 %: beyond 5 sigma once in 30,000 runs
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / draws)


def test_one_number_is_a_variance_for_all_pixels(image):
    one = translate(image, (0.3, 0.4), output_shape=image.shape, variance=0.25)
    all_ = translate(
        image, (0.3, 0.4), output_shape=image.shape, variance=np.full(image.shape, 0.25)
    )
    np.testing.assert_array_equal(one[1], all_[1])


def test_invalid_pixels_spoil_what_leans_on_them_and_nothing_else(image):
    holed = image.copy()
    holed[10, 12] = np.nan
    moved, variance = translate(
        holed, (0.5, 0.25), output_shape=image.shape, variance=np.ones(image.shape)
    )
    whole = translate(image, (0.5, 0.25), output_shape=image.shape)
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(variance))
    lost = np.isnan(moved) & np.isfinite(whole)
    rows, columns = np.nonzero(lost)
    assert lost[9, 11]
    assert lost[10, 12]
    assert 4 <= lost.sum() <= 16
    assert rows.min() >= 8
    assert rows.max() <= 11
    assert columns.min() >= 10
    assert columns.max() <= 13
    kept = np.isfinite(moved)
    assert np.abs(moved - whole)[kept].max() < 0.2 * image.std()
    far = kept.copy()
    far[2:18, 4:20] = False
    np.testing.assert_allclose(moved[far], whole[far], atol=1e-3)


def test_a_constant_image_stays_constant_beside_a_hole():
    image = np.full((16, 16), 1e6)
    image[5:9, 6] = np.nan
    moved = translate(image, (0.3, 0.6), output_shape=image.shape)
    known = np.isfinite(moved)
    np.testing.assert_allclose(moved[known], 1e6, rtol=1e-12)
    assert known.mean() > 0.7


def test_every_way_to_mark_a_pixel_does_the_same(image):
    marked = np.zeros(image.shape, bool)
    marked[7, 8] = True
    options = {"output_shape": image.shape, "variance": np.ones(image.shape)}
    expected = translate(np.where(marked, np.nan, image), (0.4, 0.4), **options)
    infinite = translate(np.where(marked, -np.inf, image), (0.4, 0.4), **options)
    masked = translate(np.ma.array(image, mask=marked), (0.4, 0.4), **options)
    options["variance"] = np.where(marked, np.nan, 1.0)
    by_variance = translate(image, (0.4, 0.4), **options)
    options["variance"] = np.ma.array(np.ones(image.shape), mask=marked)
    by_masked_variance = translate(image, (0.4, 0.4), **options)
    for other in (infinite, masked, by_variance, by_masked_variance):
        np.testing.assert_array_equal(expected, other)


def test_an_image_without_a_known_pixel_gives_none():
    assert np.isnan(translate(np.full((9, 9), np.nan), (0.5, 0.5), output_shape=(9, 9))).all()


@pytest.mark.parametrize("dtype", ["u1", ">i2", "?", "f4", ">f8"])
def test_any_real_type_comes_out_as_float64_and_goes_in_unchanged(dtype):
    image = (np.arange(120).reshape(10, 12) % 2).astype(dtype)[::-1, ::2]
    variance = np.ones(image.shape, "f4")
    before = image.copy(), variance.copy()
    moved, spread = translate(image, (0.5, 0), output_shape=(10, 6), variance=variance)
    assert moved.dtype == spread.dtype == np.float64
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(variance, before[1])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_images_smaller_than_the_kernel(size):
    image = np.arange(size, dtype=float)
    ours = translate(image, [0.5], output_shape=(size,), interpolation="quintic")
    theirs = scipy.ndimage.affine_transform(image, np.eye(1), 0.5, order=5, mode="mirror")
    np.testing.assert_allclose(ours[: size - 1], theirs[: size - 1], atol=1e-9)
    assert np.isnan(ours[-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interpolation": "lanczos"}, "'lanczos' is not known"),
        ({"offset": [0.5]}, "2 axes"),
        ({"output_shape": (4,)}, "output_shape"),
        ({"output_shape": (4, 0)}, "output_shape"),
        ({"output_shape": 4}, "output_shape"),
        ({"variance": np.ones(31)}, "variance has shape"),
        ({"variance": -1.0}, "negative"),
        ({"image": np.ones((4, 4), complex)}, "complex"),
        ({"image": np.array([["a"]])}, "dtype"),
        ({"image": np.ones((0, 4))}, "empty"),
    ],
)
def test_bad_input_is_answered_in_one_sentence(image, change, message):
    arguments = {"image": image, "offset": (0.5, 0.5), "output_shape": (4, 4)} | change
    with pytest.raises(InputError, match=message) as caught:
        translate(arguments.pop("image"), arguments.pop("offset"), **arguments)
    assert "\n" not in str(caught.value)
