"""Output that is whole or absent: written beside its place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from coregister.errors import InputError, OutputError


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """The place to write to, checked; links are followed.

    Call it before a long computation, so that the refusal comes first.

    Raises
    ------
    InputError
        If `path` exists and `overwrite` is false, is not a file, or its folder is missing or
        closed to writing.
    """
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise InputError(f"{path} is a folder; the name of a file to write is needed")
    if place.exists() and not place.is_file():
        raise InputError(f"{path} is not a regular file; the name of a file to write is needed")
    if place.exists() and not overwrite:
        raise InputError(
            f"{path} exists; give another name, or overwrite=True (--overwrite) to replace it"
        )
    if not place.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it, or write elsewhere")
    if not os.access(place.parent, os.W_OK):
        raise InputError(f"the folder of {path} is not writable; write elsewhere")
    return place


def check_html(path: str | os.PathLike[str]) -> None:
    """Refuse names of a report that browsers would not open.

    Raises
    ------
    InputError
        If the suffix is not .html.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InputError(
            f"{os.fspath(path)} is no name for a report, which is a page for a browser; .html is "
            "needed (print it from there for PDF)"
        )


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give the path of a new empty file beside `path`; rename it to `path` at the end.

    If the block raises, or the process is killed, `path` stays as it was. The temporary name
    ends like `path`, so that writers which choose by suffix choose alike.

    Parameters
    ----------
    path : path
        The file to write.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If `path` cannot be written to, see `check_output`.
    OutputError
        If the writing fails, for instance on a full disk.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/note.txt") as temporary_path:
    ...         _ = temporary_path.write_text("whole")
    ...     print(Path(folder, "note.txt").read_text())
    whole
    """
    place = check_output(path, overwrite=overwrite)
    temporary = place.with_name(f".partial-{secrets.token_hex(4)}-{place.name}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        if place.exists():
            shutil.copymode(place, temporary)
        yield temporary
        _flush(temporary)
        check_output(path, overwrite=overwrite)  # somebody else may have written meanwhile
        os.replace(temporary, place)
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path} could not be written ({reason}) and was left as it was; "
            "free some space or write elsewhere"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Bring the contents to the disk, which may report only now that it is full."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
