"""The probability of every offset: what holds for any pair, and where it must say what bars say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import coregister as cr

TRUTH = (3.3, -5.1)


def pair_of(kind, side, noise, *, boundary="periodic", truth=TRUTH, seed=3, ndim=2):
    rng = np.random.default_rng(seed)
    shape = (side if boundary == "periodic" else 2 * side,) * ndim
    scene = cr.random_scene(kind, shape, rng=rng)
    return cr.simulate_pair(scene, truth, noise=noise, rng=rng, boundary=boundary)


def registered(pair, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register(*pair, **options)


def size(posterior, level):
    """Volume of the region, px^ndim."""
    region = posterior.region(level)
    return np.sum(posterior.probability[region] / posterior.density[region])


@pytest.fixture(scope="module", params=["periodic", "overlap"])
def faint(request):
    """A pair too faint for bars, its result and its posterior."""
    pair = pair_of("power-law-2", 32, 2.5, boundary=request.param)
    result = registered(pair, boundary=request.param)
    return pair, result, result.posterior()


def test_probabilities_add_up(faint):
    _, _, posterior = faint
    assert np.all(posterior.probability >= 0)
    assert posterior.probability.sum() + posterior.elsewhere == pytest.approx(1)
    assert posterior.probability.shape == tuple(p.size for p in posterior.positions)
    assert 0.5 < sum(mode.probability for mode in posterior.modes) <= 1 + 1e-9
    for axis, points in enumerate(posterior.positions):
        assert np.all(np.diff(points) > 0)
        assert posterior.marginal(axis).sum() == pytest.approx(1, abs=1e-4)


def test_regions_are_nested_and_the_smallest(faint):
    _, _, posterior = faint
    smaller, larger = posterior.region(0.5), posterior.region(0.95)
    assert np.all(larger[smaller])
    for level, region in ((0.5, smaller), (0.95, larger)):
        held = posterior.probability[region]
        assert level <= held.sum() < level + 0.1
        assert posterior.density[region].min() >= posterior.density[~region].max()


def test_contains_asks_the_cell_of_the_truth(faint):
    _, result, posterior = faint
    place = tuple(int(np.argmax(posterior.marginal(axis))) for axis in range(2))
    for index in (place, (0, 0)):
        truth = [p[i] for p, i in zip(posterior.positions, index, strict=True)]
        assert posterior.contains(truth, 0.9) == posterior.region(0.9)[index]
    far = np.array(result.reference_shape) * 3.0 + posterior.modes[0].offset
    # far beyond the grid, or the same place where images wrap
    assert posterior.contains(far, 0.9) == (posterior.period is not None)


def test_intervals_hold_their_share_of_the_marginal(faint):
    _, _, posterior = faint
    for axis, (low, high) in enumerate(posterior.interval(0.8)):
        points = posterior.positions[axis]
        inside = posterior.marginal(axis)[(points > low) & (points < high)].sum()
        assert inside == pytest.approx(0.8, abs=0.1)
        assert low < high


def test_swapped_images_mirror_it(faint):
    pair, result, posterior = faint
    swapped = registered(pair[::-1], boundary=result.boundary).posterior()
    assert swapped.modes[0].offset == pytest.approx(-posterior.modes[0].offset, abs=0.02)
    assert swapped.modes[0].probability == pytest.approx(posterior.modes[0].probability, abs=0.02)


def test_gain_and_background_do_not_matter(faint):
    (reference, moving), result, posterior = faint
    other = registered((reference, 7 * moving + 300), boundary=result.boundary).posterior()
    assert other.modes[0].offset == pytest.approx(posterior.modes[0].offset, abs=0.01)
    assert other.modes[0].probability == pytest.approx(posterior.modes[0].probability, abs=0.01)


@pytest.mark.parametrize("boundary", ["periodic", "overlap"])
@pytest.mark.parametrize(("kind", "noise"), [("power-law-2", 0.3), ("power-law-3", 0.1)])
def test_where_one_offset_is_beyond_doubt_it_says_what_the_bars_say(kind, noise, boundary):
    for seed in (1, 2, 3):
        pair = pair_of(kind, 64, noise, boundary=boundary, seed=seed)
        result = registered(pair, boundary=boundary)
        assert result.trusted
        posterior = result.posterior()
        (mode,) = posterior.modes
        assert mode.probability == pytest.approx(1, abs=1e-3)
        assert np.all(np.abs(mode.offset - result.offset) < 0.05 * result.stderr)
        assert np.sqrt(np.diag(mode.covariance)) == pytest.approx(result.stderr, rel=0.15)
        assert np.sqrt(np.diag(posterior.covariance)) == pytest.approx(result.stderr, rel=0.15)
        assert np.ptp(posterior.interval(), axis=1) == pytest.approx(
            np.ptp(result.interval(), axis=1), rel=0.15
        )
        area = size(posterior, 0.95)
        ellipse = np.pi * stats.chi2.ppf(0.95, 2) * np.sqrt(np.linalg.det(result.covariance))
        assert area == pytest.approx(ellipse, rel=0.2)


def test_the_averaged_spectra_join_the_bars_without_a_step(monkeypatch):
    # just beyond doubt, both ways are open; they must agree
    pair = pair_of("power-law-2", 48, 1.0)
    result = registered(pair, boundary="periodic")
    by_bars = result.posterior()
    monkeypatch.setattr("coregister.posterior.DECISIVE", 0.0)
    averaged = result.posterior()
    assert averaged.modes[0].probability == pytest.approx(1, abs=1e-3)
    assert np.sqrt(np.diag(averaged.covariance)) == pytest.approx(
        np.sqrt(np.diag(by_bars.covariance)), rel=0.2
    )


@pytest.mark.parametrize("boundary", ["periodic", "overlap"])
def test_a_lattice_keeps_its_offsets(boundary):
    result = registered(pair_of("lattice", 48, 0.3, boundary=boundary), boundary=boundary)
    assert result.status is cr.Status.AMBIGUOUS
    posterior = result.posterior()
    assert len(posterior.modes) == len(result.modes) > 3
    for mode in posterior.modes:
        other = min(result.modes, key=lambda other: np.max(np.abs(other.offset - mode.offset)))
        assert mode.probability == pytest.approx(other.probability, abs=0.01)
        assert mode.offset == pytest.approx(other.offset, abs=1e-6)
        # a fraction of a pixel wide, on a grid that spans them all
        assert np.diag(mode.covariance) == pytest.approx(np.diag(other.covariance), rel=0.2)


def test_stripes_are_open_along_one_direction():
    result = registered(pair_of("stripes", 48, 0.5, boundary="overlap"))
    assert result.status is cr.Status.UNDETERMINED_AXIS
    posterior = result.posterior()
    values, vectors = np.linalg.eigh(posterior.covariance)
    assert values[1] > 10.0**2
    open_direction = np.linalg.eigh(result.information)[1][:, 0]
    assert abs(vectors[:, 1] @ open_direction) > 0.95
    assert posterior.contains(TRUTH, 0.99)


def test_a_direction_that_noise_leaves_open_is_no_stripe():
    """Too faint for bars along one direction, where the Bayes factor still knows the place."""
    truth = (4.2, -3.1)
    results = (
        registered(pair_of("power-law-2", 48, 2.5, boundary="overlap", truth=truth, seed=seed))
        for seed in range(20)
    )
    result = next(r for r in results if cr.Status.UNDETERMINED_AXIS in r.flags)
    posterior = result.posterior()
    assert posterior.modes[0].probability > 0.9
    assert np.all(np.abs(posterior.modes[0].offset - truth) < 1.5)
    assert posterior.contains(truth, 0.99)


def test_nothing_is_found_outside_of_the_search():
    pair = pair_of("power-law-2", 32, 3.0, boundary="overlap", truth=(1.2, 2.1))
    wide = registered(pair).posterior()
    near = registered(pair, initial=(1, 2), max_offset=(3, 4)).posterior()
    for points, (low, high) in zip(near.positions, ((-2, 4), (-2, 6)), strict=True):
        assert low <= points[0] < points[-1] <= high
    assert near.elsewhere < 1e-4
    assert np.linalg.det(near.covariance) < np.linalg.det(wide.covariance)


def test_an_offset_beyond_the_search_is_not_its_answer():
    pair = pair_of("power-law-2", 48, 0.2, boundary="overlap", truth=(1.0, 6.9))
    result = registered(pair, max_offset=5)
    posterior = result.posterior()
    assert all(np.all(np.abs(points) <= 5) for points in posterior.positions)
    assert posterior.probability.sum() == pytest.approx(1, abs=1e-4)


def test_unrelated_images_claim_little():
    rng = np.random.default_rng(8)
    posterior = registered(rng.standard_normal((2, 40, 40))).posterior()
    largest = max((mode.probability for mode in posterior.modes), default=0.0)
    assert largest < 0.6
    assert size(posterior, 0.95) > 40


def test_a_constant_image_tells_nothing():
    rng = np.random.default_rng(8)
    result = registered((rng.standard_normal((24, 24)), np.ones((24, 24))), max_offset=6)
    posterior = result.posterior()
    assert posterior.modes == ()
    assert np.ptp(posterior.density[posterior.density > 0]) < 1e-9
    assert posterior.interval(0.5)[0] == pytest.approx([-3, 3], abs=0.1)


def test_the_value_of_an_invalid_pixel_is_irrelevant():
    reference, moving = pair_of("power-law-2", 32, 1.5, boundary="overlap")
    valid = np.ones(moving.shape, bool)
    valid[10:14, 8:20] = False
    found = []
    for value in (0.0, 1e4):
        moving = np.where(valid, moving, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cr.RegistrationWarning)
            found.append(cr.register(reference, moving, moving_valid=valid).posterior())
    assert np.array_equal(found[0].probability, found[1].probability)
    assert found[0].contains(TRUTH, 0.99)


@pytest.mark.parametrize("boundary", ["periodic", "overlap"])
@pytest.mark.parametrize(("ndim", "side", "noise"), [(1, 200, 0.7), (3, 12, 1.0)])
def test_spectra_and_volumes(ndim, side, noise, boundary):
    truth = (2.3, -1.4, 0.7)[:ndim]
    pair = pair_of("power-law-1", side, noise, boundary=boundary, truth=truth, ndim=ndim)
    posterior = registered(pair, boundary=boundary, max_offset=4).posterior()
    assert posterior.ndim == ndim
    assert posterior.probability.sum() == pytest.approx(1, abs=1e-4)
    assert posterior.contains(truth, 0.999)
    assert posterior.covariance.shape == (ndim, ndim)
    assert posterior.interval().shape == (ndim, 2)


@pytest.mark.parametrize("boundary", ["periodic", "overlap"])
@pytest.mark.parametrize("shape", [(8,), (8, 8), (9, 31)])
@pytest.mark.parametrize("max_offset", [None, 0.05, 100])
def test_smallest_images_and_narrowest_searches(shape, max_offset, boundary):
    rng = np.random.default_rng(5)
    pair = rng.standard_normal((2, *shape))
    posterior = registered(pair, boundary=boundary, max_offset=max_offset).posterior()
    assert np.all(np.isfinite(posterior.probability))
    assert posterior.probability.sum() + posterior.elsewhere == pytest.approx(1)
    if max_offset == 0.05:
        assert all(np.all(np.abs(points) <= 0.05) for points in posterior.positions)


def test_periodic_images_with_holes():
    reference, moving = pair_of("power-law-2", 32, 1.5)
    moving[4:8, 20:24] = np.nan
    posterior = registered((reference, moving), boundary="periodic").posterior()
    assert posterior.contains(TRUTH, 0.99)
    assert posterior.contains(np.add(TRUTH, (32, -64)), 0.99)


def test_a_result_that_was_read_back_says_what_to_do(faint):
    _, result, _ = faint
    with pytest.raises(cr.InputError, match="register the pair again"):
        cr.Registration.from_dict(result.to_dict()).posterior()


def test_questions_that_cannot_be_answered_are_refused(faint):
    _, _, posterior = faint
    with pytest.raises(cr.InputError, match="probability between 0 and 1"):
        posterior.region(95)
    with pytest.raises(cr.InputError, match=r"\(2,\) is needed"):
        posterior.contains([1.0], 0.5)


def test_it_prints_its_modes(faint):
    _, _, posterior = faint
    first, *rows = str(posterior).splitlines()
    assert first.split()[1].startswith("mode")
    assert f"{100 * posterior.modes[0].probability:.1f} %" in rows[0]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_it_is_drawn(ndim, origin):
    pytest.importorskip("matplotlib")
    truth = (2.3, -1.4, 0.7)[:ndim]
    pair = pair_of("power-law-1", (200, 32, 12)[ndim - 1], 1.5, truth=truth, ndim=ndim)
    figure = registered(pair, boundary="periodic").posterior().plot(origin=origin)
    figure.canvas.draw()
    everything, near = figure.axes[:2]
    assert "regions of 68 and 95 %" in everything.get_title(loc="left")
    if ndim > 1:
        low, high = near.get_ylim()
        assert (low < high) == (origin == "lower")
