"""What a beginner tries first: it works, or one sentence says what to do."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from scipy import sparse

import coregister as cr


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    scene = cr.random_scene("power-law-2", (128, 128), rng=rng)
    return cr.simulate_pair(scene, (3.3, -2.2), noise=0.1, rng=rng, shape=(64, 64))


def wrong(call):
    with pytest.raises(cr.InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


MISTAKES = {
    "a colour photograph": (lambda a: (np.repeat(a[..., None], 3, 2).astype(np.uint8), a), "grey"),
    "an empty primary HDU": (lambda a: (fits.PrimaryHDU(), a), "HDU without an image"),
    "a list of empty HDUs": (lambda a: (fits.HDUList([fits.PrimaryHDU()]), a), "holds no image"),
    "a list of both": (lambda a: ([a, a], a), "register(first, second)"),
    "a pair as a tuple": (lambda a: ((a, a), a), "register(first, second)"),
    "a colour image of floats": (lambda a: (np.repeat(a[..., None], 3, 2), a), "reference[..., 0]"),
    "channels first": (lambda a: (np.stack([a] * 4), a), "reference[0]"),
    "a list of three": (lambda a: ([a, a, a], a), "register_stack"),
    "one row": (lambda a: (a[:1], a), "numpy.squeeze"),
    "a cube and a plane": (lambda a: (np.stack([a] * 9), a), "pick one plane"),
    "nothing but NaN": (lambda a: (np.full_like(a, np.nan), a), "NaN or infinite; check the file"),
    "all of it masked": (lambda a: (np.ma.masked_all(a.shape), a), "in *_valid, True = use it"),
    "a masked record": (lambda a: (np.ma.zeros(a.shape, [("n", float)]), a), "astype(float)"),
    "work that is put off": (lambda a: (dask.delayed(lambda: a)(), a), "is a Delayed"),
    "errors below 0 in the file": (
        lambda a: (fits.HDUList([fits.PrimaryHDU(a), fits.ImageHDU(-abs(a), name="ERR")]), a),
        "the uncertainty that came with reference",
    ),
    "complex numbers": (lambda a: (a + 1j, a), "modulus or phase"),
    "words": (lambda a: (np.full(a.shape, "x"), a), "astype(float)"),
    "objects": (lambda a: (a.astype(object), a), "astype(float)"),
    "dates": (lambda a: (a.astype("datetime64[s]"), a), "astype(float)"),
    "None": (lambda a: (None, a), "needed"),
    "a number": (lambda a: (3.0, a), "at least 8 pixels"),
    "a file that is not there": (lambda a: ("no-such-file.fits", a), "check the name"),
    "a file of another kind": (lambda a: (__file__, a), "convert or rename"),
    "a folder": (lambda a: (str(Path(__file__).parent), a), "folder"),
    "ragged lists": (lambda a: ([[1, 2], [3]], a), "array of numbers"),
    "a dictionary": (lambda a: ({"image": a}, a), "reference is a dict"),
    "bytes": (lambda a: (b"FITS", a), "reference is a bytes"),
    "an address": (lambda a: ("https://example.org/m31.fits", a), "fetch it first"),
    "an empty array": (lambda a: (a[:0], a), "empty"),
    "a unit far too small": (lambda a: (1e150 * a, 1e150 * a), "divide it by"),
    "a unit far too large": (lambda a: (1e-200 * a, 1e-200 * a), "divide it by"),
    "a generator": (lambda a: ((row for row in a), a), "is a generator"),
    "a function": (lambda a: (np.mean, a), "array of numbers or the path"),
    "a sparse matrix": (lambda a: (sparse.csr_array(a), a), "is a csr_array"),
    "a record": (lambda a: (np.zeros(a.shape, [("counts", float)]), a), "astype(float)"),
    "a spectrum and an image": (lambda a: (a[0], a), "1 axes"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_answered_in_one_sentence(pair, mistake):
    make, remedy = MISTAKES[mistake]
    arguments = make(pair[0])
    assert remedy in wrong(lambda: cr.register(*arguments))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"reference_err": -1.0}, "negative"),
        ({"reference_err": np.ones(3)}, "array of the image's shape"),
        ({"reference_err": np.nan}, "None to learn it"),
        ({"reference_valid": np.ones((3, 3), bool)}, "must agree"),
        ({"boundary": "wrap"}, "'periodic'"),
        ({"max_offset": 0}, "above 0 px"),
        ({"max_offset": (1, 2, 3)}, "one for each of 2 axes"),
        ({"initial": (100, 0)}, "no overlap"),
        ({"model": "affine"}, "leave model out"),
        ({"boundary": None}, "'periodic'"),
        ({"initial": "centre"}, "one finite number"),
        ({"initial": np.zeros((40, 40))}, "a ndarray is not usable"),
        ({"initial": (np.nan, 0)}, "one finite number"),
        ({"max_offset": "5 px"}, "one finite number"),
        ({"max_offset": np.inf}, "one finite number"),
        ({"max_offset": 5 * u.arcsec}, "max_offset is in arcsec; pixels are needed"),
        ({"initial": [1, 2] * u.um}, "initial is in um; pixels are needed"),
        ({"reference_err": "poisson"}, "numbers are needed"),
        ({"moving_err": np.zeros((64, 64))}, "every pixel is excluded"),
        ({"moving_valid": np.full((64, 64), 0.5)}, "True = use this pixel"),
        ({"moving_valid": np.zeros((64, 64), bool)}, "no usable pixel"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_a_wrong_option_is_answered_in_one_sentence(pair, options, remedy):
    assert remedy in wrong(lambda: cr.register(*pair, **options))


AFTERWARDS = {
    "per cent": (lambda r, a: r.interval(95), "0.95 for 95 %"),
    "per cent as a word": (lambda r, a: r.interval("95%"), "0.95 for 95 %"),
    "probability of a region": (lambda r, a: r.contains((3, -2), 68), "0.95 for 95 %"),
    "three coordinates": (lambda r, a: r.contains((1, 2, 3)), "in array-axis order"),
    "a report as PDF": (lambda r, a: r.report("pair.pdf"), ".html is needed"),
    "a report without a suffix": (lambda r, a: r.report("pair"), ".html is needed"),
    "the size of a pixel": (lambda r, a: r.physical(0.1), "a size and a unit"),
    "no world coordinates": (lambda r, a: r.to_wcs(), "pass that of the reference"),
    "a cube to align": (lambda r, a: r.apply(np.stack([a] * 9)), "plane by plane"),
    "another interpolation": (lambda r, a: r.apply(a, interpolation="sinc"), "'cubic'"),
    "a shift of another number": (
        lambda r, a: cr.fourier_shift(a, (1, 2, 3)),
        "one number an axis",
    ),
    "one image as a stack": (lambda r, a: cr.register_stack(a[None]), "at least 2"),
    "frames of two shapes": (lambda r, a: cr.register_stack([a, a[:50]]), "crop them"),
    "a truth in words": (lambda r, a: r.pull("truth"), "in array-axis order"),
    "a map of no width": (lambda r, a: r.chi2_map(-1), "a number above 0"),
    "a map of one point": (lambda r, a: r.chi2_map(4, 1), "2 or more"),
    "a variance of another shape": (lambda r, a: r.apply(a, variance=np.ones(5)), "image's shape"),
    "a variance below 0": (lambda r, a: r.apply(a, variance=-1.0), "0 or above"),
    "a shape of one number": (lambda r, a: r.apply(a, output_shape=50), "one an axis"),
    "JSON in place of a record": (lambda r, a: cr.Registration.from_dict("{}"), "json.load"),
    "an empty record": (lambda r, a: cr.Registration.from_dict({}), "to_dict()"),
    "no frame": (lambda r, a: cr.register_stack([]), "at least 2"),
    "a frame beyond the last": (lambda r, a: cr.register_stack([a, a], reference=9), "from 0"),
    "a dictionary of frames": (lambda r, a: cr.register_stack({"a": a, "b": a}), "is a dict"),
    "complex numbers to shift": (lambda r, a: cr.fourier_shift(a + 1j, (1, 2)), "one by one"),
    "windows of a volume": (
        lambda r, a: cr.register_windows(np.stack([a] * 9), np.stack([a] * 9), size=8),
        "of volumes, cut boxes",
    ),
    "windows from a guess in words": (
        lambda r, a: cr.register_windows(a, a, size=16, initial="centre"),
        "two numbers",
    ),
    "windows as far apart as an angle": (
        lambda r, a: cr.register_windows(a, a, size=16, step=8 * u.arcsec),
        "pixels are needed",
    ),
    "a seed for a generator": (
        lambda r, a: cr.simulate_pair(a, (1, 2), noise=0.1, rng=3),
        "rng=numpy.random.default_rng(3)",
    ),
    "a seed for the scene's": (
        lambda r, a: cr.random_scene("blobs", (64, 64), rng=3),
        "rng=numpy.random.default_rng(3)",
    ),
    "a seed for the movie's": (
        lambda r, a: cr.simulate_stack(a, [(0, 0), (1, 2)], noise=0.1, rng=None),
        "rng=numpy.random.default_rng()",
    ),
    "one side of a scene": (
        lambda r, a: cr.random_scene("blobs", 64, rng=np.random.default_rng()),
        "(64, 64) for instance",
    ),
    "a movie larger than its scene": (
        lambda r, a: cr.simulate_stack(
            a, [(0, 0)], noise=0.1, rng=np.random.default_rng(), shape=(99, 99)
        ),
        "does not fit",
    ),
    "a noise for each of other frames": (
        lambda r, a: cr.simulate_stack(
            a, [(0, 0), (1, 2)], noise=[1, 2, 3], rng=np.random.default_rng()
        ),
        "one number, or 2",
    ),
    "noise in words": (
        lambda r, a: cr.simulate_pair(a, (1, 2), noise="low", rng=np.random.default_rng()),
        "noise has dtype",
    ),
    "half a ray": (
        lambda r, a: cr.simulate_pair(
            a, (1, 2), noise=1, rng=np.random.default_rng(), cosmic_rays=1.5
        ),
        "a whole number is needed",
    ),
    "pairs for n_pairs": (lambda r, a: cr.calibrate("blobs", noise=0.1, pairs=5), "n_pairs"),
    "windows larger than the image": (
        lambda r, a: cr.register_windows(a, a, size=500),
        "give a size from 8",
    ),
    "spectra in chi2_shift": (lambda r, a: cr.chi2_shift(a[0], a[0]), "coregister.register"),
    "no sky": (lambda r, a: cr.register_sky(a, a), "reference_wcs="),
    "an HDU without a sky": (
        lambda r, a: cr.register_sky(fits.PrimaryHDU(a), a),
        "reference came without world",
    ),
}


@pytest.mark.parametrize("mistake", AFTERWARDS, ids=str)
def test_a_mistake_afterwards_is_answered_in_one_sentence(pair, mistake):
    call, remedy = AFTERWARDS[mistake]
    result = cr.register(*pair)
    assert remedy in wrong(lambda: call(result, pair[0]))
    assert not list(Path().glob("pair*"))


def test_the_command_answers_in_one_sentence(pair, tmp_path, monkeypatch, capsys):
    pytest.importorskip("click")
    from coregister.cli import main

    monkeypatch.chdir(tmp_path)
    for name, image in zip("ab", pair, strict=True):
        fits.writeto(f"{name}.fits", image)
    mistakes = {
        "a.fits b.fits": "coregister pair REF MOV",
        "align a.fits b.fits": "coregister pair REF MOV",
        "pai a.fits b.fits": "Did you mean 'pair'? See 'coregister --help'.",
        "pair a.fits": "Missing argument 'MOV'",
        "pair a.fits b.fits --json": "requires an argument. See 'coregister pair --help'.",
        "stack .": ". is a folder",
        "pair a.fits b.fits --report pair.pdf": ".html is needed",
        "pair a.fits b.fits -o a.fits": "a name of its own",
        "pair a.fits b.fits --bondary overlap": "--boundary",
        "pair a.fits c.fits": "check the name",
        "pair a.fits b.fits[SCI]": "--ext",
        "pair a.fits b.fits --max-offset 5px": "is not a number",
        "pair a.fits b.fits --initial 500,500": "no overlap",
        "pair a.fits b.fits --max-offset -3": "above 0 px",
        "pair a.fits b.fits --ref-ext SCI": "SCI",
        "pair a.fits b.fits -o new/out.fits": "make it",
        "stack a.fits b.fits --table t.pdf": ".csv",
        "calibrate a.fits": "--noise",
        "sky a.fits b.fits": "reference, a.fits, came without world coordinates",
        "stack a.fits b.fits --report movie.pdf": ".html is needed",
    }
    for line, remedy in mistakes.items():
        monkeypatch.setattr("sys.argv", ["coregister", *line.split()])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr().err
        assert left.value.code == 2, line
        assert remedy in said, (line, said)
        assert said.count("\n") == 1, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fits", "b.fits"]


def test_small_integers_do_not_overflow(pair):
    scaled = [np.clip(100 + 30 * image, 0, 255).astype(np.uint8) for image in pair]
    plain = cr.register(*(image.astype(float) for image in scaled))
    np.testing.assert_array_equal(cr.register(*scaled).offset, plain.offset)


def test_swapped_axes_are_seen_to_match_nothing(pair):
    with pytest.warns(cr.RegistrationWarning, match="NO_MATCH"):
        assert not cr.register(pair[0], pair[1].T).trusted


def test_what_turns_into_an_array_works(pair):
    expected = cr.register(*pair).offset
    pillow = pytest.importorskip("PIL.Image")
    made = [
        tuple(image.tolist() for image in pair),
        tuple(np.asfortranarray(image) for image in pair),
        tuple(image.astype(">f8") for image in pair),
        tuple(pillow.fromarray(image.astype(np.float32)) for image in pair),
    ]
    for first, second in made:
        np.testing.assert_allclose(cr.register(first, second).offset, expected, atol=1e-4)


class Tensor:
    """What torch gives: no array, but it turns into one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


