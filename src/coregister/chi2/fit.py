"""The best offset: the lowest minimum of all, the noise if it is to be learnt, bars and map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.polynomial import polygrid2d

from coregister.chi2 import region
from coregister.chi2.inputs import Array
from coregister.chi2.minimum import Minimum, descend, first_guess
from coregister.chi2.region import delta_chi2
from coregister.chi2.surface import Surface
from coregister.errors import InputError


@dataclass(frozen=True)
class Fit:
    """The lowest minimum of chi^2, and how the values of chi^2 are to be read.

    Attributes
    ----------
    best : Minimum
    variance : float
        What chi^2 of unit errors is divided by: the noise learnt, squared; 1 if errors were given.
    """

    best: Minimum
    variance: float

    @property
    def offset(self) -> Array:
        """Axis order, pixels."""
        return self.best.offset

    @property
    def chi2(self) -> float:
        """chi^2 at the minimum."""
        return self.best.chi2 / self.variance

    @property
    def pairs(self) -> int:
        """Number of pixel pairs."""
        return round(self.best.surface.share(self.offset) * self.best.surface.n_data)

    def extents(self, level: float) -> tuple[Array, Array]:
        """How far delta chi^2 up to `level` reaches from the minimum, down and up each axis."""
        return region.extents(self.best, _own_level(self.best, level, self.variance))

    def chi2_map(self, steps: Sequence[Array]) -> Array:
        """chi^2 on the outer grid of two vectors of distances from the minimum."""
        reach = max(float(np.abs(step).max()) for step in steps)
        if reach < 0.6:  # the expansion keeps the digits of differences far below chi^2 itself
            c = self.best.coefficients if reach < 0.15 else self.best.wide()
            delta = np.asarray(polygrid2d(steps[0], steps[1], c), dtype=np.float64)
        else:
            positions = [d + step for d, step in zip(self.offset, steps, strict=True)]
            delta = self.best.surface.grid(positions) - self.best.lowest
        return np.asarray(np.maximum(self.best.chi2 + delta, 0.0) / self.variance)


def best_fit(surface: Surface, nfitted: int, noise_floor: float | None) -> Fit:
    """Find the minimum of chi^2 over all offsets.

    Parameters
    ----------
    surface : Surface
    nfitted : int
        Parameters that the fit takes from the data.
    noise_floor : float or None
        Learn the noise, this at least; None = errors were given.

    Raises
    ------
    InputError
        If there are too few pixels to learn the noise.
    """
    best = descend(surface, first_guess(surface))
    variance = 1.0
    for _ in range(4):  # each round finds a lower one, or ends
        if noise_floor is not None:
            pairs = surface.share(best.offset) * surface.n_data
            dof = round(pairs) - nfitted
            if dof < 1:
                raise InputError(
                    f"the noise is to be learnt and {pairs:.0f} pixel pairs are too few for that "
                    f"with {nfitted} parameters fitted; give err, or more usable pixels"
                )
            variance = max(best.chi2 * pairs / surface.n_data / dof, noise_floor**2)
        level = _own_level(best, delta_chi2(1, nfitted), variance)
        lower = region.lower_minimum(best, level)
        if lower is None:
            break
        best = lower
    if surface.arranged.periodic:
        period = np.array(surface.shape)
        best = replace(best, offset=(best.offset + period / 2) % period - period / 2)
    return Fit(best, variance)


def _own_level(best: Minimum, level: float, variance: float) -> float:
    """A level of chi^2 in the units of the surface.

    chi^2 scaled to N pixels from n pairs varies N / n as much as what the pairs tell.
    """
    return level * variance / best.surface.share(best.offset)
