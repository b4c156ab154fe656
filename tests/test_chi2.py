"""The seed's function against sums of squares written out, and its bars against simulations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.stats

import coregister.chi2.inputs as inputs
from coregister.chi2 import chi2_shift, chi2map_to_errors, chi2n_map
from coregister.chi2.halves import HalfPixelPolynomial
from coregister.chi2.region import delta_chi2
from coregister.chi2.surface import Surface
from coregister.errors import InputError
from coregister.fourier import TrigPolynomial, fourier_shift

SHAPES = [(16, 16), (15, 17), (16, 17), (17, 16), (12, 20)]
BOUNDARIES = ("wrap", "constant", "reflect", "nearest")
PADDING = {"wrap": "wrap", "constant": "constant", "reflect": "symmetric", "nearest": "edge"}
LEVEL = scipy.stats.chi2(2).ppf(scipy.stats.chi2(1).cdf(1))


def scene(shape, slope=-2.0, seed=0):
    """A periodic scene with a power-law spectrum and unit variance."""
    spectrum = np.fft.rfft2(np.random.default_rng(seed).normal(size=shape))
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    k[0, 0] = np.inf
    image = np.fft.irfft2(spectrum * k ** (slope / 2), s=shape)
    return image / image.std()


def pair(shape=(24, 21), offset=(1.3, -2.4), noise=0.2, slope=-2.0, seed=0):
    """(im1, im2, err) with noise that varies from pixel to pixel in im2 alone."""
    rng = np.random.default_rng([seed, 1])
    im1 = 3 * scene(shape, slope, seed)
    err = noise * np.exp(0.4 * rng.normal(size=shape))
    return im1, fourier_shift(im1, offset) + err * rng.normal(size=shape), err


def weights(err, im2):
    """1 / err^2, 0 where a pixel is left out."""
    err = np.broadcast_to(err, im2.shape)
    used = np.isfinite(im2) & np.isfinite(err) & (err > 0)
    return np.where(used, 1 / np.where(used, err, 1) ** 2, 0)


def direct(im1, im2, err, dx, dy):
    """chi^2 at one offset: the sum of squares as it is defined."""
    residual = np.nan_to_num(im2) - fourier_shift(im1, (dy, dx))
    return np.sum(weights(err, im2) * residual**2)


class TestMap:
    @pytest.mark.parametrize("upsample_factor", ["auto", 1, 2.5, 30])
    @pytest.mark.parametrize("kind", ["scalar", "array", "array with holes"])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_chi2_at_its_offsets(self, shape, kind, upsample_factor):
        im1, im2, err = pair(shape, slope=0.0, noise=0.5)  # white: power at Nyquist
        if kind == "scalar":
            err = 0.5
        if kind == "array with holes":
            err[2, 3], err[5, 6], err[7, 7], im2[9, 4] = 0, np.nan, np.inf, np.nan
        *_, (x, y, chi2) = chi2_shift(
            im1,
            im2,
            err,
            upsample_factor=upsample_factor,
            return_chi2array=True,
            max_auto_size=16,
        )
        assert x.shape == y.shape == chi2.shape
        for node in [(0, 0), (3, 4), (-1, -1), (-1, 0), (chi2.shape[0] // 2, chi2.shape[1] // 2)]:
            expected = direct(im1, im2, err, x[node], y[node])
            assert chi2[node] == pytest.approx(expected, rel=1e-11)

    def test_term3_needs_twice_the_bandwidth(self):
        """Negative control: interpolating the whole-pixel map is wrong with an error array."""
        im1, im2, err = pair((16, 16), slope=0.0, noise=0.5)
        dx, dy, *_ = chi2_shift(im1, im2, err)
        whole = np.array([[direct(im1, im2, err, i, j) for i in range(16)] for j in range(16)])
        interpolated = fourier_shift(whole, (-dy, -dx))[0, 0]
        assert abs(interpolated / direct(im1, im2, err, dx, dy) - 1) > 1e-3

    def test_signs_order_and_kind_of_what_is_returned(self):
        im1, im2, err = pair((40, 48), offset=(-2.7, 3.3))
        found = chi2_shift(im1, im2, err, return_chi2array=True)
        assert type(found) is list
        assert len(found) == 5
        dx, dy, errx, erry, (x, y, chi2) = found
        assert dx == pytest.approx(3.3, abs=5 * errx)
        assert dy == pytest.approx(-2.7, abs=5 * erry)
        assert np.ptp(x, axis=0).max() == 0
        assert np.ptp(y, axis=1).max() == 0
        assert np.all(np.diff(x[0]) > 0)
        assert np.all(np.diff(y[:, 0]) > 0)
        lowest = np.unravel_index(chi2.argmin(), chi2.shape)
        assert (x[lowest], y[lowest]) == (dx, dy)
        assert len(chi2_shift(im1, im2, err, return_error=False)) == 2
        assert len(chi2_shift(im1, im2, err, return_error=False, return_chi2array=True)) == 3

    def test_a_number_sets_the_pixel_of_the_map_and_nothing_else(self):
        im1, im2, err = pair((20, 32))
        plain = chi2_shift(im1, im2, err)
        for factor, shape in [(1, (20, 32)), (0.5, (20, 32)), (12, (24, 32)), (40.0, (80, 80))]:
            *found, (x, y, _) = chi2_shift(
                im1, im2, err, upsample_factor=factor, return_chi2array=True
            )
            assert x.shape == shape
            np.testing.assert_allclose(np.diff(x[0]), 1 / factor, rtol=1e-9)
            np.testing.assert_allclose(np.diff(y[:, 0]), 1 / factor, rtol=1e-9)
            assert found == plain

    @pytest.mark.parametrize("max_nsig", [1.1, 3.0, 9.0])
    @pytest.mark.parametrize("size", [32, 33])
    def test_auto_just_covers_the_region(self, size, max_nsig):
        im1, im2, err = pair(noise=0.05)
        dx, dy, _, _, (x, y, chi2) = chi2_shift(
            im1, im2, err, return_chi2array=True, max_auto_size=size, max_nsig=max_nsig
        )
        assert chi2.shape == (size, size)
        level = delta_chi2(max_nsig, 2)
        inside = chi2 - chi2.min() <= level
        border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        assert not border.any()
        widest = max(np.abs(x[inside] - dx).max(), np.abs(y[inside] - dy).max())
        assert widest > 0.8 * (x[0, -1] - dx) - (x[0, 1] - x[0, 0])

    def test_a_map_that_leaves_the_shifts_of_an_open_boundary_is_moved_inside(self):
        im1 = scene((32, 32), seed=4)
        im2 = np.roll(im1, 14, axis=1)
        im2[:, :14] = 0
        dx, dy, _, _, (x, y, _) = chi2_shift(
            im1, im2, 0.1, boundary="constant", upsample_factor=1, return_chi2array=True
        )
        assert (dx, dy) == pytest.approx((14, 0), abs=0.1)
        assert x.max() <= 31
        assert dx in x
        assert dy in y


def whole_pixel_map(im1, im2, err, boundary, v=None):
    """chi^2 at whole pixels in the seed's layout, the slow way."""
    rows, columns = im1.shape
    padded = np.pad(im1, [(rows, rows), (columns, columns)], mode=PADDING[boundary])
    w = weights(err, im2)
    if v is not None:
        edge = {"constant_values": 1.0} if boundary == "constant" else {}
        margin = [(rows, rows), (columns, columns)]
        v = np.pad(v.astype(float), margin, mode=PADDING[boundary], **edge)
    chi2 = np.empty(im1.shape)
    for i, j in np.ndindex(im1.shape):
        dy, dx = (rows - 1) // 2 - i, (columns - 1) // 2 - j
        cut = np.s_[rows - dy : 2 * rows - dy, columns - dx : 2 * columns - dx]
        here = np.ones(im1.shape) if v is None else v[cut]
        count = np.sum((w > 0) & (here > 0))
        squares = w * here * (np.nan_to_num(im2) - padded[cut]) ** 2
        chi2[i, j] = squares.sum() * np.sum(w > 0) / count
    return chi2


