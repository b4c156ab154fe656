"""Stacks: near the joint bound, with true bars, and bad frames carry no weight."""

from __future__ import annotations

import importlib.util
import json
import warnings
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2

import coregister as cr
from coregister.demo import middle_of_disc
from coregister.io import read
from coregister.simulate import Observation
from coregister.simulate.bounds import bound_of

SIDE = 64


def movie(kind="power-law-2", frames=5, noise=0.3, seed=0, boundary="overlap", step=0.7, side=SIDE):
    rng = np.random.default_rng([seed, 77])
    shape = (side if boundary == "periodic" else 2 * side,) * 2
    scene = cr.random_scene(kind, shape, rng=rng)
    truth = np.cumsum(rng.normal(scale=step, size=(frames, 2)), axis=0)
    taken = cr.simulate_stack(
        scene, truth, noise=noise, rng=rng, shape=None if boundary == "periodic" else (side, side)
    )
    return taken, truth, scene


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_stack(*args, **options)


def errors(result, truth):
    good = result.trusted
    error = result.offsets - truth
    return (error - error[good].mean(axis=0))[good]


@pytest.mark.calibration
@pytest.mark.parametrize(
    ("kind", "frames", "noise", "boundary", "movies"),
    [
        ("power-law-2", 5, 0.5, "overlap", 60),
        ("power-law-3", 4, 0.1, "overlap", 80),
        ("power-law-2", 12, 0.3, "overlap", 24),
        ("power-law-2", 5, 0.3, "periodic", 60),
    ],
)
def test_the_bars_are_true_and_small(kind, frames, noise, boundary, movies):
    pulls, square, bound = [], [], []
    for seed in range(movies):
        taken, truth, scene = movie(kind, frames, noise, seed, boundary)
        result = quiet(taken, boundary=boundary)
        assert result.trusted.all()
        pulls.append(result.pull(truth))
        square.append(np.mean(errors(result, truth) ** 2))
        if seed < 6 and boundary == "overlap":
            # one frame against the mean of all others
            one = Observation(noise=(noise / np.sqrt(frames - 1), noise), shape=(SIDE, SIDE))
            least = np.trace(bound_of(one, scene, truth[-1] - truth[0])) / 2
            bound.append(least * ((frames - 1) / frames) ** 2)
    total = np.sum(np.square(pulls))
    # the mean is taken out: as many numbers less
    freedom = movies * (frames - 1) * 2
    scaled = total * (frames - 1) / frames
    low, high = chi2.ppf([0.0005, 0.9995], freedom)  # chance alone fails it once in 1000
    assert low < scaled < high
    assert not low < scaled / 0.8**2 < high
    assert not low < scaled / 1.25**2 < high
    if bound:
        ratio = np.sqrt(np.mean(square) / np.mean(bound))
        assert ratio < 1.1 * np.sqrt(high / freedom)


@pytest.mark.calibration
def test_bars_of_pairs_that_are_taken_as_independent_are_too_small():
    """The negative control: averaging all pairs to a frame forgets that they share its noise."""
    frames, claimed, found = 12, [], []
    for seed in range(6):
        taken, truth, _ = movie(frames=frames, noise=0.1, seed=seed)
        result = quiet(taken)
        between = [
            np.trace(cr.register(taken[0], taken[j]).covariance) / 2 for j in range(1, frames)
        ]
        claimed.append(np.mean(between) / frames)  # as many pairs of its own, halved twice
        found.append(np.mean(errors(result, truth) ** 2))
        assert np.mean(result.stderr**2) > 1.5 * claimed[-1]
    assert np.mean(found) > 2 * np.mean(claimed)


def test_differences_of_frames_have_bars_too():
    taken, _truth, _ = movie(noise=0.3, frames=6)
    result = quiet(taken)
    first = result.relative_to(0)
    np.testing.assert_allclose(first.offsets, result.offsets - result.offsets[0])
    np.testing.assert_array_equal(first.covariances[0], 0)
    np.testing.assert_allclose(first.covariances[3], result.covariance_between(3, 0))
    assert np.trace(first.covariances[3]) > np.trace(result.covariances[3])
    np.testing.assert_allclose(result.offsets.mean(axis=0), 0, atol=1e-12)
    with pytest.raises(cr.InputError, match="count from 0"):
        result.relative_to(6)


