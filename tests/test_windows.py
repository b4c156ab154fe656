"""Many small windows: as true as one by one, and the same numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from numpy.typing import NDArray

import coregister as cr
from coregister.estimator import spectrum
from coregister.estimator.compare import Comparison
from coregister.estimator.fill import spikes, suspects
from coregister.estimator.movable import MovableImage
from coregister.estimator.stages import Candidate
from coregister.estimator.uncertainty import conclude_fit
from coregister.estimator.uncertainty.aliasing import aliasing
from coregister.estimator.window import Window
from coregister.images import prepare
from coregister.windows import measure as windows_measure
from coregister.windows.descent import descend
from coregister.windows.kernels import REACH, kernels
from coregister.windows.measure import _Batch
from coregister.windows.spectra import photometry
from coregister.windows.verdict import conclude

Float = NDArray[np.float64]
TRUTH = (2.3, -3.4)


def pair(seed: int, side: int, noise: float = 0.2, scene: str = "power-law-2") -> Any:
    rng = np.random.default_rng(seed)
    whole = cr.random_scene(scene, (side + 64,) * 2, rng=rng)
    return cr.simulate_pair(whole, TRUTH, noise=noise, rng=rng, shape=(side, side))


def quietly(*args: Any, **options: Any) -> cr.WindowsRegistration:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_windows(*args, **options)


def chi2_inside(pulls: Float) -> bool:
    """Sum of squares inside the central 1 - 1e-3 interval of chi^2."""
    low, high = scipy.stats.chi2.interval(1 - 1e-3, pulls.size)
    return bool(low < np.sum(pulls**2) < high)


@pytest.fixture(scope="module")
def measured() -> cr.WindowsRegistration:
    return quietly(*pair(1, 1024), size=32, step=32)


def test_the_bars_are_true(measured: cr.WindowsRegistration) -> None:
    pulls = measured.pull(TRUTH)[measured.trusted]
    assert len(pulls) > 0.98 * len(measured)
    assert np.all(np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(len(pulls)))
    assert chi2_inside(pulls)
    assert np.abs(pulls).max() < 6


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_bars_that_are_wrong_would_be_seen(measured: cr.WindowsRegistration, factor: float) -> None:
    assert not chi2_inside(measured.pull(TRUTH)[measured.trusted] / factor)


def test_unrelated_windows_are_not_trusted() -> None:
    (first, _), (_, second) = pair(2, 512), pair(3, 512)
    result = quietly(first, second, size=32, step=32)
    assert not result.trusted.any()
    assert all(cr.Status.NO_MATCH in flags for flags in result.flags)
    assert quietly(*pair(2, 128), size=32).trusted.all()  # the control: a pair


@pytest.mark.parametrize(("scene", "noise", "size"), [("power-law-2", 0.1, 64), ("blobs", 0.3, 48)])
def test_same_equations_as_one_pair(scene: str, noise: float, size: int) -> None:
    """The formulas that work on many windows against those that work on one."""
    wide = size + 2 * REACH
    pairs = [pair(10 + seed, wide, noise, scene) for seed in range(6)]
    patches = tuple(np.stack([images[i] - images[i].mean() for images in pairs]) for i in range(2))
    patches = patches[0], np.roll(patches[1], -np.rint(TRUTH).astype(int), axis=(1, 2))
    # what is rolled in stands at the edges, a few pixels from where a window is felt
    matrices = kernels((size, size))
    settled = descend(matrices, (patches[0], patches[1]), np.zeros((len(pairs), 2)))
    verdict = conclude(matrices, settled, (patches[0], patches[1]), np.tile(np.rint(TRUTH), (6, 1)))
    assert settled.settled.all()
    for index, offset in enumerate(settled.offset):
        both = prepare(patches[0][index], patches[1][index])
        movable = [MovableImage(image.data, periodic=False) for image in both.images]
        window = Window(
            offset=np.zeros(2, dtype=int),
            start=(REACH, REACH),
            moving_start=(REACH, REACH),
            shape=(size, size),
            phase=(0.0, 0.0),
        )
        comparison = Comparison(both, movable[0], movable[1], window)
        equations = comparison.equations(offset)
        candidate = Candidate(
            offset=offset, evidence=1.0, samples=1.0, false_alarm=0.0, plain=0.0, at_edge=False
        )
        bread = np.linalg.inv(equations.information)
        fit = conclude_fit(
            both,
            candidate,
            comparison,
            equations,
            offset,
            whitened=comparison.whitened(equations),
            amplitude=None,
            systematic=aliasing(comparison, equations, offset, bread),
            outlying=False,
            n_iter=1,
            converged=True,
        )
        bars = np.sqrt(np.diag(fit.covariance))
        # zero of one score: a tenth of a bar
        assert np.all(np.abs(equations.solve(equations.score)) < 0.1 * bars)
        assert np.allclose(verdict.covariance[index], fit.covariance, atol=0.1 * bars.min() ** 2)
        assert verdict.undersampled[index] == np.any(fit.systematic > bars)


def test_same_gain_and_spectra_as_one_by_one() -> None:
    """Rings that differ by factors, as few modes make them; both stop within a change of 0.02."""
    rng = np.random.default_rng(3)
    n, rings = 40, 24
    scene = np.geomspace(30.0, 0.01, rings) * np.exp(rng.normal(0, 1.5, (n, rings)))
    noise = np.geomspace(0.1, 0.02, rings) * np.exp(rng.normal(0, 1, (n, 1)))
    gains, share = rng.uniform(0.5, 2, (n, 1)), rng.uniform(0, 1, (n, 1))
    count = np.geomspace(8, 300, rings)
    xx, yy, xy = (scene + share * noise) / gains**2, scene + (1 - share) * noise, scene / gains
    gain, spectra = photometry(xx=xx, yy=yy, xy=xy, count=count, gain=None)
    for i in range(n):
        one_gain, one = spectrum.photometry(xx=xx[i], yy=yy[i], xy=xy[i], count=count, gain=None)
        assert gain[i] == pytest.approx(one_gain, rel=1e-4)
        assert spectra.residual[i] == pytest.approx(one.residual, rel=1e-3)
        assert np.log(spectra.scene[i] / one.scene) == pytest.approx(0, abs=0.04)
    # which is much less than these differ by
    assert np.abs(np.log(spectra.scene[1:] / spectra.scene[:-1])).max(axis=1).min() > 0.1


def test_same_answers_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair(4, 192)
    together = quietly(first, second, size=48)

    def nothing(self: _Batch, measured: Any) -> Any:
        return np.ones(self._part.size, dtype=bool)

    monkeypatch.setattr(_Batch, "measure", nothing)
    alone = quietly(first, second, size=48)
    assert together.trusted.all()
    assert alone.trusted.all()
    apart = (together.offsets - alone.offsets) / alone.stderr
    # nearly the same pixels: a part of a bar, but not the same computation
    assert 0 < np.sqrt(np.mean(apart**2)) < 0.5
    ratio = np.median(together.stderr / alone.stderr)
    assert 0.8 < ratio < 1.1


def test_motion_that_varies_is_followed() -> None:
    rng = np.random.default_rng(5)
    whole = cr.random_scene("power-law-2", (256, 256), rng=rng)
    left = cr.simulate_pair(whole, (3.0, 1.0), noise=0.1, rng=rng, shape=(160, 160))
    right = cr.simulate_pair(whole, (-2.5, 4.0), noise=0.1, rng=rng, shape=(160, 160))
    images = [np.hstack(parts) for parts in zip(left, right, strict=True)]
    result = quietly(*images, size=32, step=32)
    assert result.shape == (5, 10)
    offsets, bars = result.on_grid(result.offsets), result.on_grid(result.stderr)
    for columns, truth in ((slice(0, 4), (3.0, 1.0)), (slice(6, 10), (-2.5, 4.0))):
        assert np.all(np.abs(offsets[:, columns] - truth) < 5 * bars[:, columns])
    assert np.allclose(result.on_grid(result.centers)[0, :, 0], 15.5)


def test_a_second_pass_finds_what_the_first_could_not() -> None:
    first, second = pair(6, 192)
    near = quietly(first, np.roll(second, (9, 0), axis=(0, 1)), size=32, step=32, max_offset=4)
    inner = near.on_grid(near.trusted)[1:-1, 1:-1]
    assert not inner.any()
    guess = np.tile([11.0, -3.0], (len(near), 1))
    again = quietly(
        first, np.roll(second, (9, 0), axis=(0, 1)), size=32, step=32, max_offset=4, initial=guess
    )
    inside = again.on_grid(again.trusted)[1:-1, 1:-1]
    assert inside.all()
    errors = again.on_grid(again.pull((TRUTH[0] + 9, TRUTH[1])))[1:-1, 1:-1]
    assert np.abs(errors).max() < 5


def test_windows_with_holes_are_measured_by_themselves() -> None:
    first, second = pair(7, 128)
    holed = first.copy()
    holed[40:50, 40:50] = np.nan
    result, whole = quietly(holed, second, size=48), quietly(first, second, size=48)
    assert result.trusted.all()
    assert np.abs(result.pull(TRUTH)).max() < 5
    same = np.all(result.offsets == whole.offsets, axis=1)
    touched = np.all(np.abs(result.centers - 45) < 31, axis=1)
    assert touched.any()
    assert not same[touched].any()


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the windows that are measured one by one."""
    alone: list[int] = []
    one = windows_measure._alone

    def counted(job: Any, index: int, measured: Any) -> None:
        alone.append(index)
        one(job, index, measured)

    monkeypatch.setattr(windows_measure, "_alone", counted)
    return alone


