"""`Registration`: regions against scipy.stats, rounding, printed forms, files."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import scipy.stats

import coregister as cr
from coregister.fourier import TrigPolynomial
from coregister.result import axis_names, round_pdg

COVARIANCE = np.array([[0.0004, -0.0001], [-0.0001, 0.0009]])


def make(**changes):
    """A result by hand; `information` follows `covariance` unless it is given."""
    covariance = np.array(changes.pop("covariance", COVARIANCE), dtype=float)
    ndim = len(covariance)
    offset = np.array(changes.pop("offset", [12.345, -0.6789, 3.0][:ndim]))
    if "information" not in changes:
        changes["information"] = np.linalg.inv(covariance)
    fields = {
        "model_covariance": covariance,
        "systematic": np.zeros(ndim),
        "dof": np.inf,
        "flags": frozenset(),
        "false_alarm": 2e-9,
        "modes": (cr.Mode(offset=offset, covariance=covariance, probability=1.0),),
        "gain": 1.25,
        "background": -3.0,
        "overlap": 0.875,
        "coherence": cr.Coherence(np.array([0.1, 0.3]), np.array([0.99, 0.5])),
        "n_iter": 4,
        "reference_shape": (64,) * ndim,
        "moving_shape": (64,) * ndim,
        "boundary": "overlap",
    }
    return cr.Registration(offset=offset, covariance=covariance, **(fields | changes))


def undetermined(**changes):
    """Nothing is known along axis 1."""
    return make(
        covariance=[[0.0004, 0.0], [0.0, np.inf]],
        information=np.diag([2500.0, 0.0]),
        offset=[12.345, 0.0],
        flags=frozenset({cr.Status.UNDETERMINED_AXIS}),
        **changes,
    )


# ------------------------------------------------------------------------ rounding


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.827, 0.119, "0.83 +- 0.12"),  # the three examples of the Particle Data Group
        (0.827, 0.367, "0.8 +- 0.4"),
        (0.827, 0.954, "0.8 +- 1.0"),
        (1.0, 0.354, "1.00 +- 0.35"),
        (1.0, 0.355, "1.0 +- 0.4"),
        (1.0, 0.949, "1.0 +- 0.9"),
        (1.0, 0.950, "1.0 +- 1.0"),
        (1.0, 0.9996, "1.0 +- 1.0"),
        (1.0, 0.03546, "1.00 +- 0.04"),
        (12.3456, 0.00096, "12.3456 +- 0.0010"),
        (-3.29921, 0.00181, "-3.2992 +- 0.0018"),
        (0.00004, 0.002, "0.0000 +- 0.0020"),
        (-0.00004, 0.002, "0.0000 +- 0.0020"),
        (-12.0, 40.0, "-10 +- 40"),
        (1234.0, 25.0, "1234 +- 25"),
        (12346.0, 130.0, "12350 +- 130"),
        (12345.0, 960.0, "12300 +- 1000"),
        (12345.0, 99600.0, "10000 +- 100000"),
        (99.96, 0.1, "99.96 +- 0.10"),
        (3.5, 1e-10, "3.50000000000 +- 0.00000000010"),
        (3.5, 1.23e-15, "3.500000e+00 +- 1.2e-15"),
        (0.0, 0.0, "0 +- 0"),
        (2.5, 0.0, "2.5 +- 0"),
        (2.5, math.inf, "2.5 +- inf (undetermined)"),
    ],
)
def test_rounding_of_the_particle_data_group(value, stderr, text):
    assert round_pdg(value, stderr) == text


def test_rounding_keeps_between_three_tenths_and_all_of_the_precision():
    rng = np.random.default_rng(3)
    for value, stderr in zip(rng.normal(0, 100, 500), 10 ** rng.uniform(-9, 4, 500), strict=True):
        shown, bar = (float(part) for part in round_pdg(value, stderr).split(" +- "))
        assert abs(bar / stderr - 1) <= 0.15  # 0.355 becomes 0.4 at worst
        assert abs(shown - value) <= 0.15 * stderr + 1e-12 * abs(value)


@pytest.mark.parametrize(
    ("ndim", "names"),
    [
        (1, ["axis 0 (x)"]),
        (2, ["axis 0 (y)", "axis 1 (x)"]),
        (4, ["axis 0", "axis 1 (z)", "axis 2 (y)", "axis 3 (x)"]),
    ],
)
def test_axes_are_called_as_people_do(ndim, names):
    assert axis_names(ndim) == names


# ------------------------------------------------------------------------ printed forms

TEXT = """\
trusted
  offset axis 0 (y)        12.345 +- 0.020 px
  offset axis 1 (x)        -0.679 +- 0.030 px
  correlation of the bars  -0.17
  false alarm              2.0e-09
  gain, background         1.25, -3
  overlap                  87.5 %"""

TEXT_FLAGGED = """\
NOT TRUSTED: UNDETERMINED_AXIS
  offset axis 0 (y)  12.345 +- 0.020 px
  offset axis 1 (x)  0 +- inf (undetermined) px
  false alarm        below 1e-16
  gain, background   1.25, -3
  overlap            87.5 %
  ! UNDETERMINED_AXIS: the scene has no structure along one direction, so nothing is known along \