def spoiled(taken, scene):
    """Frames that must not count, and what must be said of each."""
    rng = np.random.default_rng(5)
    bad = taken.copy()
    bad[1] = 7.0
    bad[3] = rng.normal(size=taken[3].shape)
    bad[5] = np.nan
    bad[6] = gaussian_filter(bad[6], 2)
    return bad, {1: "CONSTANT_IMAGE", 3: "NO_MATCH", 5: "CONSTANT_IMAGE", 6: "MISFIT"}


def test_bad_frames_are_flagged_and_carry_no_weight():
    taken, truth, scene = movie("power-law-3", 10, 0.1, side=96)
    clean = quiet(taken)
    bad, said = spoiled(taken, scene)
    with pytest.warns(cr.RegistrationWarning, match="4 of 10 frames are flagged"):
        result = cr.register_stack(bad)
    assert {t: str(result.status[t]) for t in np.flatnonzero(~result.trusted)} == said
    good = result.trusted
    apart = errors(result, truth) - (clean.offsets - truth)[good]
    apart -= apart.mean(axis=0)
    assert np.all(np.abs(apart) < 1.5 * clean.stderr[good])
    assert np.all(np.isinf(result.stderr[[1, 3, 5]]))
    assert np.all(np.isfinite(result.offsets))


def test_a_ray_and_a_hole_cost_little():
    taken, truth, _ = movie("power-law-3", 6, 0.1, side=96)
    taken[2, 40:44, 50] += 60
    taken[4, 20:36, 20:36] = np.nan
    result = quiet(taken)
    assert result.trusted.all()
    assert np.all(np.abs(result.pull(truth)) < 5)


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
@pytest.mark.parametrize("spoilt", ["rays", "hot pixels"])
def test_rays_and_hot_pixels_in_all_frames_cost_little(boundary, spoilt):
    taken, truth, _ = movie(frames=12, noise=0.1, boundary=boundary, side=96)
    clean = errors(quiet(taken, boundary=boundary), truth)
    rng = np.random.default_rng(8)
    places = rng.integers(96, size=(3, 2))
    for frame in taken:
        for i, j in rng.integers(96, size=(3, 2)) if spoilt == "rays" else places:
            frame[i, j] += rng.uniform(5, 30)
    result = quiet(taken, boundary=boundary)
    assert result.trusted.all()
    assert np.max(np.abs(result.pull(truth))) < 5
    assert np.sqrt(np.mean(errors(result, truth) ** 2)) < 1.5 * np.sqrt(np.mean(clean**2))


def test_a_jump_is_followed():
    taken, truth, scene = movie("power-law-3", 6, 0.1, side=96)
    truth[4:] += (21, -17)
    taken[4:] = cr.simulate_stack(
        scene, truth[4:], noise=0.1, rng=np.random.default_rng(1), shape=(96, 96)
    )
    result = quiet(taken)
    assert result.trusted.all()
    assert np.all(np.abs(errors(result, truth)) < 5 * result.stderr)


def test_a_drift_beyond_the_field_is_followed():
    rng = np.random.default_rng(2)
    scene = cr.random_scene("power-law-2", (320, 320), rng=rng)
    truth = np.stack([np.linspace(0, 90, 13), np.linspace(0, -60, 13)], axis=1)
    taken = cr.simulate_stack(scene, truth, noise=0.1, rng=rng, shape=(64, 64))
    result = quiet(taken)
    assert result.trusted.all()
    error = (result.offsets - result.offsets[0]) - (truth - truth[0])
    bars = np.sqrt([np.diag(result.covariance_between(t, 0)) for t in range(13)])
    assert np.all(np.abs(error[1:]) < 5 * bars[1:])
    assert np.all(bars[-1] > bars[1])