@pytest.mark.parametrize("side", [32, 64])
def test_windows_that_need_not_are_not_measured_by_themselves(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = counting(monkeypatch)
    result = quietly(*pair(14, 8 * side, noise=0.3), size=side, step=side)
    assert result.trusted.mean() > 0.95
    assert not alone


def test_small_particles_are_seen_and_rays_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Particles no larger than a ray are in both images; rays in one of them."""
    rng = np.random.default_rng(15)
    points = np.zeros((320, 320))
    places = rng.integers(0, points.size, points.size // 50)
    np.add.at(points.ravel(), places, rng.uniform(0.3, 1.0, places.size))
    k = [np.fft.fftfreq(320)[:, None], np.fft.rfftfreq(320)]
    blur = np.exp(-2 * (0.9 * np.pi) ** 2 * (k[0] ** 2 + k[1] ** 2))
    scene = np.fft.irfft2(np.fft.rfft2(points) * blur)
    first, second = cr.simulate_pair(
        scene / scene.std(), TRUTH, noise=0.1, rng=rng, shape=(256, 256)
    )
    assert spikes(first, suspects(first)).sum() > 5
    alone = counting(monkeypatch)
    result = quietly(first, second, size=64, step=64)
    assert not alone
    assert result.trusted.all()
    assert chi2_inside(result.pull(TRUTH))
    rays = first.copy()
    rays[20::64, 30::64] += 10 * first.std()
    result = quietly(rays, second, size=64, step=64)
    assert len(alone) == len(result)
    assert chi2_inside(result.pull(TRUTH))


def particles(shape: tuple[int, int], rng: np.random.Generator) -> Any:
    """Particles 3 px wide and of any brightness, one in 25 pixels."""
    points = np.zeros(shape)
    places = rng.integers(0, points.size, points.size // 25)
    np.add.at(points.ravel(), places, rng.uniform(0.3, 1.0, places.size))
    k = [np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])]
    blur = np.exp(-2 * (1.2 * np.pi) ** 2 * (k[0] ** 2 + k[1] ** 2))
    scene = np.fft.irfft2(np.fft.rfft2(points) * blur, shape)
    return scene / scene.std()


def test_small_windows_of_particles_match_and_those_of_others_do_not() -> None:
    """A few lags of a sparse scene hold too few peaks; those of the wider field tell the tail."""
    rng = np.random.default_rng(41)
    truth = (5.3, -0.6)
    scene, other = (particles((224, 224), rng) for _ in range(2))
    first, _ = cr.simulate_pair(scene, truth, noise=0.2, rng=rng, shape=(160, 160))
    # some enter the sheet of light
    both = scene + 0.35 * particles(scene.shape, rng)
    _, second = cr.simulate_pair(both, truth, noise=0.2, rng=rng, shape=(160, 160))
    result = quietly(first, second, size=32, step=32)
    assert cr.Status.NO_MATCH not in result.status
    assert np.abs(result.offsets - truth).max() < 0.3
    _, unrelated = cr.simulate_pair(other, truth, noise=0.2, rng=rng, shape=(160, 160))
    assert not quietly(first, unrelated, size=32, step=32).trusted.any()


def test_what_is_constant_is_flagged() -> None:
    first, second = pair(8, 128)
    first[:64, :64] = 3.0
    result = quietly(first, second, size=64, step=64)
    assert cr.Status.CONSTANT_IMAGE in result.flags[0]
    assert np.all(np.isinf(result.stderr[0]))
    assert result.trusted.tolist() == [False, True, True, True]


def test_a_pattern_that_stays_is_flagged() -> None:
    rng = np.random.default_rng(9)
    pattern = rng.normal(size=(256, 256))
    first, second = pair(9, 256, noise=0.05)
    marked = quietly(first + pattern, second + pattern, size=64, step=64)
    free = quietly(first, second, size=64, step=64)
    assert free.trusted.all()
    assert marked.trusted.sum() <= 1


def test_stacks_of_windows() -> None:
    first, second = pair(11, 256)
    cut = [
        image.reshape(4, 64, 4, 64).swapaxes(1, 2).reshape(-1, 64, 64) for image in (first, second)
    ]
    result = quietly(*cut)
    assert result.shape == (16,)
    assert result.trusted.all()
    assert np.abs(result.pull(TRUTH)).max() < 5
    single = cr.register(cut[0][3], cut[1][3])
    assert np.all(np.abs(single.offset - result.offsets[3]) < 0.6 * single.stderr)


def test_inputs_are_not_modified() -> None:
    first, second = pair(12, 96)
    kept = first.copy(), second.copy()
    quietly(first, second, size=48)
    assert np.array_equal(first, kept[0])
    assert np.array_equal(second, kept[1])


@pytest.mark.parametrize("scale", [1e-50, 1e-30, 1e30])
def test_the_unit_does_not_matter(scale: float) -> None:
    first, second = pair(13, 96)
    result, other = quietly(first, second, size=48), quietly(scale * first, scale * second, size=48)
    assert np.allclose(result.offsets, other.offsets, atol=0.05 * result.stderr.min())


def test_numbers_and_files(measured: cr.WindowsRegistration, tmp_path: Any) -> None:
    table = measured.to_table()
    assert len(table) == len(measured)
    assert np.allclose(table["offset"].value, measured.offsets)
    measured.save(tmp_path / "windows.ecsv")
    measured.save(tmp_path / "windows.csv")
    plain = np.genfromtxt(tmp_path / "windows.csv", delimiter=",", names=True, dtype=None)
    assert np.array_equal(plain["offset_x_px"], measured.offsets[:, 1])
    assert np.array_equal(plain["covariance_yx_px2"], measured.covariances[:, 0, 1])
    with pytest.raises(cr.InputError, match="suffix"):
        measured.save(tmp_path / "windows.xyz")
    with pytest.raises(cr.InputError, match="scale"):
        measured.plot(scale=0)
    assert "windows of 32 x 32 trusted" in str(measured)
    assert measured.plot().axes[0].get_xlabel() == "axis 1 (x), px"
    with pytest.raises(cr.InputError, match="one value"):
        measured.on_grid([1.0, 2.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 300}, "do not suit"),
        ({"size": 4}, "do not suit"),
        ({"size": 2.5}, "whole number"),
        ({"step": 0}, "above 0"),
        ({"centers": [[2, 2]]}, "leaves the reference"),
        ({"centers": [1, 2, 3]}, "shape"),
        ({"centers": [[64, 64]], "step": 3}, "both given"),
        ({"centers": np.zeros((0, 2))}, "one row at least"),
        ({"initial": [1, 2, 3]}, "initial has shape"),
        ({"initial": [np.nan, 0]}, "not finite"),
        ({"max_offset": "3"}, "whole number"),
        ({"max_offset": -1}, "above 0"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str) -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 128, 128))
    with pytest.raises(cr.InputError, match=message):
        cr.register_windows(first, second, **options)


def test_windows_of_two_shapes_are_refused() -> None:
    with pytest.raises(cr.InputError, match="different shapes"):
        cr.register_windows([np.ones((32, 32)), np.ones((32, 30))], [np.ones((32, 32))] * 2)


def test_a_guess_on_the_grid() -> None:
    first, second = pair(16, 96)
    coarse = quietly(first, second, size=32, step=32)
    guess = coarse.on_grid(np.rint(coarse.offsets))
    fine = quietly(first, second, size=32, step=32, max_offset=2, initial=guess)
    assert fine.trusted.all()
    assert np.allclose(fine.offsets, coarse.offsets, atol=0.2 * coarse.stderr.min())


def test_volumes_are_refused() -> None:
    with pytest.raises(cr.InputError, match="two images"):
        cr.register_windows(np.zeros((16, 16, 16, 16)), np.zeros((16, 16)))


@pytest.mark.parametrize("dust", [0.0, 0.6])
def test_windows_on_a_pattern_that_stays_in_place(dust):
    """Those measured one by one are cut from moving elsewhere: its rest is not at zero there."""
    rng = np.random.default_rng(2)
    truth = rng.uniform(-1.8, 1.8, 2)
    scene = cr.random_scene("texture", (512, 512), rng=rng)
    images = cr.simulate_pair(scene, truth, noise=0.1, shape=(256, 256), rng=rng)
    pattern = scipy.ndimage.gaussian_filter(rng.normal(size=images[0].shape), 1.5)
    pattern *= dust * images[0].std() / pattern.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register_windows(*(image + pattern for image in images), size=64)
    assert np.all(result.trusted == (dust == 0))
