"""Simulated pairs: their offset is what was asked for, and their bound is a bound."""

from __future__ import annotations

import numpy as np
import pytest

import coregister as cr
from coregister.simulate import (
    SCENES,
    expected_stderr,
    mirrored,
    pair_bound,
    random_scene,
    scene_from_image,
    simulate_pair,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", [(200,), (60, 48), (16, 20, 24)])
@pytest.mark.parametrize("kind", SCENES)
def test_a_scene_has_unit_deviation_and_the_shape_asked_for(kind, shape):
    scene = random_scene(kind, shape, rng=rng())
    assert scene.shape == shape
    assert scene.std() == pytest.approx(1)
    assert np.array_equal(scene, random_scene(kind, shape, rng=rng()))
    assert not np.array_equal(scene, random_scene(kind, shape, rng=rng(1)))


@pytest.mark.parametrize("exponent", [-1.0, -2.5, -4.0])
def test_a_power_law_has_its_exponent(exponent):
    scenes = [random_scene(f"power-law{exponent:g}", (128, 128), rng=rng(i)) for i in range(20)]
    power = np.mean([np.abs(np.fft.fft2(s)) ** 2 for s in scenes], axis=0)
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128)] * 2, indexing="ij"))
    use = (f > 0.03) & (f < 0.3)
    blur = np.exp(-((2 * np.pi * f[use]) ** 2))
    slope = np.polyfit(np.log(f[use]), np.log(power[use] / blur), 1)[0]
    assert slope == pytest.approx(exponent, abs=0.06)


def test_cut_and_band_limited_scenes_hold_no_power_beyond():
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2, indexing="ij"))
    for kind, psf, highest in (("power-law-2", "cut", 0.42), ("band-limited", 1.0, 0.12)):
        power = np.abs(np.fft.fft2(random_scene(kind, (64, 64), rng=rng(), psf=psf))) ** 2
        assert power[f > highest].max() < 1e-20 * power.max()
        assert power[f < highest].max() > 0


def test_stripes_are_constant_along_one_direction_and_the_lattice_repeats():
    stripes = random_scene("stripes", (64, 64), rng=rng())
    slopes = np.stack(np.gradient(np.pad(stripes, 8, mode="wrap")))[:, 8:-8, 8:-8]
    values = np.linalg.eigvalsh(slopes.reshape(2, -1) @ slopes.reshape(2, -1).T)
    assert values[0] < 0.02 * values[1]
    lattice = random_scene("lattice", (64, 64), rng=rng())
    assert np.allclose(lattice, np.roll(lattice, 8, axis=0))


@pytest.mark.parametrize("shape", [(90,), (40, 44), (16, 18, 14)])
def test_whole_pixel_offsets_show_the_same_pixels(shape):
    offset = np.arange(1, len(shape) + 1) * [(-1) ** i for i in range(len(shape))]
    scene = random_scene("power-law-2", [2 * n for n in shape], rng=rng())
    x, y = simulate_pair(scene, offset, noise=0, rng=rng())
    inner = tuple(slice(4, -4) for _ in shape)
    rolled = np.roll(x, offset, axis=tuple(range(len(shape))))
    assert np.allclose(y[inner], rolled[inner], atol=1e-10)


def test_fractions_of_a_pixel_move_a_wave_exactly():
    grid = np.arange(64)
    scene = np.cos(2 * np.pi * 5 * grid / 64)[:, None] * np.ones(64)
    x, y = simulate_pair(scene, (0.37, 0.0), noise=0, rng=rng(), shape=(32, 32))
    wave = np.cos(2 * np.pi * 5 * (np.arange(16, 48) - 0.37) / 64)
    assert np.allclose(y, wave[:, None])
    assert np.allclose(x, scene[16:48, 16:48])


def test_a_periodic_pair_is_the_whole_scene():
    scene = random_scene("power-law-3", (30, 32), rng=rng())
    x, y = simulate_pair(scene, (3, -4), noise=0, rng=rng(), boundary="periodic")
    assert np.allclose(y, np.roll(x, (3, -4), axis=(0, 1)))


