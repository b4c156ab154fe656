"""The command: what it prints, writes and returns, as a process and in this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import coregister as cr
from coregister.io import read

click = pytest.importorskip("click")
fits = pytest.importorskip("astropy.io.fits")
image_module = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")
cli = pytest.importorskip("coregister.cli")

TRUTH = np.array([2.3, -1.4])


def checked(done, code):
    """Errors are one line on stderr and never a traceback."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert all(line.startswith("coregister: ") for line in done.stderr.splitlines())
    if code in (1, 2):
        assert len(done.stderr.splitlines()) == 1
    return done


def process(*arguments: object, cwd: Path, code: int = 0):
    """Run the command as users do."""
    done = subprocess.run(
        [sys.executable, "-m", "coregister", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return checked(done, code)


def run(*arguments: object, cwd: Path, code: int = 0, **environment: str):
    """Run the command in this process, which need not load everything again."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", ["coregister", *map(str, arguments)]),
        mock.patch.object(signal, "signal"),
        mock.patch.dict(os.environ, environment),
        pytest.raises(SystemExit) as caught,
    ):
        cli.main()
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))
    done = SimpleNamespace(returncode=caught.value.code or 0, stdout=stdout, stderr=stderr)
    return checked(done, code)


def sky(**changes: object):
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 83.6,
            "CRVAL2": 60.0,
            "CRPIX1": 30.0,
            "CRPIX2": 32.0,
            "CDELT1": -0.2 / 3600,
            "CDELT2": 0.2 / 3600,
        }
    )
    header.update(changes)
    return header


@pytest.fixture
def folder(tmp_path, make_pair):
    """A pair in every format, and noise that has nothing in common with it."""
    reference, moving = make_pair(offset=TRUTH)
    fits.PrimaryHDU(reference, sky(OBJECT="ref")).writeto(tmp_path / "ref.fits")
    fits.PrimaryHDU(moving, sky(OBJECT="mov", CRVAL1=10.0)).writeto(tmp_path / "mov.fits")
    np.save(tmp_path / "ref.npy", reference)
    np.save(tmp_path / "mov.npy", moving)
    rng = np.random.default_rng(5)
    np.save(tmp_path / "noise.npy", rng.standard_normal(moving.shape))
    for name, data in (("ref", reference), ("mov", moving)):
        grey = np.clip(128 + 30 * data, 0, 255).astype("u1")
        image_module.fromarray(grey).save(tmp_path / f"{name}.png")
        image_module.fromarray(np.stack([0 * grey, grey, 0 * grey], -1)).save(
            tmp_path / f"{name}-colour.png"
        )
        image_module.fromarray(grey).save(tmp_path / f"{name}.jpg", quality=95)
        tifffile.imwrite(tmp_path / f"{name}.tif", (1000 + 100 * data).astype("u2"))
    return tmp_path


def offset(path: Path) -> cr.Registration:
    return cr.Registration.from_dict(json.loads(path.read_text()))


# -------------------------------------------------------------------- pair


def test_a_good_pair_is_measured_printed_and_written(folder):
    done = process("pair", "ref.fits", "mov.fits", "-o", "out.fits", "--json", "r.json", cwd=folder)
    assert done.stderr == ""
    assert done.stdout.startswith("trusted\n")
    result = offset(folder / "r.json")
    assert np.all(np.abs(result.pull(TRUTH)) < 5)
    assert np.all(result.stderr < 0.02)
    direct = cr.register(folder / "ref.fits", folder / "mov.fits")
    np.testing.assert_allclose(result.offset, direct.offset, rtol=1e-12)
    assert str(direct) in done.stdout
    record = json.loads((folder / "r.json").read_text())
    assert record["provenance"]["coregister"] == cr.__version__
    assert record["provenance"]["moving"] == {"file": "mov.fits", "part": "HDU 0 PRIMARY"}
    np.testing.assert_allclose(
        record["sky"]["offset"], 0.2 * result.offset[::-1] * [-1, 1], rtol=1e-5
    )
    np.testing.assert_allclose(record["sky"]["stderr"], 0.2 * result.stderr[::-1], rtol=1e-5)
    for name in ("RA ", "DEC"):
        assert re.search(rf"on the sky, along {name}.* \+- 0\.\d+ arcsec", done.stdout)
    header = fits.getheader(folder / "out.fits")
    assert header["OBJECT"] == "mov"
    assert header["CRVAL1"] == 83.6
    assert header["CRGOFF1"] == result.offset[1]
    assert header["CRGERR2"] == pytest.approx(result.stderr[0], rel=1e-12)  # a card has 20 columns
    assert header["CRGSTAT"] == "OK"
    assert "ref.fits" in str(header["HISTORY"])
    aligned = read(folder / "out.fits").data
    np.testing.assert_array_equal(aligned, direct.apply(read(folder / "mov.fits").data))
    left = run("pair", "ref.fits", "out.fits", "--json", "again.json", cwd=folder)
    assert left.stdout.startswith("trusted")
    assert np.abs(offset(folder / "again.json").offset).max() < 0.02


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg", "npy"])
def test_the_aligned_image_has_the_format_of_moving(folder, suffix):
    names = [f"{name}.{suffix}" for name in ("ref", "mov", "out")]
    done = run("pair", *names[:2], "-o", names[2], "--json", "r.json", cwd=folder)
    result = offset(folder / "r.json")
    assert np.all(np.abs(result.offset - TRUTH) < 0.1)
    first, moved = read(folder / names[0]).data.astype(float), read(folder / names[2]).data
    inside = np.s_[4:-4, 4:-4]
    assert np.corrcoef(first[inside].ravel(), moved[inside].ravel())[0, 1] > 0.98
    if suffix in ("png", "jpg"):
        assert "where nothing is known, are 0" in done.stderr
        assert moved.dtype == np.uint8
    else:
        assert done.stderr == ""
        assert moved.dtype == (np.float32 if suffix == "tif" else np.float64)
        assert np.isnan(moved[-1]).all()


def test_errors_and_masks_of_the_file_are_used_and_carried(folder):
    for name in ("ref", "mov"):
        data = fits.getdata(folder / f"{name}.fits")
        data[10:14, 10:14] = 5e3
        noise = np.full(data.shape, 0.05)
        noise[30:33, 30:33] = 0
        data[30:33, 30:33] = 7e3
        bad = np.zeros(data.shape, "u1")
        bad[10:14, 10:14] = 1
        fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.ImageHDU(data, name="SCI"),
                fits.ImageHDU(noise, name="ERR"),
                fits.ImageHDU(bad, name="DQ"),
            ]
        ).writeto(folder / f"{name}-mef.fits")
    run("pair", "ref-mef.fits", "mov-mef.fits", "-o", "out.fits", "--json", "r.json", cwd=folder)
    assert np.all(np.abs(offset(folder / "r.json").pull(TRUTH)) < 5)
    out = read(folder / "out.fits")
    assert out.part == "HDU 1 SCI"
    assert np.nanmax(out.data) < 100
    assert 0.02 < np.nanmedian(out.err) < 0.06
    args = ["pair", "ref-mef.fits", "mov-mef.fits", "--mask-ext", "none", "--json", "n.json"]
    done = subprocess.run(
        [sys.executable, "-m", "coregister", *args], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode in (0, 3)
    assert np.abs(offset(folder / "n.json").offset).max() < 0.5, "the blot stands still"
    run("pair", "ref-mef.fits", "mov-mef.fits", "--ext", "5", cwd=folder, code=2)


def test_unrelated_images_are_flagged_and_status_is_3(folder):
    done = process("pair", "ref.npy", "noise.npy", "--json", "r.json", cwd=folder, code=3)
    assert done.stdout.startswith("NOT TRUSTED: NO_MATCH")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("coregister: warning: ")
    assert "NO_MATCH" in done.stderr
    assert offset(folder / "r.json").status is cr.Status.NO_MATCH


def test_a_constant_image_is_written_with_infinite_bars(folder):
    fits.PrimaryHDU(np.ones((64, 60)), sky()).writeto(folder / "flat.fits")
    done = run(
        "pair", "ref.fits", "flat.fits", "--json", "r.json", "-o", "o.fits", cwd=folder, code=3
    )
    record = json.loads((folder / "r.json").read_text())
    assert record["sky"]["stderr"] == ["inf", "inf"]
    assert "undetermined) arcsec" in done.stdout
    assert "CRGERR1" not in fits.getheader(folder / "o.fits")


def test_options_reach_the_library(folder):
    run(
        "pair",
        "ref.npy",
        "mov.npy",
        "--max-offset",
        "1,1.5",
        "--initial",
        "-20.5,12",
        "--json",
        "r.json",
        cwd=folder,
        code=3,
    )
    record = json.loads((folder / "r.json").read_text())
    assert record["provenance"]["options"] == {
        "boundary": "overlap",
        "max_offset": [1.0, 1.5],
        "initial": [-20.5, 12.0],
    }
    assert abs(record["offset"][0] + 20.5) <= 2
    run(
        "pair",
        "ref.npy",
        "mov.npy",
        "--boundary",
        "periodic",
        "--ref-err",
        "0.05",
        "--mov-err",
        "0.05",
        "--max-offset",
        "9",
        "--json",
        "p.json",
        cwd=folder,
        code=3,  # real edges taken as periodic do not pass unnoticed
    )
    assert offset(folder / "p.json").boundary == "periodic"
    run("pair", "ref-colour.png", "mov-colour.png", "--channel", "green", cwd=folder)
    stack = np.stack([read(folder / "ref.tif").data, read(folder / "mov.tif").data])
    tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")
    done = run("pair", "stack.tif", "stack.tif", "--ref-ext", "0", "--mov-ext", "1", cwd=folder)
    assert done.stdout.startswith("trusted")
    for name, difference in (("nearest", True), ("cubic", False)):
        run("pair", "ref.npy", "mov.npy", "-o", f"{name}.npy", "--interpolation", name, cwd=folder)
        assert np.isin(np.load(folder / f"{name}.npy"), np.load(folder / "mov.npy")).any() is (
            np.True_ if difference else np.False_
        )


def test_the_report_is_written(folder):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    run("pair", "ref.fits", "mov.fits", "--report", "r.html", cwd=folder)
    assert "<html" in (folder / "r.html").read_text()


# -------------------------------------------------------------------- bad input


def test_bad_input_is_one_sentence_and_status_2(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (folder / "empty.fits").write_bytes(b"")
    whole = (folder / "ref.fits").read_bytes()
    (folder / "cut.fits").write_bytes(whole[:9000])
    (folder / "dir.fits").mkdir()
    np.save(folder / "nan.npy", np.full((30, 30), np.nan))
    np.save(folder / "complex.npy", np.ones((30, 30), complex))
    np.save(folder / "cube.npy", np.ones((30, 30, 30)))
    np.save(folder / "tiny.npy", np.ones((3, 3)))
    for arguments, words in [
        (["gone.fits", "mov.fits"], ["gone.fits", "does not exist"]),
        (["empty.fits", "mov.fits"], ["empty.fits", "0 bytes"]),
        (["cut.fits", "mov.fits"], ["cut.fits", "truncated"]),
        (["dir.fits", "mov.fits"], ["dir.fits", "folder"]),
        (["ref.fits", "nan.npy"], ["moving", "no usable pixel"]),
        (["complex.npy", "ref.npy"], ["complex", "modulus"]),
        (["cube.npy", "ref.npy"], ["3 axes"]),
        (["tiny.npy", "ref.npy"], ["(3, 3)", "8 pixels"]),
        (["ref-colour.png", "mov.png"], ["--channel"]),
        (["ref.npy", "mov.npy", "--ref-err", "-1"], ["negative"]),
        (["ref.npy", "mov.npy", "--ext", "1"], ["ext='1' does not apply"]),
        (["ref.npy", "mov.npy", "--initial", "900"], ["no overlap"]),
        (["ref.npy", "mov.npy", "--max-offset", "-3"], ["above 0"]),
        (["ref.npy", "mov.npy", "--max-offset", "wide"], ["'wide' is not a number", "--help"]),
        (["ref.npy", "mov.npy", "--boundary", "wrap"], ["overlap", "--help"]),
        (["ref.npy", "mov.npy", "--no-such"], ["--no-such", "'coregister pair --help'"]),
        (["ref.npy"], ["MOV"]),
        (["ref.npy", "mov.npy", "-o", "out.fits"], ["NPY", "name it"]),
        (["ref.npy", "mov.npy", "-o", "no/out.npy"], ["folder", "does not exist"]),
        (["ref.npy", "mov.npy", "-o", "mov.npy", "--overwrite"], ["named twice"]),
        (["ref.npy", "mov.npy", "--json", "x", "--report", "x"], ["named twice"]),
    ]:
        monkeypatch.setattr(sys, "argv", ["coregister", "pair", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        assert caught.value.code == 2, printed
        assert len(printed.err.splitlines()) == 1
        for word in ["coregister: error: ", *words]:
            assert word in printed.err
        assert printed.out == ""


def test_an_output_that_exists_is_refused_before_any_work(folder):
    (folder / "r.json").write_text("old")
    before = sorted(folder.iterdir())
    done = run(
        "pair", "ref.npy", "mov.npy", "-o", "new.npy", "--json", "r.json", cwd=folder, code=2
    )
    assert "--overwrite" in done.stderr
    assert done.stdout == ""
    assert (folder / "r.json").read_text() == "old"
    assert sorted(folder.iterdir()) == before
    run("pair", "ref.npy", "mov.npy", "--json", "r.json", "--overwrite", cwd=folder)
    assert offset(folder / "r.json").trusted


def test_inputs_are_never_modified(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run("pair", "ref.fits", "mov.fits", "-o", "out.fits", "--json", "r.json", cwd=folder)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_full_disk_is_one_line_and_status_1(folder):
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "files = ['ref.fits', 'mov.fits', '-o', 'out.fits']\n"
        "sys.argv = ['coregister', 'pair', *files, '--overwrite']\n"
        "from coregister.cli import main\n"
        "main()\n"
    )
    (folder / "out.fits").write_text("old")
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "out.fits could not be written" in done.stderr
    assert (folder / "out.fits").read_text() == "old"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_while_writing_leaves_the_old_file(folder, kind):
    (folder / "r.json").write_text("old")
    code = (
        "import json, sys, time\n"
        "import coregister.cli as cli\n"
        "def slow(*_, **__):\n"
        "    print('WRITING', flush=True)\n"
        "    time.sleep(60)\n"
        "json.dumps = slow\n"
        "files = ['ref.npy', 'mov.npy', '--json', 'r.json']\n"
        "sys.argv = ['coregister', 'pair', *files, '--overwrite']\n"
        "cli.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("WRITING" in line for line in process.stdout)
        process.send_signal(kind)
        status = process.wait(timeout=30)
        errors = process.stderr.read()
    assert status != 0
    assert "Traceback" not in errors
    assert (folder / "r.json").read_text() == "old"
    if kind != signal.SIGKILL:
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_debug_shows_where(folder):
    done = subprocess.run(
        [sys.executable, "-m", "coregister", "info", "gone.fits"],
        cwd=folder,
        env={**os.environ, "COREGISTER_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_anything_else_is_status_1(folder):
    code = (
        "import sys, coregister.register, coregister.cli as cli\n"
        "def broken(*_, **__):\n"
        "    raise ZeroDivisionError('a\\nb')\n"
        "coregister.register.register = broken\n"
        "sys.modules['coregister.register'].register = broken\n"
        "sys.argv = ['coregister', 'pair', 'ref.npy', 'mov.npy']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "coregister: error: ZeroDivisionError: a b (COREGISTER_DEBUG=1 shows where)"
    ]


def test_without_an_extra_the_line_names_it(folder):
    for missing, arguments, extra in [
        ("click", ["info", "ref.npy"], "cli"),
        ("astropy", ["info", "ref.fits"], "io"),
        ("jinja2", ["pair", "ref.npy", "mov.npy", "--report", "r.html"], "report"),
    ]:
        code = (
            f"import sys\nsys.modules[{missing!r}] = None\n"
            f"sys.argv = ['coregister', *{arguments!r}]\n"
            "from coregister.cli import main\nmain()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.count("\n") == 1
        assert f"pip install 'coregister[{extra}]'" in done.stderr
        assert done.stdout == ""


# -------------------------------------------------------------------- the others


def test_info_shows_what_would_be_used(folder):
    lines = run("info", "ref.fits", cwd=folder).stdout
    assert "HDU 0 PRIMARY  (64, 60)  float64" in lines
    assert "(64, 60), float64" in lines
    assert "RA---TAN, DEC--TAN" in lines
    assert "0.2, 0.2 arcsec" in lines
    data = np.arange(100.0).reshape(10, 10)
    data[0, :4] = np.nan
    np.save(folder / "a.npy", data)
    lines = run("info", "a.npy", cwd=folder).stdout
    assert "4 of 100 pixels" in lines
    assert "4, 51.5, 99" in lines
    for name in ("ref.tif", "ref.png", "ref.jpg"):
        assert "(64, 60)" in run("info", name, cwd=folder).stdout
    done = run("info", "ref-colour.png", cwd=folder, code=2)
    assert "R+G+B" in done.stdout
    assert "--channel" in done.stderr
    assert "channel 1" in run("info", "ref-colour.png", "--channel", "1", cwd=folder).stdout
    run("info", "gone.fits", cwd=folder, code=2)


def test_many_windows_are_written_as_a_table_and_a_picture(folder):
    command = ("windows", "ref.tif", "mov.tif", "--size", "40,36", "--max-offset", "5,4")
    done = run(*command, "--table", "flow.csv", "--plot", "flow.png", cwd=folder)
    assert "windows of 40 x 36 trusted" in done.stdout
    rows = np.genfromtxt(folder / "flow.csv", delimiter=",", names=True, dtype=None)
    for axis, truth in zip("yx", TRUTH, strict=True):
        pulls = (rows[f"offset_{axis}_px"] - truth) / rows[f"stderr_{axis}_px"]
        assert np.abs(pulls).max() < 5
    with image_module.open(folder / "flow.png") as picture:
        assert picture.width > 100
    again = run(*command, "--table", "flow.csv", cwd=folder, code=2)
    assert "flow.csv exists" in again.stderr


def test_a_picture_of_no_known_kind_is_refused_before_the_work(folder):
    for command in (("windows", "ref.tif", "mov.tif"), ("calibrate", "ref.tif", "--noise", "1")):
        assert "end its name in .png" in run(*command, "--plot", "p.xyz", cwd=folder, code=2).stderr


def test_unrelated_windows_are_flagged_and_status_is_3(folder):
    assert "NO_MATCH" in run("windows", "ref.npy", "noise.npy", cwd=folder, code=3).stdout


def test_version_and_help(tmp_path):
    assert run("--version", cwd=tmp_path).stdout == f"coregister {cr.__version__}\n"
    overview = run("--help", cwd=tmp_path).stdout
    assert run(cwd=tmp_path).stdout == overview
    for command in ("pair", "info", "demo", "completion"):
        assert command in overview
        text = run(command, "--help", cwd=tmp_path).stdout
        assert "Example" in text
        assert f"coregister {command}" in text
    assert "'paire'" in run("paire", cwd=tmp_path, code=2).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path, shell):
    assert "_COREGISTER_COMPLETE" in run("completion", shell, cwd=tmp_path).stdout
    assert run("completion", cwd=tmp_path, SHELL=f"/bin/{shell}").stdout
    done = run(
        cwd=tmp_path,
        _COREGISTER_COMPLETE=f"{shell}_complete",
        COMP_WORDS="coregister pa",
        COMP_CWORD="pa" if shell == "fish" else "1",
    )
    assert "pair" in done.stdout


def test_completion_of_an_unknown_shell_is_refused(tmp_path):
    assert "bash" in run("completion", cwd=tmp_path, code=2, SHELL="/bin/tcsh").stderr


def test_help_is_quick_to_load():
    code = (
        "import sys, coregister.cli\n"
        "print([m for m in ('astropy', 'tifffile', 'PIL', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