def test_parts_that_share_nothing_are_told():
    taken, _truth, _ = movie("power-law-3", 7, 0.1, side=64)
    other, _, _ = movie("power-law-3", 3, 0.1, seed=9, side=64)
    result = quiet(np.concatenate([taken, other]))
    assert result.trusted.sum() == 7
    assert [str(s) for s in result.status[7:]] == ["DISCONNECTED"] * 3
    assert set(result.part) == {0, 1}
    assert "DISCONNECTED" in str(result)


def test_references():
    taken, truth, _ = movie("power-law-3", 5, 0.05)
    first = quiet(taken, reference="first")
    np.testing.assert_allclose(first.offsets, truth - truth[0], atol=0.1)
    third = quiet(taken, reference=2)
    np.testing.assert_allclose(third.offsets, truth - truth[2], atol=0.1)
    np.testing.assert_array_equal(third.offsets[2], 0)
    previous = quiet(taken, reference="previous")
    np.testing.assert_allclose(previous.offsets, truth - truth[0], atol=0.1)
    assert np.all(np.diff(previous.stderr[:, 0]) > 0)
    image = quiet(taken[1:], reference=taken[0])
    np.testing.assert_allclose(image.offsets, truth[1:] - truth[0], atol=0.1)
    assert len(image) == 4
    with pytest.raises(cr.InputError, match="not in a stack of 5"):
        quiet(taken, reference=5)


def test_a_slow_drift_below_the_noise_of_a_pair_is_found():
    rng = np.random.default_rng(4)
    scene = cr.random_scene("power-law-2", (128, 128), rng=rng)
    truth = np.stack([np.linspace(0, 0.3, 40), np.zeros(40)], axis=1)
    taken = cr.simulate_stack(scene, truth, noise=1.0, rng=rng, shape=(64, 64))
    result = quiet(taken, drift="smooth")
    assert np.median(result.stderr[:, 0]) > 0.05  # a frame alone does not see it
    drift = result.drift
    assert drift.chance < 1e-4
    moved = drift.offsets - drift.offsets.mean(axis=0) - (truth - truth.mean(axis=0))
    assert np.all(np.abs(moved) < 4 * drift.stderr)
    assert np.all(drift.stderr < 0.6 * result.stderr)
    still = cr.simulate_stack(scene, 0 * truth, noise=1.0, rng=rng, shape=(64, 64))
    assert quiet(still, drift="smooth").drift.chance > 1e-3


def test_a_reference_that_is_not_known_is_told():
    taken, _, _ = movie("power-law-3", 3, 0.1, side=32)
    for unknown in ("last", None, 1.5, True):
        with pytest.raises(cr.InputError, match="is not known; use 'all', 'first', 'previous'"):
            cr.register_stack(taken, reference=unknown)
    with pytest.raises(cr.InputError, match="does not exist"):
        cr.register_stack(taken, reference="nowhere.fits")


def test_a_notebook_shows_what_is_printed():
    taken, _, _ = movie("power-law-3", 4, 0.1)
    good = cr.register_stack(taken)
    taken[2] = 7.0
    bad = quiet(taken)
    assert "#009E73" in good._repr_html_()
    assert "<li>" not in good._repr_html_()
    page = bad._repr_html_()
    assert "#D55E00" in page
    assert "<strong>3 of 4 frames trusted</strong>" in page
    assert "<li>CONSTANT_IMAGE: frames 2</li>" in page


def test_processes_give_the_same_numbers():
    taken, _, _ = movie("power-law-3", 5, 0.1)
    here = quiet(taken)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = quiet(taken, executor=executor)
    np.testing.assert_array_equal(here.offsets, there.offsets)
    np.testing.assert_array_equal(here.covariances, there.covariances)


def test_a_stopped_run_goes_on(tmp_path):
    taken, _, _ = movie("power-law-3", 40, 0.1, step=0.2)
    path = tmp_path / "run.json"

    class Stopped:
        """Frames of which one cannot be read at first."""

        def __init__(self, broken):
            self.reads, self.broken = [], broken

        def __len__(self):
            return len(taken)

        def __getitem__(self, index):
            self.reads.append(index)
            if self.broken and len(self.reads) > 70:
                raise KeyboardInterrupt
            return taken[index]

    with pytest.raises(KeyboardInterrupt):
        cr.register_stack(Stopped(True), checkpoint=path)
    assert json.loads(path.read_text())["links"]
    source = Stopped(False)
    result = cr.register_stack(source, checkpoint=path)
    np.testing.assert_array_equal(result.offsets, cr.register_stack(taken).offsets)
    with pytest.raises(cr.InputError, match="other frames or options"):
        cr.register_stack(taken[:-1], checkpoint=path)
    changed = taken.copy()
    changed[3] = np.random.default_rng(0).normal(size=taken[3].shape)
    assert not quiet(changed, checkpoint=path).trusted[3]  # what was kept of it is not believed


