"""The pictures: what is drawn where, for every kind of data, without a display."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import coregister as cr
from coregister import plotting
from coregister.images import as_image
from coregister.plotting import (
    BLUE,
    DIVERGING,
    INK,
    ORANGE,
    UNKNOWN,
    VERMILLION,
    Views,
    plot_registration,
)

matplotlib = pytest.importorskip("matplotlib")
figures = pytest.importorskip("matplotlib.figure")


def by_hand(reference, moving, offset, covariance, **changes):
    """A result and its pair without the estimator."""
    covariance = np.asarray(covariance, dtype=float)
    finite = np.isfinite(np.diag(covariance))
    information = np.zeros(covariance.shape)
    known = np.ix_(finite, finite)
    information[known] = np.linalg.inv(covariance[known])
    offset = np.asarray(offset, dtype=float)
    fields = {
        "systematic": np.zeros(offset.size),
        "dof": np.inf,
        "flags": frozenset(),
        "false_alarm": 0.0,
        "modes": (cr.Mode(offset=offset, covariance=covariance, probability=1.0),),
        "gain": 1.0,
        "background": 0.0,
        "overlap": 0.9,
        "coherence": cr.Coherence(np.linspace(0.02, 0.7, 30), np.linspace(1, -0.1, 30)),
        "n_iter": 3,
        "boundary": "overlap",
    }
    result = cr.Registration(
        offset=offset,
        covariance=covariance,
        model_covariance=covariance,
        information=information,
        reference_shape=reference.shape,
        moving_shape=moving.shape,
        **(fields | changes),
    )
    return result, result.images(reference, moving)


def drawn(result, pair, **options):
    """The figure, rendered, and its panels by the first word of their titles."""
    figure = plot_registration(result, pair, **options)
    figure.canvas.draw()
    return figure, {axes.get_title(loc="left"): axes for axes in figure.axes}


def panel(panels, start):
    return next(axes for title, axes in panels.items() if title.startswith(start))


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=(20, 30)).cumsum(axis=1)


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_a_real_result_is_drawn_whole(make_pair, boundary):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register(*make_pair(), boundary=boundary)
    figure = result.plot()
    figure.canvas.draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    for start in ("reference", "moving", "difference before", "difference after", "coherence"):
        assert any(title.startswith(start) for title in titles)
    assert any("regions of 68 and 95 %" in title for title in titles)
    assert figure.get_figwidth() == 12


def test_the_headline_holds_offset_bars_and_verdict(image):
    result, pair = by_hand(image, image, [2.30123, -1.4], np.diag([0.0018**2, 0.02**2]))
    figure, _ = drawn(result, pair)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "axis 0 (y): 2.3012 ± 0.0018 px" in words
    assert "axis 1 (x): \N{MINUS SIGN}1.400 ± 0.020 px" in words
    assert "trusted" in words
    flags = frozenset({cr.Status.MISFIT, cr.Status.SEARCH_EDGE})
    result, pair = by_hand(image, image, [2.3, -1.4], np.eye(2), flags=flags)
    figure, _ = drawn(result, pair)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "NOT TRUSTED: SEARCH_EDGE, MISFIT" in words
    assert "raise `max_offset`" in words


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_no_word_of_the_headline_leaves_the_figure(ndim):
    image = np.random.default_rng(2).normal(size=(8, 8, 8, 24)[-ndim:])
    result, pair = by_hand(image, image, [-1.25] * ndim, np.eye(ndim) * 1e-20)
    figure, _ = drawn(result, pair)
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_difference_before_and_after_share_a_scale_and_show_the_right_thing(image):
    moving = np.roll(image, (2, -3), axis=(0, 1))
    result, pair = by_hand(image, 2 * moving + 5, [2, -3], np.eye(2), gain=2.0, background=5.0)
    _, panels = drawn(result, pair)
    before, after = (panel(panels, f"difference {which}") for which in ("before", "after"))
    assert before.images[0].get_clim() == after.images[0].get_clim()
    np.testing.assert_allclose(before.images[0].get_array(), moving - image, atol=1e-12)
    left = after.images[0].get_array()[:-2, 3:]
    np.testing.assert_allclose(left, 0, atol=1e-12)
    assert after.images[0].get_array().mask[-2:].all()


def test_images_of_different_size_keep_their_own_grids_and_show_what_is_common(image):
    result, pair = by_hand(image, image[4:, 5:22], [-4.0, -5.0], np.eye(2))
    _, panels = drawn(result, pair)
    assert panels["reference"].images[0].get_array().shape == (20, 30)
    assert panels["moving"].images[0].get_array().shape == (16, 17)
    first, second = (panels[name].patches[-1] for name in ("reference", "moving"))
    assert first.get_xy() == (4.5, 3.5)
    assert second.get_xy() == (-0.5, -0.5)
    assert (first.get_width(), first.get_height()) == (17, 16)


def test_invalid_pixels_are_left_open(image):
    holed = image.copy()
    holed[3:5, 7] = np.nan
    result, pair = by_hand(holed, image, [0.0, 0.0], np.eye(2))
    _, panels = drawn(result, pair)
    np.testing.assert_array_equal(panels["reference"].images[0].get_array().mask, np.isnan(holed))
    assert panels["reference"].patch.get_hatch()


def test_the_regions_are_those_of_contains(image):
    covariance = np.array([[0.04, 0.01], [0.01, 0.02]])
    result, pair = by_hand(image, image, [2.3, -1.4], covariance)
    _, panels = drawn(result, pair)
    contours = [
        item
        for item in panel(panels, plotting.DELTA_CHI2).collections
        if type(item).__name__ == "QuadContourSet"
    ]
    assert len(contours) == 2
    for contour, level in zip(contours, plotting.LEVELS, strict=True):
        vertices = np.vstack([path.vertices for path in contour.get_paths()])[:, ::-1]
        outward = result.offset + 1.05 * (vertices - result.offset)
        inward = result.offset + 0.95 * (vertices - result.offset)
        assert not any(result.contains(place, level) for place in outward)
        assert all(result.contains(place, level) for place in inward)


def test_other_modes_are_marked(image):
    modes = tuple(
        cr.Mode(offset=np.array([2.0, x]), covariance=0.01 * np.eye(2), probability=0.5)
        for x in (1.0, 2.5)
    )
    result, pair = by_hand(image, image, [2.0, 1.0], 0.01 * np.eye(2), modes=modes)
    _, panels = drawn(result, pair)
    axes = panel(panels, plotting.DELTA_CHI2)
    crosses = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "x"]
    np.testing.assert_allclose(crosses, [[2.5, 2.0]])
    assert axes.get_xlim()[1] > 2.5


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_index_zero_is_drawn_where_it_is_asked_for(image, origin):
    result, pair = by_hand(image, image, [2.0, 1.0], 0.01 * np.eye(2))
    _, panels = drawn(result, pair, origin=origin)
    for start in ("reference", "difference", plotting.DELTA_CHI2):
        bottom, top = panel(panels, start).get_ylim()
        assert (bottom > top) == (origin == "upper")


def test_the_origin_follows_matplotlib_and_nothing_else(image):
    result, pair = by_hand(image, image, [2.0, 1.0], 0.01 * np.eye(2))
    with matplotlib.rc_context({"image.origin": "lower"}):
        assert plotting.image_origin(None) == "lower"
    assert plotting.image_origin(None) == "upper"
    with pytest.raises(cr.InputError, match="'left' is not known"):
        plot_registration(result, pair, origin="left")


@pytest.mark.parametrize(
    ("covariance", "words"),
    [
        ([[0.04, 0], [0, np.inf]], None),
        ([[np.inf, 0], [0, np.inf]], "nothing is known"),
        (np.eye(2) * 1e-24, None),
        (np.eye(2) * 1e-40, "too small to draw"),
        (np.eye(2) * 1e6, None),
    ],
)
def test_bars_of_any_size(image, covariance, words):
    result, pair = by_hand(image, image, [2.3, -1.4], covariance)
    figure, panels = drawn(result, pair)
    said = [text.get_text() for text in panel(panels, plotting.DELTA_CHI2).texts]
    assert any(words in text for text in said) if words else not said
    shown = " ".join(text.get_text() for text in figure.texts)
    assert ("undetermined" in shown) == bool(np.isinf(covariance).any())


def test_long_numbers_are_drawn_as_distances_from_the_answer(image):
    result, pair = by_hand(image, image, [2.3, -1.4], np.eye(2) * 1e-16)
    _, panels = drawn(result, pair)
    axes = panel(panels, plotting.DELTA_CHI2)
    assert axes.get_ylabel() == "axis 0 (y), px from 2.3"
    assert abs(np.mean(axes.get_ylim())) < 1e-12


def test_a_spectrum_is_drawn_with_lines():
    x = np.exp(-0.5 * ((np.arange(60) - 30) / 3) ** 2)
    result, pair = by_hand(x, np.roll(x, 4), [4.0], [[0.01]])
    _, panels = drawn(result, pair)
    np.testing.assert_allclose(panels["before alignment"].lines[1].get_ydata(), np.roll(x, 4))
    np.testing.assert_allclose(panels["after alignment"].lines[1].get_ydata()[:-4], x[:-4])
    assert len(panel(panels, plotting.DELTA_CHI2).lines) == 4  # curve, two levels, answer


def test_a_volume_is_drawn_by_its_central_plane():
    volume = np.random.default_rng(3).normal(size=(12, 14, 16))
    result, pair = by_hand(volume, np.roll(volume, 2, axis=0), [2.0, 0, 0], 0.01 * np.eye(3))
    _, panels = drawn(result, pair)
    np.testing.assert_array_equal(
        panels["reference, plane 6 of axis 0"].images[0].get_array(), volume[6]
    )
    np.testing.assert_array_equal(
        panels["moving, plane 6 of axis 0"].images[0].get_array(), volume[6]
    )
    assert (
        panel(panels, plotting.DELTA_CHI2)
        .get_title(loc="left")
        .startswith(f"{plotting.DELTA_CHI2} of axes 1 and 2")
    )


def test_long_narrow_images_are_not_squeezed_to_a_line():
    image = np.random.default_rng(4).normal(size=(8, 400))
    result, pair = by_hand(image, image, [0.0, 0.0], 0.01 * np.eye(2))
    figure, panels = drawn(result, pair)
    assert panels["reference"].get_window_extent().height > 0.15 * figure.bbox.height


def test_nothing_in_common_and_nothing_measured():
    image = np.random.default_rng(5).normal(size=(12, 12))
    empty = cr.Coherence(np.zeros(0), np.zeros(0))
    result, pair = by_hand(image, image, [40.0, 0.0], np.eye(2), coherence=empty, gain=np.nan)
    _, panels = drawn(result, pair)
    assert panels["difference after, nothing in common"]
    assert panels["coherence"].texts[0].get_text() == "not measured"


def test_a_constant_image():
    with pytest.warns(cr.RegistrationWarning):
        result = cr.register(np.ones((16, 16)), np.eye(16))
    result.plot().canvas.draw()


def test_views_are_in_units_of_the_reference(image):
    result, pair = by_hand(image, -3 * image + 7, [0.0, 0.0], np.eye(2), gain=-3.0, background=7.0)
    views = Views.of(result, pair)
    np.testing.assert_allclose(views.after, image, atol=1e-9)
    np.testing.assert_allclose(views.moving, image, atol=1e-9)


def test_faint_parts_are_lifted_where_bright_places_would_hide_them(image):
    rng = np.random.default_rng(7)
    even = rng.uniform(0, 1, (40, 40))
    field = rng.normal(100, 1, (40, 40))
    field[::8, ::8] = 5000
    for reference, expected in ((even, 1.0), (field, 0.35)):
        result, pair = by_hand(reference, reference, [0.0, 0.0], np.eye(2))
        low, high, exponent = Views.of(result, pair).grey_scale()
        assert exponent == expected
        assert low <= np.median(reference) <= high


def test_noise_is_robust():
    rng = np.random.default_rng(6)
    image = np.zeros((60, 60))
    noise = rng.normal(0, 0.5, image.shape)
    noise[5, :20] = 1e6
    result, pair = by_hand(image, noise, [0.0, 0.0], np.eye(2))
    assert abs(Views.of(result, pair).noise() / 0.5 - 1) < 0.06


def test_the_style_of_the_user_is_left_as_it_was(image):
    result, pair = by_hand(image, image, [0.0, 0.0], np.eye(2))
    before = dict(matplotlib.rcParams)
    drawn(result, pair)
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported():
    code = (
        "import sys, warnings, numpy as np, coregister as cr; warnings.simplefilter('ignore');"
        "cr.register(np.eye(16), np.eye(16)).plot().canvas.draw();"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_matplotlib_the_extra_is_named(image, monkeypatch):
    result, pair = by_hand(image, image, [0.0, 0.0], np.eye(2))
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(cr.MissingExtraError, match=r"coregister\[report\]"):
        plot_registration(result, pair)


def test_images_are_not_changed(image):
    kept = image.copy()
    result, pair = by_hand(image, image, [1.3, 0.2], np.eye(2))
    data = pair.reference.data.copy()
    drawn(result, pair)
    np.testing.assert_array_equal(image, kept)
    np.testing.assert_array_equal(pair.reference.data, data)
    assert as_image(image, name="image").valid is None


# ------------------------------------------------------------------------ colours

#: linear RGB as it is seen without one kind of cone; Machado et al. 2009, doi:10.1109/TVCG.2009.113
SEEN = {
    "all cones": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def lab(colour, eye):
    """CIELAB of a colour as an eye sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(SEEN[eye] @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(first, second, eye):
    return float(np.linalg.norm(lab(first, eye) - lab(second, eye)))


@pytest.mark.parametrize("eye", SEEN)
def test_colours_are_told_apart_by_all_eyes(eye):
    together = [
        (BLUE, ORANGE),
        (BLUE, VERMILLION),
        (INK, ORANGE),
        (BLUE, INK),
        (DIVERGING[1], DIVERGING[-2]),
        (DIVERGING[2], DIVERGING[-3]),
        (UNKNOWN[0], DIVERGING[2]),
    ]
    for pair in together:
        assert difference(*pair, eye) > 30, pair


def test_colours_that_some_eyes_confuse_are_found():
    assert difference("#d62728", "#7f7f00", "all cones") > 40
    assert min(difference("#d62728", "#7f7f00", eye) for eye in SEEN) < 20
    assert min(difference("#00a000", "#c06000", eye) for eye in SEEN) < 20


def test_diverging_colours_grow_darker_to_both_sides():
    for eye in SEEN:
        light = [lab(colour, eye)[0] for colour in DIVERGING]
        assert light[3] == max(light)
        assert light[:4] == sorted(light[:4])
        assert light[3:] == sorted(light[3:], reverse=True)
