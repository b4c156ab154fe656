"""The answer for many windows: `WindowsRegistration`, and what can be asked of it."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError, optional
from coregister.result import axis_names, round_pdg
from coregister.several import Several, check_table
from coregister.status import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

#: what a table is written to
SUFFIXES = (".ecsv", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowsRegistration(Several):
    """Where the content of every window lies, and how well that is known.

    Attributes
    ----------
    centers : (n, 2) array
        Middle of each window in the reference, pixels, array-axis order.
    offsets : (n, 2) array
        Array-axis order, pixels: the content of a window lies at ``+offsets`` in moving.
    covariances : (n, 2, 2) array
        px^2; infinite along an axis of which nothing is known.
    flags : tuple of frozenset of Status
        What holds besides OK, window by window.
    false_alarm : (n,) array
        Probability that unrelated windows match as well.
    size : (2,) tuple of int
        Shape of a window.
    shape : tuple of int
        Of the grid, ``(rows, columns)``; ``(n,)`` where the windows form none.
    """

    centers: Float
    false_alarm: Float
    size: tuple[int, int]
    shape: tuple[int, ...]

    # ---------------------------------------------------------------- what it says

    def on_grid(self, values: ArrayLike) -> NDArray[Any]:
        """Values, one a window, on the grid: ``(rows, columns, ...)``.

        Parameters
        ----------
        values : (n, ...) array_like
            For instance ``result.offsets``.

        Raises
        ------
        InputError
            If they are not one a window.
        """
        array = np.asarray(values)
        if array.ndim == 0 or len(array) != len(self):
            raise InputError(
                f"values have shape {array.shape} and there are {len(self)} windows; "
                "give one value, or one row, a window"
            )
        return array.reshape(*self.shape, *array.shape[1:])

    def pull(self, truth: ArrayLike) -> Float:
        """Whitened errors of the trusted windows, (n, 2); NaN for the others.

        Parameters
        ----------
        truth : (2,) or (n, 2) array_like
            True offsets.
        """
        return self.whitened(self.offsets - np.asarray(truth, dtype=np.float64))

    # ---------------------------------------------------------------- files and pictures

    def to_table(self) -> Any:
        """An `astropy.table.QTable` with one row a window, units and provenance (extra ``io``)."""
        from coregister import __version__

        table = optional("astropy.table", "io")
        px = optional("astropy.units", "io").pix
        columns = {
            "center": self.centers * px,
            "offset": self.offsets * px,
            "stderr": self.stderr * px,
            "covariance": self.covariances * px**2,
            "false_alarm": self.false_alarm,
            "trusted": self.trusted,
            "status": [str(s) for s in self.status],
            "flags": [" ".join(sorted(map(str, f))) for f in self.flags],
        }
        about = {
            "version": __version__,
            "axes": axis_names(2),
            "size": list(self.size),
            "shape": list(self.shape),
            "convention": "content of a window lies at +offset in moving; array-axis order",
        }
        return table.QTable(columns, meta={"coregister": about})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the table: ``.ecsv``, ``.csv`` or ``.parquet``, whole or not at all.

        Parameters
        ----------
        path : path
        overwrite : bool
            Replace an existing file.
        """
        from coregister.io.atomic import atomic_write

        suffix = check_table(path, SUFFIXES)
        with atomic_write(path, overwrite=overwrite) as temporary:
            if suffix == ".csv":
                temporary.write_text(self._csv(), "utf-8")
                return
            form = "ascii.ecsv" if suffix == ".ecsv" else "parquet"
            self.to_table().write(temporary, format=form, overwrite=True)

    def _csv(self) -> str:
        """Plain columns, units in their names."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [f"{what}_{axis}_px" for what in ("center", "offset", "stderr") for axis in "yx"]
        writer.writerow([*names, "covariance_yx_px2", "false_alarm", "trusted", "status", "flags"])
        values = np.hstack([self.centers, self.offsets, self.stderr, self.covariances[:, :1, 1]])
        for row, chance, good, status, flags in zip(
            values.tolist(), self.false_alarm, self.trusted, self.status, self.flags, strict=True
        ):
            told = [float(chance), bool(good), str(status), " ".join(sorted(map(str, flags)))]
            writer.writerow([*row, *told])
        return text.getvalue()

    def plot(self, *, scale: float | None = None) -> Figure:
        """Arrows on the reference's pixels; windows that are not trusted are crosses.

        Parameters
        ----------
        scale : float, optional
            Pixels of the picture that an offset of one pixel takes; default: no two arrows of
            neighbours overlap.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from coregister.plotting import plot_windows

        if scale is not None and not 0 < scale < np.inf:
            raise InputError(f"scale={scale!r} makes no arrows; a number above 0 is needed")
        return plot_windows(self, scale=scale)

    # ---------------------------------------------------------------- printed form

    def __str__(self) -> str:
        good = self.trusted
        lines = [f"{good.sum()} of {len(self)} windows of {self.size[0]} x {self.size[1]} trusted"]
        if good.any():
            middle = np.median(self.offsets[good], axis=0)
            bars = np.median(self.stderr[good], axis=0)
            span = np.ptp(self.offsets[good], axis=0)
            for name, m, bar, wide in zip(axis_names(2), middle, bars, span, strict=True):
                shown = [round_pdg(v, max(bar, 1e-12)).split()[0] for v in (m, wide)]
                lines.append(
                    f"  {name:<12}  median {shown[0]} px, spans {shown[1]} px, bars of {bar:.2g} px"
                )
        for status in Status:
            count = sum(status in flags for flags in self.flags)
            if count:
                lines.append(f"  ! {status}: {count} windows")
        return "\n".join(lines)

    __repr__ = __str__