def test_progress_is_told():
    taken, _, _ = movie("power-law-3", 5, 0.1)
    told = []
    quiet(taken, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] >= 4
    assert all(0 < done <= total <= 5 for done, total in told)


def test_frames_are_brought_together():
    taken, _truth, _ = movie("power-law-3", 6, 0.05, side=96)
    result = quiet(taken, reference="first")
    aligned = result.apply(taken)
    assert aligned.shape == taken.shape
    inner = (slice(None), slice(12, -12), slice(12, -12))
    assert np.nanstd(aligned[inner] - aligned[inner][0]) < 0.5 * np.std(
        taken[inner] - taken[inner][0]
    )
    mean, variance = result.mean(taken)
    assert np.nanmean(variance[12:-12, 12:-12]) == pytest.approx(0.05**2 * 1.0 / 6, rel=0.5)
    np.testing.assert_allclose(mean[20:-20, 20:-20], aligned[:, 20:-20, 20:-20].mean(0), atol=1e-5)


def test_the_table_and_back(tmp_path):
    taken, _, _ = movie("power-law-3", 4, 0.1)
    result = quiet(taken)
    for suffix in (".ecsv", ".csv", ".json", ".parquet"):
        if suffix == ".parquet":
            pytest.importorskip("pyarrow")
        path = tmp_path / f"table{suffix}"
        result.save(path)
        assert path.stat().st_size > 100
        with pytest.raises(cr.InputError, match="exists"):
            result.save(path)
    table = pytest.importorskip("astropy.table").QTable.read(tmp_path / "table.ecsv")
    np.testing.assert_allclose(table["offset"].value, result.offsets)
    np.testing.assert_allclose(table["covariance"].value, result.covariances)
    assert str(table["offset"].unit) == "pix"
    again = cr.StackRegistration.from_dict(json.loads((tmp_path / "table.json").read_text()))
    np.testing.assert_array_equal(again.offsets, result.offsets)
    np.testing.assert_array_equal(again.covariance_between(0, 1), result.covariance_between(0, 1))
    with pytest.raises(cr.InputError, match=r"\.ecsv"):
        result.save(tmp_path / "table.xls")


def test_what_is_no_stack_is_refused():
    with pytest.raises(cr.InputError, match="at least 2"):
        cr.register_stack(np.zeros((1, 32, 32)))
    with pytest.raises(cr.InputError, match="first axis"):
        cr.register_stack(np.zeros(32))
    with pytest.raises(cr.InputError, match="frames of one shape"):
        cr.register_stack([np.random.default_rng(0).normal(size=(n, 32)) for n in (32, 33, 32)])
    with pytest.raises(cr.InputError, match="'smooth'"):
        cr.register_stack(np.zeros((3, 32, 32)), drift="linear")


def test_dask_stays_lazy():
    array = pytest.importorskip("dask.array")
    taken, _, _ = movie("power-law-3", 4, 0.1)
    lazy = array.from_array(taken, chunks=(1, SIDE, SIDE))
    np.testing.assert_array_equal(quiet(lazy).offsets, quiet(taken).offsets)


def test_a_pattern_on_the_detector_is_told():
    taken, _, _ = movie("power-law-3", 8, 0.1, side=96)
    assert quiet(taken).trusted.all()
    scatter = float(np.std(taken[0]))
    taken += 0.1 * scatter * np.random.default_rng(3).normal(size=taken[0].shape)
    result = quiet(taken)
    assert not result.trusted.any()
    assert sum("FIXED_PATTERN" in map(str, flags) for flags in result.flags) >= 4