def test_photometry_is_gain_background_and_slope():
    scene = random_scene("power-law-3", (64, 64), rng=rng())
    _, plain = simulate_pair(scene, (1.5, 2), noise=0, rng=rng())
    _, changed = simulate_pair(
        scene, (1.5, 2), noise=0, rng=rng(), gain=-2.0, background=7.0, slope=(0.1, 0.2)
    )
    ramp = 0.1 * (np.arange(32) - 16)[:, None] + 0.2 * (np.arange(32) - 16)
    assert np.allclose(changed, -2 * plain + 7 + ramp)


def test_noise_has_the_size_asked_for_and_moving_carries_the_gain():
    scene = np.zeros((256, 256))
    x, y = simulate_pair(scene, (0, 0), noise=(0.5, 2.0), rng=rng(), gain=3.0)
    n = x.size
    assert x.std() == pytest.approx(0.5, rel=4 / np.sqrt(2 * n))
    assert y.std() == pytest.approx(6.0, rel=4 / np.sqrt(2 * n))
    assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 4 / np.sqrt(n)


def test_correlated_noise_has_the_size_and_the_beam_asked_for():
    x, _ = simulate_pair(np.zeros((512, 512)), (0, 0), noise=1.0, rng=rng(), noise_beam=4.0)
    neighbour = np.mean(x[1:] * x[:-1]) / np.mean(x**2)
    sigma = 4 / 2.3548
    assert x.std() == pytest.approx(1, abs=0.05)
    assert neighbour == pytest.approx(np.exp(-1 / (4 * sigma**2)), abs=0.01)


def test_noise_follows_its_map_and_photons_the_light():
    spread = np.linspace(1, 3, 128)[:, None] * np.ones((1, 128))
    x, y = simulate_pair(np.zeros((256, 256)), (0, 0), noise=1.0, rng=rng(), noise_map=spread)
    for image in (x, y):
        assert np.std(image[-8:]) / np.std(image[:8]) == pytest.approx(2.8, abs=0.4)
    light, _ = simulate_pair(np.full((256, 256), 5.0), (0, 0), noise=0, rng=rng(), poisson=10)
    assert light.mean() == pytest.approx(5, abs=0.03)
    assert light.var() == pytest.approx(0.5, abs=0.03)
    assert np.allclose(light * 10, np.rint(light * 10))


def test_holes_stay_on_the_detector_or_move_with_the_sky():
    scene = random_scene("power-law-2", (200, 200), rng=rng())
    for where, shift in (("detector", (0, 0)), ("sky", (5, -3))):
        x, y = simulate_pair(
            scene, (5.2, -2.8), noise=0, rng=rng(), holes=0.2, holes_on=where, hole_size=4
        )
        bad, moved = np.isnan(x), np.isnan(y)
        assert bad.mean() == pytest.approx(0.2, abs=0.06)
        inner = (slice(8, -8), slice(8, -8))
        assert np.array_equal(np.roll(bad, shift, axis=(0, 1))[inner], moved[inner])


def test_cosmic_rays_are_few_bright_and_different():
    scene = np.zeros((128, 128))
    x, y = simulate_pair(scene, (0, 0), noise=0, rng=rng(), cosmic_rays=5)
    assert 0 < np.count_nonzero(x) <= 30
    assert x.max() > 5
    assert not np.array_equal(x, y)


def test_binning_averages_the_scene():
    scene = random_scene("power-law-2", (96, 96), rng=rng())
    x, y = simulate_pair(scene, (1.0, -2.0), noise=0, rng=rng(), shape=(32, 32), binning=2)
    assert np.allclose(x, scene[16:80, 16:80].reshape(32, 2, 32, 2).mean(axis=(1, 3)))
    assert np.allclose(y[4:-4, 4:-4], np.roll(x, (1, -2), (0, 1))[4:-4, 4:-4])


def test_images_of_different_shapes_begin_at_one_pixel():
    scene = random_scene("power-law-2", (96, 96), rng=rng())
    x, y = simulate_pair(scene, (0, 0), noise=0, rng=rng(), shape=(40, 50), moving_shape=(30, 60))
    assert (x.shape, y.shape) == ((40, 50), (30, 60))
    assert np.allclose(x[:30, :50], y[:30, :50])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"offset": (20, 0)}, "larger scene"),
        ({"offset": (1,)}, "offset"),
        ({"noise": -1}, "noise"),
        ({"holes": 1.0}, "holes"),
        ({"holes_on": "moon"}, "holes_on"),
        ({"boundary": "wrap"}, "boundary"),
        ({"boundary": "periodic", "shape": (10, 10)}, "periodic"),
        ({"poisson": 10.0}, "Poisson"),
        ({"binning": 5}, "binning"),
        ({"noise_map": np.ones((3, 3))}, "noise_map"),
        ({"gain": 0.0}, "gain"),
        ({"shape": (10,)}, "shape"),
    ],
)
def test_what_cannot_be_honoured_is_refused(options, words):
    scene = random_scene("power-law-2", (32, 32), rng=rng())
    arguments = {"offset": (1, 1), "noise": 0.1, **options}
    with pytest.raises(cr.InputError, match=words):
        simulate_pair(scene, arguments.pop("offset"), rng=rng(), **arguments)


