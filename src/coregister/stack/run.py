"""Where the work is done: here, or block by block by an executor; and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.images import Image
from coregister.stack.frames import Frames
from coregister.stack.links import Centre, Link, Options, choose_centre, link_block
from coregister.stack.ready import Kept
from coregister.stack.state import State
from coregister.status import Status

T = TypeVar("T")
K = TypeVar("K")
Progress = Callable[[int, int], None]

#: frames in a block
BLOCK = 16


def in_blocks(entries: Sequence[T]) -> list[list[T]]:
    """Runs of neighbours; the same for every executor, so that sums are too."""
    return [list(entries[start : start + BLOCK]) for start in range(0, len(entries), BLOCK)]


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
        self._digests: dict[int, str] = {}
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

    @property
    def kept(self) -> bool:
        """True if there is a file."""
        return self._path is not None

    def value(self, name: str) -> Any:
        """Something that was kept, or None."""
        return self._record["values"].get(name)

    def link(self, name: str, pair: tuple[int, int], frames: Frames) -> Link | None:
        """A link that was kept, or None; also where the frames are no longer those it is of."""
        entry = self._record["links"].get(name)
        if entry is None:
            return None
        offset, covariance, flags, clean, systematic, digest = entry
        if digest != self._digest(frames, pair):
            return None
        return Link(
            np.array(offset, dtype=np.float64),
            _array(covariance),
            frozenset(Status[name] for name in flags),
            bool(clean),
            _array(systematic),
        )

    def keep_links(self, links: dict[str, tuple[tuple[int, int], Link]], frames: Frames) -> None:
        """Add links, with what the frames hold that they are of."""
        if self._path is None:
            return
        for name, (pair, link) in links.items():
            self._record["links"][name] = (
                link.offset.tolist(),
                _plain(link.covariance),
                [flag.name for flag in link.flags],
                link.clean,
                _plain(link.systematic),
                self._digest(frames, pair),
            )
        self._write()

    def keep(self, **values: Any) -> None:
        """Add something else."""
        if self._path is not None:
            self._record["values"].update(values)
            self._write()

    def _write(self) -> None:
        """Written beside and renamed: whole at any moment."""
        assert self._path is not None
        beside = self._path.with_name(self._path.name + ".part")
        beside.write_text(json.dumps(self._record))
        os.replace(beside, self._path)

    def _digest(self, frames: Frames, pair: tuple[int, int]) -> str:
        """What two frames hold, in short; each is read once for it."""
        for index in pair:
            if index not in self._digests:
                self._digests[index] = _digest(frames.read(index))
        return "".join(self._digests[index] for index in pair)


def _array(values: Any) -> NDArray[np.float64] | None:
    return None if values is None else np.array(values, dtype=np.float64)


def _plain(values: NDArray[np.float64] | None) -> Any:
    return None if values is None else values.tolist()


def _digest(image: Image) -> str:
    """Pixels, mask and errors."""
    digest = hashlib.blake2b(image.data.tobytes(), digest_size=12)
    for more in (image.valid, image.sigma):
        digest.update(b"-" if more is None else np.asarray(more).tobytes())
    return digest.hexdigest()


class Run:
    """Blocks of frames, done one after the other or by an executor.

    Parameters
    ----------
    executor : Executor or None
    checkpoint : Checkpoint
    progress : callable or None
    """

    def __init__(
        self,
        executor: Executor | None,
        checkpoint: Checkpoint,
        progress: Progress | None,
    ) -> None:
        self._executor = executor
        self._checkpoint = checkpoint
        self._progress = progress
        self._done = self._count = 0
        self._tried: dict[str, tuple[tuple[int, int], Link]] = {}
        self._hub: tuple[int, Centre | None] = -1, None
        # links were made anew: states of before are not believed, and go
        self._changed = self._fresh = False

    @property
    def local(self) -> bool:
        """True if everything is done here: what is kept in memory is found again."""
        return self._executor is None

    def centre(self, frames: Frames, options: Options, kept: Kept) -> tuple[int, Options]:
        """The frame that others are linked to, and the options with the samples that it asks for.

        Its links to the frames that it was tried with are known from here on.
        """
        number = self._checkpoint.value("centre")
        if number is None:
            number, hub, tried, ready = choose_centre(frames, options)
            kept.take(ready)
            self._tried = {f"{number}-{i}": ((number, i), link) for i, link in tried.items()}
            self._checkpoint.keep_links(self._tried, frames)
            self._checkpoint.keep(centre=number)
        else:
            hub = Centre(frames, int(number), options)
        self._hub = int(number), hub
        return int(number), replace(options, samples=None if hub.image.constant else hub.samples)

    def links(
        self,
        frames: Frames,
        options: Options,
        kept: Kept,
        centre: int,
        indices: Sequence[int],
    ) -> list[tuple[int, Link]]:
        """Links of some frames to one of them, those that are known already from the file.

        What had to be made ready for them is kept.
        """
        names = {i: (f"{centre}-{i}", (centre, i)) for i in indices}
        known, hub = self._hub
        linker = _Linker(frames, centre, options, kept, hub if known == centre else None)
        found = self._found(linker, frames, names)
        return [(i, found[i]) for i in indices]

    def pairs(
        self,
        link: Callable[[Any, Sequence[Any]], list[tuple[Any, Link]]],
        frames: Frames,
        options: Options,
        pairs: Sequence[tuple[int, int]],
    ) -> dict[tuple[int, int], Link]:
        """Links in full of some pairs, those that are known already from the file."""
        names = {(i, j): (f"{i}={j}", (i, j)) for i, j in pairs}
        return self._found(_Shared(link, (frames, options)), frames, names)

    def _found(
        self,
        work: Callable[[Sequence[K]], list[tuple[K, Link]]],
        frames: Frames,
        names: dict[K, tuple[str, tuple[int, int]]],
    ) -> dict[K, Link]:
        found = {k: self._tried[name][1] for k, (name, _) in names.items() if name in self._tried}
        for k in names.keys() - found.keys():
            link = self._checkpoint.link(*names[k], frames)
            if link is not None:
                found[k] = link
        missing = [k for k in names if k not in found]
        self._begin(len(names))
        self._tell(len(found))
        if missing:
            self._changed = self._fresh = True
        for block in self._each(work, in_blocks(missing)):
            found.update(block)
            links = {names[k][0]: (names[k][1], found[k]) for k, _ in block}
            self._checkpoint.keep_links(links, frames)
            self._tell(len(block))
        return {k: found[k] for k in names}

    def map(self, work: Callable[[Any, Any], T], shared: Any, parts: Sequence[Any]) -> Iterator[T]:
        """``work(shared, part)`` for every part, frames, in order, as they are done."""
        self._begin(sum(map(len, parts)))
        for part, done in zip(parts, self.each(work, shared, parts), strict=True):
            yield done
            self._tell(len(part))

    def each(self, work: Callable[[Any, Any], T], shared: Any, parts: Sequence[Any]) -> Iterator[T]:
        """The same for parts that are no pass over the frames, of which nobody is told."""
        return iter(self._each(_Shared(work, shared), parts))

    def state(self, members: Sequence[int] | NDArray[np.intp]) -> State | None:
        """Where a stopped run was in its passes over some frames, if its links are still those."""
        states = None if self._changed else self._checkpoint.value("states")
        record = None if states is None else states.get(_name(members))
        return None if record is None else State.unpacked(record)

    def keep_state(self, members: Sequence[int] | NDArray[np.intp], state: State) -> None:
        """Remember where the passes over some frames are."""
        if self._checkpoint.kept:
            states = {} if self._fresh else self._checkpoint.value("states") or {}
            self._fresh = False
            self._checkpoint.keep(states={**states, _name(members): state.packed()})

    def _each(self, work: Callable[[Any], T], parts: Sequence[Any]) -> Any:
        if self._executor is None:
            return map(work, parts)
        # what all blocks need is sent once for several of them
        together = min(4, max(1, len(parts) // 16))
        return self._executor.map(work, parts, chunksize=together)

    def _begin(self, count: int) -> None:
        self._done, self._count = 0, count

    def _tell(self, more: int) -> None:
        self._done += more
        if self._progress is not None and more:
            self._progress(self._done, self._count)


def _name(members: Sequence[int] | NDArray[np.intp]) -> str:
    """Of a set of frames."""
    return hashlib.blake2b(np.asarray(members, dtype="<i8").tobytes(), digest_size=8).hexdigest()


class _Linker:
    """`link_block` with all but the block: goes to another process, and makes the centre there."""

    def __init__(
        self, frames: Frames, centre: int, options: Options, kept: Kept, hub: Centre | None
    ) -> None:
        self._arguments = frames, centre, options, kept
        self._hub = hub

    def __getstate__(self) -> dict[str, Any]:
        return {"_arguments": self._arguments, "_hub": None}

    def __call__(self, block: Sequence[int]) -> list[tuple[int, Link]]:
        frames, centre, options, kept = self._arguments
        if self._hub is None:
            self._hub = Centre(frames, centre, options)
        return link_block(frames, self._hub, block, options, kept)


class _Shared:
    """A function with its first argument: goes to another process."""

    def __init__(self, work: Any, shared: Any) -> None:
        self._work, self._shared = work, shared

    def __call__(self, part: Any) -> Any:
        return self._work(self._shared, part)