def on_dust(height, seed):
    """A movie that drifts by less than the grains of a pattern which stays on the detector."""
    taken, truth, _ = movie("power-law-3", 12, 0.1, seed, step=0.5, side=96)
    dust = gaussian_filter(np.random.default_rng(seed).normal(size=taken[0].shape), 2.0)
    return taken + height * dust / dust.std(), truth


@pytest.mark.parametrize("height", [0.2, 0.3, 0.5])
def test_a_pattern_that_no_single_pair_tells_is_told_by_all_of_them(height):
    """The answers lie between its rest and the drift, 5 to 40 bars off, and pairs look sound.

    One movie of eight may pass: without what all pairs say together, half of the frames are wrong
    and trusted.
    """
    wrong = 0
    for seed in range(8):
        taken, truth = on_dust(height, seed)
        result = quiet(taken)
        if result.trusted.any():
            pulls = np.abs(result.pull(truth)[result.trusted])
            wrong += np.count_nonzero(pulls.max(axis=1) > 5)
    assert wrong <= 12


@pytest.mark.parametrize("seed", range(4))
def test_a_pattern_below_the_noise_is_no_matter(seed):
    taken, truth = on_dust(0.03, seed)
    result = quiet(taken)
    assert result.trusted.all()
    assert np.max(np.abs(result.pull(truth))) < 5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_frames_that_follow_the_pattern_are_not_trusted(seed):
    """Most frames do not fit; those that agree follow the pattern, not the scene."""
    taken, truth, _ = movie("power-law-3", 8, 0.1, seed, side=96)
    scatter = float(np.std(taken[0]))
    assert quiet(taken).trusted.all()
    taken += 0.1 * scatter * np.random.default_rng(seed).normal(size=taken[0].shape)
    result = quiet(taken)
    good = result.trusted
    if good.any():
        assert np.sqrt(np.mean(result.pull(truth)[good] ** 2)) < 2
    assert good.sum() <= 2


def test_frames_that_stand_twice_are_no_pattern():
    taken, truth, _ = movie("power-law-3", 6, 0.1)
    for frames, where in (
        (np.concatenate([taken, taken[2:3]]), [0, 1, 2, 3, 4, 5, 2]),
        (np.repeat(taken, 2, axis=0), np.repeat(np.arange(6), 2)),
    ):
        result = quiet(frames)
        assert result.trusted.all()
        assert np.all(np.abs(result.pull(truth[where])) < 5)