def test_unknown_scenes_are_refused():
    for kind in ("clouds", "power-law-steep"):
        with pytest.raises(cr.InputError, match="not known"):
            random_scene(kind, (32, 32), rng=rng())


# ------------------------------------------------------------------------------------ bounds


def test_the_bound_against_a_noiseless_reference_is_least_squares():
    # noise in one image only: F = sum grad S grad S^T / sigma^2, gain and background taken out
    scene = random_scene("power-law-2", (96, 96), rng=rng())
    found = pair_bound(scene, (0, 0), noise=(0, 0.3), shape=(48, 48))
    window = (slice(24, 72), slice(24, 72))
    step = 1e-4
    slopes = [
        (cr.fourier_shift(scene, step * u) - cr.fourier_shift(scene, -step * u))[window] / 2 / step
        for u in np.eye(2)
    ]
    design = np.stack([s.ravel() for s in (*slopes, scene[window], np.ones((48, 48)))])
    expected = 0.3**2 * np.linalg.inv(design @ design.T)[:2, :2]
    assert np.allclose(found, expected, rtol=1e-5, atol=0)


def test_the_bound_is_that_of_the_known_spectrum():
    # periodic, white noise in both: F = sum k k^T P^2 / (P (n1 + n2) + n1 n2), mode by mode
    ratio = []
    for i in range(20):
        scene = random_scene("power-law-2", (64, 64), rng=rng(i))
        found = pair_bound(scene, (0, 0), noise=(0.7, 0.5), boundary="periodic")
        f = np.stack(np.meshgrid(*[np.fft.fftfreq(64)] * 2, indexing="ij"))
        radius = np.hypot(*f)
        law = np.where(radius > 0, radius, np.inf) ** -2 * np.exp(-((2 * np.pi * radius) ** 2))
        power = law / law.mean()
        square = np.abs(np.fft.fft2(scene)) ** 2 / scene.size
        weight = power / (power * (0.49 + 0.25) + 0.49 * 0.25)
        information = np.sum((2 * np.pi * f[0]) ** 2 * square * weight)
        ratio.append(found[0, 0] * information)
    # the gain costs nothing; the spectrum is read from one scene and not known
    assert np.mean(ratio) == pytest.approx(1, abs=0.04)


def test_the_bound_scales_as_it_must():
    scene = random_scene("power-law-3", (128, 128), rng=rng())
    bound = pair_bound(scene, (3.2, 1.1), noise=0.1)
    assert np.allclose(pair_bound(5 * scene, (3.2, 1.1), noise=0.5), bound)
    assert np.allclose(pair_bound(scene.T, (1.1, 3.2), noise=0.1), bound[::-1, ::-1])
    assert np.all(np.diag(pair_bound(scene, (3.2, 1.1), noise=0.2)) > 3.5 * np.diag(bound))
    assert np.all(np.diag(pair_bound(scene, (25, 1), noise=0.1)) > np.diag(bound))
    half = np.ones((64, 64), bool)
    half[::2] = False
    holes = pair_bound(scene, (3.2, 1.1), noise=0.1, reference_valid=half, moving_valid=half | True)
    assert np.allclose(np.diag(holes), 2 * np.diag(bound), rtol=0.25)


def test_the_bound_of_uneven_noise_lies_between():
    scene = random_scene("power-law-2", (128, 128), rng=rng())
    spread = np.where(np.arange(64) < 32, 1.0, 3.0)[:, None] * np.ones((1, 64))
    even = np.diag(pair_bound(scene, (0, 0), noise=0.1))
    uneven = np.diag(pair_bound(scene, (0, 0), noise=0.1, noise_map=spread))
    worst = np.diag(pair_bound(scene, (0, 0), noise=0.3))
    assert np.all((even < uneven) & (uneven < worst))
    assert np.allclose(uneven, even * 2 / (1 + 1 / 9), rtol=0.5)


