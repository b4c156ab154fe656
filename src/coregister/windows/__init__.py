"""Many small windows of a pair of images, measured together."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError, RegistrationWarning
from coregister.images import Image, as_image, in_pixels
from coregister.windows.measure import Job, measure_windows
from coregister.windows.places import Places, around, on_grid, pixels
from coregister.windows.result import WindowsRegistration
from coregister.windows.sources import Images

__all__ = ["WindowsRegistration", "register_windows"]

Float = NDArray[np.float64]

#: side of a window if none is given, px
SIZE = 64


def register_windows(
    reference: Any,
    moving: Any,
    *,
    size: ArrayLike | None = None,
    step: ArrayLike | None = None,
    centers: ArrayLike | None = None,
    reference_err: ArrayLike | None = None,
    moving_err: ArrayLike | None = None,
    reference_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
    max_offset: ArrayLike | None = None,
    initial: ArrayLike | None = None,
) -> WindowsRegistration:
    """Measure the displacement in many windows of two images, and how well each is known.

    For particle images, digital image correlation and all else where the displacement varies over
    the field. Each window is measured as `register` does it, several times faster than one by one:
    a window of the reference is looked for in a larger one of moving, so that nothing is lost at
    its edges.

    Parameters
    ----------
    reference, moving : array_like
        Two images, as for `register`, or the windows themselves, ``(n, rows, columns)``.
    size : int or (int, int), optional
        Rows and columns of a window; default 64, or the image where that is smaller.
    step : int or (int, int), optional
        Pixels from one window of the grid to the next; default half the size.
    centers : (n, 2) array_like, optional
        Middle of each window, in place of a grid; rounded so that it begins at a whole pixel.
    reference_err, moving_err : float or array_like, optional
        1-sigma noise of the pixels, as for `register`. Where it varies over the field, windows
        are measured one by one.
    reference_valid, moving_valid : array_like of bool, optional
        True = use this pixel. Windows with others are measured one by one.
    max_offset : float or array_like, optional
        Offsets are looked for within ``initial +- max_offset`` pixels; default a quarter of the
        size.
    initial : (2,), (n, 2) or (rows, columns, 2) array_like, optional
        Prior guess of the offsets, pixels: of all, or of each window.

    Returns
    -------
    WindowsRegistration
        A difficult window does not raise: it comes back flagged.

    Raises
    ------
    InputError
        If the input cannot be used; the message says what to do.

    Warns
    -----
    RegistrationWarning
        If windows are flagged.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> rng = np.random.default_rng(1)
    >>> scene = cr.random_scene("power-law-2", (256, 256), rng=rng)
    >>> reference, moving = cr.simulate_pair(scene, (2.5, -1.25), noise=0.1, rng=rng)
    >>> result = cr.register_windows(reference, moving, size=32)
    >>> result.shape, int(result.trusted.sum()), np.median(result.offsets, axis=0).round(1)
    ((11, 11), 121, array([ 2.5, -1.2]))
    """
    first, second, places = _door(
        reference,
        moving,
        size,
        step,
        centers,
        (reference_err, moving_err),
        (reference_valid, moving_valid),
    )
    if max_offset is None:
        reach = max(places.size[0] // 4, 2), max(places.size[1] // 4, 2)
    else:
        given = np.asarray(in_pixels(max_offset, "max_offset"))
        reach = pixels(
            np.ceil(given).tolist() if given.dtype.kind in "iuf" else max_offset, "max_offset"
        )
    job = Job(first, second, places, reach, _guesses(initial, places))
    measured = measure_windows(job)
    result = WindowsRegistration(
        centers=places.centers,
        offsets=measured.offset,
        covariances=measured.covariance,
        flags=tuple(map(frozenset, measured.flags)),
        false_alarm=measured.false_alarm,
        size=places.size,
        shape=places.shape,
    )
    bad = int(np.count_nonzero(~result.trusted))
    if bad:
        warnings.warn(
            f"{bad} of {len(result)} windows are flagged: see the result's trusted and status",
            RegistrationWarning,
            stacklevel=2,
        )
    return result


def _door(
    reference: Any,
    moving: Any,
    size: ArrayLike | None,
    step: ArrayLike | None,
    centers: ArrayLike | None,
    err: tuple[Any, Any],
    valid: tuple[Any, Any],
) -> tuple[Images, Images, Places]:
    """Both images, or stacks of windows, and where the windows are."""
    ndim = [_ndim(source) for source in (reference, moving)]
    if ndim == [3, 3]:
        return _stacks((reference, moving), (size, step, centers), err, valid)
    first, second = (
        as_image(source, err=e, valid=v, name=name)
        for source, e, v, name in zip(
            (reference, moving), err, valid, ("reference", "moving"), strict=True
        )
    )
    shapes = first.values.shape, second.values.shape
    if any(len(shape) != 2 for shape in shapes):
        raise InputError(
            f"reference has shape {shapes[0]} and moving {shapes[1]}; two images, or two stacks of "
            "windows (n, rows, columns), are needed: of volumes, cut boxes and call "
            "coregister.register"
        )
    whole = tuple(min(SIZE, n) for n in shapes[0])
    extent = pixels(whole if size is None else size, "size")
    if centers is not None:
        if step is not None:
            raise InputError("step and centers were both given; one of them places the windows")
        places = around(centers, shapes[0], extent)
    else:
        half = max(extent[0] // 2, 1), max(extent[1] // 2, 1)
        places = on_grid(shapes[0], extent, half if step is None else pixels(step, "step"))
    if any(s > n for s, n in zip(extent, shapes[1], strict=True)):
        raise InputError(
            f"windows of {extent[0]} x {extent[1]} do not fit into moving, of shape "
            f"{shapes[1][0]} x {shapes[1][1]}: make size smaller"
        )
    return Images.of(first), Images.of(second), places


def _ndim(source: Any) -> int | None:
    if isinstance(source, (list, tuple)):
        try:
            return int(np.ndim(source))
        except ValueError as error:
            raise InputError(
                "windows of a list have different shapes; all of them need one"
            ) from error
    ndim = getattr(source, "ndim", None)
    return None if ndim is None else int(ndim)


def _stacks(
    sources: tuple[Any, Any],
    grid: tuple[Any, Any, Any],
    err: tuple[Any, Any],
    valid: tuple[Any, Any],
) -> tuple[Images, Images, Places]:
    """Windows that were cut already."""
    if any(option is not None for option in grid):
        raise InputError(
            "size, step and centers place windows in an image, and three axes are windows cut "
            "already: leave them out, or give one frame or one channel; of volumes, cut boxes and "
            "call coregister.register"
        )
    shapes = [np.shape(source) for source in sources]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"reference holds windows of shape {shapes[0]} and moving {shapes[1]}; both stacks "
            "need one shape"
        )
    n, rows, columns = shapes[0]
    tall = (n * rows, columns)

    def one(source: Any, e: Any, v: Any, name: str) -> Image:
        values = source if hasattr(source, "reshape") else np.asarray(source)
        e = e if e is None or np.ndim(e) == 0 else np.reshape(e, tall)
        v = None if v is None else np.reshape(v, tall)
        # the rim of all of them, one above the other, is not that of each
        return as_image(values.reshape(tall), err=e, valid=v, name=name, padded=False)

    first, second = (
        Images.of(one(*parts), n)
        for parts in zip(sources, err, valid, ("reference", "moving"), strict=True)
    )
    places = Places(
        image=np.arange(n),
        start=np.zeros((n, 2), dtype=np.intp),
        size=(rows, columns),
        shape=(n,),
    )
    return first, second, places


def _guesses(initial: ArrayLike | None, places: Places) -> Float:
    """Prior guess of every offset."""
    count = len(places.start)
    given = 0.0 if initial is None else in_pixels(initial, "initial")
    try:
        guess = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"initial is not understood ({error}); one offset of two numbers, or one for each of "
            f"{count} windows, is needed"
        ) from error
    if guess.shape == (*places.shape, 2):
        guess = guess.reshape(count, 2)
    if guess.shape not in ((), (1,), (2,), (count, 2)):
        raise InputError(
            f"initial has shape {guess.shape}; one offset of two numbers, or one for each of "
            f"{count} windows, is needed"
        )
    if not np.all(np.isfinite(guess)):
        raise InputError(
            "initial holds values that are not finite; a guess is needed for every window: give "
            "those without one that of their neighbours, or 0"
        )
    return np.array(np.broadcast_to(guess, (count, 2)))
