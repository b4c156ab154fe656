"""The answer for a stack: `StackRegistration`, and what can be asked of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.result import Interpolation
from coregister.several import Several, check_table
from coregister.stack.drift import Drift
from coregister.status import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StackRegistration(Several):
    """Where the content of every frame lies, and how well that is known.

    Attributes
    ----------
    offsets : (T, ndim) array
        Array-axis order, pixels: the content of frame ``t`` lies at ``+offsets[t]`` from where it
        lies in the reference. With ``reference="all"`` they sum to zero over the trusted frames.
    covariances : (T, ndim, ndim) array
        px^2, of each offset by itself; infinite for frames that are not trusted for want of a
        match.
    flags : tuple of frozenset of Status
        What holds besides OK, frame by frame.
    systematic : (T, ndim) array
        Bound on what the covariances cannot see, aliasing, px: the largest of the pairs, as many as
        nine, that were measured by themselves. It holds for differences too. Where frames have no
        window in common it grows with the distance, and along a chain of pairs it adds up.
    reference : str or int
        What the offsets are counted from.
    own : (T, ndim, ndim) array
        Covariance that the noise of each frame alone brings; those of two frames add up to the
        covariance of their difference.
    shared : (T, ndim, n) array or None
        Where the frames have no window in common: factors of the covariance that they share. That
        of a difference has the square of the difference of two besides.
    closure : float
        How far pairs that make loops of three, each measured by itself, differ from the joint
        answer, over what they may: about 1, or less, if bars are true. NaN where none was measured.
    part : (T,) array of int
        0: the frames that belong together; others of one number match each other only; -1: none.
    shape : tuple of int
        Shape of a frame.
    drift : Drift or None
        The smooth motion that was asked for.
    periodic : bool
        Frames wrap around.
    times : (T,) array or None
        Seconds from the first frame to each, as the files or the caller say.
    start : str or None
        Date and time of the first frame, ISO 8601, if known.
    """

    systematic: Float
    reference: str | int
    own: Float
    closure: float
    part: NDArray[np.int_]
    shape: tuple[int, ...]
    drift: Drift | None = None
    periodic: bool = False
    steps: Float | None = field(default=None, repr=False)
    shared: Float | None = field(default=None, repr=False)
    times: Float | None = None
    start: str | None = None

    # ---------------------------------------------------------------- what it says

    @property
    def ndim(self) -> int:
        """Number of axes of a frame."""
        return int(self.offsets.shape[1])

    def covariance_between(self, i: int, j: int) -> Float:
        """Covariance of ``offsets[i] - offsets[j]``, (ndim, ndim), px^2.

        What both have in common is not in it.
        """
        if self._index(i) == self._index(j):
            return np.zeros((self.ndim, self.ndim))
        if self.steps is not None:  # pairs in a chain: all between
            low, high = sorted((self._index(i), self._index(j)))
            return np.asarray(self.steps[low + 1 : high + 1].sum(axis=0))
        if self.shared is not None:  # many windows: what those between add
            apart = self.shared[i] - self.shared[j]
            return np.asarray(self.own[i] + self.own[j] + apart @ apart.T)
        return np.asarray(self.own[i] + self.own[j])

    def noise_along(self, axis: int) -> Float:
        """Covariance of all offsets along one axis, (T, T), px^2.

        What all of them have in common is not in it.
        """
        if self.steps is not None:
            total = np.cumsum(self.steps[:, axis, axis])
            return np.asarray(np.minimum.outer(total, total))
        noise = np.diag(self.own[:, axis, axis])
        if self.shared is None:
            return noise
        return noise + self.shared[:, axis] @ self.shared[:, axis].T

    def relative_to(self, i: int) -> StackRegistration:
        """The same, with offsets counted from frame `i`, whose own are 0 and certain."""
        i = self._index(i)
        covariances = np.stack([self.covariance_between(t, i) for t in range(len(self))])
        drift = None if self.drift is None else self.drift.counted_from(self.offsets[i])
        systematic = self.systematic.copy()
        if self.steps is not None:
            systematic = np.abs(systematic - systematic[i])
        elif self.shared is not None:
            systematic += systematic[i]
        systematic[i] = 0.0
        return replace(
            self,
            offsets=self.offsets - self.offsets[i],
            covariances=covariances,
            systematic=systematic,
            reference=i,
            drift=drift,
        )

    def pull(self, truth: ArrayLike) -> Float:
        """Whitened errors of the differences to the mean of the trusted frames: (T, ndim).

        Parameters
        ----------
        truth : (T, ndim) array_like
            True offsets, from anywhere. Rows of frames that are not trusted are NaN.
        """
        error = self.offsets - np.asarray(truth, dtype=np.float64)
        good = self.trusted
        if not good.any():
            return np.full(error.shape, np.nan)
        if self.reference == "all":
            error = error - error[good].mean(axis=0)
        else:
            zero = 0 if self.reference in ("first", "previous") else self.reference
            error = error - error[zero] if isinstance(zero, int) else error
        return self.whitened(error)

    def _index(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise InputError(f"frame {i} was asked of a stack of {len(self)}; count from 0")
        return i % len(self)

    # ---------------------------------------------------------------- what it does

    def apply(
        self,
        frames: Any,
        *,
        interpolation: Interpolation = "cubic",
        variance: Any = None,
    ) -> Iterator[Float] | Float:
        """Bring frames onto the grid of the reference, with NaN where nothing is known.

        Parameters
        ----------
        frames : as for `coregister.register_stack`
            The stack, or another channel of it. Frames that are not trusted become NaN.
        interpolation : {"cubic", "quintic", "linear", "nearest"}
        variance : optional
            Not for stacks: `Registration.apply` carries it, frame by frame.

        Returns
        -------
        (T, ...) array
            Float32. For a stack that does not fit into memory, `aligned` gives one frame after
            the other.
        """
        if variance is not None:
            raise InputError("variance is carried frame by frame: use coregister.register's apply")
        return np.stack(
            [f.astype(np.float32) for f in self.aligned(frames, interpolation=interpolation)]
        )

    def aligned(self, frames: Any, *, interpolation: Interpolation = "cubic") -> Iterator[Float]:
        """The aligned frames one after the other; see `apply`."""
        from coregister.stack.aligned import aligned

        return aligned(self, frames, interpolation)

    def mean(self, frames: Any) -> tuple[Float, Float]:
        """Mean of the aligned trusted frames, and its variance from their scatter, pixel by pixel.

        One frame is in memory at a time.
        """
        from coregister.stack.aligned import mean

        return mean(self, frames)

    def plot(self) -> Figure:
        """Offsets against frame number, with bars; frames that are not trusted are marked."""
        from coregister.plotting import plot_stack

        return plot_stack(self)

    def report(
        self,
        path: str | os.PathLike[str],
        frames: Any,
        *,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a self-contained HTML page: verdict, drift, checks, film, flagged frames, table.

        Some loops of three frames are measured pair by pair for it.

        Parameters
        ----------
        path : path
        frames : as for `coregister.register_stack`
            The stack that was registered.
        provenance : mapping, optional
            Where the frames came from.
        overwrite : bool
            Replace an existing file.
        """
        from coregister.stack.report import write_report

        write_report(self, frames, path, provenance=provenance, overwrite=overwrite)

    def save_headers(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write copies of FITS files with corrected world coordinates, pixels bit for bit.

        All get the pointing of one file: the frame that the offsets are counted from, or with
        "all" and "previous" the first that is trusted. The bars of the difference to it and the
        old coordinates (alternate "O") are in the header.

        Parameters
        ----------
        paths : path or sequence of path
            The files that were registered, in their order; or the cube, whose planes become files.
        folder : path
            Where the copies go, under their own names; planes get a number.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        list of Path
            What was written: frames that are not trusted are left out.
        """
        from coregister.stack.pointing import write_pointings

        return write_pointings(self, paths, folder, overwrite=overwrite)

    def save_ngff(
        self,
        path: str | os.PathLike[str],
        frames: Any,
        *,
        scale: Sequence[tuple[float, str]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write an OME-Zarr 0.5 store of frames as they are, each with its translation.

        Nothing is resampled. NGFF has one translation for an array, so every frame is an image,
        ``0`` to ``T-1``, in a collection; frames that are not trusted are left out.

        Parameters
        ----------
        path : path
            ``.zarr``.
        frames : as for `coregister.register_stack`
            The stack that was registered, or another channel of it.
        scale : sequence of (float, str), optional
            Size of a pixel along each axis of a frame, and its unit. Default: what the file says.
        provenance : mapping, optional
            Where the frames came from.
        overwrite : bool
            Replace an existing store.
        """
        from coregister.stack.pointing import write_places

        about = None if provenance is None else dict(provenance)
        write_places(self, path, frames, scale=scale, about=about, overwrite=overwrite)

    # ---------------------------------------------------------------- files

    def to_table(self) -> Any:
        """An `astropy.table.QTable` with one row a frame, units and provenance (extra ``io``)."""
        from coregister.stack.table import to_table

        return to_table(self)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the table: ``.ecsv``, ``.csv``, ``.parquet`` or ``.json``, whole or not at all.

        All but ``.csv`` can be read by `coregister.read_table`.

        Parameters
        ----------
        path : path
        provenance : mapping, optional
            Where the frames came from; kept by all but ``.csv``.
        overwrite : bool
            Replace an existing file.
        """
        from coregister.io.atomic import atomic_write
        from coregister.stack.table import SUFFIXES, write_table

        suffix = check_table(path, SUFFIXES)
        with atomic_write(path, overwrite=overwrite) as temporary:
            write_table(self, temporary, suffix, provenance)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON knows; infinity becomes ``"inf"``."""
        from coregister.stack.table import to_record

        return to_record(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> StackRegistration:
        """The result that `to_dict` wrote.

        Raises
        ------
        InputError
            If the record is not one of ours.
        """
        from coregister.stack.table import from_record

        return from_record(record)

    # ---------------------------------------------------------------- printed form

    def __str__(self) -> str:
        from coregister.stack.printed import text

        return text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from coregister.stack.printed import page

        return page(self)


def told_of_aliasing(
    flags: Sequence[frozenset[Status]], systematic: Float, covariances: Float
) -> tuple[frozenset[Status], ...]:
    """Flags, UNDERSAMPLED where the bound on aliasing exceeds the bar."""
    beyond = np.any(systematic**2 > np.einsum("tii->ti", covariances), axis=1)
    return tuple(
        f | {Status.UNDERSAMPLED} if more else f for f, more in zip(flags, beyond, strict=True)
    )


def unknown(count: int, ndim: int) -> Float:
    """Covariances of offsets of which nothing is known."""
    return np.tile(np.diag(np.full(ndim, np.inf)), (count, 1, 1))
