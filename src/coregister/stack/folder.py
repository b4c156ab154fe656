"""A folder that several processes of one run see, and that goes with the run."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX = "coregister-stack-"
#: in such a folder; locked by its run, for as long as that lives
OWNER = "owner"


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end.

    A run that was killed removes nothing: the next one on the same machine does.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # of somebody else, or gone by now
            if _abandoned(folder):
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / f"{OWNER}-to-be").open("w") as owner:
            owner.write(socket.gethostname())
            owner.flush()
            if _locked(owner):  # before it has the name by which others look for it
                (folder / f"{OWNER}-to-be").rename(folder / OWNER)
            yield folder


def _abandoned(folder: Path) -> bool:
    """True if a run on this machine left it and is no more."""
    with (folder / OWNER).open() as owner:
        return owner.read() == socket.gethostname() and _locked(owner)


def _locked(file: IO[str]) -> bool:
    """Lock a file until it is closed, however its process ends; False if another holds it.

    Or if this system has no such locks.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