class TestWholePixelMap:
    @pytest.mark.parametrize("boundary", BOUNDARIES)
    @pytest.mark.parametrize("array", [False, True])
    @pytest.mark.parametrize("shape", [(9, 12), (10, 9)])
    def test_is_the_sum_of_squares(self, shape, array, boundary):
        im1, im2, err = pair(shape)
        im1, im2 = im1 + 5, im2 + 5
        if array:
            err[1, 2], im2[3, 3] = 0, np.nan
        else:
            err = 0.3
        expected = whole_pixel_map(im1, im2, err, boundary)
        np.testing.assert_allclose(
            chi2n_map(im1, im2, err, boundary=boundary), expected, rtol=1e-11
        )

    @pytest.mark.parametrize("boundary", BOUNDARIES)
    def test_nan_in_im1_moves_along_and_is_scaled_away(self, boundary):
        im1, im2, err = pair((10, 11))
        im2[4, 4] = np.nan
        valid = np.random.default_rng(3).uniform(size=im1.shape) > 0.2
        expected = whole_pixel_map(im1, im2, err, boundary, valid)
        found = chi2n_map(np.where(valid, im1, np.nan), im2, err, boundary=boundary)
        np.testing.assert_allclose(found, expected, rtol=1e-11)

    @pytest.mark.parametrize("hole", [False, True])
    @pytest.mark.parametrize("array", [False, True])
    def test_terms_add_up(self, array, hole):
        im1, im2, err = pair((10, 11))
        im1, im2 = im1 + 4, im2 + 2
        if not array:
            err = 0.3
        if hole:
            im1[2, 2] = np.nan
        chi2, term1, term2, term3 = chi2n_map(im1, im2, err, return_all=True)
        np.testing.assert_allclose(term1 + term2 + term3, chi2, rtol=1e-9)
        assert np.ndim(term1) == (2 if hole else 0)
        assert np.ndim(term3) == (2 if hole or array else 0)
        if not hole:
            assert term1 == pytest.approx(np.sum(im2**2 / np.square(err)))

    def test_reduced_and_no_errors(self):
        im1, im2, _ = pair((10, 11))
        plain = chi2n_map(im1, im2)
        assert plain[4, 5] == pytest.approx(np.sum((im1 - im2) ** 2))
        np.testing.assert_allclose(chi2n_map(im1, im2, reduced=True), plain / 108)


