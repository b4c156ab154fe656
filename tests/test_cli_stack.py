"""The command for stacks as a process: what it prints, writes and returns."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import coregister as cr
from coregister.io import open_stack

pytest.importorskip("click")
fits = pytest.importorskip("astropy.io.fits")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")
table_module = pytest.importorskip("astropy.table")

OFFSETS = np.array([(0, 0), (0.7, -1.2), (1.1, -2.5), (2.3, -3.1), (2.9, -4.4), (4.0, -5.2)])


def arguments(*words: object) -> list[str]:
    return [sys.executable, "-m", "coregister", "stack", *map(str, words)]


def run(*words: object, cwd: Path, code: int | tuple[int, ...] = 0):
    """Run the command; errors are one line on stderr and never a traceback."""
    codes = code if isinstance(code, tuple) else (code,)
    done = subprocess.run(
        arguments(*words), cwd=cwd, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode in codes, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert all(line.startswith("coregister: ") for line in done.stderr.splitlines())
    if done.returncode in (1, 2):
        assert len(done.stderr.splitlines()) == 1
    return done


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    rng = np.random.default_rng(4)
    scene = cr.random_scene("power-law-2", (160, 160), rng=rng)
    frames = cr.simulate_stack(scene, OFFSETS, noise=0.05, rng=rng, shape=(64, 72))
    return np.asarray(frames, dtype=np.float32)


@pytest.fixture
def folder(tmp_path, movie):
    np.save(tmp_path / "m.npy", movie)
    bad = movie.copy()
    bad[3] = 1.0
    np.save(tmp_path / "bad.npy", bad)
    return tmp_path


def test_everything_from_one_call(folder, movie):
    about = {"axes": "TYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "TimeIncrement": 1.5}
    tifffile.imwrite(folder / "m.ome.tif", movie, metadata=about)
    done = run(
        *("m.ome.tif", "-o", "a.zarr", "--table", "t.ecsv", "--mean", "mean.fits"),
        *("--plot", "p.png", "--report", "r.html"),
        cwd=folder,
    )
    assert "6 of 6 frames trusted" in done.stdout
    assert done.stderr == ""  # no progress in a pipe
    table = table_module.QTable.read(folder / "t.ecsv")
    truth = OFFSETS - OFFSETS.mean(axis=0)
    assert np.all(np.abs(table["offset"].value - truth) < 6 * table["stderr"].value)
    made = table.meta["provenance"]
    assert made["frames"] == ["m.ome.tif"]
    assert made["options"]["output"] == "a.zarr"
    aligned = open_stack(folder / "a.zarr")
    assert [size for size, _ in aligned.scale] == pytest.approx([0.2, 0.1])
    np.testing.assert_allclose(aligned.times.seconds, 1.5 * np.arange(6))
    np.testing.assert_array_equal(table["time"].value, aligned.times.seconds)
    inner = np.stack([frame[8:-8, 8:-8] for frame in aligned])
    assert np.std(inner - inner.mean(axis=0)) < 0.2 * np.std(movie - movie.mean(axis=0))
    assert fits.getdata(folder / "mean.fits").shape == (2, 64, 72)
    assert (
        zarr.open_group(folder / "a.zarr", mode="r").attrs["coregister"]["frames"] == made["frames"]
    )
    assert 'src="data:' in (folder / "r.html").read_text()


def test_exit_status(folder):
    done = run("bad.npy", "--table", "t.csv", cwd=folder, code=3)
    assert "5 of 6 frames trusted" in done.stdout
    assert "flagged" in done.stderr
    run("missing.npy", cwd=folder, code=2)
    run("m.npy", "--workers", "0", cwd=folder, code=2)
    run("m.npy", "--workers", "2", "--scheduler", "tcp://x:1", cwd=folder, code=2)
    run("m.npy", "--memory", "much", cwd=folder, code=2)
    run("m.npy", "--reference", "17", cwd=folder, code=2)
    run("m.npy", "--channel", "3", cwd=folder, code=2)
    (folder / "cut.npy").write_bytes((folder / "m.npy").read_bytes()[:5000])
    run("cut.npy", cwd=folder, code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "m.npy", "--overwrite"),
        ("-o", "a.npy", "--mean", "a.npy"),
        ("-o", "a.png"),
        ("-o", "exists.zarr"),
        ("-o", "folder.zarr", "--overwrite"),
        ("--table", "t.txt"),
        ("--report", "exists.html"),
        ("-o", "nowhere/a.tif"),
    ],
)
def test_outputs_are_refused_before_any_work(folder, words):
    zarr.open_group(folder / "exists.zarr", mode="w")
    (folder / "folder.zarr").mkdir()
    (folder / "folder.zarr" / "mine.txt").write_text("keep")
    (folder / "exists.html").write_text("keep")
    done = run("m.npy", *words, cwd=folder, code=2)
    assert done.stdout == ""
    assert (folder / "folder.zarr" / "mine.txt").exists()


def test_files_and_patterns(folder, movie):
    for i, frame in enumerate(movie):
        fits.PrimaryHDU(frame).writeto(folder / f"f{i}.fits")
    run("f*.fits", "--table", "a.json", cwd=folder)
    run(*(f"f{i}.fits" for i in range(6)), "--table", "b.json", cwd=folder)
    fresh = movie[0] + 0.05 * np.random.default_rng(9).standard_normal(movie[0].shape)
    np.save(folder / "fresh.npy", fresh - 0.5)
    np.save(folder / "others.npy", movie[1:])
    run("others.npy", "--reference", "fresh.npy", "--table", "c.json", cwd=folder)
    run("m.npy", "--reference", "2", "--table", "d.json", cwd=folder)
    a, b, c, d = (json.loads((folder / f"{n}.json").read_text()) for n in "abcd")
    assert a["offsets"] == b["offsets"]
    np.testing.assert_allclose(c["offsets"], OFFSETS[1:], atol=0.15)
    assert d["offsets"][2] == [0.0, 0.0]
    run("m.npy", "--interval", "0.5", "--table", "e.json", cwd=folder)
    assert json.loads((folder / "e.json").read_text())["times"] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_workers_give_the_same_numbers(folder):
    run("m.npy", "--table", "a.json", cwd=folder)
    run("m.npy", "--workers", "2", "--table", "b.json", cwd=folder)
    a, b = (json.loads((folder / f"{n}.json").read_text()) for n in "ab")
    assert a["offsets"] == b["offsets"]
    assert a["covariances"] == b["covariances"]


@pytest.mark.filterwarnings("ignore:Creating scratch directories")  # on a busy machine
def test_a_cluster_gives_the_same_numbers(folder, movie):
    """A file, through the command; a lazy array, through the library."""
    distributed = pytest.importorskip("distributed")
    dask_array = pytest.importorskip("dask.array")
    free = {"dashboard_address": "127.0.0.1:0"}  # None is port 8787, which another may have
    run("m.npy", "--table", "a.json", cwd=folder)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, **free
    ) as cluster:
        path = folder / "m.npy"
        run(path, "--scheduler", cluster.scheduler_address, "--table", "b.json", cwd=folder)
        lazy = dask_array.from_array(movie, chunks=(1, 64, 72))
        with distributed.Client(cluster) as client:
            result = cr.register_stack(lazy, executor=client.get_executor())
    a, b = (json.loads((folder / f"{n}.json").read_text()) for n in "ab")
    for name in ("offsets", "covariances", "flags"):
        assert a[name] == b[name] == result.to_dict()[name]
    with distributed.LocalCluster(n_workers=0, **free) as cluster:
        address = cluster.scheduler_address
        assert "no workers" in run("m.npy", "--scheduler", address, cwd=folder, code=2).stderr
    for nobody in ("tcp://127.0.0.1:9", "nonsense://x"):
        assert (
            "no scheduler answers" in run("m.npy", "--scheduler", nobody, cwd=folder, code=2).stderr
        )


def test_progress_on_a_terminal_only(folder):
    leader, follower = pty.openpty()
    done = subprocess.Popen(arguments("m.npy"), cwd=folder, stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert done.wait(timeout=100) == 0
    assert done.stdout is not None
    done.stdout.close()
    os.close(leader)
    assert b"6/6" in shown
    assert b"frames/s" in shown
    assert shown.count(b"\n") == 1  # all of it in one line


def test_progress_tells_the_rate_and_the_time_left(monkeypatch):
    from coregister.cli.stack import _progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    now = [1e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    with _progress() as tell:
        for done in (20, 40, 60):  # 10 frames/s
            now[0] += 2
            tell(done, 100)
        now[0] += 5
        tell(50, 50)  # the next pass, as fast
    shown = sys.stderr.getvalue().replace("\r", "\n")
    assert re.search(r"links .* 60/100 +00:00:0[345] +10 frames/s", shown)
    assert re.search(r"pass 1 .* 50/50 .*10 frames/s", shown)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with _progress() as tell:
        assert tell is None


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_nothing_that_looks_whole(folder, sign):
    rng = np.random.default_rng(6)
    scene = cr.random_scene("power-law-2", (160, 160), rng=rng)
    places = rng.uniform(-5, 5, (150, 2))
    long = cr.simulate_stack(scene, places, noise=0.05, rng=rng, shape=(64, 72))
    np.save(folder / "long.npy", long)
    words = ("long.npy", "-o", "a.zarr", "--table", "t.ecsv", "--checkpoint", "run.json")
    process = subprocess.Popen(
        arguments(*words), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 150
    while not list(folder.glob(".partial-*")) and time.monotonic() < end:
        assert process.poll() is None, "ended before it was seen to write"
        time.sleep(0.002)
    process.send_signal(sign)
    assert process.wait(timeout=60) not in (0, 3)
    assert not (folder / "a.zarr").exists()
    assert not (folder / "t.ecsv").exists()
    if sign == signal.SIGTERM:
        assert not list(folder.glob(".partial-*"))
    run(*words, cwd=folder)
    assert len(open_stack(folder / "a.zarr")) == len(long)


def test_corrected_headers_without_resampling(folder, movie):
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 83.6, "CRVAL2": 60.0}
    )
    header.update({"CRPIX1": 36.0, "CRPIX2": 32.0, "CDELT1": -5e-5, "CDELT2": 5e-5})
    bad = movie.copy()
    bad[3] = 1.0
    for i, frame in enumerate(bad):
        fits.PrimaryHDU(frame, header).writeto(folder / f"f{i}.fits")
    (folder / "new").mkdir()
    words = ("f*.fits", "--headers", "new")
    run(*words, "--table", "t.json", cwd=folder, code=3)
    assert sorted(p.name for p in (folder / "new").iterdir()) == [
        f"f{i}.fits" for i in (0, 1, 2, 4, 5)
    ]
    record = json.loads((folder / "t.json").read_text())
    for i in (0, 2, 5):
        moved = np.subtract(record["offsets"][i], record["offsets"][0])
        data, new = fits.getdata(folder / "new" / f"f{i}.fits", header=True)
        np.testing.assert_array_equal(data, movie[i])
        found = np.array([new["CRPIX2"] - 32, new["CRPIX1"] - 36])
        np.testing.assert_allclose(found, moved, atol=1e-9)
        np.testing.assert_allclose(found, OFFSETS[i], atol=0.05)
        assert (new["CRPIX1O"], new["CRPIX2O"]) == (36, 32)
    run(*words, cwd=folder, code=2)
    run("m.npy", "--headers", "new", cwd=folder, code=2)


def test_the_sun_turns_in_eleven_real_frames(folder):
    """SOHO/EIT, 1 March 2004; the scene changes, so that neighbours are measured."""
    found = importlib.util.find_spec("dkist")
    if found is None or found.origin is None:
        pytest.skip("the package dkist carries the frames")
    paths = sorted((Path(found.origin).parent / "data" / "test" / "EIT").glob("*.fits"))
    assert len(paths) == 11
    middle = np.stack([fits.getdata(path)[44:84, 44:84] for path in paths])
    np.save(folder / "sun.npy", middle.astype("f4"))
    words = ("sun.npy", "--reference", "previous", "--table", "sun.csv")
    run(*words, cwd=folder, code=(0, 3))  # the corona changes: a frame may be flagged
    table = table_module.Table.read(folder / "sun.csv", format="ascii.csv")
    assert sum(str(value) == "True" for value in table["trusted"]) >= 9
    last = table[-1]  # 12 hours after the first
    # synodic rotation at the middle of the disc, whose radius is 46.5 px: 0.43 to 0.45 px/h
    bar = np.hypot(last["stderr_x_px"], 12 * 0.01)
    assert bar < 0.5
    assert abs(last["offset_x_px"] + 12 * 0.44) < 4 * bar
    assert abs(last["offset_y_px"]) < 4 * last["stderr_y_px"]


def test_info_shows_a_stack(folder, movie):
    about = {"axes": "TYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2}
    tifffile.imwrite(folder / "m.ome.tif", movie, metadata=about)
    zarr.save_array(folder / "m.zarr", movie)
    for name in ("m.ome.tif", "m.zarr"):
        done = subprocess.run(
            [sys.executable, "-m", "coregister", "info", name],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "6 frames of 64 x 72 px" in done.stdout


def test_register_on_one_channel_and_apply_to_another(folder, movie):
    """Both channels move together; the second alone is too faint to be registered."""
    faint = 0.02 * movie[..., ::-1] + np.random.default_rng(1).standard_normal(movie.shape)
    both = np.stack([movie, faint], axis=1).astype("f4")
    tifffile.imwrite(folder / "m.ome.tif", both, metadata={"axes": "TCYX"})
    run("m.ome.tif", "--channel", "0", "--table", "t.ecsv", cwd=folder)
    words = ("m.ome.tif", "--channel", "1", "--apply", "t.ecsv", "-o", "a.npy")
    done = run(*words, cwd=folder)
    assert "6 of 6 frames trusted" in done.stdout
    expected = cr.read_table(folder / "t.ecsv").apply(both[:, 1])
    np.testing.assert_array_equal(np.load(folder / "a.npy"), expected)
    run(*words, cwd=folder, code=2)  # the output exists
    for more in (("--reference", "first"), ("--drift", "smooth"), ("--memory", "1GB")):
        done = run(*words, "--overwrite", *more, cwd=folder, code=2)
        assert more[0] in done.stderr
    np.save(folder / "small.npy", movie[:, 1:])
    np.save(folder / "short.npy", movie[1:])
    for name in ("small.npy", "short.npy"):
        run(name, "--apply", "t.ecsv", "-o", "b.npy", cwd=folder, code=2)
    run("m.npy", "--apply", "t.ecsv", "--table", "t.ecsv", "--overwrite", cwd=folder, code=2)


@pytest.mark.parametrize("output", ["a.zarr", "a.tif"])
def test_all_channels_are_aligned_by_one(folder, movie, output):
    faint = 0.02 * movie[..., ::-1] + np.random.default_rng(1).standard_normal(movie.shape)
    both = np.stack([faint, movie], axis=1).astype("f4")
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "TimeIncrement": 1.5}
    names = {"Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(folder / "m.ome.tif", both, metadata={"axes": "TCYX", **sizes, **names})
    words = ("m.ome.tif", "--channel", "gfp", "--all-channels", "--table", "t.ecsv")
    run(*words, "-o", output, cwd=folder)
    result = cr.read_table(folder / "t.ecsv")
    for channel, name in enumerate(("DAPI", "GFP")):
        stack = open_stack(folder / output, channel=name)
        np.testing.assert_array_equal(np.stack([*stack]), result.apply(both[:, channel]))
        assert [size for size, _ in stack.scale] == pytest.approx([0.2, 0.1])
        np.testing.assert_allclose(stack.times.seconds, 1.5 * np.arange(6))
    if output == "a.zarr":
        models = pytest.importorskip("ome_zarr_models.v05")
        image = models.Image.from_zarr(zarr.open_group(folder / output, mode="r"))
        assert [a.name for a in image.ome_attributes.multiscales[0].axes] == ["t", "c", "y", "x"]
        omero = pytest.importorskip("ome_zarr_models.common.omero").Omero
        shown = omero.model_validate(image.ome_attributes.omero).channels[1].window
        aligned = result.apply(both[:, 1])
        assert (shown.min, shown.max) == (np.nanmin(aligned), np.nanmax(aligned))
        run(*words, "-o", "a.fits", cwd=folder, code=2)
        run("m.npy", "--all-channels", "-o", "b.zarr", cwd=folder, code=2)
        run("m.npy", "--all-channels", cwd=folder, code=2)


def test_a_channel_of_files(folder, movie):
    for i, frame in enumerate(movie):
        other = np.full_like(frame, i)
        colour = np.stack([other, frame, other], axis=-1)
        tifffile.imwrite(folder / f"f{i}.tif", colour, photometric="rgb")
        fits.PrimaryHDU(frame).writeto(folder / f"f{i}.fits")
    run("f*.tif", "--channel", "green", "--table", "a.json", cwd=folder)
    run("m.npy", "--table", "b.json", cwd=folder)
    a, b = (json.loads((folder / f"{n}.json").read_text()) for n in "ab")
    assert a["offsets"] == b["offsets"]
    run("f*.tif", cwd=folder, code=2)
    run("f*.tif", "--channel", "5", cwd=folder, code=2)
    run("f*.fits", "--channel", "1", cwd=folder, code=2)


def test_killed_between_passes_it_goes_on_and_gives_the_same_numbers(folder):
    rng = np.random.default_rng(6)
    scene = cr.random_scene("power-law-2", (300, 300), rng=rng)
    places = rng.uniform(-5, 5, (60, 2))
    np.save(
        folder / "long.npy", cr.simulate_stack(scene, places, noise=0.1, rng=rng, shape=(200, 200))
    )
    words = ("long.npy", "--table", "a.json", "--checkpoint", "run.json")
    process = subprocess.Popen(
        arguments(*words), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    passes = 0
    end = time.monotonic() + 150
    while passes < 2 and time.monotonic() < end:
        assert process.poll() is None, "ended before it was seen between passes"
        time.sleep(0.002)
        if (folder / "run.json").exists():  # whole at any moment
            record = json.loads((folder / "run.json").read_text())
            states = record["values"].get("states", {}).values()
            passes = sum(state["passes"] for state in states)
    process.kill()
    assert process.wait(timeout=60) not in (0, 3)
    assert not (folder / "a.json").exists()
    run(*words, cwd=folder)
    run("long.npy", "--table", "b.json", cwd=folder)
    a, b = (json.loads((folder / f"{n}.json").read_text()) for n in "ab")
    assert a["offsets"] == b["offsets"]
    assert a["covariances"] == b["covariances"]
