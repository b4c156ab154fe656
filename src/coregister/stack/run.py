"""Where the work is done: here, or block by block by an executor; and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from coregister.errors import InputError
from coregister.stack.frames import Frames, blocks
from coregister.stack.links import Link, Options
from coregister.status import Status

T = TypeVar("T")
Progress = Callable[[int, int], None]

#: frames in a block
BLOCK = 16


class Checkpoint:
    """What has been found so far, in a file that is always whole.

    Parameters
    ----------
    path : path or None
        None keeps nothing.
    key : str
        What it must agree with: frames and options.

    Raises
    ------
    InputError
        If the file is of another stack.
    """

    def __init__(self, path: str | os.PathLike[str] | None, key: str) -> None:
        self._path = None if path is None else Path(path)
        self._record: dict[str, Any] = {"key": key, "values": {}, "links": {}}
        if self._path is not None and self._path.exists():
            try:
                record = json.loads(self._path.read_text())
                found = record["key"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path} is no checkpoint of a stack; name another file, or remove it"
                ) from error
            if found != key:
                raise InputError(
                    f"{path} is of other frames or options; name another file, or remove it"
                )
            self._record = record

    def value(self, name: str) -> Any:
        """Something that was kept, or None."""
        return self._record["values"].get(name)

    def link(self, centre: int, index: int, frames: Frames) -> Link | None:
        """A link that was kept, or None; also where the frames are no longer those it is of."""
        entry = self._record["links"].get(f"{centre}-{index}")
        if entry is None:
            return None
        offset, covariance, flags, clean, digest = entry
        if digest != _digest(frames, centre, index):
            return None
        return Link(
            np.array(offset, dtype=np.float64),
            None if covariance is None else np.array(covariance, dtype=np.float64),
            frozenset(Status[name] for name in flags),
            bool(clean),
        )

    def keep(
        self,
        centre: int,
        links: Sequence[tuple[int, Link]],
        frames: Frames | None,
        /,
        **values: Any,
    ) -> None:
        """Add to the file: written beside and renamed."""
        if self._path is None:
            return
        for index, link in links:
            self._record["links"][f"{centre}-{index}"] = (
                link.offset.tolist(),
                None if link.covariance is None else np.asarray(link.covariance).tolist(),
                [flag.name for flag in link.flags],
                link.clean,
                "" if frames is None else _digest(frames, centre, index),
            )
        self._record["values"].update(values)
        beside = self._path.with_name(self._path.name + ".part")
        beside.write_text(json.dumps(self._record))
        os.replace(beside, self._path)


def _digest(frames: Frames, *indices: int) -> str:
    """What frames hold, in short."""
    digest = hashlib.blake2b(digest_size=12)
    for index in indices:
        image = frames.read(index)
        digest.update(image.data.tobytes())
        digest.update(b"" if image.valid is None else image.valid.tobytes())
    return digest.hexdigest()


class Run:
    """Blocks of frames, done one after the other or by an executor.

    Parameters
    ----------
    executor : Executor or None
    checkpoint : Checkpoint
    progress : callable or None
    count : int
        Frames in all.
    """

    def __init__(
        self,
        executor: Executor | None,
        checkpoint: Checkpoint,
        progress: Progress | None,
        count: int,
    ) -> None:
        self._executor = executor
        self._checkpoint = checkpoint
        self._progress = progress
        self._count = count
        self._done = 0

    @property
    def local(self) -> bool:
        """True if everything is done here, so that frames may be kept."""
        return self._executor is None

    def remember(self, name: str, make: Callable[[], int]) -> int:
        """A number that is found once."""
        value = self._checkpoint.value(name)
        if value is None:
            value = make()
            self._checkpoint.keep(0, [], None, **{name: value})
        return int(value)

    def links(
        self,
        link: Callable[[Frames, int, Sequence[int], Options], list[tuple[int, Link]]],
        frames: Frames,
        options: Options,
        centre: int,
        indices: Sequence[int],
    ) -> list[tuple[int, Link]]:
        """Links of some frames to one of them, those that are known already from the file."""
        known = [(i, self._checkpoint.link(centre, i, frames)) for i in indices]
        found = {i: entry for i, entry in known if entry is not None}
        self._tell(len(found))
        missing = [i for i in indices if i not in found]
        parts = [[missing[k] for k in block] for block in blocks(len(missing), BLOCK)]
        for block in self._each(_Linker(link, frames, centre, options), parts):
            found.update(block)
            self._checkpoint.keep(centre, block, frames)
            self._tell(len(block))
        return [(i, found[i]) for i in indices]

    def map(self, work: Callable[[Any, Any], T], shared: Any, parts: Sequence[Any]) -> Iterator[T]:
        """``work(shared, part)`` for every part, in order, as they are done."""
        results: Iterator[T] = iter(self._each(_Shared(work, shared), parts))
        return results

    def _each(self, work: Callable[[Any], T], parts: Sequence[Any]) -> Any:
        if self._executor is None:
            return map(work, parts)
        return self._executor.map(work, parts)

    def _tell(self, more: int) -> None:
        self._done += more
        if self._progress is not None and more:
            self._progress(min(self._done, self._count), self._count)


class _Linker:
    """`link_block` with all but the block: goes to another process."""

    def __init__(self, link: Any, frames: Frames, centre: int, options: Options) -> None:
        self._arguments = link, frames, centre, options

    def __call__(self, block: Sequence[int]) -> list[tuple[int, Link]]:
        link, frames, centre, options = self._arguments
        result: list[tuple[int, Link]] = link(frames, centre, block, options)
        return result


class _Shared:
    """A function with its first argument: goes to another process."""

    def __init__(self, work: Any, shared: Any) -> None:
        self._work, self._shared = work, shared

    def __call__(self, part: Any) -> Any:
        return self._work(self._shared, part)