class TestSurface:
    """The function itself, between the pixels, against the sum of squares."""

    @pytest.mark.parametrize("boundary", BOUNDARIES)
    @pytest.mark.parametrize("hole", [False, True])
    def test_is_the_sum_of_squares_anywhere(self, boundary, hole):
        im1, im2, err = pair((11, 10), slope=0.0)
        if hole:
            im1[2, 3] = im1[7, 7] = im2[5, 5] = np.nan
        model, data = inputs.images(im1, im2, err, False)
        surface = Surface(inputs.arrange(model, data, boundary), inputs.transform(1, False))
        for position in ([0.4, -0.3], [2.5, 1.7], [-3.0, 2.0]):
            position = np.array(position)
            expected = surface.residual(position)
            found = surface.grid([position[:1], position[1:]])[0, 0] + surface.constant
            assert found == pytest.approx(expected, rel=1e-10)
            taylor = surface.taylor(position, 6)
            assert taylor[0, 0] + surface.constant == pytest.approx(expected, rel=1e-10)
            step = np.array([0.02, -0.01])
            near = surface.residual(position + step) - surface.constant
            predicted = step[0] ** np.arange(7) @ taylor @ step[1] ** np.arange(7)
            assert predicted == pytest.approx(near, rel=1e-8)

    @pytest.mark.parametrize(("boundary", "periods"), [("constant", 2), ("reflect", 2)])
    def test_open_boundaries_between_the_pixels(self, boundary, periods):
        im1, im2, err = pair((12, 9))
        margin = [(0, n) for n in im1.shape]
        extended = np.pad(im1, margin, mode=PADDING[boundary])
        model, data = inputs.images(im1, im2, err, False)
        surface = Surface(inputs.arrange(model, data, boundary), inputs.transform(1, False))
        offset = (3.3, -2.6)
        moved = fourier_shift(extended, offset)[:12, :9]
        expected = np.sum(((im2 - moved) / err) ** 2)
        assert surface.residual(np.array(offset)) == pytest.approx(expected, rel=1e-11)


