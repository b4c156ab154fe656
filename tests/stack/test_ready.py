"""Frames made ready are kept: in memory, beyond that in files, and nothing of them stays behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import closing

import numpy as np
import pytest

import coregister as cr
from coregister.estimator.single import Single
from coregister.images import as_image
from coregister.stack.ready import Kept, Samples, ready


def made(seed: int, lost: np.ndarray | None = None):
    data = np.random.default_rng(seed).normal(size=(40, 48))
    single = Single(as_image(data, name="frame"), periodic=False)
    return ready(single, Samples(2, False), periodic=False, lost=lost)


def spectrum(frame) -> np.ndarray:
    return frame.movable.spectrum


@pytest.mark.parametrize("alone", [True, False])
def test_what_has_no_room_in_memory_is_found_in_a_file(tmp_path, monkeypatch, alone):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    frames = [made(seed) for seed in range(3)]
    with closing(Kept(1.5 * frames[0].nbytes, None if alone else tmp_path)) as kept:
        what_is_kept_is_found(kept, frames)
        names = sorted(path.name for path in tmp_path.iterdir())
    if not alone:
        assert names == ["1", "2"]
    elif os.name == "posix":
        assert not names


def what_is_kept_is_found(kept: Kept, frames: list) -> None:
    for number, frame in enumerate(frames):
        kept.keep(number, frame)
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(spectrum(kept.get(number, None, 2)), spectrum(frame))
        coarse = kept.get(number, None, 4)
        assert coarse.movable.step == 4
    assert kept.get(3, None, 2) is None
    # one from which pixels were left out takes the place of what was kept
    lost = np.zeros((40, 48), dtype=bool)
    lost[3, 4] = True
    assert kept.get(1, lost, 2) is None
    kept.keep(1, made(1, lost))
    assert kept.get(1, None, 2) is None
    np.testing.assert_array_equal(spectrum(kept.get(1, lost, 2)), spectrum(made(1, lost)))


KILLED = """
import sys, time, warnings
import numpy as np, coregister as cr

class Slow:
    reads = 0
    def __len__(self):
        return 9
    def __getitem__(self, index):
        self.reads += 1
        if self.reads > 14:  # all frames are linked, and some kept
            print("here", flush=True)
            time.sleep(60)
        return movie[index]

rng = np.random.default_rng(5)
scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
movie = cr.simulate_stack(scene, rng.normal(size=(9, 2)), noise=0.1, rng=rng, shape=(64, 64))
cr.register_stack(Slow(), memory=0)
"""


def test_a_run_that_is_killed_leaves_nothing_behind(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TEMP": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED], env=environment, stdout=subprocess.PIPE, text=True
    )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == "here\n"
        run.kill()
    assert not list(tmp_path.iterdir())


def test_another_process_finds_the_files_only(tmp_path):
    kept = Kept(1e9, tmp_path)
    kept.keep(0, made(0))
    there = pickle.loads(pickle.dumps(kept))
    assert there.get(0, None, 2) is None
    there.keep(1, made(1))
    np.testing.assert_array_equal(spectrum(kept.get(1, None, 2)), spectrum(made(1)))


def test_without_a_folder_nothing_is_kept_in_files(tmp_path):
    kept = Kept(0.0, tmp_path / "none")
    kept.keep(0, made(0))
    assert kept.get(0, None, 2) is None


class Counted:
    """Frames whose reading is counted, and may be stopped."""

    def __init__(self, frames: np.ndarray, most: float = np.inf) -> None:
        self.frames, self.reads, self.most = frames, 0, most

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        self.reads += 1
        if self.reads > self.most:
            raise KeyboardInterrupt
        return self.frames[index]


def test_a_frame_is_read_as_often_whatever_the_memory(tmp_path, monkeypatch):
    """The numbers are the same, also where there is no room at all, and files go with the run."""
    rng = np.random.default_rng(5)
    scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    truth = np.cumsum(rng.normal(scale=0.5, size=(9, 2)), axis=0)
    movie = cr.simulate_stack(scene, truth, noise=0.1, rng=rng, shape=(64, 64))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    wide, narrow, none = Counted(movie), Counted(movie), Counted(movie)
    expected = cr.register_stack(wide)
    found = cr.register_stack(narrow, memory=0)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    assert narrow.reads == wide.reads
    # once to be linked and made ready and once in a loop, whichever the centre was tried with;
    # the centre once more, and the first one for the shape and what the run is known by
    assert wide.reads == 2 * len(movie) + 1 + 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        cr.register_stack(Counted(movie, wide.reads - 2), memory=0)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:  # a disk on which there is no room
        patch.setattr("coregister.stack.ready.pickle.dump", _full)
        found = cr.register_stack(none, memory=0)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    assert none.reads > 2 * wide.reads


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
