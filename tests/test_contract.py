"""What is promised to users: names, signatures, signs, and that nothing difficult raises."""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings

import numpy as np
import pytest
import scipy.ndimage

import coregister as cr

TRUTH = np.array([2.3, -1.4])
FLAGS = [
    "OK",
    "NO_MATCH",
    "AMBIGUOUS",
    "UNDETERMINED_AXIS",
    "SEARCH_EDGE",
    "LOW_OVERLAP",
    "FIXED_PATTERN",
    "MISFIT",
    "UNDERSAMPLED",
    "UNEVEN_NOISE",
    "DISCONNECTED",
    "NOT_CONVERGED",
]
PROMISED = [
    "offset",
    "covariance",
    "model_covariance",
    "systematic",
    "information",
    "stderr",
    "status",
    "flags",
    "trusted",
    "false_alarm",
    "modes",
    "gain",
    "background",
    "overlap",
    "coherence",
    "n_iter",
    "matrix",
    "apply",
    "contains",
    "pull",
    "interval",
    "chi2_map",
    "plot",
    "report",
    "to_dict",
    "from_dict",
    "_repr_html_",
]


def flagged(reference, moving, **options):
    """Register a pair that must come back flagged, with one warning and a whole result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = cr.register(reference, moving, **options)
    assert [w.category for w in caught] == [cr.RegistrationWarning]
    assert caught[0].filename == __file__, "the warning must point at the caller's line"
    assert result.status is not cr.Status.OK
    assert not result.trusted
    assert result.status.name in str(caught[0].message)
    check_whole(result)
    return result


def check_whole(result):
    """The invariants of every result, good or bad."""
    ndim = result.offset.size
    assert result.offset.dtype == np.float64
    assert np.all(np.isfinite(result.offset))
    assert result.covariance.shape == result.information.shape == (ndim, ndim)
    assert not np.any(np.isnan(result.covariance))
    assert np.all(result.stderr > 0)
    assert np.all(np.isfinite(result.information))
    assert np.linalg.eigvalsh(result.information).min() >= -1e-9 * np.abs(result.information).max()
    np.testing.assert_array_equal(result.information, result.information.T)
    assert result.systematic.shape == (ndim,)
    assert np.all(result.systematic >= 0)
    assert 0 <= result.false_alarm <= 1
    assert 0 <= result.overlap <= 1
    assert isinstance(result.flags, frozenset)
    assert cr.Status.OK not in result.flags
    first = next((flag for flag in cr.Status if flag in result.flags), cr.Status.OK)
    assert result.status is first
    assert result.trusted == (result.flags <= {cr.Status.UNDERSAMPLED, cr.Status.UNEVEN_NOISE})
    np.testing.assert_array_equal(result.stderr, np.sqrt(np.diag(result.covariance)))
    json.dumps(result.to_dict(), allow_nan=False)


# -------------------------------------------------------------------- names and signatures


def test_signature_of_register():
    parameters = inspect.signature(cr.register).parameters
    assert [(p.name, p.default) for p in parameters.values()] == [
        ("reference", inspect.Parameter.empty),
        ("moving", inspect.Parameter.empty),
        ("reference_err", None),
        ("moving_err", None),
        ("reference_valid", None),
        ("moving_valid", None),
        ("boundary", "overlap"),
        ("max_offset", None),
        ("initial", None),
        ("model", "translation"),
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[2:])


def test_signature_of_chi2_shift():
    parameters = inspect.signature(cr.chi2_shift).parameters
    assert [(p.name, p.default) for p in parameters.values()] == [
        ("im1", inspect.Parameter.empty),
        ("im2", inspect.Parameter.empty),
        ("err", None),
        ("upsample_factor", "auto"),
        ("boundary", "wrap"),
        ("nthreads", 1),
        ("use_numpy_fft", False),
        ("zeromean", False),
        ("nfitted", 2),
        ("verbose", False),
        ("return_error", True),
        ("return_chi2array", False),
        ("max_auto_size", 512),
        ("max_nsig", 1.1),
    ]


def test_registration_is_a_frozen_keyword_only_dataclass_with_the_promised_names():
    assert dataclasses.is_dataclass(cr.Registration)
    assert not issubclass(cr.Registration, tuple)
    assert all(field.kw_only for field in dataclasses.fields(cr.Registration))
    missing = [
        name
        for name in PROMISED
        if not hasattr(cr.Registration, name)
        and name not in {field.name for field in dataclasses.fields(cr.Registration)}
    ]
    assert not missing


def test_a_result_cannot_be_changed(make_pair):
    result = cr.register(*make_pair())
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.offset = np.zeros(2)


def test_flags_stand_in_the_order_of_the_contract():
    assert [status.name for status in cr.Status][: len(FLAGS)] == FLAGS
    assert all(isinstance(s.value, str) and len(s.value) > 30 for s in cr.Status)


def test_errors_inherit_from_the_builtin_and_from_the_package():
    assert issubclass(cr.InputError, ValueError)
    assert issubclass(cr.InputError, cr.CoregisterError)
    assert issubclass(cr.MissingExtraError, ImportError)
    assert issubclass(cr.RegistrationWarning, UserWarning)


# -------------------------------------------------------------------- sign, order, places


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_moving_sits_at_plus_offset_and_matrix_and_offset_bring_it_back(boundary):
    reference = np.zeros((40, 44))
    reference[14:19, 20:27] = 1.0
    reference[20:22, 15:18] = 2.0
    reference = scipy.ndimage.gaussian_filter(reference, 1.5)
    moving = np.roll(reference, (3, -2), axis=(0, 1))
    result = cr.register(reference, moving, boundary=boundary)
    np.testing.assert_allclose(result.offset, [3, -2], atol=1e-3)
    back = scipy.ndimage.affine_transform(moving, result.matrix, result.offset)
    np.testing.assert_allclose(back[4:-4, 4:-4], reference[4:-4, 4:-4], atol=0.01)
    np.testing.assert_allclose(result.apply(moving)[4:-4, 4:-4], reference[4:-4, 4:-4], atol=0.01)


def test_the_sign_is_opposite_to_that_of_scikit_image(make_pair):
    registration = pytest.importorskip("skimage.registration")
    reference, moving = make_pair(offset=(3.0, -2.0))
    shift, _, _ = registration.phase_cross_correlation(reference, moving, normalization=None)
    np.testing.assert_allclose(cr.register(reference, moving).offset, -shift, atol=0.5)


def test_a_good_pair_is_trusted_silent_and_right(make_pair):
    result = cr.register(*make_pair())
    check_whole(result)
    assert result.status is cr.Status.OK
    assert result.trusted
    assert result.false_alarm <= 1e-4
    assert np.all(result.stderr < 0.02)
    assert np.all(np.abs(result.pull(TRUTH)) < 5)
    assert result.contains(TRUTH, 0.99999)


def test_gain_and_background_are_free(make_pair):
    result = cr.register(*make_pair(gain=2.5, background=-40.0))
    assert result.trusted
    assert np.all(np.abs(result.pull(TRUTH)) < 5)
    assert result.gain == pytest.approx(2.5, rel=0.02)
    assert result.background == pytest.approx(-40, abs=0.2)


def test_positions_are_the_indices_of_each_image(make_pair):
    reference, moving = make_pair((50, 70), (11.3, -1.4), moving_shape=(80, 64))
    result = cr.register(reference, moving)
    assert result.trusted
    assert np.all(np.abs(result.pull([11.3, -1.4])) < 5)
    assert result.apply(moving).shape == reference.shape


@pytest.mark.parametrize(
    ("shape", "offset"),
    [((300,), (2.3,)), ((64, 60), (2.3, -1.4)), ((22, 24, 20), (2.3, -1.4, 0.6))],
)
@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_one_to_three_axes_through_the_same_call(make_pair, shape, offset, boundary):
    reference, moving = make_pair(shape, offset)
    if boundary == "periodic":
        moving = scipy.ndimage.fourier_shift(np.fft.fftn(reference), offset)
        moving = np.fft.ifftn(moving).real
    result = cr.register(reference, moving, boundary=boundary)
    check_whole(result)
    assert result.trusted
    assert np.all(np.abs(result.offset - offset) < np.maximum(5 * result.stderr, 1e-8))


def test_max_offset_is_counted_around_initial(make_pair):
    reference, moving = make_pair(offset=(9.3, -6.4))
    near = cr.register(reference, moving, initial=(8, -8), max_offset=3)
    assert near.trusted
    np.testing.assert_allclose(near.offset, [9.3, -6.4], atol=0.1)
    result = flagged(reference, moving, max_offset=(3, 2))
    assert np.all(np.abs(result.offset) <= np.array([3, 2]) + 1e-6)


# -------------------------------------------------------------------- difficult pairs


def test_unrelated_noise_does_not_match():
    rng = np.random.default_rng(7)
    result = flagged(rng.normal(size=(64, 64)), rng.normal(size=(64, 64)))
    assert cr.Status.NO_MATCH in result.flags
    assert result.false_alarm > 1e-4
    assert np.all(np.isfinite(result.stderr))


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
@pytest.mark.parametrize("which", ["reference", "moving", "both"])
def test_a_constant_image_says_so(make_pair, which, boundary):
    reference, moving = make_pair()
    flat = np.full_like(reference, 3.0)
    reference = moving if which == "moving" else flat
    moving = flat if which != "reference" else moving
    result = flagged(reference, moving, boundary=boundary)
    np.testing.assert_array_equal(result.offset, 0)
    assert np.all(np.isinf(result.stderr))


def test_a_tiny_overlap_is_flagged(make_pair):
    flagged(*make_pair(offset=(57.0, 54.0)))


def test_images_that_share_nothing_are_flagged(make_pair):
    flagged(*make_pair(offset=(200.0, 150.0)))


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_stripes_say_nothing_along_themselves(boundary):
    rng = np.random.default_rng(3)
    profile = scipy.ndimage.gaussian_filter1d(rng.normal(size=64), 2, mode="wrap")
    profile /= profile.std()
    reference = np.tile(profile, (64, 1)) + 0.05 * rng.normal(size=(64, 64))
    moving = np.tile(np.roll(profile, 3), (64, 1)) + 0.05 * rng.normal(size=(64, 64))
    result = flagged(reference, moving, boundary=boundary)
    assert cr.Status.UNDETERMINED_AXIS in result.flags
    assert np.isinf(result.covariance[0, 0])
    assert np.isfinite(result.covariance[1, 1])
    assert result.offset[0] == 0
    assert result.offset[1] == pytest.approx(3, abs=0.05)
    assert np.min(np.abs(np.linalg.eigvalsh(result.information))) == 0
    started = flagged(reference, moving, boundary=boundary, initial=(1.5, 2.0))
    assert started.offset[0] == pytest.approx(1.5)


def test_a_lattice_is_ambiguous():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:64, :64]

    def lattice(dy, dx):
        clean = np.cos(np.pi * (y - dy) / 4) + np.cos(np.pi * (x - dx) / 4)
        return clean + 0.1 * rng.normal(size=clean.shape)

    result = flagged(lattice(0, 0), lattice(1.3, 2.1))
    assert cr.Status.AMBIGUOUS in result.flags
    assert len(result.modes) > 1
    assert sum(mode.probability for mode in result.modes) <= 1 + 1e-9


def test_a_single_bad_pixel_does_no_harm(make_pair):
    reference, moving = make_pair()
    moving[20, 30] = 1e4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register(reference, moving)
    check_whole(result)
    assert not result.trusted or np.all(np.abs(result.pull(TRUTH)) < 5)


# -------------------------------------------------------------------- what may be given


DTYPES = ["u1", "i2", ">i2", "<u2", ">u2", "i4", "u8", "f4", ">f4", "f8", ">f8", "g", "f2"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_dtype_and_byte_order(make_pair, dtype):
    counts = [np.clip(np.round(100 + 25 * image), 0, 255) for image in make_pair()]
    expected = cr.register(*counts)
    result = cr.register(*(image.astype(dtype) for image in counts))
    np.testing.assert_array_equal(result.offset, expected.offset)
    np.testing.assert_array_equal(result.covariance, expected.covariance)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda image: np.repeat(image, 2, axis=1)[:, ::2],
        lambda image: image[::-1].copy()[::-1],
        lambda image: image.tolist(),
    ],
    ids=["fortran", "strided", "reversed", "list"],
)
def test_any_memory_layout(make_pair, layout):
    pair = make_pair()
    expected = cr.register(*pair)
    result = cr.register(*(layout(image) for image in pair))
    np.testing.assert_allclose(result.offset, expected.offset, rtol=0, atol=1e-10)


def test_extreme_integers_do_not_overflow(make_pair):
    low, high = (np.round(30000 * np.clip(image / 3, -1, 1)) for image in make_pair())
    result = cr.register(low.astype(np.int16), high.astype(np.int16))
    assert result.trusted
    assert np.all(np.abs(result.offset - TRUTH) < 0.05)


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_inputs_are_never_modified(make_pair, boundary):
    reference, moving = make_pair()
    moving[3, 4] = np.nan
    errors = np.full(moving.shape, 0.05)
    errors[9, 9] = np.nan
    valid = np.ones(reference.shape, bool)
    valid[:3] = False
    given = [reference, moving, errors, valid]
    before = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)  # this pair does not wrap
        result = cr.register(
            reference, moving, moving_err=errors, reference_valid=valid, boundary=boundary
        )
    result.apply(moving)
    result.chi2_map()
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_nan_mask_masked_array_and_error_array_all_exclude(make_pair):
    reference, moving = make_pair()
    bad = np.zeros(moving.shape, bool)
    bad[20:26, 30:34] = True
    bad[40, 8] = True
    expected = cr.register(reference, moving, moving_valid=~bad)
    assert expected.trusted
    assert np.all(np.abs(expected.pull(TRUTH)) < 5)
    with_nan = np.where(bad, np.nan, moving)
    with_inf = np.where(bad, np.inf, moving)
    for given in (with_nan, with_inf, np.ma.array(np.where(bad, 1e6, moving), mask=bad)):
        result = cr.register(reference, given)
        np.testing.assert_array_equal(result.offset, expected.offset)
        np.testing.assert_array_equal(result.covariance, expected.covariance)
    by_error = [
        cr.register(reference, np.where(bad, 1e6, moving), moving_err=np.where(bad, out, 0.05))
        for out in (0.0, np.nan, np.inf)
    ]
    for result in by_error:
        np.testing.assert_array_equal(result.offset, by_error[0].offset)
        assert np.all(np.abs(result.pull(TRUTH)) < 5)


def test_nddata_brings_its_mask_and_uncertainty(make_pair):
    nddata = pytest.importorskip("astropy.nddata")
    reference, moving = make_pair()
    bad = np.zeros(moving.shape, bool)
    bad[20:26, 30:34] = True
    sigma = np.full(moving.shape, 0.05)
    expected = cr.register(reference, moving, moving_valid=~bad, moving_err=sigma)
    given = nddata.NDData(
        np.where(bad, 1e6, moving), mask=bad, uncertainty=nddata.StdDevUncertainty(sigma)
    )
    np.testing.assert_array_equal(cr.register(reference, given).offset, expected.offset)
    variance = nddata.NDData(
        np.where(bad, 1e6, moving), mask=bad, uncertainty=nddata.VarianceUncertainty(sigma**2)
    )
    np.testing.assert_allclose(cr.register(reference, variance).offset, expected.offset, atol=1e-9)


@pytest.mark.parametrize("errors", [0.05, 0.0, np.float32(0.05)])
def test_scalar_errors_of_both_images(make_pair, errors):
    result = cr.register(*make_pair(), reference_err=errors, moving_err=errors)
    check_whole(result)
    np.testing.assert_allclose(result.offset, TRUTH, atol=0.05)


# -------------------------------------------------------------------- bad input


def bad_calls():
    good = np.random.default_rng(0).normal(size=(32, 32))
    err = np.ones((32, 32))
    yield "complex", (good + 0j, good), {}, "complex"
    yield "text", (np.full((32, 32), "a"), good), {}, "dtype"
    yield "objects", (np.full((32, 32), None), good), {}, "dtype"
    yield "empty", (np.zeros((0, 5)), good), {}, "empty"
    yield "all NaN", (np.full((32, 32), np.nan), good), {}, "no usable pixel"
    yield "scalar", (3.0, good), {}, "axes|shape"
    yield "too small", (good[:3, :3], good), {}, "shape|px"
    yield "ndim", (good, good[0]), {}, "axes"
    yield "colour", (np.zeros((32, 32, 3), np.uint8), good), {}, "colour"
    yield "negative err", (good, good), {"moving_err": -err}, "negative"
    yield "negative scalar", (good, good), {"reference_err": -1.0}, "negative"
    yield "err shape", (good, good), {"moving_err": err[:5]}, "shape"
    yield "err NaN", (good, good), {"moving_err": np.nan}, "finite"
    yield "err all 0", (good, good), {"moving_err": 0 * err}, "None"
    yield "err complex", (good, good), {"moving_err": 1j}, "complex"
    yield "valid shape", (good, good), {"moving_valid": err[:5] > 0}, "shape"
    yield "valid floats", (good, good), {"moving_valid": good}, "boolean"
    yield "nothing valid", (good, good), {"reference_valid": err < 0}, "no usable pixel"
    yield "boundary", (good, good), {"boundary": "wrap"}, "boundary"
    yield "periodic sizes", (good, good[:-1]), {"boundary": "periodic"}, "shape"
    yield "max_offset 0", (good, good), {"max_offset": 0}, "max_offset"
    yield "max_offset axes", (good, good), {"max_offset": (1, 2, 3)}, "max_offset"
    yield "initial NaN", (good, good), {"initial": (np.nan, 0)}, "initial"
    yield "initial far", (good, good), {"initial": (100, 0)}, "overlap"
    yield "initial text", (good, good), {"initial": "far"}, "initial"
    yield "model rigid", (good, good), {"model": "rigid"}, "translation"
    yield "model unknown", (good, good), {"model": "x"}, "translation"


BAD = {name: rest for name, *rest in bad_calls()}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_one_clear_sentence(name):
    images, options, word = BAD[name]
    with pytest.raises(cr.InputError, match=word) as caught:
        cr.register(*images, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert 30 < len(message) < 400


def test_a_missing_file_is_an_input_error():
    with pytest.raises(cr.InputError, match=r"nowhere\.fits"):
        cr.register("nowhere.fits", "nowhere.fits")


def test_a_truth_of_the_wrong_length_is_refused(make_pair):
    result = cr.register(*make_pair())
    with pytest.raises(cr.InputError, match="truth"):
        result.contains([1, 2, 3])
    with pytest.raises(cr.InputError, match="level"):
        result.interval(1.5)


# -------------------------------------------------------------------- files, regions, pixels


def test_json_there_and_back(make_pair):
    result = cr.register(*make_pair())
    again = cr.Registration.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again.to_dict() == result.to_dict()
    assert str(again) == str(result)
    with pytest.raises(cr.InputError, match="reference="):
        again.plot()


def test_json_writes_infinity_as_a_word(make_pair):
    reference, _ = make_pair()
    result = flagged(reference, np.zeros_like(reference))
    record = result.to_dict()
    assert record["covariance"][0][0] == "inf"
    again = cr.Registration.from_dict(json.loads(json.dumps(record)))
    np.testing.assert_array_equal(again.covariance, result.covariance)


def test_intervals_grow_with_the_level_and_hold_the_answer(make_pair):
    result = cr.register(*make_pair())
    narrow, wide = result.interval(0.6827), result.interval(0.95)
    assert narrow.shape == wide.shape == (2, 2)
    assert np.all(wide[:, 0] < narrow[:, 0])
    assert np.all(narrow[:, 0] < result.offset)
    assert np.all(narrow[:, 1] < wide[:, 1])
    assert result.contains(result.offset, 1e-6)


def test_apply_gives_the_grid_of_the_reference_and_nan_where_nothing_is_known(make_pair):
    reference, moving = make_pair()
    moving[30, 31] = np.nan
    result = cr.register(reference, moving)
    aligned, variance = result.apply(moving, variance=np.full(moving.shape, 0.05**2))
    assert aligned.shape == variance.shape == reference.shape
    np.testing.assert_array_equal(np.isnan(aligned), np.isnan(variance))
    assert np.isnan(aligned[-1]).all(), "the last row comes from beyond the moving image"
    assert np.isnan(aligned[28, 32]), "a NaN stays a NaN"
    known = np.isfinite(aligned)
    assert known.mean() > 0.8
    assert np.std((aligned - reference)[known]) < 0.1
    assert np.all(variance[known] > 0)
    assert result.apply(moving, output_shape=(10, 12)).shape == (10, 12)
