"""The counting itself: made-up trials whose figures are known, then small real runs."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

import coregister as cr
from coregister.calibrate import (
    Calibration,
    Cell,
    Grid,
    Measured,
    Trials,
    Verdict,
    calibrate,
    run_grid,
)

SIGMA = np.array([0.02, 0.05])


def made_up(
    n: int = 4000,
    *,
    true_over_claimed: float = 1.0,
    bias: float = 0.0,
    untrusted: int = 0,
    dof: float = math.inf,
    seed: int = 0,
) -> Calibration:
    """Trials whose errors are drawn from the distribution that they claim, or beside it."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2))
    if math.isfinite(dof):
        z /= np.sqrt(rng.chisquare(dof, (n, 1)) / (dof - 2))  # Student's, of unit variance
    error = (true_over_claimed * z + bias) * SIGMA
    covariance = np.broadcast_to(np.diag(SIGMA**2), (n, 2, 2)).copy()
    q = np.sum((error / SIGMA) ** 2, axis=1)
    shrink = 1.0 if math.isinf(dof) else (dof - 2) / dof
    quantile = stats.f(2, min(dof, 1e9)).ppf
    trusted = np.arange(n) >= untrusted
    return Calibration(
        setup={"scene": "made up", "shape": [128, 128]},
        related=True,
        truth=rng.uniform(-5, 5, (n, 2)),
        bound=covariance / 1.1**2,
        trials={
            "coregister": Trials(
                error=error,
                covariance=covariance,
                dof=np.full(n, dof),
                inside=np.stack(
                    [q <= 2 * shrink * quantile(level) for level in (0.6827, 0.95)], axis=1
                ),
                trusted=trusted,
                flags=tuple("" if t else "MISFIT NO_MATCH" for t in trusted),
                false_alarm=rng.uniform(size=n),
                seconds=np.full(n, 0.25),
            )
        },
    )


def test_true_bars_are_found_true():
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
def test_false_bars_are_found_false(ratio):
    found = made_up(true_over_claimed=ratio)
    assert found.figures().pull_width.value == pytest.approx(ratio, abs=0.04)
    words = {verdict.what: verdict.word for verdict in found.verdicts()}
    assert words["pull width"] == "missed"
    assert words["coverage of 68%"] == "missed"


def test_bias_and_flags_are_found():
    found = made_up(bias=0.5, untrusted=400)
    f = found.figures()
    assert f.bias.value == pytest.approx(0.5, abs=0.07)
    assert (f.pairs, f.trusted) == (4000, 3600)
    assert f.flagged.value == 0.1
    assert f.flags == {"MISFIT": 400, "NO_MATCH": 400}
    words = {verdict.what: verdict.word for verdict in found.verdicts()}
    assert words["bias, stderr"] == "missed"
    assert words["flagged"] == "missed"


def test_silent_failures_are_trusted_unlikely_and_far():
    found = made_up(200)
    trials = found.trials["coregister"]
    trials.error[:4] = 8 * SIGMA  # probability 1e-28 under the claim
    trials.trusted[0] = False
    trials.covariance[1] *= 100  # likely under its own bar
    found.bound[2] *= 100  # and this one no worse than the bound
    assert found.figures().silent == 1


def test_students_tails_are_no_surprise():
    found = made_up(200, dof=5.0)
    trials = found.trials["coregister"]
    trials.error[0] = 8 * SIGMA
    assert found.figures().silent == 0
    assert trials.surprise[0] == pytest.approx(stats.f.sf(64 * 5 / 3, 2, 5.0))


def test_a_verdict_near_the_limit_is_open():
    def word(value, stderr):
        return Verdict(what="", measured=Measured(value=value, stderr=stderr), low=0.9, high=1.1)

    assert word(1.05, 0.01).word == "met"
    assert word(1.12, 0.01).word == "open"
    assert word(1.14, 0.01).word == "missed"
    assert word(0.86, 0.01).word == "missed"


def test_a_method_without_bars_has_no_pulls():
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
        {"methods": ("opencv",)},
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
    pytest.importorskip("image_registration")
    pytest.importorskip("skimage")
    methods = ("coregister", "chi2_shift", "phase_correlation", "cross_correlation")
    found = calibrate(
        "power-law-2", noise=0.05, boundary="periodic", shape=(48, 48), n_pairs=3, methods=methods
    )
    # periodic pairs at high S/N: everybody finds them, so sign and order are right
    for method in methods:
        assert np.abs(found.trials[method].error).max() < 0.2, method
    assert math.isnan(found.figures("cross_correlation").pull_width.value)
    assert math.isfinite(found.figures("chi2_shift").pull_width.value)


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "image_registration", None)
    with pytest.raises(cr.MissingExtraError, match="bench"):
        calibrate("power-law-2", shape=(32, 32), n_pairs=2, methods=("chi2_shift",))


