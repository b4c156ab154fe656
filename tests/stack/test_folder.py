"""A folder that the processes of a run share: of a killed one, the next takes it away."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from coregister.stack.folder import shared_folder

HOLDS_ONE = """
from coregister.stack.folder import shared_folder
with shared_folder() as folder:
    (folder / "7").write_text("a frame")
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process that holds such a folder, and the path of that."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        text=True,
    )
    with process:
        yield process, tmp_path / process.stdout.readline().strip()
        process.kill()


def test_it_goes_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with shared_folder() as folder:
        assert folder.parent == tmp_path
        assert folder.is_dir()
    assert not list(tmp_path.iterdir())


def test_that_of_a_run_at_work_stays(holder):
    _, folder = holder
    with shared_folder() as other:
        assert other != folder
        assert (folder / "7").read_text() == "a frame"
    assert folder.is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks that go with their process")
def test_that_of_a_killed_run_goes_with_the_next(holder):
    process, folder = holder
    process.kill()
    process.wait()
    assert folder.is_dir()
    with shared_folder():
        assert not folder.exists()


def test_other_folders_are_none_of_its_business(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    begun = tmp_path / "coregister-stack-abc"  # of a run that has not come to its lock
    begun.mkdir()
    with shared_folder():
        pass
    assert begun.is_dir()