class TensorOfTheGraphicsCard(Tensor):
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")


def test_tables_and_tensors_work(pair):
    expected = cr.register(*pair).offset
    np.testing.assert_array_equal(cr.register(*map(Tensor, pair)).offset, expected)
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(cr.register(*map(pandas.DataFrame, pair)).offset, expected)


def test_what_the_tensor_says_is_passed_on(pair):
    assert "Tensor.cpu()" in wrong(lambda: cr.register(TensorOfTheGraphicsCard(pair[0]), pair[1]))


def test_signed_data_and_integers_that_wrap_work(pair):
    """Counts around 0 kept in unsigned integers would wrap if they were subtracted as such."""
    for kind in (np.int16, np.uint16, np.int8):
        images = [np.rint(20 * (image - image.min() * (kind is np.uint16))) for image in pair]
        typed = [np.clip(i, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind) for i in images]
        result = cr.register(*typed)
        assert np.all(np.abs(result.offset - (3.3, -2.2)) < 5 * result.stderr), kind


def test_pixels_may_say_so(pair):
    plain = cr.register(*pair, max_offset=5)
    for reach in (5 * u.pix, u.Quantity(5), 5 * u.dimensionless_unscaled):
        np.testing.assert_array_equal(cr.register(*pair, max_offset=reach).offset, plain.offset)


def test_an_old_source_of_chance_is_one():
    scenes = [cr.random_scene("blobs", (32, 32), rng=np.random.RandomState(1)) for _ in range(2)]
    np.testing.assert_array_equal(*scenes)


def test_errors_in_other_units_change_nothing(pair):
    """Their level is learnt: variance for sigma, counts for electrons, or none at all."""
    offsets = [
        cr.register(*pair, reference_err=err, moving_err=err).offset
        for err in (None, 0.1, 0.01, 1e6)
    ]
    np.testing.assert_allclose(offsets, [offsets[0]] * 4, atol=1e-3)


def test_boolean_images_work(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register(*(image > image.mean() for image in pair))
    assert np.all(np.abs(result.offset - (3.3, -2.2)) < 0.3)