class TestMinimum:
    @pytest.mark.parametrize("boundary", BOUNDARIES)
    @pytest.mark.parametrize("err", [None, 0.7, "array"])
    @pytest.mark.parametrize("shape", [(24, 24), (25, 30)])
    def test_identical_images_give_zero_and_an_error_above_zero(self, shape, err, boundary):
        image = scene(shape)
        err = pair(shape)[2] if err == "array" else err
        dx, dy, errx, erry = chi2_shift(image, image, err, boundary=boundary)
        assert (dx, dy) == (0.0, 0.0)
        assert not np.signbit(dx)
        assert 0 < errx < np.inf
        assert 0 < erry < np.inf
        if err is None:
            assert errx < 1e-12

    @pytest.mark.parametrize("shape", [(24, 24), (25, 30), (33, 18)])
    @pytest.mark.parametrize("offset", [(1.3, -2.4), (0.5, 0.5), (-6.499, 7.2)])
    def test_noiseless_pairs_come_back(self, shape, offset):
        image = 100 + scene(shape)
        moved = fourier_shift(image, offset)
        for err in (None, 0.3, pair(shape)[2]):
            dx, dy, *_ = chi2_shift(image, moved, err)
            assert (dy, dx) == pytest.approx(offset, abs=1e-9)

    def test_rolled_images_wrap_into_half_a_period(self):
        image = scene((16, 15))
        assert chi2_shift(image, np.roll(image, (8, 7), (0, 1)), 1.0)[:2] == [7, -8]
        assert chi2_shift(image, np.roll(image, (7, 8), (0, 1)), 1.0)[:2] == [-7, 7]

    def test_it_is_the_lowest_point_of_the_continuous_function(self):
        for seed in range(6):  # noisy enough for rivals between the pixels
            im1, im2, err = pair((18, 21), noise=4.0, seed=seed)
            dx, dy, *_ = chi2_shift(im1, im2, err)
            best = direct(im1, im2, err, dx, dy)
            *_, (_, _, chi2) = chi2_shift(im1, im2, err, upsample_factor=10, return_chi2array=True)
            fine = min(
                chi2.min(),
                min(
                    direct(im1, im2, err, x, y)
                    for x in np.arange(-10, 11, 0.5)
                    for y in np.arange(-9, 9, 0.5)
                ),
            )
            assert best <= fine + 1e-9 * best

    def test_a_large_pedestal_costs_nothing(self):
        im1, im2, err = pair((40, 40), noise=1.0)
        for e in (1.0, err):
            plain = chi2_shift(im1, im2, e)
            np.testing.assert_allclose(chi2_shift(im1 + 1e5, im2 + 1e5, e), plain, atol=1e-8)

    def test_zeromean_takes_a_pedestal_of_one_image_away(self):
        im1, im2, err = pair((40, 40))
        for e in (0.2, err, None):
            expected = chi2_shift(im1, im2, e, zeromean=True)
            found = chi2_shift(im1, im2 + 37.0, e, zeromean=True)
            np.testing.assert_allclose(found, expected, atol=1e-9)
        window = (im1[5:30, 5:30] + 50, im2[5:30, 5:30] + 50)
        pulled = chi2_shift(*window, 0.2, boundary="constant")
        found = chi2_shift(*window, 0.2, boundary="constant", zeromean=True)
        assert abs(found[0] + 2.4) < 0.3
        assert abs(pulled[0]) < abs(found[0]) - 0.5  # zeros beside a pedestal hold the image

    @pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">i2", "i4", "f4", ">f4", ">f8", "f2"])
    def test_any_real_type_counts_as_its_numbers(self, dtype):
        im1, im2, err = pair((32, 30))
        im1, im2 = (np.clip(120 + 30 * image, 0, 255).astype(dtype) for image in (im1, im2))
        err = np.ceil(30 * err).astype(dtype)
        expected = chi2_shift(im1.astype(float), im2.astype(float), err.astype(float))
        assert chi2_shift(im1, im2, err) == expected
        assert expected[0] == pytest.approx(-2.4, abs=0.5)

    def test_booleans_and_lists(self):
        im1 = scene((24, 24)) > 0
        im2 = np.roll(im1, 3, axis=0)
        assert chi2_shift(im1.tolist(), im2)[:2] == [0, 3]

    def test_inputs_are_kept(self):
        im1, im2, err = pair()
        im1[2, 2] = im2[3, 3] = err[4, 4] = np.nan
        kept = [array.copy() for array in (im1, im2, err)]
        chi2_shift(im1, im2, err, zeromean=True)
        for before, after in zip(kept, (im1, im2, err), strict=True):
            np.testing.assert_array_equal(before, after)


class TestExcludedPixels:
    @pytest.mark.parametrize("mark", [0.0, np.nan, np.inf])
    def test_of_im2_do_not_matter(self, mark):
        im1, im2, err = pair((30, 28))
        holes = np.random.default_rng(2).uniform(size=im2.shape) < 0.2
        err[holes] = mark
        expected = chi2_shift(im1, im2, err)
        spoilt = np.where(holes, 1e6, im2)
        np.testing.assert_allclose(chi2_shift(im1, spoilt, err), expected, atol=1e-9)
        spoilt[holes] = np.nan
        np.testing.assert_allclose(chi2_shift(im1, spoilt, pair((30, 28))[2]), expected, atol=1e-9)

    @pytest.mark.parametrize("array", [False, True])
    @pytest.mark.parametrize("in_both", [False, True])
    def test_of_im1_leave_the_offset_within_its_error(self, in_both, array):
        pulls = []
        for seed in range(40):
            im1, im2, err = pair((32, 32), noise=0.1, seed=seed)
            rng = np.random.default_rng([seed, 2])
            if not array:
                err = 0.1
                im2 = fourier_shift(im1, (1.3, -2.4)) + err * rng.normal(size=im1.shape)
            im1[rng.uniform(size=im1.shape) < 0.1] = np.nan
            if in_both:
                im2[rng.uniform(size=im1.shape) < 0.1] = np.nan
            dx, dy, errx, erry = chi2_shift(im1, im2, err, nfitted=1)
            pulls += [(dx + 2.4) / errx, (dy - 1.3) / erry]
        # what a hole holds between the pixels is learnt, not known: bars somewhat too narrow
        widest = 1.8 if array else 1.35
        assert 0.8 < np.std(pulls) < widest  # 20 and more if the holes are only smoothed over
        assert abs(np.mean(pulls)) < 4 * widest / np.sqrt(len(pulls))

    def test_pairs_decide_the_bars_and_pixels_the_map(self):
        im1 = 3 * scene((40, 40))
        noise = 0.3 * np.random.default_rng(1).normal(size=im1.shape)
        im2 = fourier_shift(im1, (1.3, -2.4)) + noise
        full = chi2_shift(im1, im2, 0.3)
        im1[:20] = np.nan
        *_, errx, erry, (_, _, chi2) = chi2_shift(im1, im2, 0.3, return_chi2array=True)
        assert chi2.min() == pytest.approx(1600, rel=0.15)
        assert errx == pytest.approx(np.sqrt(2) * full[2], rel=0.15)
        assert erry == pytest.approx(np.sqrt(2) * full[3], rel=0.15)


