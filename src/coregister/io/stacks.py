"""Stacks in files: frames are read one at a time, through the library that knows the format."""

from __future__ import annotations

import glob
import os
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import choose_channel, refusing
from coregister.io.times import Times, of_fits_axis, of_imagej, of_ome, spaced

#: letters of axes that are those of one frame
SPACE = "zyx"


class StackFile:
    """A series of frames in one file or store: ``len`` and indexing, nothing is read before.

    What is kept is the name of the file, so that another process can open it for itself.

    Attributes
    ----------
    path : Path
    axes : str
        Letters of the axes as the file names them, lower case; ``"tyx"`` if it does not.
    scale : tuple of (float, str) or None
        Size of a pixel along the axes of a frame, and its unit.
    """

    def __init__(self, path: str | os.PathLike[str], channel: int | str | None = None) -> None:
        self.path = Path(path)
        self._channel = channel
        if not self.path.exists():
            raise InputError(f"{path} does not exist; a stack is needed: check the name")
        self._layout  # noqa: B018 - says now what is wrong with it

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_channel": self._channel}

    def _source(self) -> tuple[Any, str, Any]:
        """Array-like, axes and scale."""
        raise NotImplementedError

    @cached_property
    def _open(self) -> tuple[Any, str, Any]:
        with refusing(self.path, "stack"):
            return self._source()

    @property
    def axes(self) -> str:
        """Letters of the axes."""
        return str(self._open[1])

    @property
    def scale(self) -> tuple[tuple[float, str], ...] | None:
        """Size of a pixel along the axes of a frame."""
        array, axes, sizes = self._open
        sides = [
            n
            for i, (letter, n) in enumerate(zip(axes, array.shape, strict=True))
            if letter in SPACE and i != self._layout[0] and n > 1
        ]
        return None if sizes is None else tuple(sizes[-len(sides) :])

    @cached_property
    def _layout(self) -> tuple[int, int | None, int]:
        """Axis that counts frames, axis of channels, and the channel."""
        array, axes, _ = self._open
        colour = axes.index("c") if "c" in axes else None
        long = [i for i, n in enumerate(array.shape) if n > 1]
        others = [i for i in long if axes[i] not in SPACE + "c"]
        if not others and "z" in axes:
            others = [axes.index("z")]
        if len(others) != 1:
            raise InputError(
                f"{self.path} has the axes {axes!r}, shape {tuple(array.shape)}; one axis that "
                "counts frames is needed: open it yourself and pass an array"
            )
        number = 0
        if colour is not None:
            number = choose_channel(
                self._channel, array.shape[colour], self.path, self.channel_names
            )
        elif self._channel not in (None, 0, "0"):
            raise InputError(
                f"{self.path} has one channel and channel={self._channel!r} was asked; leave it out"
            )
        return others[0], colour, number

    @cached_property
    def channel_names(self) -> list[str]:
        """Of the channels, as the file has them; empty if it has none."""
        array, axes, _ = self._open
        count = array.shape[axes.index("c")] if "c" in axes else 1
        names = self._channel_names()
        return names if len(names) == count else []

    def _channel_names(self) -> list[str]:
        return []

    @cached_property
    def times(self) -> Times | None:
        """When the frames were taken, if the file says so."""
        number, colour, channel = self._layout
        if self.axes[number] != "t":
            return None
        try:
            return self._times(len(self), 0 if colour is None else channel)
        except (LookupError, TypeError, ValueError):  # frames are there, whatever is said of them
            return None

    def _times(self, count: int, channel: int) -> Times | None:
        return None

    def __len__(self) -> int:
        return int(self._open[0].shape[self._layout[0]])

    def __getitem__(self, index: int) -> NDArray[Any]:
        time, colour, number = self._layout
        key: list[Any] = [slice(None) if letter in SPACE else 0 for letter in self.axes]
        key[time] = range(len(self))[index]
        if colour is not None:
            key[colour] = number
        with refusing(self.path, "stack"):
            return np.squeeze(np.asarray(self._open[0][tuple(key)]))

    @property
    def channels(self) -> int:
        """How many there are."""
        colour = self._layout[1]
        return 1 if colour is None else int(self._open[0].shape[colour])

    @property
    def ndim(self) -> int:
        """Axes of the stack of one channel."""
        sides = zip(self.axes, self._open[0].shape, strict=True)
        return sum(letter != "c" and n > 1 for letter, n in sides)


def _unnamed(shape: Sequence[int], path: Path) -> str:
    """Letters for the axes of a plain array: frames along the first."""
    if len(shape) == 2:
        raise InputError(
            f"{path} holds one image, of shape {tuple(shape)}, and a stack has several: name more "
            "files, or a pattern in quotes; if its rows are spectra, pass the array to "
            "register_stack"
        )
    if not 3 <= len(shape) <= 4:
        raise InputError(
            f"{path} holds an array of shape {tuple(shape)}; frames along a first axis, then 2 or "
            "3 axes of pixels, are needed"
        )
    return "t" + SPACE[4 - len(shape) :]


