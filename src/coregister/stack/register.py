"""The door of `register_stack`."""

from __future__ import annotations

import json
import os
import warnings
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from coregister.errors import InputError, RegistrationWarning
from coregister.images import together
from coregister.io.times import as_times
from coregister.stack.chain import chain
from coregister.stack.drift import FEWEST_FOR_DRIFT, smooth
from coregister.stack.frames import Frames
from coregister.stack.joint import joint
from coregister.stack.links import Options
from coregister.stack.result import StackRegistration, unknown
from coregister.stack.run import Checkpoint, Progress, Run
from coregister.status import Status


def register_stack(
    frames: Any,
    *,
    reference: str | int | ArrayLike | os.PathLike[str] = "all",
    err: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    boundary: Literal["overlap", "periodic"] = "overlap",
    max_offset: ArrayLike | None = None,
    drift: Literal["smooth"] | None = None,
    times: Any = None,
    memory: float = 256e6,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> StackRegistration:
    """Measure how far the frames of a series are displaced, jointly, each with its bars.

    Frames are linked to one of them, in the middle if it is a good one, and through others where
    it is not reached; then all of them are brought to the joint optimum, at which every frame
    agrees best with what all frames show together.

    Parameters
    ----------
    frames : array_like or sequence
        An array whose first axis counts frames (numpy, dask, zarr, a memory map), a list of images
        or of paths. Frames are read when they are needed, one at a time; never modified.
    reference : {"all", "first", "previous"}, int, path or array_like
        What offsets are counted from. "all": they sum to zero over the trusted frames. "first" or
        a number: that frame. "previous": each frame is compared with the one before alone, and
        offsets add up, for scenes that change; bars grow along the series. An image, or its path:
        it takes part like a frame, and offsets are counted from it.
    err : float or array_like, optional
        1-sigma noise: one number, or one a frame along the first axis; or an array of the shape of
        a frame, or one such array a frame. Pixels count by it.
    valid : array_like of bool, optional
        True = use this pixel: one mask for all frames, or one a frame along the first axis.
    boundary : {"overlap", "periodic"}
        As for `register`.
    max_offset : float or array_like, optional
        Frames are looked for within so many pixels of the one that they are linked to.
    drift : {"smooth"}, optional
        Also fit a motion that is smooth in time, with its own bars, and test if there is any; not
        where fewer than 4 frames are trusted.
    times : array_like, optional
        When each frame was taken: seconds, or dates. They go into `drift`, tables and reports.
        Default: what the files say (FITS, OME, ImageJ, OME-Zarr); else frames count.
    memory : float
        Bytes of memory for frames between passes. Those beyond go to temporary files, in all about
        as large as the stack; where there is no room for these, frames are read again.
    executor : concurrent.futures.Executor, optional
        Does the work block by block: processes here, or ``Client.get_executor()`` of a
        dask cluster. The numbers are the same.
    checkpoint : path, optional
        File that keeps what was found so far: a run that was stopped goes on from it, also between
        the passes of the joint stage.
    progress : callable, optional
        Called with (frames done, frames in all), anew in every pass over the frames.

    Returns
    -------
    StackRegistration

    Raises
    ------
    InputError
        If the input cannot be used.

    Warns
    -----
    RegistrationWarning
        Once, if any frame is flagged.

    Notes
    -----
    Frames that match nothing carry no weight. Where one window for all frames would be small, there
    are many, put together by least squares.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> rng = np.random.default_rng(0)
    >>> scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    >>> movie = cr.simulate_stack(
    ...     scene, [(0, 0), (0.5, -1), (1, -2)], noise=0.05, rng=rng, shape=(64, 64)
    ... )
    >>> result = cr.register_stack(movie, reference="first")
    >>> result.offsets.round(1).tolist()
    [[0.0, 0.0], [0.5, -1.0], [1.0, -2.0]]
    """
    if drift not in (None, "smooth"):
        raise InputError(f"drift={drift!r} is not known; use 'smooth', or leave it out")
    external = _external(reference)
    how = "all" if external is not None else reference
    stack = Frames(frames, err=err, valid=valid, before=external, padded=boundary != "periodic")
    when = stack.times() if times is None else as_times(times, len(stack) - (external is not None))
    number = _number(how, len(stack)) if external is None else 0
    first = stack.read(0)
    pair = together(first, first, boundary=boundary, max_offset=max_offset, initial=None)
    options = Options(boundary=boundary, max_offset=pair.max_offset)
    run = Run(executor, Checkpoint(checkpoint, _key(stack, options)), progress)
    previous = how == "previous"
    result = chain(stack, options, run) if previous else joint(stack, options, run, memory)
    if drift is not None and result.trusted.sum() >= FEWEST_FOR_DRIFT:
        result = replace(
            result,
            drift=smooth(
                result.offsets,
                result.noise_along,
                result.trusted,
                # an image that is no part of the series has no time
                times=None if when is None or external is not None else when.seconds,
            ),
        )
    start = 0 if external is not None else number
    if start is not None:
        result = _counted_from(result, start)
    if how == "first":
        result = replace(result, reference="first")
    if external is not None:
        result = _without_first(result)
    if when is not None:
        result = replace(result, times=when.seconds, start=when.start)
    if not result.trusted.all():
        bad = np.flatnonzero(~result.trusted)
        warnings.warn(
            f"{bad.size} of {len(result)} frames are flagged: "
            + ", ".join(f"{t} {result.status[t]}" for t in bad[:6])
            + (", ..." if bad.size > 6 else ""),
            RegistrationWarning,
            stacklevel=2,
        )
    return result


def _external(reference: Any) -> Any:
    if isinstance(reference, str) and reference in ("all", "first", "previous"):
        return None
    if isinstance(reference, (int, np.integer)) and not isinstance(reference, bool):
        return None
    nameless = isinstance(reference, str) and not Path(reference).suffix
    if (nameless and not Path(reference).exists()) or isinstance(
        reference, (bool, float, complex, type(None))
    ):
        raise InputError(
            f"reference={reference!r} is not known; use 'all', 'first', 'previous', the number of "
            "a frame, an image, or the path of one"
        )
    return reference


def _number(reference: Any, count: int) -> int | None:
    if reference == "first":
        return 0
    if isinstance(reference, str):
        return None
    number = int(reference)
    if not -count <= number < count:
        raise InputError(f"reference={number} is not in a stack of {count} frames; count from 0")
    return number % count


def _key(frames: Frames, options: Options) -> str:
    """What a checkpoint must agree with."""
    from coregister import __version__

    reach = None if options.max_offset is None else options.max_offset.tolist()
    about = [__version__, len(frames), list(frames.shape), options.boundary, reach]
    return json.dumps(about)


def _counted_from(result: StackRegistration, start: int) -> StackRegistration:
    """Offsets from one frame; where that is not trusted, nothing is known of any."""
    if result.trusted[start]:
        return result.relative_to(start)
    nothing = unknown(*result.offsets.shape)
    return replace(
        result,
        offsets=result.offsets - result.offsets[start],
        covariances=nothing,
        own=nothing,
        flags=tuple(
            flags if t == start else flags | {Status.DISCONNECTED}
            for t, flags in enumerate(result.flags)
        ),
        reference=start,
        drift=None,
    )


def _without_first(result: StackRegistration) -> StackRegistration:
    """A stack registered to an image, that image left out."""
    return replace(
        result,
        offsets=result.offsets[1:],
        covariances=result.covariances[1:],
        systematic=result.systematic[1:],
        own=result.own[1:],
        shared=None if result.shared is None else result.shared[1:],
        flags=result.flags[1:],
        part=result.part[1:],
        reference="image",
        drift=None
        if result.drift is None
        else replace(
            result.drift, offsets=result.drift.offsets[1:], stderr=result.drift.stderr[1:]
        ),
    )