def dense_region(im1, im2, err, dx, dy, level, per_pixel=32):
    """Ends of {delta chi^2 <= level} on a dense grid over the whole period: x then y, low, high."""
    rows, columns = im1.shape
    steps = [
        np.arange(-n * per_pixel // 2, n * per_pixel // 2 + 1) / per_pixel for n in (rows, columns)
    ]
    model, data = inputs.images(im1, im2, err, False)
    surface = Surface(inputs.arrange(model, data, "wrap"), inputs.transform(1, False))
    chi2 = surface.grid([dy + steps[0], dx + steps[1]])
    inside = chi2 - chi2.min() <= level
    y, x = (step[inside.any(axis=1 - axis)] for axis, step in enumerate(steps))
    return np.array([[x[0], x[-1]], [y[0], y[-1]]])


class TestBars:
    @pytest.mark.parametrize("nfitted", [1, 2, 3])
    @pytest.mark.parametrize(
        ("noise", "slope"),
        [
            (0.3, -2.0),
            (2.0, 0.0),
            (2.5, -1.0),
            (4.0, -2.0),
            (6.0, -3.0),
            (12.0, -3.0),
            (20.0, -1.0),
        ],
    )
    def test_are_half_the_extent_of_the_region(self, noise, slope, nfitted):
        """From a clean ellipse to many islands, against a dense grid."""
        level = scipy.stats.chi2(nfitted).ppf(scipy.stats.chi2(1).cdf(1))
        for seed in range(3):
            im1, im2, err = pair((21, 24), noise=noise, slope=slope, seed=seed)
            dx, dy, *bars = chi2_shift(im1, im2, err, nfitted=nfitted)
            ends = dense_region(im1, im2, err, dx, dy, level)
            for bar, (low, high), n in zip(bars, ends, (24, 21), strict=True):
                dense = (high - low) / 2
                if max(-low, high) > n / 2 - 0.6:
                    assert bar == np.inf or bar >= dense
                else:
                    assert -1e-6 <= bar - dense <= 0.033

    def test_are_exact_where_the_region_is_an_ellipse(self):
        im1, im2, err = pair((41, 37), noise=0.01)
        dx, dy, errx, erry = chi2_shift(im1, im2, err)
        spectrum = np.fft.fft2(fourier_shift(im1, (dy, dx)))
        k = [2j * np.pi * np.fft.fftfreq(n) for n in im1.shape]
        rows = [
            np.fft.ifft2(spectrum * k[1]).real / err,
            np.fft.ifft2(spectrum * k[0][:, None]).real / err,
        ]
        fisher = np.array([[np.sum(a * b) for b in rows] for a in rows])
        expected = np.sqrt(LEVEL * np.diag(np.linalg.inv(fisher)))
        np.testing.assert_allclose([errx, erry], expected, rtol=0.01)

    def test_joint_and_marginal_levels(self):
        im1, im2, err = pair((40, 36), noise=0.01)
        one, two, three = (np.array(chi2_shift(im1, im2, err, nfitted=n)[2:]) for n in (1, 2, 3))
        np.testing.assert_allclose(two / one, np.sqrt(LEVEL), rtol=1e-3)
        np.testing.assert_allclose(three / one, np.sqrt(3.5267), rtol=1e-3)
        assert delta_chi2(1, 1) == pytest.approx(1)
        assert delta_chi2(1, 2) == pytest.approx(2.2957, abs=1e-4)
        assert delta_chi2(9, 2) == pytest.approx(-2 * np.log(scipy.stats.norm.sf(9) * 2))

    @pytest.mark.parametrize("err", [None, 0.05, "array"])
    def test_a_region_that_does_not_end_has_an_infinite_bar(self, err):
        rng = np.random.default_rng(1)
        x = np.arange(40.0)
        im1 = np.tile(np.exp(-((x - 15) ** 2) / 8), (32, 1))
        im2 = np.tile(np.exp(-((x - 17.3) ** 2) / 8), (32, 1)) + 0.05 * rng.normal(size=(32, 40))
        err = 0.05 * np.ones((32, 40)) * rng.uniform(0.99, 1.01, (1, 40)) if err == "array" else err
        dx, dy, errx, erry = chi2_shift(im1, im2, err)
        fisher = 32 * np.sum(np.gradient(im1[0]) ** 2) / 0.05**2
        assert errx == pytest.approx(np.sqrt(LEVEL / fisher), rel=0.1)
        assert abs(dx - 2.3) < 3 * errx
        assert erry == np.inf
        assert dy == 0
        turned = chi2_shift(im1.T, im2.T, None if err is None else 0.05)
        assert turned[2] == np.inf
        assert turned[1] == pytest.approx(dx, abs=0.02)

    def test_images_without_structure_know_nothing(self):
        noise = np.random.default_rng(1).normal(size=(20, 20))
        zeros = np.zeros((20, 20))
        for im1, im2 in [(zeros, zeros), (zeros + 1e5, zeros + 1e5), (zeros + 7, noise)]:
            for err in (None, 1.0, 1 + noise**2):
                assert chi2_shift(im1, im2, err) == [0, 0, np.inf, np.inf]

    @pytest.mark.parametrize("shape", [(20, 20), (21, 20), (64, 64)])
    @pytest.mark.parametrize("err", [None, 1.0])
    def test_a_structured_model_and_constant_data_know_nothing(self, shape, err):
        """Between pixels the Nyquist waves of the model fade: every half pixel is a minimum."""
        noise = np.random.default_rng(1).normal(size=shape)
        assert chi2_shift(noise, np.full(shape, 7.0), err)[2:] == [np.inf, np.inf]

    def test_equal_minima_all_count(self):
        """A pattern that repeats every 8 px is known modulo 8 px: no small bar."""
        x = np.arange(32)
        bump = np.exp(-((np.arange(24) - 11.3) ** 2) / 10)[:, None]
        image = bump * (1 + np.cos(2 * np.pi * x / 8))
        dx, _, errx, erry = chi2_shift(image, image, 0.1)
        assert dx == 0
        assert errx > 8
        assert erry < 0.5


class TestNoiseLearnt:
    @pytest.mark.parametrize("nfitted", [1, 2])
    def test_makes_the_reduced_chi2_one(self, nfitted):
        im1, im2, _ = pair((30, 30), noise=0.1)
        dx, dy, errx, erry, (_, _, chi2) = chi2_shift(
            im1, im2, nfitted=nfitted, return_chi2array=True
        )
        assert chi2.min() == pytest.approx(900 - nfitted, rel=1e-9)
        sigma = np.sqrt(direct(im1, im2, 1.0, dx, dy) / (900 - nfitted))
        expected = chi2_shift(im1, im2, sigma, nfitted=nfitted)
        np.testing.assert_allclose([dx, dy, errx, erry], expected, rtol=1e-7)

    def test_counts_pixel_pairs(self):
        im1, im2, _ = pair((30, 30), noise=0.1)
        im2[:3] = np.nan
        *_, (_, _, chi2) = chi2_shift(im1, im2, return_chi2array=True)
        assert chi2.min() == pytest.approx(810 - 2, rel=1e-9)

    def test_needs_pixels(self):
        im1, im2, _ = pair((10, 10))
        im2[1:] = im2[0, 3:] = np.nan
        with pytest.raises(InputError, match=r"3 pixel pairs are too few .* 3 .*give err"):
            chi2_shift(im1, im2, nfitted=3)


class TestOptions:
    def test_nthreads_reach_the_transforms(self, monkeypatch):
        im1, im2, err = pair()
        expected = chi2_shift(im1, im2, err)
        seen = []
        for name in ("rfft", "irfft", "fft", "ifft"):
            original = getattr(scipy.fft, name)

            def spy(*args, original=original, **options):
                seen.append(options["workers"])
                return original(*args, **options)

            monkeypatch.setattr(scipy.fft, name, spy)
        assert chi2_shift(im1, im2, err, nthreads=2) == expected
        assert set(seen) == {2}

    def test_use_numpy_fft_is_numpy(self, monkeypatch):
        im1, im2, err = pair()
        expected = chi2_shift(im1, im2, err)

        def refuse(*_args, **_options):
            raise AssertionError("scipy.fft was asked")

        for name in ("rfft", "irfft", "fft", "ifft", "rfftn", "irfftn"):
            monkeypatch.setattr(scipy.fft, name, refuse)
        found = chi2_shift(im1, im2, err, use_numpy_fft=True)
        np.testing.assert_allclose(found, expected, atol=1e-9)

    def test_verbose_prints_and_quiet_does_not(self, capsys):
        im1, im2, err = pair()
        quiet = chi2_shift(im1, im2, err)
        assert capsys.readouterr().out == ""
        assert chi2_shift(im1, im2, err, verbose=True) == quiet
        text = capsys.readouterr().out
        assert "dx = " in text
        assert "chi^2 = " in text
        chi2_shift(im1, im2, verbose=True, return_chi2array=True)
        text = capsys.readouterr().out
        assert "noise learnt" in text
        assert "map of 512 x 512" in text

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"boundary": "fill"}, r"boundary='fill' is not known; use one of 'wrap', 'constant'"),
            ({"boundary": None}, r"boundary=None is not known"),
            ({"nthreads": 0}, r"nthreads=0 .* 1 or more"),
            ({"nthreads": 2, "use_numpy_fft": True}, r"numpy.fft has one thread"),
            ({"nfitted": 0}, r"nfitted=0"),
            ({"nfitted": 1.5}, r"nfitted=1.5"),
            ({"upsample_factor": 0}, r"upsample_factor=0 .*above 0"),
            ({"upsample_factor": "fast"}, r"upsample_factor='fast' .*'auto'"),
            ({"upsample_factor": None}, r"upsample_factor=None"),
            ({"upsample_factor": np.nan}, r"upsample_factor=nan"),
            ({"upsample_factor": 1e7, "return_chi2array": True}, r"smaller upsample_factor"),
            ({"max_auto_size": 2}, r"max_auto_size=2 .* 3 or more"),
            ({"max_nsig": -1}, r"max_nsig=-1"),
        ],
    )
    def test_what_cannot_be_honoured_is_refused(self, options, message):
        im1, im2, err = pair()
        with pytest.raises(InputError, match=message):
            chi2_shift(im1, im2, err, **options)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a, b, e: (a[:-1], b, e), r"im1 has shape \(23, 21\) and im2 \(24, 21\)"),
            (lambda a, b, e: (a[0], b[0], 1), r"im1 has 1 axes"),
            (lambda a, b, e: (np.stack([a] * 9), np.stack([b] * 9), 1), r"im1 has 3 axes"),
            (lambda a, b, e: (a + 1j, b, e), r"im1 is complex"),
            (lambda a, b, e: (a, np.full_like(b, np.nan), e), r"im2 has no usable pixel"),
            (lambda a, b, e: (a, b, e[:-1]), r"err has shape \(23, 21\) and im2 \(24, 21\)"),
            (lambda a, b, e: (a, b, -e), r"err has negative values"),
            (lambda a, b, e: (a, b, 0 * e), r"err has no finite value above 0.*err out \(None\)"),
            (lambda a, b, e: (a, b, 0), r"err is 0.*err=None"),
            (lambda a, b, e: (a, b, np.nan), r"err is nan.*None"),
            (lambda a, b, e: (a, b, np.array([1.0])), r"err has shape \(1,\)"),
        ],
    )
    def test_bad_images_are_one_sentence(self, change, message):
        with pytest.raises(InputError, match=message) as caught:
            chi2_shift(*change(*pair()))
        assert "\n" not in str(caught.value)

    def test_scalar_errors_of_any_kind(self):
        im1, im2, _ = pair()
        expected = chi2_shift(im1, im2, 0.5)
        assert chi2_shift(im1, im2, np.array(0.5)) == expected
        np.testing.assert_allclose(chi2_shift(im1, im2, np.full(im1.shape, 0.5)), expected)