def test_the_bound_is_of_what_the_pair_shows_and_not_of_what_lies_beside():
    # a quiet part of a scene, alone or beside one with 900 times the power
    quiet = random_scene("power-law-2", (128, 128), rng=rng())
    across = np.arange(128)[:, None] * np.ones((1, 128))
    loud = (1 + 29 * np.exp(-(((across - 96) / 10) ** 2))) * quiet
    seen = {"shape": (48, 48), "origin": (8, 40), "noise": 1.0}
    alone = np.diag(pair_bound(quiet, (0.3, 0.4), **seen))
    beside = np.diag(pair_bound(loud, (0.3, 0.4), **seen))
    assert np.allclose(beside, alone, rtol=0.02)
    within = np.diag(pair_bound(loud, (0.3, 0.4), **seen | {"origin": (73, 40)}))
    assert np.all(within < 0.1 * alone)


def test_stripes_tell_nothing_along_them():
    scene = random_scene("stripes", (64, 64), rng=rng())
    assert np.isinf(np.diag(pair_bound(scene, (0, 0), noise=0.1))).any()


def test_a_bound_needs_noise():
    scene = random_scene("power-law-2", (32, 32), rng=rng())
    with pytest.raises(cr.InputError, match="noise"):
        pair_bound(scene, (0, 0), noise=0)


# ------------------------------------------------------------------------------------ planner


@pytest.mark.parametrize("noise", [(0, 0.1), (0.1, 0.1), (0.5, 0.5), (0.05, 0.5)])
def test_the_planner_foresees_the_bound(noise):
    for seed in range(3):
        scene = random_scene("power-law-3", (128, 128), rng=rng(seed))
        image = scene[32:96, 32:96]
        truth = np.sqrt(np.diag(pair_bound(scene, (2, -3), noise=noise)))
        told = expected_stderr(image, noise=noise, image_noise=0, offset=(2, -3))
        assert np.allclose(told, truth, rtol=0.08)
        noisy = image + 0.1 * rng(seed).standard_normal(image.shape)
        assert np.allclose(expected_stderr(noisy, noise=noise, offset=(2, -3)), truth, rtol=0.2)


@pytest.mark.parametrize("shape", [(256,), (24, 24, 24)])
def test_the_planner_knows_any_number_of_axes(shape):
    scene = random_scene("power-law-1", [2 * n for n in shape], rng=rng())
    image = scene[tuple(slice(n // 2, n // 2 + n) for n in shape)]
    truth = np.sqrt(np.diag(pair_bound(scene, np.zeros(len(shape)), noise=0.2)))
    assert np.allclose(expected_stderr(image, noise=0.2, image_noise=0), truth, rtol=0.1)


def test_noise_alone_promises_nothing():
    noise = rng().standard_normal((64, 64))
    assert np.all(expected_stderr(noise, noise=1.0, image_noise=1.0) > 0.3)
    # taken for structure it would promise a thirtieth of that
    assert np.all(expected_stderr(noise, noise=1.0, image_noise=0) < 0.05)


def test_the_planner_refuses_what_it_cannot_use():
    image = random_scene("power-law-2", (32, 32), rng=rng())
    for arguments in ({"noise": 0}, {"noise": 0.1, "offset": (31, 0)}, {"noise": 0.1, "offset": 1}):
        with pytest.raises(cr.InputError):
            expected_stderr(image, **arguments)


def test_noise_is_taken_out_of_an_image_before_it_becomes_a_scene():
    scene = random_scene("power-law-3", (128, 128), rng=rng())
    noisy = scene + 0.3 * rng(1).standard_normal(scene.shape)
    for noise in (None, 0.3):
        clean = scene_from_image(noisy, noise=noise)
        assert np.std(clean - scene) < 0.5 * 0.3
    assert np.array_equal(scene_from_image(noisy, noise=0), noisy)


def test_a_mirrored_image_has_no_jump():
    image = np.arange(12.0).reshape(3, 4)
    twice = mirrored(image)
    assert twice.shape == (6, 8)
    assert np.array_equal(twice[:3, :4], image)
    assert np.abs(np.diff(np.pad(twice, 1, mode="wrap"), axis=1)).max() == 1