it; use the component across it, or a larger field"""

HTML = (
    '<div style="border-left:4px solid #009E73;padding-left:.8em"><strong>trusted</strong>'
    '<table style="margin:.3em 0">'
    '<tr><th style="text-align:left">offset axis 0 (x)</th>'
    '<td style="text-align:left">5.00 ± 0.20 px</td></tr></table>'
    "<details><summary>more</summary>"
    '<table style="margin:.3em 0">'
    '<tr><th style="text-align:left">false alarm</th>'
    '<td style="text-align:left">2.0e-09</td></tr>'
    '<tr><th style="text-align:left">gain, background</th>'
    '<td style="text-align:left">1.25, -3</td></tr>'
    '<tr><th style="text-align:left">overlap</th><td style="text-align:left">87.5 %</td></tr>'
    "</table></details></div>"
)


def test_text_form():
    assert str(make()) == TEXT
    assert repr(make()) == TEXT
    assert str(undetermined(false_alarm=0.0)) == TEXT_FLAGGED


def test_html_form():
    assert make(covariance=[[0.04]], offset=[5.0])._repr_html_() == HTML
    flagged = undetermined()._repr_html_()
    assert "#D55E00" in flagged
    assert "<li>UNDETERMINED_AXIS: " in flagged


def test_bound_and_other_modes_are_printed_where_there_are_any():
    modes = tuple(
        cr.Mode(offset=np.array([1.0, d]), covariance=COVARIANCE, probability=p)
        for d, p in ((2.0, 0.9), (11.0, 0.1))
    )
    text = str(make(modes=modes, systematic=np.array([0.003, 0.0])))
    assert "systematic below         0.003, 0 px" in text
    assert "other modes              (1.00, 11.00) with probability 0.1" in text


def test_good_words_are_small_and_bad_words_loud():
    assert make().verdict() == "trusted"
    advisory = make(flags=frozenset({cr.Status.UNDERSAMPLED}))
    assert advisory.trusted
    assert advisory.verdict() == "trusted (advisory: UNDERSAMPLED)"
    assert advisory.status is cr.Status.UNDERSAMPLED
    both = make(flags=frozenset({cr.Status.MISFIT, cr.Status.NO_MATCH, cr.Status.UNDERSAMPLED}))
    assert not both.trusted
    assert both.verdict() == "NOT TRUSTED: NO_MATCH, MISFIT, UNDERSAMPLED"
    assert both.status is cr.Status.NO_MATCH
    assert len(both.remedies()) == 3


# ------------------------------------------------------------------------ regions


def test_stderr_is_the_root_of_the_diagonal():
    np.testing.assert_allclose(make().stderr, [0.02, 0.03])
    np.testing.assert_allclose(undetermined().stderr, [0.02, np.inf])
    np.testing.assert_array_equal(make().matrix, np.eye(2))


def test_pull_whitens():
    rng = np.random.default_rng(4)
    truths = rng.multivariate_normal(make().offset, COVARIANCE, 4000)
    pulls = np.array([make().pull(truth) for truth in truths])
    # each entry is off by 4 sigma once in 16,000 times; a wrong factor of 1.1 is 6 sigma
    np.testing.assert_allclose(np.cov(pulls.T), np.eye(2), atol=4 * np.sqrt(2 / 4000))
    error = make().offset - truths[0]
    np.testing.assert_allclose(
        np.sum(pulls[0] ** 2), error @ np.linalg.inv(COVARIANCE) @ error, rtol=1e-9
    )


def test_nothing_is_claimed_along_an_undetermined_axis():
    result = undetermined()
    pull = result.pull(result.offset + np.array([0.02, 1e6]))
    np.testing.assert_allclose(np.sum(pull**2), 1.0)
    assert result.contains(result.offset + np.array([0.019, 1e6]))
    assert not result.contains(result.offset + np.array([0.021, 0.0]))
    np.testing.assert_array_equal(result.interval()[1], [-np.inf, np.inf])


@pytest.mark.parametrize("level", [0.1, 0.6827, 0.95, 0.9973])
@pytest.mark.parametrize("dof", [3.5, 40.0, math.inf])
def test_regions_are_those_of_a_student_distribution_of_that_covariance(level, dof):
    result = make(dof=dof)
    normal = math.isinf(dof)
    shrink = 1.0 if normal else (dof - 2) / dof  # a Student's variance is dof / (dof - 2)
    low, high = result.interval(level).T
    one = scipy.stats.norm() if normal else scipy.stats.t(dof)
    edge = (high - result.offset) / (result.stderr * np.sqrt(shrink))
    np.testing.assert_allclose(one.cdf(edge), (1 + level) / 2)
    np.testing.assert_allclose(high + low, 2 * result.offset)
    joint = scipy.stats.chi2(2) if normal else scipy.stats.f(2, dof)
    bound = result.region_level(level)
    np.testing.assert_allclose(joint.cdf(bound / shrink / (1 if normal else 2)), level)
    # the region ends where it says, in any direction
    direction = np.linalg.cholesky(COVARIANCE) @ [0.6, -0.8]
    assert result.contains(result.offset + 0.999 * np.sqrt(bound) * direction, level)
    assert not result.contains(result.offset + 1.001 * np.sqrt(bound) * direction, level)


def test_regions_hold_the_share_of_student_draws_that_they_say():
    dof, n = 6.0, 4000
    result = make(dof=dof)
    draws = scipy.stats.multivariate_t(result.offset, COVARIANCE * (dof - 2) / dof, df=dof).rvs(
        n, random_state=np.random.default_rng(8)
    )
    for level in (0.6827, 0.95):
        tolerance = 4 * np.sqrt(level * (1 - level) / n)  # chance alone: once in 16,000 times
        inside = np.mean([result.contains(draw, level) for draw in draws])
        assert abs(inside - level) < tolerance
        low, high = result.interval(level).T
        for axis in range(2):
            inside = np.mean((draws[:, axis] > low[axis]) & (draws[:, axis] < high[axis]))
            assert abs(inside - level) < tolerance


def test_the_region_has_as_many_dimensions_as_are_known():
    np.testing.assert_allclose(undetermined().region_level(0.95), scipy.stats.chi2(1).ppf(0.95))


@pytest.mark.parametrize("level", [0, 1, -0.5, 68.27, math.nan])
def test_a_level_is_a_probability(level):
    for ask in (make().interval, make().region_level, lambda x: make().contains([0, 0], x)):
        with pytest.raises(cr.InputError, match="between 0 and 1"):
            ask(level)


@pytest.mark.parametrize("truth", [1.0, [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]]])
def test_a_truth_has_one_number_an_axis(truth):
    with pytest.raises(cr.InputError, match=r"\(2,\) is needed"):
        make().pull(truth)


# ------------------------------------------------------------------------ surface


def cosines(offset, scale, shape=(32, 40)):
    """A correlation with one maximum, at `offset`, and its curvature (px^-2) along each axis."""
    spectrum = np.zeros((shape[0], shape[1] // 2 + 1), complex)
    k0, k1 = 2 * np.pi / shape[0], 2 * np.pi / shape[1]
    spectrum[1, 0] = spectrum[-1, 0] = 0.5 * scale * np.exp(-1j * k0 * offset[0])
    spectrum[-1, 0] = np.conj(spectrum[1, 0])
    spectrum[0, 1] = 0.5 * scale * np.exp(-1j * k1 * offset[1])
    return TrigPolynomial(spectrum, shape), scale * np.array([k0**2, k1**2])


def test_the_map_of_a_result_read_back_is_the_parabola_of_the_bars():
    result = make()
    positions, delta = result.chi2_map(half_width=2.0, points=5)
    np.testing.assert_allclose(positions[0] - result.offset[0], 0.02 * np.linspace(-2, 2, 5))
    np.testing.assert_allclose(positions[1] - result.offset[1], 0.03 * np.linspace(-2, 2, 5))
    assert delta.shape == (5, 5)
    assert delta[2, 2] == 0
    error = np.array([positions[0][0], positions[1][4]]) - result.offset
    np.testing.assert_allclose(delta[0, 4], error @ result.information @ error)


def test_the_map_of_a_fresh_result_is_the_correlation_scaled_to_the_bars():
    surface, curvature = cosines([3.2, -1.7], 500.0)
    wanted = 2.5 * curvature
    result = make(
        offset=[3.25, -1.75],  # not quite where the correlation has its maximum
        covariance=np.diag(1 / wanted),
        _surface=lambda: surface,
    )
    positions, delta = result.chi2_map(points=41)
    assert np.unravel_index(delta.argmin(), delta.shape) == (20, 20)
    np.testing.assert_allclose(delta[20, 20], 0, atol=1e-9)
    truth = 2 * 2.5 * 500 * (1 - np.cos(2 * np.pi / 32 * (positions[0] - 3.25)))
    np.testing.assert_allclose(delta[:, 20], truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ratio", [1e-3, 1e3])
def test_a_correlation_that_the_bars_do_not_come_from_is_not_shown(ratio):
    surface, curvature = cosines([3.2, -1.7], 500.0)
    result = make(
        offset=[3.2, -1.7], covariance=np.diag(ratio / curvature), _surface=lambda: surface
    )
    _, delta = result.chi2_map(points=9)
    np.testing.assert_allclose(delta[0, 4], 16.0)


def test_bars_within_rounding_of_zero_are_mapped_by_their_parabola():
    surface, curvature = cosines([3.2, -1.7], 1e18)
    result = make(offset=[3.2, -1.7], covariance=np.diag(1 / curvature), _surface=lambda: surface)
    _, delta = result.chi2_map(points=9)
    np.testing.assert_allclose(delta[0, 4], 16.0)


def test_the_map_along_an_undetermined_axis_is_one_pixel_each_way():
    positions, delta = undetermined().chi2_map(points=5)
    np.testing.assert_allclose(positions[1], [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(delta[2], 0)
    np.testing.assert_allclose(delta[0], 16)


# ------------------------------------------------------------------------ what it does


def test_apply_wraps_only_periodic_images():
    image = np.arange(64.0)
    one = make(covariance=[[0.01]], offset=[3.0])
    np.testing.assert_array_equal(one.apply(image)[:-3], image[3:])
    assert np.isnan(one.apply(image)[-3:]).all()
    wrapped = make(covariance=[[0.01]], offset=[3.0], boundary="periodic").apply(image)
    np.testing.assert_array_equal(wrapped, np.roll(image, -3))


def test_images_are_asked_for_where_there_are_none():
    image = np.eye(64)
    with pytest.raises(cr.InputError, match="pass reference= and moving="):
        make().images()
    with pytest.raises(cr.InputError, match="reference is missing"):
        make().images(moving=image)
    with pytest.raises(cr.InputError, match="moving is missing"):
        make().images(image)
    with pytest.raises(cr.InputError, match=r"\(64, 64\) and \(64, 60\)"):
        make().images(image, image[:, :60])
    np.testing.assert_array_equal(make().images(image, 2 * image).moving.data, 2 * image)


def test_a_result_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().gain = 2.0
    with pytest.raises(TypeError):
        cr.Registration(np.zeros(2))  # type: ignore[misc,call-arg]


# ------------------------------------------------------------------------ files


def same(first, second):
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if field.name == "modes":
            assert len(a) == len(b)
            for one, other in zip(a, b, strict=True):
                np.testing.assert_array_equal(one.offset, other.offset)
                np.testing.assert_array_equal(one.covariance, other.covariance)
                assert one.probability == other.probability
        elif isinstance(a, frozenset | str):
            assert a == b
        elif not field.name.startswith("_"):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("result", [make(), undetermined(), make(covariance=[[0.3]], dof=7.5)])
def test_json_there_and_back(result):
    text = json.dumps(result.to_dict(), allow_nan=False)
    again = cr.Registration.from_dict(json.loads(text))
    same(result, again)
    assert json.dumps(again.to_dict(), allow_nan=False) == text
    assert str(again) == str(result)


def test_infinity_is_written_as_a_word():
    covariance = np.full((2, 2), np.inf) * [[1, -1], [-1, 1]]
    result = make(covariance=covariance, information=np.ones((2, 2)))
    record = result.to_dict()
    assert record["covariance"] == [["inf", "-inf"], ["-inf", "inf"]]
    assert record["stderr"] == ["inf", "inf"]
    assert record["dof"] == "inf"
    same(result, cr.Registration.from_dict(record))


def test_files_hold_names_of_flags_in_order():
    flags = frozenset({cr.Status.UNDERSAMPLED, cr.Status.AMBIGUOUS})
    record = make(flags=flags).to_dict()
    assert record["flags"] == ["AMBIGUOUS", "UNDERSAMPLED"]
    assert record["status"] == "AMBIGUOUS"
    assert record["trusted"] is False


@pytest.mark.parametrize("record", [{}, {"format": "other"}, make().to_dict() | {"version": 2}])
def test_a_foreign_record_is_refused(record):
    with pytest.raises(cr.InputError, match=r"coregister\.Registration"):
        cr.Registration.from_dict(record)


@pytest.mark.parametrize("record", [None, 3, "text", [1, 2]])
def test_what_is_no_record_is_refused(record):
    with pytest.raises(cr.InputError, match="dictionary"):
        cr.Registration.from_dict(record)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("offset", None),
        ("offset", ["one", 2.0]),
        ("offset", [1.0, 2.0, 3.0]),
        ("offset", 3.0),
        ("covariance", [[1.0, 2.0]]),
        ("model_covariance", [[1.0, 2.0]]),
        ("information", [[1.0], [2.0, 3.0]]),
        ("systematic", []),
        ("flags", ["NO_SUCH_FLAG"]),
        ("modes", [{"offset": [1.0, 2.0]}]),
        ("coherence", {"frequency": [1.0]}),
        ("reference_shape", "many"),
        ("reference_shape", [64]),
        ("boundary", "wrap"),
        ("dof", "several"),
        ("dof", 2.0),
        ("dof", "nan"),
    ],
)
def test_a_damaged_record_is_refused(key, value):
    with pytest.raises(cr.InputError, match="damaged") as caught:
        cr.Registration.from_dict(make().to_dict() | {key: value})
    assert "\n" not in str(caught.value)


def test_a_missing_entry_is_named():
    record = make().to_dict()
    del record["gain"]
    with pytest.raises(cr.InputError, match="'gain'"):
        cr.Registration.from_dict(record)
