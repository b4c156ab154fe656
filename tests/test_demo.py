"""The demo, with the frames of the Sun where they are installed, and without them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import coregister as cr
from coregister import demo
from coregister.errors import InputError
from coregister.io import read, sky_jacobian

pytest.importorskip("astropy.io.fits")
pytest.importorskip("click")

NEEDS_FRAMES = pytest.mark.skipif(
    demo.find_frames() is None, reason="needs the frames: pip install --no-deps dkist"
)


def run(*arguments: object, cwd: Path, missing: tuple[str, ...] = (), code: int = 0):
    """Run the command, with some packages hidden from it."""
    script = (
        "import importlib.util, sys\n"
        f"missing = {missing!r}\n"
        "found = importlib.util.find_spec\n"
        "hidden = lambda name, *_: None if name in missing else found(name)\n"
        "importlib.util.find_spec = hidden\n"
        "sys.modules.update(dict.fromkeys(missing))\n"
        f"sys.argv = ['coregister', *{[str(a) for a in arguments]!r}]\n"
        "from coregister.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def test_without_the_frames_a_pair_is_simulated_and_compared_with_the_truth(tmp_path):
    done = run("demo", cwd=tmp_path, missing=(demo.PACKAGE,))
    assert "a simulated pair instead" in done.stdout.splitlines()[0]
    assert "Known             -0.420 px (put in)" in done.stdout
    folder = tmp_path / "demo-output"
    result = cr.Registration.from_dict(json.loads((folder / "result.json").read_text()))
    assert result.trusted
    assert np.all(np.abs(result.pull([1.7, -0.42])) < 4)
    assert np.all(result.stderr < 0.02)
    assert read(folder / "aligned.fits").data.shape == read(folder / "reference.fits").data.shape
    series = cr.read_table(folder / "series.ecsv")
    assert series.trusted.all()
    assert len(list((folder / "series").iterdir())) == len(series) == demo.SIMULATED
    assert np.mean(series.pull(np.outer(np.arange(demo.SIMULATED), (0, 0.05))) ** 2) < 2
    for name in ("aligned.fits", "result.json", "report.html", "series.ecsv", "series.html"):
        assert (folder / name).is_file() is (name in done.stdout)


def test_a_second_demo_needs_overwrite_and_another_folder_can_be_named(tmp_path):
    bare = (demo.PACKAGE, "matplotlib")
    run("demo", "--output", "a/b", cwd=tmp_path, missing=bare)
    before = (tmp_path / "a" / "b" / "result.json").read_bytes()
    done = run("demo", "--output", "a/b", cwd=tmp_path, missing=bare, code=2)
    assert "--overwrite" in done.stderr
    assert done.stdout == ""
    run("demo", "--output", "a/b", "--overwrite", cwd=tmp_path, missing=bare)
    assert (tmp_path / "a" / "b" / "result.json").read_bytes() == before, "the demo is repeatable"
    (tmp_path / "file").write_text("x")
    run("demo", "--output", "file", cwd=tmp_path, code=2)


def test_without_the_extra_report_it_says_so_and_goes_on(tmp_path):
    done = run("demo", cwd=tmp_path, missing=(demo.PACKAGE, "matplotlib"))
    assert "No report: matplotlib is not installed" in done.stdout
    assert "coregister[report]" in done.stdout
    assert not (tmp_path / "demo-output" / "report.html").exists()
    assert (tmp_path / "demo-output" / "result.json").is_file()


def test_outputs_are_checked_before_anything_is_written(tmp_path):
    (tmp_path / "result.json").write_text("old")
    with pytest.raises(InputError, match=r"result\.json exists"):
        demo.prepare_demo(tmp_path, also=[tmp_path / "result.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_the_known_rotation_of_the_sun():
    # at the centre of a disc without tilt: sidereal 2.894, less the Earth's 0.1991 microradian/s
    tiny = 1e9
    assert demo.mean_rotation(tiny, 0.0) / tiny == pytest.approx((2.894 - 0.1991) * 3600e-6)
    # 46.5 px: near 0.45 px/h at the centre, some per cent less over the window
    assert 0.41 < demo.mean_rotation(46.5, np.radians(-7.22)) < 0.44
    # the slower rotation towards the poles, and the shorter way around the axis
    far = np.radians(60)
    slow = (2.894 - 0.428 * 0.75 - 0.370 * 0.75**2 - 0.1991) * 3600e-6 * np.cos(far)
    assert demo.mean_rotation(tiny, far) / tiny == pytest.approx(slow)


@NEEDS_FRAMES
def test_the_sun_turns_as_fast_as_it_is_known_to(tmp_path):
    prepared = demo.prepare_demo(tmp_path)
    assert prepared.hours == pytest.approx(2.0, abs=0.01)
    assert prepared.known / prepared.hours == pytest.approx(-0.43, abs=0.02)
    reference, moving = read(prepared.reference), read(prepared.moving)
    assert reference.data.shape == (2 * demo.HALF_WINDOW,) * 2
    np.testing.assert_allclose(np.abs(np.diag(sky_jacobian(reference)[::-1])), 21.04, rtol=1e-3)
    result = cr.register(prepared.reference, prepared.moving)
    assert result.trusted
    assert abs(result.offset[1] - prepared.known) < 3 * result.stderr[1]
    assert abs(result.offset[0]) < 3 * result.stderr[0]
    assert result.stderr[1] < 0.15, "it is seen to move"
    for cut, name in ((reference, demo.FRAMES[0]), (moving, demo.FRAMES[1])):
        root = importlib.util.find_spec(demo.PACKAGE).submodule_search_locations[0]
        frame = read(Path(root) / name).data
        np.testing.assert_array_equal(cut.data, frame[44:84, 44:84])  # CRPIX is 64.5


@NEEDS_FRAMES
def test_the_sun_turns_through_the_day(tmp_path):
    series = demo.prepare_series(tmp_path / "series")
    assert len(series.frames) == 11
    assert series.hours == pytest.approx(12.0, abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register_stack(series.frames, reference=series.reference)
    np.testing.assert_allclose(result.times[-1] / 3600, series.hours)
    assert result.trusted[[0, -1]].all()
    assert result.trusted.sum() >= 9  # the corona changes: one frame or the other may be flagged
    moved, bar = result.offsets[-1, 1], result.stderr[-1, 1]
    assert abs(moved - series.known) < 3 * bar
    assert bar < 0.1 * abs(series.known), "it is seen to move"
    with pytest.raises(InputError, match="exists"):
        demo.prepare_series(tmp_path / "series")


@NEEDS_FRAMES
def test_the_demo_prints_measured_beside_known(tmp_path):
    done = run("demo", cwd=tmp_path, missing=("matplotlib",))
    assert "SOHO/EIT" in done.stdout
    assert "px/h (rotation of Howard et al. 1990" in done.stdout
    assert "on the sky, along HPLN" in done.stdout
    again = run(
        "pair", "demo-output/reference.fits", "demo-output/moving.fits", cwd=tmp_path
    ).stdout
    assert again in done.stdout
    assert "11 frames, 00:00 to 12:00 UT" in done.stdout
