"""What passes from stage to stage: candidates of the search, fits of the refinement, modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from coregister.fourier import TrigPolynomial

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An offset that the search found.

    Attributes
    ----------
    offset : (ndim,) array
        Pixels; between those of the search by interpolation.
    evidence : float
        Log-likelihood ratio against "no common content", per independent sample.
    samples : float
        Independent samples in the overlap there.
    false_alarm : float
        Probability that the highest peak of two unrelated images is this high.
    plain : float
        The same, if all samples that should be independent are: no mirror image was asked.
    at_edge : bool
        True if it lies at the limit of the search.
    """

    offset: Float
    evidence: float
    samples: float
    false_alarm: float
    plain: float
    at_edge: bool

    @property
    def total(self) -> float:
        """Log-likelihood ratio over the whole overlap."""
        return self.evidence * self.samples


class Dispersion(NamedTuple):
    """Probability of frequencies that disagree this much on the offset, if all see one scene.

    Attributes
    ----------
    anyhow : float
        In whatever direction.
    along : float
        Along the offset: what a pattern that stays in place does to a scene that moved. 1 where
        that is too far.
    """

    anyhow: float = 1.0
    along: float = 1.0


class Echo(NamedTuple):
    """Where what is left over is most opposite to itself.

    Attributes
    ----------
    probability : float, or (n,) array of many pairs
        Of a residual this opposite to itself somewhere else, if it is noise.
    second : float, or (n,) array
        Energy of what makes it, if it is a second scene, in units of that of the first.
    """

    probability: Any
    second: Any


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The optimum that the refinement reached from one candidate.

    Attributes
    ----------
    candidate : Candidate
        Where it started.
    offset, covariance, information
        As in `coregister.Registration`; the covariance is 0 along an undetermined direction.
    model_covariance : (ndim, ndim) array
        What stationary noise of the same spectrum would give in place of `covariance`.
    unevenness : float
        Probability that the two differ this much if the noise is even.
    evidence : float
        Log-likelihood ratio per mode against "no common content".
    modes : float
        Number of modes compared.
    dof : float
        Effective number of modes behind the bars.
    outlying : bool
        Single pixels stand out: they were left out or, where none can be, rule what is left over,
        or the answer.
    distortion : float
        Probability of a local displacement this uneven if the pair is only shifted.
    echo : callable
        Tells if another scene is in what is left over, if none fainter than this is asked for.
    lines_alone : callable
        Tells if rows or columns of one value make the answer, and all else is found elsewhere.
    dispersion : Dispersion
    contradiction : float
        Probability of a ring this anticorrelated if they see one scene.
    competing : float
        Probability that coarse frequencies fit this much better elsewhere if they see one scene.
    systematic : (ndim,) array
        Bound on the error by aliasing, px.
    gain, background, overlap
        As in `coregister.Registration`.
    frequency, coherence : array
        Ring correlation.
    surface : callable
        Makes the log-likelihood against offset.
    n_iter : int
    converged : bool
    """

    candidate: Candidate
    offset: Float
    covariance: Float
    model_covariance: Float
    unevenness: float
    information: Float
    evidence: float
    modes: float
    dof: float
    outlying: bool
    distortion: float
    echo: Callable[[float], Echo]
    lines_alone: Callable[[], bool]
    dispersion: Dispersion
    contradiction: float
    competing: float
    systematic: Float
    gain: float
    background: float
    overlap: float
    frequency: Float
    coherence: Float
    surface: Callable[[], TrigPolynomial]
    n_iter: int
    converged: bool

    def seen_from(self, away: NDArray[np.intp]) -> Fit:
        """The same fit where all offsets are larger: of images that these were cut from."""
        return replace(
            self,
            offset=self.offset + away,
            candidate=replace(self.candidate, offset=self.candidate.offset + away),
            surface=lambda: self.surface().moved(away),
        )


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One offset that the data allow.

    Attributes
    ----------
    offset : (ndim,) array
        Pixels, array-axis order.
    covariance : (ndim, ndim) array
        px^2, given that this mode is the right one.
    probability : float
        Share of the posterior probability.
    """

    offset: Float
    covariance: Float
    probability: float


class Coherence(NamedTuple):
    """Correlation of the two images, ring by ring, at the measured offset.

    Attributes
    ----------
    frequency : (n,) array
        Mean frequency of the ring, cycles/px.
    correlation : (n,) array
        Fourier ring correlation, -1 to 1.
    """

    frequency: Float
    correlation: Float


class NothingSharedError(Exception):
    """Both images have hardly a valid pixel in common near an offset."""


class Route(Protocol):
    """One way of comparing a pair: real edges, or periodic images."""

    def search(self) -> list[Candidate]:
        """Whole-pixel candidates, the best first; none where both images have nothing to show."""

    def refine(self, candidate: Candidate) -> Fit:
        """The optimum near a candidate.

        Raises
        ------
        NothingSharedError
            If there is none.
        """
