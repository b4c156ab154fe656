"""What one method answered, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.result.record import floats, plain

Float = NDArray[np.float64]
#: probabilities of the regions that are counted
LEVELS = (0.6827, 0.95)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """What one method answered, pair by pair.

    Attributes
    ----------
    error : (N, ndim) array
        Offset minus truth, px.
    covariance : (N, ndim, ndim) array
        As claimed, px^2; NaN for a method without bars.
    systematic : (N, ndim) array
        Bound on what the covariance cannot see, px; NaN for a method that has none.
    dof : (N,) array
        Degrees of freedom of the claimed regions.
    inside : (N, 2) bool array
        The truth lies in the claimed region of 68.27 %, of 95 %.
    trusted : (N,) bool array
    flags : tuple of str
        Names of the flags of each pair, separated by spaces.
    false_alarm : (N,) array
        NaN for a method that has none.
    seconds : (N,) array
        Wall time.
    """

    error: Float
    covariance: Float
    systematic: Float
    dof: Float
    inside: NDArray[np.bool_]
    trusted: NDArray[np.bool_]
    flags: tuple[str, ...]
    false_alarm: Float
    seconds: Float

    @cached_property
    def pulls(self) -> Float:
        """Whitened errors (n, ndim) of the trusted results; empty without bars."""
        use = self.trusted & np.isfinite(self.covariance).all(axis=(1, 2))
        root = np.linalg.cholesky(self.covariance[use])
        return np.asarray(np.linalg.solve(root, self.error[use][..., None])[..., 0])

    @cached_property
    def surprise(self) -> Float:
        """Probability (N,) of an error at least this large under the claimed distribution."""
        from scipy import stats

        ndim = self.error.shape[1]
        known = np.isfinite(self.covariance).all(axis=(1, 2))
        probability = np.full(len(self.error), np.nan)
        white = np.linalg.solve(self.covariance[known], self.error[known][..., None])[..., 0]
        q = np.sum(white * self.error[known], axis=1)
        dof = np.minimum(self.dof[known], 1e9)
        # the covariance is that of Student's distribution, wider than its scale matrix
        probability[known] = stats.f.sf(q / ndim * dof / (dof - 2), ndim, dof)
        return probability

    def to_dict(self) -> dict[str, Any]:
        """Types that JSON knows."""
        return {
            "error": plain(self.error),
            "covariance": plain(self.covariance),
            "systematic": plain(self.systematic),
            "dof": plain(self.dof),
            "inside": self.inside.tolist(),
            "trusted": self.trusted.tolist(),
            "flags": list(self.flags),
            "false_alarm": plain(self.false_alarm),
            "seconds": plain(self.seconds),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trials:
        """What `to_dict` wrote."""
        return cls(
            error=floats(record["error"]),
            covariance=floats(record["covariance"]),
            systematic=floats(record["systematic"]),
            dof=floats(record["dof"]),
            inside=np.array(record["inside"], dtype=bool),
            trusted=np.array(record["trusted"], dtype=bool),
            flags=tuple(record["flags"]),
            false_alarm=floats(record["false_alarm"]),
            seconds=floats(record["seconds"]),
        )