def _without_frames(sizes: Sequence[tuple[float, str]], axes: str) -> Any:
    """Those of the spatial axes."""
    kept = [size for size, letter in zip(sizes, axes, strict=True) if letter in SPACE]
    return tuple(kept) or None


class NpyStack(StackFile):
    """A ``.npy`` file, mapped into memory for as long as a frame takes."""

    def _source(self) -> tuple[Any, str, Any]:
        array = np.load(self.path, mmap_mode="r")
        return _Mapped(self.path, array.shape), _unnamed(array.shape, self.path), None


class _Mapped:
    """An array in a file, of which no page stays behind."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self.shape = path, shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        return np.array(np.load(self._path, mmap_mode="r")[key])


class TiffStack(StackFile):
    """Pages of a TIFF file, with the axes of OME and ImageJ."""

    def _source(self) -> tuple[Any, str, Any]:
        tifffile = optional("tifffile", "io")
        zarr = optional("zarr", "stack")
        with tifffile.TiffFile(self.path) as file:
            series = file.series[0]
            axes = series.axes.lower().replace("s", "c")
            from coregister.io.tiff import pixel_sizes

            sizes = pixel_sizes(file, series.pages[0])
        store = tifffile.imread(self.path, aszarr=True, level=0, series=0)
        weakref.finalize(self, store.close)
        scale = tuple(sizes[a.upper()] for a in axes if a in SPACE and a.upper() in sizes)
        return zarr.open(store, mode="r"), axes, scale or None

    def _channel_names(self) -> list[str]:
        from coregister.io.tiff import channel_names

        with optional("tifffile", "io").TiffFile(self.path) as file:
            return channel_names(file)

    def _times(self, count: int, channel: int) -> Times | None:
        with optional("tifffile", "io").TiffFile(self.path) as file:
            if file.ome_metadata:
                return of_ome(file.ome_metadata, count, channel)
            return of_imagej(file.imagej_metadata or {}, count)


class FitsStack(StackFile):
    """The cube in a FITS file: planes along its last FITS axis, the first of the array."""

    def _source(self) -> tuple[Any, str, Any]:
        from coregister.io.fits import first_image, opened

        fits = optional("astropy.io.fits", "io")
        with opened(self.path) as hdus:
            number = first_image(hdus, self.path)
            shape = hdus[number].shape
            info = hdus[number].fileinfo()
            size = abs(hdus[number].header["BITPIX"]) // 8 * int(np.prod(shape))
        if info["datLoc"] + size > self.path.stat().st_size:
            raise InputError(f"{self.path} is truncated: it ends within its image; fetch it again")
        hdus = fits.open(
            self.path, memmap=False
        )  # scaled integers cannot be mapped; parts are read
        weakref.finalize(self, hdus.close)
        return _Section(hdus[number].section, shape), _unnamed(shape, self.path), None

    def _times(self, count: int, channel: int) -> Times | None:
        from coregister.io.fits import first_image, opened

        with opened(self.path) as hdus:
            return of_fits_axis(hdus[first_image(hdus, self.path)].header, count)


class _Section:
    """What astropy reads of an HDU piece by piece."""

    def __init__(self, section: Any, shape: tuple[int, ...]) -> None:
        self._section, self.shape = section, shape

    def __getitem__(self, key: Any) -> Any:
        return self._section[key]


class MrcStack(StackFile):
    """Images of an MRC stack, mapped into memory."""

    def _source(self) -> tuple[Any, str, Any]:
        mrcfile = optional("mrcfile", "stack")
        file = mrcfile.mmap(self.path, mode="r", permissive=True)
        weakref.finalize(self, file.close)
        size = float(file.voxel_size.x), float(file.voxel_size.y)
        scale = ((size[1], "Å"), (size[0], "Å")) if min(size) > 0 else None
        return file.data, _unnamed(file.data.shape, self.path), scale


class ZarrStack(StackFile):
    """A zarr array, or the finest level of an OME-Zarr image (NGFF 0.4, 0.5)."""

    def _source(self) -> tuple[Any, str, Any]:
        node, image = self._image
        if image is None:
            return node, _unnamed(node.shape, self.path), None
        axes = "".join(axis["name"] for axis in image["axes"])
        scales = _scales(image)
        units = [axis.get("unit", "") for axis in image["axes"]]
        sizes = list(zip(scales, units, strict=True)) if scales else []
        array = node[image["datasets"][0]["path"]]
        return array, axes, _without_frames(sizes, axes) if sizes else None

    def _times(self, count: int, channel: int) -> Times | None:
        image = self._image[1]
        if image is None or not _scales(image):
            return None
        number = self.axes.index("t")
        return spaced(_scales(image)[number], image["axes"][number].get("unit"), count)

    def _channel_names(self) -> list[str]:
        node, image = self._image
        if image is None:
            return []
        about = node.attrs.get("ome", node.attrs).get("omero", {})
        return [str(channel.get("label", "")) for channel in about.get("channels", [])]

    @property
    def _image(self) -> tuple[Any, dict[str, Any] | None]:
        """The node, and what it says of its first image; an array says nothing."""
        node = optional("zarr", "stack").open(self.path, mode="r")
        if not hasattr(node, "keys"):
            return node, None
        about = dict(node.attrs)
        about = about.get("ome", about)
        if "multiscales" not in about:
            raise InputError(
                f"{self.path} is a zarr group and no OME-Zarr image; name an array inside it"
            )
        return node, about["multiscales"][0]


def _scales(image: dict[str, Any]) -> list[float]:
    """Steps along the axes of the finest level; those of all levels come on top."""
    whole = [*image["datasets"][0].get("coordinateTransformations", [])]
    whole += image.get("coordinateTransformations", [])
    scales = [t["scale"] for t in whole if t["type"] == "scale"]
    return [float(np.prod(steps)) for steps in zip(*scales, strict=True)]


READERS: dict[str, type[StackFile]] = {
    ".npy": NpyStack,
    **dict.fromkeys((".tif", ".tiff"), TiffStack),
    **dict.fromkeys((".fits", ".fit", ".fts"), FitsStack),
    **dict.fromkeys((".mrc", ".mrcs"), MrcStack),
    ".zarr": ZarrStack,
}


class ImageFiles(Sequence[NDArray[Any]]):
    """One channel of images, one a file, read when they are asked for.

    Attributes
    ----------
    paths : list of Path
    """

    def __init__(self, paths: Sequence[Path], channel: int | str) -> None:
        self.paths, self._channel = list(paths), channel

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ImageFiles(self.paths[index], self._channel)
        from coregister.io import read

        loaded = read(self.paths[index], channel=self._channel)
        return loaded.data if loaded.valid is None else np.ma.array(loaded.data, mask=~loaded.valid)


def _files(paths: Sequence[str | os.PathLike[str]], channel: int | str | None) -> Any:
    """Images, one a file: their paths, or one channel of them."""
    places = [Path(path) for path in paths]
    return places if channel is None else ImageFiles(places, channel)


def open_stack(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    channel: int | str | None = None,
) -> Any:
    """Frames in a file, a store, a pattern or a list of files: ``len`` and indexing.

    Parameters
    ----------
    source : path, pattern, or list of paths
        NPY, TIFF (OME, ImageJ), FITS cube, MRC or zarr (OME-Zarr); or images, one a file, as
        ``"night1/*.fits"`` or a list.
    channel : int or str, optional
        Channel of a stack, or of images, that have several.

    Raises
    ------
    InputError
        If it cannot be opened, or does not say which frames are meant.
    """
    if not isinstance(source, (str, os.PathLike)):
        if len(source) == 1:
            return open_stack(source[0], channel=channel)
        return _files(source, channel)
    name = os.fspath(source)
    if glob.has_magic(name) and not Path(name).exists():
        found = sorted(glob.glob(name))
        if len(found) < 2:
            raise InputError(f"{name} matches {len(found)} files; at least 2 are needed")
        return _files(found, channel)
    suffix = Path(name).suffix.lower()
    if suffix not in READERS and Path(name).is_dir():
        raise InputError(
            f"{name} is a folder; a stack is needed: give '{name}/*.tif', for instance"
        )
    if suffix not in READERS:
        raise InputError(
            f"{name} has the suffix {suffix!r}; one of {', '.join(READERS)}, a pattern like "
            "'*.fits' or a list of files is needed"
        )
    return READERS[suffix](source, channel)


def described(path: Path, channel: int | str | None = None) -> str | None:
    """A line about the stack in a file; None for a file that says it is one image.

    TIFF pages and FITS planes are called a stack only where the file counts time.
    """
    suffix = path.suffix.lower()
    if suffix not in (".zarr", ".mrc", ".mrcs", ".tif", ".tiff"):
        return None
    if suffix in (".tif", ".tiff") and not _counts_time(path):
        return None
    stack = open_stack(path, channel=channel)
    sides = " x ".join(str(n) for n in stack[0].shape)
    line = f"{len(stack)} frames of {sides} px, {stack[0].dtype.name}, axes {stack.axes}"
    for size, unit in stack.scale or ():
        line += f"; {size:g} {unit}".rstrip()
    return line


def _counts_time(path: Path) -> bool:
    """A TIFF file whose one series has an axis T."""
    tifffile = optional("tifffile", "io")
    with refusing(path, "TIFF"), tifffile.TiffFile(path) as file:
        return len(file.series) == 1 and "T" in file.series[0].axes
