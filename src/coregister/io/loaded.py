"""What a reader gives: the image and what its writer needs to keep."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import CoregisterError, InputError
from coregister.place import Place

#: names that ``channel`` takes besides a number
CHANNELS = {"red": 0, "r": 0, "green": 1, "g": 1, "blue": 2, "b": 2, "alpha": 3, "a": 3}


class Part(NamedTuple):
    """One thing inside a file: an HDU, a series of pages, the picture.

    Attributes
    ----------
    label : str
        What people call it, ``"HDU 1 SCI"`` for instance.
    shape : tuple of int
        Shape of its array, empty if it holds none.
    dtype : str
        Type of its numbers, empty if it holds none.
    """

    label: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """An image as it stands in a file.

    Attributes
    ----------
    path : Path
        The file.
    format : str
        "FITS", "TIFF", "PNG", "JPEG", "NPY" or "NIfTI".
    part : str
        Label of the part that was read.
    data : array
        The image; axes of length 1 are dropped in FITS.
    valid : bool array or None
        True = use this pixel.
    err : float array or None
        1-sigma pixel noise.
    header : object
        What the writer keeps: the FITS header, tags, or the picture's own information.
    stored_shape : tuple of int
        Shape in the file.
    details : dict
        More that only the module of the format understands.
    """

    path: Path
    format: str
    part: str
    data: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    err: NDArray[np.float64] | None = None
    header: Any = None
    stored_shape: tuple[int, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def wcs(self) -> Any:
        """World coordinates of the pixels (`astropy.wcs.WCS`), or None without a usable set."""
        if self.format != "FITS":
            return None
        from coregister.io import fits

        return fits.wcs_of(self)

    @property
    def spacing(self) -> tuple[tuple[float, str], ...] | None:
        """Size of a pixel along each axis and its unit, if the file says so."""
        sizes: tuple[tuple[float, str], ...] | None = self.details.get("spacing")
        return sizes if sizes is not None and len(sizes) == self.data.ndim else None

    @property
    def place(self) -> Place | None:
        """Where the pixels lie in space, if the file says so."""
        place: Place | None = self.details.get("place")
        return place if place is not None and place.long.sum() == self.data.ndim else None


def pick_channel(
    array: NDArray[Any],
    channel: int | str | None,
    path: Path,
    axis: int = -1,
    names: Sequence[str] = (),
) -> NDArray[Any]:
    """One channel of a colour image whose channels lie along `axis`.

    Parameters
    ----------
    array : array
        The image with its channels.
    channel : int, str or None
        A number, a name, a colour, or "grey" for the mean of red, green and blue.
    path : Path
        For the message.
    axis : int
        The axis of the channels.
    names : sequence of str
        Of the channels, as the file has them.

    Raises
    ------
    InputError
        If there is no such channel, or none was chosen of several.
    """
    count = array.shape[axis]
    if channel == "grey" and "grey" not in names:
        colours = np.take(array, range(min(count, 3)) if count >= 3 else [0], axis=axis)
        return np.asarray(colours.mean(axis=axis), dtype=np.float32)
    number = choose_channel(channel, count, path, names, also=", or channel='grey' for their mean")
    return np.asarray(np.take(array, number, axis=axis))


def choose_channel(
    asked: int | str | None, count: int, path: Path, names: Sequence[str] = (), *, also: str = ""
) -> int:
    """Number of the channel that is asked for by number, by its name in the file, or by colour.

    Parameters
    ----------
    asked : int, str or None
        None will do where there is one channel.
    count : int
        How many there are.
    path : Path
        For the message.
    names : sequence of str
        Of the channels, as the file has them.
    also : str
        What else can be asked for, for the message.

    Raises
    ------
    InputError
        If there is no such channel, or none was chosen of several.
    """
    listed = f" ({', '.join(names)})" if any(names) else ""
    if asked is None and count > 1:
        last = f"channel={count - 1}" + (", or a name" if listed else "") + also
        raise InputError(
            f"{path} has {count} channels{listed}; one is needed: give channel=0 (--channel 0) "
            f"to {last}"
        )
    alike = [i for i, name in enumerate(names) if name and name.lower() == str(asked).lower()]
    counted = asked is None or (re.fullmatch(r"\d+", str(asked)) and int(asked) < count)
    if not counted and len(alike) == 1:
        return alike[0]
    number = 0 if asked is None else channel_number(asked, listed)
    if not 0 <= number < count:
        raise InputError(
            f"channel={asked!r} is not in {path}, which has {count}{listed}; "
            f"a number from 0 to {count - 1} is needed"
        )
    return number


def only_channel(channel: int | str | None, path: Path) -> None:
    """Refuse a channel that an image without channels cannot give.

    Raises
    ------
    InputError
        If `channel` is anything but None, 0 or "grey".
    """
    if channel not in (None, "grey") and channel_number(channel) != 0:
        raise InputError(f"{path} has one channel and channel={channel!r} was asked; leave it out")


def channel_number(channel: int | str | None, listed: str = "") -> int:
    """Number of a channel given by number or colour; `listed` are names, for the message.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(channel, int):
        return channel
    name = str(channel).lower()
    if re.fullmatch(r"-?\d+", name):
        return int(name)
    if name not in CHANNELS:
        raise InputError(
            f"channel={channel!r} is not known{listed and f'; the file has{listed}'}; "
            "give a number, red, green, blue, alpha or grey"
        )
    return CHANNELS[name]


def refuse(path: Path, format_name: str, **options: object) -> None:
    """Refuse options that a format does not have.

    Raises
    ------
    InputError
        If any of `options` is not None.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"{name}={value!r} does not apply to {path}: a {format_name} file has none; "
                "leave it out"
            )


@contextlib.contextmanager
def refusing(path: Path, name: str) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one sentence."""
    try:
        yield
    except (CoregisterError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
        raise InputError(
            f"{path} is not a readable {name} file ({reason}); it may be truncated or damaged: "
            "fetch it again, or check its suffix"
        ) from error
