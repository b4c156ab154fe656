"""Offsets with their covariances and flags, one a row: what series and windows have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.status import ADVISORY, Status

Float = NDArray[np.float64]


def check_table(path: str | os.PathLike[str], kinds: Sequence[str]) -> str:
    """The suffix of a table that can be written; refused if it cannot.

    Parameters
    ----------
    path : path
    kinds : sequence of str
        Suffixes that are known.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in kinds:
        raise InputError(f"{path} has the suffix {suffix!r}; one of {', '.join(kinds)} is needed")
    if suffix in (".ecsv", ".parquet"):
        optional("astropy.table", "io")
    if suffix == ".parquet":
        optional("pyarrow", "stack")
    return suffix


@dataclass(frozen=True, kw_only=True, eq=False)
class Several:
    """Offsets in array-axis order, one a row, and how well each is known.

    Attributes
    ----------
    offsets : (n, ndim) array
        Pixels.
    covariances : (n, ndim, ndim) array
        px^2; infinite along an axis of which nothing is known.
    flags : tuple of frozenset of Status
        What holds besides OK, row by row.
    """

    offsets: Float
    covariances: Float
    flags: tuple[frozenset[Status], ...]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def stderr(self) -> Float:
        """Marginal 1-sigma bars, (n, ndim), px."""
        return np.asarray(np.sqrt(np.einsum("nii->ni", self.covariances)))

    @property
    def status(self) -> NDArray[Any]:
        """The first flag of each row, or OK: (n,) array of Status."""
        first = [next((s for s in Status if s in flags), Status.OK) for flags in self.flags]
        array = np.empty(len(first), dtype=object)
        array[:] = first
        return array

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """Rows whose offset and bars may be used as they are: (n,)."""
        return np.array([flags <= ADVISORY for flags in self.flags], dtype=bool)

    def whitened(self, error: Float) -> Float:
        """Errors of the trusted rows in units of their bars, (n, ndim); NaN for the others.

        Parameters
        ----------
        error : (n, ndim) array
            Estimate minus truth, px.
        """
        pulls = np.full(error.shape, np.nan)
        known = self.trusted & self.covariances.any(axis=(1, 2))
        if known.any():
            root = np.linalg.cholesky(self.covariances[known])
            pulls[known] = np.linalg.solve(root, error[known][:, :, None])[:, :, 0]
        return pulls
