"""A run that is stopped, at any moment, goes on where it was, and ends at the same numbers."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import coregister as cr
from coregister.stack.bench import Common, Frame
from coregister.stack.state import State
from coregister.stack.template import Template


class Stopped:
    """Frames of a run that is stopped after so many steps: frames read, blocks done."""

    def __init__(self, frames: np.ndarray, most: float = np.inf) -> None:
        self.frames, self.steps, self.most = frames, 0, most

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        self.tell()
        return self.frames[index]

    def tell(self, *_: int) -> None:
        self.steps += 1
        if self.steps > self.most:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def taken() -> np.ndarray:
    """A movie with a cosmic ray and a frame of something else, which take more passes."""
    rng = np.random.default_rng(11)
    scene = cr.random_scene("power-law-2", (96, 96), rng=rng)
    truth = np.cumsum(rng.normal(scale=0.4, size=(20, 2)), axis=0)
    movie = cr.simulate_stack(scene, truth, noise=0.1, rng=rng, shape=(48, 56))
    movie[4, 20, 21] += 30
    movie[9] = rng.normal(size=movie[9].shape)
    return movie


def quiet(source, **options) -> cr.StackRegistration:
    with pytest.warns(cr.RegistrationWarning, match=r"9 [A-Z]"):
        return cr.register_stack(source, memory=0, **options)


def passes(record: dict) -> int:
    """That a checkpoint tells of."""
    return sum(state["passes"] for state in record["values"].get("states", {}).values())


def same(a: cr.StackRegistration, b: cr.StackRegistration) -> None:
    np.testing.assert_array_equal(a.offsets, b.offsets)
    np.testing.assert_array_equal(a.covariances, b.covariances)
    assert a.flags == b.flags
    assert (a.closure == b.closure) or (np.isnan(a.closure) and np.isnan(b.closure))


@pytest.mark.parametrize("reference", ["all", "previous"])
def test_stopped_anywhere_it_goes_on(tmp_path, taken, reference):
    expected = quiet(taken, reference=reference)
    checked = Stopped(taken)
    checkpoint = tmp_path / "whole.json"
    quiet(checked, reference=reference, checkpoint=checkpoint, progress=checked.tell)
    stages = set()
    for share in (0.1, 0.5, 0.78, 0.83, 0.88, 0.99):
        path = tmp_path / f"{share}.json"
        first = Stopped(taken, share * checked.steps)
        with pytest.raises(KeyboardInterrupt):
            cr.register_stack(
                first, reference=reference, memory=0, checkpoint=path, progress=first.tell
            )
        kept = json.loads(path.read_text()) if path.exists() else {"links": {}, "values": {}}
        stages.add((bool(kept["links"]), passes(kept)))
        second = Stopped(taken)
        options = {"checkpoint": path, "progress": second.tell}
        same(quiet(second, reference=reference, **options), expected)
        # links and passes that are known are not made again; frames are read to compare, and
        # once more where passes are left
        if share > 0.9:
            assert second.steps < 0.7 * checked.steps
    assert len(stages) >= (4 if reference == "all" else 2)  # at different places


@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_killed_while_the_checkpoint_is_written(tmp_path, taken, monkeypatch, when):
    expected = quiet(taken)
    path = tmp_path / "run.json"
    write, written = Path.write_text, []

    def killed(self, text, *args, **more):
        if self.name.startswith("run.json"):
            written.append(1)
            if len(written) == 5:
                if when == "within":
                    write(self, text[: len(text) // 2], *args, **more)
                if when == "after":
                    write(self, text, *args, **more)
                raise KeyboardInterrupt
        return write(self, text, *args, **more)

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        cr.register_stack(taken, memory=0, checkpoint=path)
    monkeypatch.undo()
    json.loads(path.read_text())
    same(quiet(taken, checkpoint=path), expected)


def test_what_was_found_of_other_frames_is_not_believed(tmp_path, taken):
    path = tmp_path / "run.json"
    quiet(taken, checkpoint=path)
    assert passes(json.loads(path.read_text())) > 1
    changed = taken.copy()
    changed[2] = np.roll(taken[2], 1, axis=0)
    same(quiet(changed, checkpoint=path), quiet(changed))
    same(quiet(taken, checkpoint=path, err=0.1), quiet(taken, err=0.1))
    with pytest.raises(cr.InputError, match="other frames or options"):
        cr.register_stack(taken[1:], checkpoint=path)
    for text in ("", "{", "[]", '{"key": 1}'):
        path.write_text(text)
        with pytest.raises(cr.InputError, match=r"no checkpoint|other frames"):
            cr.register_stack(taken, checkpoint=path)


def test_the_state_there_and_back():
    rng = np.random.default_rng(0)
    lost = rng.random((6, 7)) < 0.1
    members = {
        3: Frame(rng.normal(size=2), 1.0, 0.5, np.eye(2), 0.1, 1.2, np.inf, lost),
        5: Frame(rng.normal(size=2), np.float64(1.1), 0.5, np.eye(2), 0.1, 1.2, 0.3),
    }
    common = Common(rng.integers(0, 5, (2, 2)), rng.integers(0, 5, (2, 2)), (6, 7), 2)
    arrays = [rng.normal(size=(2, 3)) + 1j * (i % 2) for i in range(len(Template._fields) - 1)]
    state = State(members, {5}, 2, common, Template(*arrays, 4.0), 7, 3, 0.25)
    again = State.unpacked(json.loads(json.dumps(state.packed())))
    for field in fields(State):
        np.testing.assert_equal(
            _plain(getattr(again, field.name)), _plain(getattr(state, field.name))
        )
    assert [a.dtype for a in again.template[:-1]] == [a.dtype for a in state.template[:-1]]
    empty = State({}, set(), 1)
    assert State.unpacked(json.loads(json.dumps(empty.packed()))) == empty


def _plain(value):
    if isinstance(value, dict):
        return {key: vars(frame) for key, frame in value.items()}
    return value._asdict() if hasattr(value, "_asdict") else value


def test_progress_counts_every_pass(taken):
    told: list[tuple[int, int]] = []
    quiet(taken, progress=lambda done, count: told.append((done, count)))
    ends = [i for i, (done, count) in enumerate(told) if done == count]
    assert len(ends) > 2  # links, and passes
    assert ends[-1] == len(told) - 1
    assert all(b > a for a, b in itertools.pairwise(told) if a[0] != a[1])  # but to begin anew
    assert all(0 < done <= count <= len(taken) for done, count in told)


def test_stopped_among_many_windows_it_goes_on(tmp_path):
    """A drift longer than the field: each window has passes of its own."""
    rng = np.random.default_rng(12)
    scene = cr.random_scene("power-law-2", (64, 220), rng=rng)
    truth = np.outer(np.arange(16), (0.2, 9.0)) + rng.normal(scale=0.3, size=(16, 2))
    movie = cr.simulate_stack(scene, truth - truth.min(axis=0), noise=0.05, rng=rng, shape=(48, 64))
    whole = Stopped(movie)
    checkpoint = tmp_path / "whole.json"
    expected = cr.register_stack(whole, memory=0, checkpoint=checkpoint, progress=whole.tell)
    assert expected.trusted.all()
    counts = []
    for share in (0.5, 0.7, 0.9):
        path = tmp_path / f"{share}.json"
        first = Stopped(movie, share * whole.steps)
        with pytest.raises(KeyboardInterrupt):
            cr.register_stack(first, memory=0, checkpoint=path, progress=first.tell)
        counts.append(len(json.loads(path.read_text())["values"].get("states", {})))
        same(cr.register_stack(movie, memory=0, checkpoint=path), expected)
    assert max(counts) > 1, counts