class TestMapToErrors:
    def test_reads_the_bars_from_a_map(self):
        im1, im2, err = pair((40, 36), noise=0.05)
        for nfitted in (1, 2):
            *_, errx, erry, (x, _, chi2) = chi2_shift(
                im1, im2, err, nfitted=nfitted, return_chi2array=True
            )
            zoom = 1 / (x[0, 1] - x[0, 0])
            left, right, down, up = chi2map_to_errors(chi2, zoom, nfitted=nfitted)
            assert (left + right) / 2 == pytest.approx(errx, rel=1e-3)
            assert (down + up) / 2 == pytest.approx(erry, rel=1e-3)

    @pytest.mark.parametrize("centre", [0.0, 0.4])
    @pytest.mark.parametrize("size", [0.02, 0.3, 3.0])
    def test_is_exact_for_a_parabola_of_any_size(self, size, centre):
        y, x = np.mgrid[-30:31, -30:31]
        chi2 = ((x - centre) / size) ** 2 + ((y + centre) / (2 * size)) ** 2 + 11
        found = chi2map_to_errors(chi2, zoomfactor=2, nsigma=3, nfitted=1)
        np.testing.assert_allclose(found, np.array([1, 1, 2, 2]) * 3 * size / 2, rtol=1e-9)

    def test_a_region_at_the_edge_has_no_end(self):
        y, x = np.mgrid[-5:6, -5:6]
        left, right, down, up = chi2map_to_errors((x - 4.0) ** 2 + y**2 / 100, nfitted=1)
        assert left == pytest.approx(1)
        assert right == pytest.approx(1)
        assert (down, up) == (np.inf, np.inf)
        assert chi2map_to_errors((x - 5.0) ** 2 + y**2, nfitted=1)[1] == np.inf

    def test_the_region_is_not_clipped_by_pixels_without_a_value(self):
        y, x = np.mgrid[-9:10, -9:10]
        chi2 = (x / 3.0) ** 2 + (y / 3.0) ** 2
        chi2[0, 0] = np.nan
        np.testing.assert_allclose(chi2map_to_errors(chi2, nfitted=1), 3, rtol=1e-9)

    @pytest.mark.parametrize(
        ("chi2", "message"),
        [(np.ones(5), r"shape \(5,\)"), (np.full((4, 4), np.nan), r"no finite value")],
    )
    def test_what_is_no_map_is_refused(self, chi2, message):
        with pytest.raises(InputError, match=message):
            chi2map_to_errors(chi2)


