"""The counting itself: made-up trials whose figures are known, then small real runs."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

import coregister as cr
from coregister.calibration import MODULES, Calibration, calibrate
from coregister.calibration.figures import Measured
from coregister.calibration.targets import Verdict

SIGMA = np.array([0.02, 0.05])


def test_true_bars_are_found_true(made_up):
    f = made_up().figures()
    assert abs(f.pull_width.value - 1) < 4 * f.pull_width.stderr
    assert f.pull_width.stderr == pytest.approx(1 / math.sqrt(2 * 8000), rel=0.1)
    for mean in f.pull_mean:
        assert abs(mean.value) < 4 * mean.stderr
        assert mean.stderr == pytest.approx(1 / math.sqrt(4000), rel=0.1)
    for share, level in zip(f.coverage, (0.6827, 0.95), strict=True):
        assert abs(share.value - level) < 4 * share.stderr
        assert share.stderr == pytest.approx(math.sqrt(level * (1 - level) / 4000), rel=0.1)
    assert abs(f.efficiency.value - 1.1) < 4 * f.efficiency.stderr
    assert f.silent == 0
    assert f.false_alarm_uniform > 1e-4
    assert f.seconds == 0.25
    assert all(verdict.word == "met" for verdict in made_up().verdicts())


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_false_bars_are_found_false(ratio, made_up):
    found = made_up(true_over_claimed=ratio)
    assert found.figures().pull_width.value == pytest.approx(ratio, abs=0.04)
    words = {verdict.what: verdict.word for verdict in found.verdicts()}
    assert words["pull width"] == "missed"
    assert words["coverage of 68%"] == "missed"


def test_bias_and_flags_are_found(made_up):
    found = made_up(bias=0.5, untrusted=400)
    f = found.figures()
    assert f.bias.value == pytest.approx(0.5, abs=0.07)
    assert (f.pairs, f.trusted) == (4000, 3600)
    assert f.flagged.value == 0.1
    assert f.flags == {"MISFIT": 400, "NO_MATCH": 400}
    words = {verdict.what: verdict.word for verdict in found.verdicts()}
    assert words["bias, stderr"] == "missed"
    assert words["flagged"] == "missed"


def test_silent_failures_are_trusted_unlikely_and_far(made_up):
    found = made_up(200)
    trials = found.trials["coregister"]
    trials.error[:4] = 8 * SIGMA  # probability 1e-28 under the claim
    trials.trusted[0] = False
    trials.covariance[1] *= 100  # likely under its own bar
    found.bound[2] *= 100  # and this one no worse than the bound
    assert found.figures().silent == 1


def test_students_tails_are_no_surprise(made_up):
    found = made_up(200, dof=5.0)
    trials = found.trials["coregister"]
    trials.error[0] = 8 * SIGMA
    assert found.figures().silent == 0
    assert trials.surprise[0] == pytest.approx(stats.f.sf(64 * 5 / 3, 2, 5.0))


def test_undersampled_pairs_are_judged_by_what_they_say_of_aliasing(made_up):
    fine = made_up(200).aliasing()
    assert (fine.systematic, fine.silent) == (0.0, 0)
    assert fine.within.value > 0.95
    found = made_up(200)
    trials = found.trials["coregister"]
    trials.error[:] = SIGMA
    trials.error[:3] = 8 * SIGMA  # within systematic + 3 stderr, nothing, or nothing and untrusted
    trials.systematic[0] = 6 * SIGMA
    trials.trusted[2] = False
    bare = found.aliasing()
    assert bare.within.value == 198 / 199
    assert bare.silent == 2  # the first has no flag, the second no bound
    object.__setattr__(trials, "flags", ("UNDERSAMPLED MISFIT",) * 2 + ("",) * 198)
    aliasing = found.aliasing()
    assert aliasing.silent == 1
    assert aliasing.advised.value == 0.01
    assert aliasing.ratio == pytest.approx(
        np.sqrt(np.mean(trials.systematic[trials.trusted] ** 2))
        / np.sqrt(np.mean(trials.error[trials.trusted] ** 2))
    )


def test_nothing_is_said_of_aliasing_where_nothing_is_trusted(made_up):
    aliasing = made_up(20, untrusted=20).aliasing()
    assert math.isnan(aliasing.ratio)
    assert math.isnan(aliasing.within.value)
    assert aliasing.silent == 0


def test_a_verdict_near_the_limit_is_open():
    def word(value, stderr):
        return Verdict(what="", measured=Measured(value=value, stderr=stderr), low=0.9, high=1.1)

    assert word(1.05, 0.01).word == "met"
    assert word(1.12, 0.01).word == "open"
    assert word(1.14, 0.01).word == "missed"
    assert word(0.86, 0.01).word == "missed"


def test_a_method_without_bars_has_no_pulls(made_up):
    found = made_up(50)
    trials = found.trials["coregister"]
    trials.covariance[:] = np.nan
    f = found.figures()
    assert math.isnan(f.pull_width.value)
    assert math.isnan(f.coverage[0].value)
    assert math.isfinite(f.efficiency.value)
    assert " - " in found.table()


# ------------------------------------------------------------------------------------ real runs


@pytest.fixture(scope="module")
def small() -> Calibration:
    return calibrate("power-law-2", noise=(0.1, 0.2), shape=(40, 36), n_pairs=12, seed=3)


def test_pairs_are_drawn_from_the_seed_one_by_one(small):
    again = calibrate("power-law-2", noise=(0.1, 0.2), shape=(40, 36), n_pairs=4, seed=3)
    other = calibrate("power-law-2", noise=(0.1, 0.2), shape=(40, 36), n_pairs=2, seed=4)
    ours, theirs = small.trials["coregister"], again.trials["coregister"]
    assert np.array_equal(again.truth, small.truth[:4])
    assert np.array_equal(theirs.error, ours.error[:4])
    assert not np.array_equal(other.truth, small.truth[:2])
    assert np.all(np.abs(small.truth) <= [4.0, 3.6])


def test_what_is_counted_is_what_register_says(small):
    trials = small.trials["coregister"]
    inside = trials.surprise[:, None] >= 1 - np.array([0.6827, 0.95])
    assert np.array_equal(inside, trials.inside)
    assert 0.3 < small.figures().efficiency.value < 3


def test_json_and_back(small):
    text = json.dumps(small.to_dict(), allow_nan=False)
    back = Calibration.from_dict(json.loads(text))
    assert str(back) == str(small)
    assert np.array_equal(
        back.trials["coregister"].systematic, small.trials["coregister"].systematic
    )
    assert np.array_equal(
        back.trials["coregister"].covariance, small.trials["coregister"].covariance
    )
    with pytest.raises(cr.InputError, match="Calibration"):
        Calibration.from_dict({"format": "coregister.Registration"})


def test_the_printed_form_says_what_was_done(small):
    text = str(small)
    for words in ("power-law-2", "seed 3", "bound", "| coregister |", "pull width"):
        assert words in text


def test_the_plot_has_three_panels(small):
    pytest.importorskip("matplotlib")
    figure = small.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "whitened error",
        "claimed bar, px",
        "claimed probability",
    ]


def test_an_image_of_the_user_and_what_it_is_told():
    rng = np.random.default_rng(0)
    image = 40 + 5 * np.cumsum(np.cumsum(rng.standard_normal((96, 90)), 0), 1)
    image /= image.std()
    found = calibrate(image, noise=0.05, shape=(40, 44), n_pairs=3, image_noise=0, gain=2.0)
    assert found.setup["scene"] == "image of shape (96, 90)"
    assert found.setup["gain"] == 2.0
    assert found.figures().trusted == 3
    with pytest.raises(cr.InputError, match="too small"):
        calibrate(image, noise=0.05, shape=(90, 90), n_pairs=3)


def test_unrelated_images_have_no_bound_and_are_not_trusted():
    found = calibrate("white", noise=0.1, shape=(32, 32), n_pairs=4, related=False)
    assert np.isnan(found.bound).all()
    assert found.figures().trusted == 0
    assert [verdict.what for verdict in found.verdicts()] == ["unrelated pairs trusted"]


@pytest.mark.parametrize(
    "options",
    [
        {"methods": ("imagej",)},
        {"methods": ()},
        {"n_pairs": 1},
        {"blur": 3},
        {"offsets": -1},
        {"scene": "clouds"},
        {"scene": np.ones((64, 64)), "boundary": "periodic", "shape": (32, 32)},
    ],
)
def test_what_cannot_be_honoured_is_refused(options):
    arguments = {"shape": (32, 32), "n_pairs": 2, **options}
    with pytest.raises(cr.InputError):
        calibrate(**arguments)


@pytest.mark.parity
def test_other_packages_are_judged_on_the_same_pairs():
    methods = tuple(m for m, name in MODULES.items() if importlib.util.find_spec(name))
    if "chi2_shift" not in methods or "cross_correlation" not in methods:
        pytest.skip("the packages of the extra bench are not installed")
    found = calibrate(
        "power-law-2",
        noise=0.05,
        boundary="periodic",
        shape=(48, 48),
        offsets=(4, 2),
        n_pairs=3,
        methods=methods,
    )
    # periodic pairs at high S/N: everybody finds them, so sign and order are right
    for method in methods:
        assert np.abs(found.trials[method].error).max() < 0.3, method
    assert math.isnan(found.figures("cross_correlation").pull_width.value)
    assert math.isfinite(found.figures("chi2_shift").pull_width.value)


@pytest.mark.parametrize("method", ["opencv", "pystackreg", "chi2_shift"])
def test_a_package_that_cannot_take_the_pair_says_so(method):
    with pytest.raises(cr.InputError, match="2-D"):
        calibrate("white", shape=(32,), n_pairs=2, methods=(method,))


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "image_registration", None)
    with pytest.raises(cr.MissingExtraError, match="bench"):
        calibrate("power-law-2", shape=(32, 32), n_pairs=2, methods=("chi2_shift",))


# ------------------------------------------------------------------------------------ command


def run(*arguments: str) -> Any:
    testing = pytest.importorskip("click.testing")
    from coregister.cli import cli

    return testing.CliRunner().invoke(cli, ["calibrate", *arguments])


def test_the_command_counts_draws_and_writes(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    proof, plot, page = (tmp_path / f"proof.{kind}" for kind in ("json", "png", "html"))
    done = run(
        *("--scene", "power-law-2", "--noise", "0.1,0.2", "--shape", "40,36", "--pairs", "3"),
        *("--seed", "3", "--json", str(proof), "--plot", str(plot), "--report", str(page)),
    )
    assert done.exit_code in (0, 3), done.output
    assert "3 pairs: scene power-law-2" in done.output
    back = Calibration.from_dict(json.loads(proof.read_text()))
    same = calibrate("power-law-2", noise=(0.1, 0.2), shape=(40, 36), n_pairs=3, seed=3)
    assert np.array_equal(back.trials["coregister"].error, same.trials["coregister"].error)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "3 simulated pairs of power-law-2" in page.read_text()


def test_the_command_takes_an_image(tmp_path):
    image = np.random.default_rng(0).standard_normal((80, 80)).cumsum(0).cumsum(1)
    np.save(tmp_path / "image.npy", image)
    done = run(str(tmp_path / "image.npy"), "--noise", "1", "--pairs", "2", "--image-noise", "0")
    assert "image of shape (80, 80)" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--noise", "0.1"),
        ("--noise", "0.1,0.1,0.1", "--scene", "white"),
        ("--noise", "0.1", "--scene", "white", "--shape", "32.5,32"),
    ],
)
def test_the_command_refuses(arguments):
    assert isinstance(run(*arguments).exception, cr.InputError)