# ------------------------------------------------------------------------------------ grids


def cells() -> list[Cell]:
    shape = (32, 32)
    return [
        Cell(name="a", options={"scene": "power-law-2", "shape": shape}),
        Cell(name="b", options={"scene": "blobs", "shape": shape, "noise": 0.2}),
        Cell(name="c", options={"scene": "white", "shape": shape}, group="unrelated"),
    ]


def test_a_grid_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    output = tmp_path / "grid.jsonl"
    first = dict(zip("ab", run_grid(cells()[:2], n_pairs=2, output=output), strict=True))
    text = output.read_text()
    assert len(text.splitlines()) == 2
    output.write_text(text + text.splitlines()[0][:100])  # cut off while it was written
    monkeypatch.setattr(Cell, "run", lambda *_, **__: pytest.fail("ran again"))
    again = dict(zip("ab", run_grid(cells()[:2], n_pairs=2, output=output), strict=True))
    assert {name: str(found) for name, (_, found) in again.items()} == {
        name: str(found) for name, (_, found) in first.items()
    }
    monkeypatch.undo()
    assert [c.name for c, _ in run_grid(cells(), n_pairs=2, output=output)] == ["a", "b", "c"]
    assert sum(line.endswith("}") for line in output.read_text().splitlines()) == 3


def test_the_key_of_a_cell_changes_with_all_that_matters():
    cell = cells()[0]
    keys = {
        cell.key(n_pairs=2, seed=0, methods=("coregister",)),
        cell.key(n_pairs=3, seed=0, methods=("coregister",)),
        cell.key(n_pairs=2, seed=1, methods=("coregister",)),
        cells()[1].key(n_pairs=2, seed=0, methods=("coregister",)),
        Cell(name="a", options={**cell.options, "gain": 2.0}).key(
            n_pairs=2, seed=0, methods=("coregister",)
        ),
    }
    assert len(keys) == 5


def test_two_processes_find_what_one_finds():
    alone = {c.name: found for c, found in run_grid(cells()[:2], n_pairs=2)}
    together = {c.name: found for c, found in run_grid(cells()[:2], n_pairs=2, workers=2)}
    for name, found in alone.items():
        assert np.array_equal(
            found.trials["coregister"].error, together[name].trials["coregister"].error
        )


def test_the_table_has_a_line_a_cell_and_the_summary_every_target():
    grid = Grid(tuple(run_grid(cells(), n_pairs=2)))
    assert len(grid.table().splitlines()) == 2 + 2
    assert len(grid.table("unrelated").splitlines()) == 2 + 1
    summary = grid.summary()
    for words in ("pull width", "coverage", "rms / bound", "bias", "silent", "flagged", "uniform"):
        assert words in summary
    with pytest.raises(cr.InputError, match="one name"):
        list(run_grid([cells()[0]] * 2, n_pairs=2))


def test_a_perfect_cell_and_a_false_one_in_the_summary():
    results = ((cells()[0], made_up()), (cells()[1], made_up(true_over_claimed=1.5)))
    summary = Grid(results).summary()
    assert "| pull width 0.9 to 1.1 | 95 % of cells | 1 of 2 = 50% |" in summary
    assert "| pull width 0.8 to 1.25 | all cells | 1 of 2 = 50% |" in summary


def test_the_plot_of_a_grid_shows_every_standard_cell():
    pytest.importorskip("matplotlib")
    figure = Grid(((cells()[0], made_up()), (cells()[1], made_up()))).plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


# ------------------------------------------------------------------------------------ command


def run(*arguments: str) -> Any:
    testing = pytest.importorskip("click.testing")
    from coregister.cli import cli

    return testing.CliRunner().invoke(cli, ["calibrate", *arguments])


def test_the_command_counts_draws_and_writes(tmp_path):
    pytest.importorskip("matplotlib")
    proof, plot = tmp_path / "proof.json", tmp_path / "proof.png"
    done = run(
        *("--scene", "power-law-2", "--noise", "0.1,0.2", "--shape", "40,36", "--pairs", "3"),
        *("--seed", "3", "--json", str(proof), "--plot", str(plot)),
    )
    assert done.exit_code in (0, 3), done.output
    assert "3 pairs: scene power-law-2" in done.output
    back = Calibration.from_dict(json.loads(proof.read_text()))
    same = calibrate("power-law-2", noise=(0.1, 0.2), shape=(40, 36), n_pairs=3, seed=3)
    assert np.array_equal(back.trials["coregister"].error, same.trials["coregister"].error)
    assert plot.read_bytes().startswith(b"\x89PNG")


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