#: pairs that the bars are counted on
N = 600


@pytest.fixture(scope="module", params=["scalar", "array", "learnt"])
def errors(request):
    """Error, bar for one parameter and for two of N fits; delta chi^2 of the truth."""
    rng = np.random.default_rng(5)
    im1 = 3 * scene((32, 30), seed=11)
    sigma = 0.8 * (np.exp(0.5 * rng.normal(size=im1.shape)) if request.param == "array" else 1)
    found, delta = [], []
    for _ in range(N):
        dy, dx = rng.uniform(-5, 5, 2)
        im2 = fourier_shift(im1, (dy, dx)) + sigma * rng.normal(size=im1.shape)
        err = None if request.param == "learnt" else sigma
        one = chi2_shift(im1, im2, err, nfitted=1)
        two = chi2_shift(im1, im2, err, nfitted=2)
        found.append([[one[0] - dx, one[1] - dy], one[2:], two[2:]])
        delta.append(direct(im1, im2, sigma, dx, dy) - direct(im1, im2, sigma, *one[:2]))
    return np.array(found), np.array(delta)


@pytest.mark.calibration
class TestCalibration:
    """Noise in im2 alone and errors given, or learnt: what the bars promise, counted."""

    def test_one_parameter_is_the_marginal_error(self, errors):
        """Two-sided, 1e-3 by chance; bars scaled by 0.8 or 1.25 fail."""
        found, _ = errors
        limits = scipy.stats.chi2(N).ppf([5e-4, 1 - 5e-4])
        for axis in range(2):
            pull = found[:, 0, axis] / found[:, 1, axis]
            assert abs(pull.mean()) < 4 / np.sqrt(N)
            assert limits[0] < np.sum(pull**2) < limits[1]
            for factor in (0.8, 1.25):
                assert not limits[0] < np.sum((pull / factor) ** 2) < limits[1]

    def test_two_parameters_are_jointly_covered(self, errors):
        """The region holds the truth 68.27 % of the time; its bars are 1.515 times the marginal."""
        found, delta = errors
        inside = np.count_nonzero(delta <= LEVEL)
        assert scipy.stats.binomtest(inside, N, 0.682689).pvalue > 1e-3
        assert scipy.stats.binomtest(inside, N, 0.60).pvalue < 1e-3
        np.testing.assert_allclose(found[:, 2] / found[:, 1], np.sqrt(LEVEL), rtol=0.05)


@pytest.mark.parametrize("shape", [(6, 8), (7, 8), (6, 9), (5, 7)])
def test_samples_at_half_pixels_make_the_polynomial_through_them(shape):
    rng = np.random.default_rng(3)
    fine = rng.normal(size=[2 * n for n in shape])
    expected = TrigPolynomial.from_samples(fine, density=2)
    spectra = [
        [np.conj(np.fft.rfft2(fine[a::2, b::2], norm="forward")) for b in range(2)]
        for a in range(2)
    ]
    found = HalfPixelPolynomial(spectra, shape)
    where = np.array([1.3, -2.8])
    scale = np.abs(expected.taylor(where, 5)).max()
    assert found.taylor(where, 5) == pytest.approx(expected.taylor(where, 5), abs=1e-12 * scale)
    positions = [np.array([0.0, 0.5, 0.7]), np.array([2.0, -0.25])]
    assert found.grid(positions) == pytest.approx(expected.grid(positions), abs=1e-12)