def test_a_pattern_is_not_claimed_more_often_than_it_should():
    """The probability of a pattern is one: small ones are rare where there is none."""
    from coregister.stack.bench import Common
    from coregister.stack.pattern import Canvas

    rng = np.random.default_rng(8)
    chances, twice = [], []
    for _ in range(400):
        starts = rng.integers(0, 4, (8, 2))
        canvas, doubled = (Canvas(Common(starts, starts, (32, 32), 1)) for _ in range(2))
        for row in range(8):
            left = rng.normal(size=(32, 32))
            canvas.add(row, left)
            doubled.add(row, left + gaussian_filter(left, 1))  # not white
            doubled.add(row, left + gaussian_filter(left, 1))
        chances.append(canvas.chance())
        twice.append(doubled.chance())
    for found in (chances, twice):
        assert np.mean(np.array(found) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
        assert np.mean(np.array(found) < 0.3) > 0.1  # nor hardly ever


def test_the_turning_sun_is_no_pattern():
    found = importlib.util.find_spec("dkist")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package dkist carries the frames")
    folder = Path(found.submodule_search_locations[0]) / "data" / "test" / "EIT"
    files = [read(path) for path in sorted(folder.glob("*.fits"))]
    result = quiet([middle_of_disc(file).data for file in files])
    assert not any(cr.Status.FIXED_PATTERN in flags for flags in result.flags)
    assert result.trusted.sum() >= 4  # active regions change; the frames at both ends say so
    times = [datetime.fromisoformat(file.header["DATE_OBS"]) for file in files]
    hours = [(time - times[0]).total_seconds() / 3600 for time in times]
    slope, *_ = line = np.polyfit(hours, result.offsets[:, 1], 1)
    assert abs(slope) == pytest.approx(0.41, abs=0.04)  # px an hour, from the rotation of the Sun
    assert np.all(np.abs(result.offsets[:, 1] - np.polyval(line, hours)) < 0.15)


def test_nothing_alike_is_nothing():
    rng = np.random.default_rng(1)
    for frames in (
        rng.normal(size=(5, 32, 32)),
        np.zeros((3, 32, 32)),
        rng.normal(size=(2, 32, 32)),
    ):
        result = quiet(frames)
        assert not result.trusted.any()
        assert np.all(np.isinf(result.stderr))


def test_a_bad_reference_leaves_nothing_known():
    taken, _, _ = movie("power-law-3", 5, 0.1)
    taken[2] = np.random.default_rng(1).normal(size=taken[2].shape)
    assert quiet(taken).trusted.sum() == 4
    for reference in (2, np.random.default_rng(2).normal(size=taken[0].shape)):
        result = quiet(taken, reference=reference)
        assert not result.trusted.any()
        assert np.all(np.isinf(result.stderr))


def test_errors_and_masks_of_frames():
    taken, truth, _ = movie("power-law-3", 5, 0.1)
    valid = np.ones(taken.shape, bool)
    valid[1, 10:30, 10:30] = False
    taken[1, 10:30, 10:30] = 1e3
    result = quiet(taken, valid=valid, err=[0.1] * 5)
    assert result.trusted.all()
    assert np.all(np.abs(result.pull(truth)) < 5)
    outside = quiet(taken[1:], reference=taken[0], valid=valid[1:], err=[0.1] * 4)
    np.testing.assert_allclose(outside.offsets, truth[1:] - truth[0], atol=0.1)
    for wrong in (np.ones((64, 63)), [0.1] * 4, np.ones((4, 64, 64))):
        with pytest.raises(cr.InputError, match=r"err has shape .* one for each of 5 frames"):
            quiet(taken, err=wrong)


def uneven(seed, frames=5, each=False):
    """A movie whose noise is much larger in one part, of all frames or of each another."""
    taken, truth, _ = movie("power-law-2", frames, 0.3, seed)
    rng = np.random.default_rng([seed, 3])
    least = 0.3 * np.std(taken)
    err = np.full(taken.shape, least)
    for t, sigma in enumerate(err):
        first = int(rng.integers(0, 32)) if each else 20
        sigma[:, first : first + 32] *= 5
        taken[t] += np.sqrt(sigma**2 - least**2) * rng.normal(size=sigma.shape)
    return taken, truth, err if each else err[0]


@pytest.mark.calibration
@pytest.mark.parametrize("each", [False, True])
def test_errors_that_vary_are_honoured(each):
    """Bars are true with errors and without, and smaller with them."""
    total, square, without = 0.0, 0.0, 0.0
    movies, frames = 30, 5
    for seed in range(movies):
        taken, truth, err = uneven(seed, frames, each)
        result = quiet(taken, err=err)
        assert result.trusted.all()
        total += np.sum(result.pull(truth) ** 2) * (frames - 1) / frames
        plain = quiet(taken)
        if plain.trusted.all():
            square += np.mean(errors(result, truth) ** 2)
            without += np.mean(errors(plain, truth) ** 2)
    low, high = chi2.ppf([0.0005, 0.9995], movies * (frames - 1) * 2)
    assert low < total < high
    assert square < 0.5 * without
    listed = quiet(taken, err=list(err) if each else err)
    np.testing.assert_array_equal(listed.offsets, result.offsets)


@pytest.mark.calibration
def test_holes_leave_the_bars_true():
    pulls = []
    for seed in range(30):
        taken, truth, _ = movie("power-law-2", 5, 0.3, seed)
        rng = np.random.default_rng(seed)
        for frame in taken:
            y, x = rng.integers(4, 36, 2)
            frame[y : y + 20, x : x + 20] = np.nan
        result = quiet(taken)
        assert result.trusted.all()
        pulls.append(result.pull(truth))
    total = np.sum(np.square(pulls)) * 4 / 5
    low, high = chi2.ppf([0.0005, 0.9995], 30 * 4 * 2)
    assert low < total < high
