"""`Posterior`: the probability of every offset, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.estimator.stages import Mode
from coregister.fourier import along
from coregister.posterior.cells import edges_of, volumes
from coregister.regions import check_level, check_truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """The probability of every offset, given that the images show one scene.

    Before the images were seen, all offsets within ``initial +- max_offset``, or with enough
    overlap, were equally likely.

    Attributes
    ----------
    positions : tuple of array
        Offsets along each axis of the grid, px: finer around sharp peaks.
    probability : array
        Of the cell around each point of the grid; with `elsewhere` it sums to 1.
    elsewhere : float
        Probability that lies outside of the grid.
    modes : tuple of Mode
        The peaks that matter, the most likely first. Their probabilities add up to less than 1
        where some of it is spread over no peak in particular.
    period : tuple of int or None
        Shape of the images, if they wrap.
    """

    positions: tuple[Float, ...]
    probability: Float
    elsewhere: float
    modes: tuple[Mode, ...]
    period: tuple[int, ...] | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.probability.ndim

    @property
    def density(self) -> Float:
        """Probability per px (px^2, px^3) at each point of the grid."""
        return self.probability / volumes(self.positions)

    @property
    def mean(self) -> Float:
        """Mean offset over the grid, px: with several modes a place where none need be."""
        p = self.probability / self.probability.sum()
        return np.array([float(np.sum(p * place)) for place in self._places()])

    @property
    def covariance(self) -> Float:
        """Covariance over the grid, px^2."""
        p = self.probability / self.probability.sum()
        away = [place - middle for place, middle in zip(self._places(), self.mean, strict=True)]
        return np.array([[float(np.sum(p * a * b)) for b in away] for a in away])

    def region(self, level: float = 0.6827) -> NDArray[np.bool_]:
        """The smallest part of the grid that holds probability `level`; all, if it holds less.

        Parameters
        ----------
        level : float
            Probability, between 0 and 1.
        """
        check_level(level)
        order = np.argsort(-self.density, axis=None, kind="stable")
        total = np.cumsum(self.probability.ravel()[order])
        count = int(np.searchsorted(total, level)) + 1
        region = np.zeros(self.probability.size, dtype=bool)
        region[order[:count]] = True
        return region.reshape(self.probability.shape) & (self.probability > 0)

    def contains(self, truth: ArrayLike, level: float = 0.6827) -> bool:
        """True if `truth` lies in the region of probability `level`.

        Parameters
        ----------
        truth : (ndim,) array_like
            True offset, px.
        level : float
            Probability, between 0 and 1.
        """
        place = check_truth(truth, self.ndim)
        index = []
        for axis, points in enumerate(self.positions):
            edges = edges_of(points)
            value = place[axis]
            if self.period is not None:
                value = edges[0] + (value - edges[0]) % self.period[axis]
            index.append(int(np.searchsorted(edges, value, side="right")) - 1)
            if not 0 <= index[-1] < points.size:
                return False
        return bool(self.region(level)[tuple(index)])

    def interval(self, level: float = 0.6827) -> Float:
        """Marginal intervals of probability `level`, as much on either side: (ndim, 2), px.

        Parameters
        ----------
        level : float
            Probability, between 0 and 1.
        """
        check_level(level)
        tails = np.array([0.5 - level / 2, 0.5 + level / 2])
        ends = []
        for axis, points in enumerate(self.positions):
            total = np.append(0.0, np.cumsum(self.marginal(axis)))
            ends.append(np.interp(tails * total[-1], total, edges_of(points)))
        return np.array(ends)

    def marginal(self, axis: int) -> Float:
        """Probability of each of ``positions[axis]``, whatever the other axes."""
        others = tuple(other for other in range(self.ndim) if other != axis % self.ndim)
        return np.asarray(self.probability.sum(axis=others))

    def plot(self, *, origin: Literal["upper", "lower"] | None = None) -> Figure:
        """Figure: the density with its regions of 68 and 95 %, all of it and the first mode.

        Parameters
        ----------
        origin : {"upper", "lower"}, optional
            Where small offsets are drawn. Default: matplotlib's ``rcParams["image.origin"]``.
        """
        from coregister.plotting import plot_posterior

        return plot_posterior(self, origin=origin)

    def __str__(self) -> str:
        lines = [f"{len(self.modes)} mode" + ("s" if len(self.modes) != 1 else "")]
        for mode in self.modes[:5]:
            place = ", ".join(f"{d:.2f}" for d in mode.offset)
            bars = ", ".join(f"{s:.2g}" for s in np.sqrt(np.diag(mode.covariance)))
            lines.append(f"  {100 * mode.probability:5.1f} %  ({place}) +- ({bars}) px")
        if len(self.modes) > 5:
            rest = sum(mode.probability for mode in self.modes[5:])
            lines.append(f"  {100 * rest:5.1f} %  in {len(self.modes) - 5} more")
        spread = max(0.0, 1.0 - sum(mode.probability for mode in self.modes))
        if spread > 0.0005:
            lines.append(f"  {100 * spread:5.1f} %  anywhere else")
        return "\n".join(lines)

    __repr__ = __str__

    def _places(self) -> list[Float]:
        return [along(points, axis, self.ndim) for axis, points in enumerate(self.positions)]
