"""The answer: `Registration`, what can be asked of it, and its printed forms."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.estimator.stages import Coherence, Mode
from coregister.fourier import TrigPolynomial
from coregister.images import Pair, as_image
from coregister.regions import check_truth, region_level, sigmas
from coregister.result.coordinates import InOtherCoordinates
from coregister.result.printed import axis_names, compact_html, physical_rows, round_pdg, rows_of
from coregister.result.record import from_record, plain, to_record
from coregister.result.surface import delta_chi2
from coregister.status import ADVISORY, Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from coregister.posterior import Posterior

__all__ = [
    "Coherence",
    "Interpolation",
    "Mode",
    "Registration",
    "axis_names",
    "compact_html",
    "physical_rows",
    "plain",
    "round_pdg",
]

Float = NDArray[np.float64]
Interpolation = Literal["nearest", "linear", "cubic", "quintic"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration(InOtherCoordinates):
    """How far two images of one scene are displaced, and how well that is known.

    Attributes
    ----------
    offset : (ndim,) array
        Where the content of `moving` lies with respect to `reference`: array-axis order, pixels.
    covariance : (ndim, ndim) array
        Statistical covariance of `offset`, px^2; infinite along an undetermined direction.
    model_covariance : (ndim, ndim) array
        What it would be if the noise were even, of the same spectrum; see UNEVEN_NOISE.
    information : (ndim, ndim) array
        Inverse of `covariance`, always finite; eigenvalue 0 along an undetermined direction.
    systematic : (ndim,) array
        Bound on what the covariance cannot see (aliasing, interpolation), px.
    dof : float
        Degrees of freedom behind the bars, above 2: errors follow Student's distribution, of
        which `covariance` is the covariance. Infinite: Gaussian.
    flags : frozenset of Status
        What holds besides OK.
    false_alarm : float
        Probability that two unrelated images give a peak this good.
    modes : tuple of Mode
        All offsets that the data allow, the answer first.
    gain, background : float
        ``moving = gain * reference + background``.
    overlap : float
        Share of the smaller image that both have; of what is valid of them, where a rim is not.
    coherence : Coherence
        Correlation of the two images against frequency.
    n_iter : int
        Steps that the refinement took.
    reference_shape, moving_shape : tuple of int
        Shapes of the two images.
    boundary : {"overlap", "periodic"}
        How the edges were taken.
    """

    offset: Float
    covariance: Float
    model_covariance: Float
    information: Float
    systematic: Float
    dof: float
    flags: frozenset[Status]
    false_alarm: float
    modes: tuple[Mode, ...]
    gain: float
    background: float
    overlap: float
    coherence: Coherence
    n_iter: int
    reference_shape: tuple[int, ...]
    moving_shape: tuple[int, ...]
    boundary: Literal["overlap", "periodic"]
    _pair: Pair | None = field(default=None, repr=False)
    _surface: Callable[[], TrigPolynomial] | None = field(default=None, repr=False)

    # ---------------------------------------------------------------- what it says

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.offset.size

    @property
    def stderr(self) -> Float:
        """Marginal 1-sigma bars of `offset`, px."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def status(self) -> Status:
        """The first flag in the order of `Status`, or OK."""
        return next((status for status in Status if status in self.flags), Status.OK)

    @property
    def trusted(self) -> bool:
        """True if no flag holds but advisory ones: use the offset and its bars as they are."""
        return self.flags <= ADVISORY

    @property
    def matrix(self) -> Float:
        """Linear part for `scipy.ndimage.affine_transform(moving, matrix, offset)`."""
        return np.eye(self.ndim)

    # ---------------------------------------------------------------- regions

    def pull(self, truth: ArrayLike) -> Float:
        """Whitened error ``L^-1 (offset - truth)``, with ``L L^T = covariance``.

        Unit variance over many pairs if the bars are true. Along an undetermined direction it
        is 0, since nothing is claimed there.

        Parameters
        ----------
        truth : (ndim,) array_like
            True offset, px.
        """
        error = self.offset - check_truth(truth, self.ndim)
        if np.all(np.isfinite(self.covariance)):
            return np.linalg.solve(np.linalg.cholesky(self.covariance), error)
        values, vectors = np.linalg.eigh(self.information)
        return np.asarray(np.sqrt(np.clip(values, 0, None)) * (vectors.T @ error))

    def contains(self, truth: ArrayLike, level: float = 0.6827) -> bool:
        """True if `truth` lies in the joint region of probability `level`.

        Parameters
        ----------
        truth : (ndim,) array_like
            True offset, px.
        level : float
            Probability, between 0 and 1.
        """
        error = self.offset - check_truth(truth, self.ndim)
        return bool(error @ self.information @ error <= self.region_level(level))

    def region_level(self, level: float) -> float:
        """Bound on ``error @ information @ error`` in the joint region of probability `level`."""
        return region_level(self.information, self.dof, level)

    def interval(self, level: float = 0.6827) -> Float:
        """Marginal intervals of probability `level`: (ndim, 2), lower and upper, px."""
        half = sigmas(level, self.dof) * self.stderr
        return np.stack([self.offset - half, self.offset + half], axis=1)

    def chi2_map(self, half_width: float = 4.0, points: int = 65) -> tuple[list[Float], Float]:
        """Delta chi^2 around the answer, on a grid.

        Parameters
        ----------
        half_width : float
            Half-width of the grid in units of `stderr`.
        points : int
            Grid points an axis.

        Returns
        -------
        positions : list of (points,) array
            Offsets along each axis, px.
        delta_chi2 : array, ``points`` on every axis
            0 at the answer. The correlation that was fitted, with its maximum at `offset` and
            its curvature that of the bars; or the parabola of the bars, where there is no such
            correlation: in a result that was read back, and where bars are within rounding of 0
            or are not those of a peak.
        """
        return delta_chi2(
            self, None if self._surface is None else self._surface(), half_width, points
        )

    def posterior(self) -> Posterior:
        """Probability of every offset that was searched, given that the images show one scene.

        For a pair so faint that a Gaussian bar is not true any more: all offsets that the data
        allow, how likely each is, and regions that hold the truth as often as they say. Where
        one offset is beyond doubt, it says what the bars say.

        Returns
        -------
        Posterior

        Raises
        ------
        InputError
            If the result was read back and holds no images.

        Examples
        --------
        >>> import warnings
        >>> import numpy as np, coregister as cr
        >>> rng = np.random.default_rng(3)
        >>> scene = cr.random_scene("power-law-2", (32, 32), rng=rng)
        >>> pair = cr.simulate_pair(scene, (3.3, -5.1), noise=3.0, rng=rng, boundary="periodic")
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", cr.RegistrationWarning)
        ...     posterior = cr.register(*pair, boundary="periodic").posterior()
        >>> posterior.contains((3.3, -5.1), 0.95)
        True
        """
        if self._pair is None:
            raise InputError(
                "this result was read back and holds no images, which the posterior is made of: "
                "register the pair again and ask the result of that"
            )
        from coregister.posterior import posterior

        return posterior(
            self._pair,
            modes=self.modes,
            information=self.information,
            dof=self.dof,
            false_alarm=self.false_alarm,
            surface=self._surface,
        )

    # ---------------------------------------------------------------- what it does

    def apply(
        self,
        image: ArrayLike,
        *,
        output_shape: tuple[int, ...] | None = None,
        interpolation: Interpolation = "cubic",
        variance: ArrayLike | None = None,
    ) -> Float | tuple[Float, Float]:
        """Bring `image` (moving, or anything on its grid) onto the grid of the reference.

        Parameters
        ----------
        image : array_like
            Same number of axes as the pair; NaN where nothing is known.
        output_shape : tuple of int, optional
            Default: the shape of the reference.
        interpolation : {"cubic", "quintic", "linear", "nearest"}
            Splines; pass ``"nearest"`` for labels.
        variance : array_like, optional
            Variance of the pixels of `image`, which are taken as independent.

        Returns
        -------
        array, or (array, array) if `variance` is given
            Float64, NaN where nothing is known; the variance of the result likewise. A
            ``DataArray`` gives one, with its dims; and its coordinates, if the shape is its own.
        """
        from coregister.resample import labelled, translate

        moved = translate(
            image,
            self.offset,
            output_shape=self.reference_shape if output_shape is None else output_shape,
            interpolation=interpolation,
            variance=variance,
            periodic=self.boundary == "periodic",
        )
        return labelled(moved, image) if hasattr(image, "dims") else moved

    def plot(
        self,
        reference: Any = None,
        moving: Any = None,
        *,
        origin: Literal["upper", "lower"] | None = None,
    ) -> Figure:
        """Figure: before and after, residual, chi^2 surface with regions, coherence.

        Parameters
        ----------
        reference, moving : array_like, optional
            The images; needed only for a result that was read back from a file.
        origin : {"upper", "lower"}, optional
            Where index (0, 0) is drawn. Default: matplotlib's ``rcParams["image.origin"]``.
        """
        from coregister.plotting import plot_registration

        return plot_registration(self, self.images(reference, moving), origin=origin)

    def report(
        self,
        path: str | os.PathLike[str],
        reference: Any = None,
        moving: Any = None,
        *,
        origin: Literal["upper", "lower"] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a self-contained HTML report.

        Parameters
        ----------
        path : path
            File to write.
        reference, moving : array_like, optional
            The images; needed only for a result that was read back from a file.
        origin : {"upper", "lower"}, optional
            Where index (0, 0) is drawn. Default: matplotlib's ``rcParams["image.origin"]``.
        overwrite : bool
            Replace an existing file.
        """
        from coregister.report import write_report

        write_report(self, self.images(reference, moving), path, origin=origin, overwrite=overwrite)

    def images(self, reference: Any = None, moving: Any = None) -> Pair:
        """The pair that was registered, from the arguments if they are given.

        Raises
        ------
        InputError
            If there are no images, one alone is given, or their shapes are not those of the pair.
        """
        if reference is None and moving is None:
            if self._pair is None:
                raise InputError(
                    "this result was read back and holds no images; both are needed to draw them: "
                    "pass reference= and moving="
                )
            return self._pair
        if reference is None or moving is None:
            raise InputError(
                f"{'reference' if reference is None else 'moving'} is missing; both images are "
                "needed: pass reference= and moving="
            )
        pair = Pair(
            reference=as_image(reference, name="reference"),
            moving=as_image(moving, name="moving"),
            boundary=self.boundary,
            initial=np.zeros(self.ndim),
            max_offset=None,
        )
        shapes = pair.reference.data.shape, pair.moving.data.shape
        if shapes != (self.reference_shape, self.moving_shape):
            raise InputError(
                f"the images have shapes {shapes[0]} and {shapes[1]}, and this result is of "
                f"{self.reference_shape} and {self.moving_shape}; give the pair that was registered"
            )
        return pair

    # ---------------------------------------------------------------- files

    def to_dict(self) -> dict[str, Any]:
        """Everything but the images, in types that JSON knows; infinity becomes ``"inf"``."""
        return to_record(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Registration:
        """The result that `to_dict` wrote.

        Raises
        ------
        InputError
            If the record is not one of ours.
        """
        return from_record(cls, record)

    # ---------------------------------------------------------------- printed forms

    def rows(self) -> list[tuple[str, str]]:
        """Label and value of what the printed forms show."""
        return rows_of(self)

    def verdict(self) -> str:
        """One line: trusted, or which flags hold; good words small, bad words LOUD."""
        names = [status.name for status in Status if status in self.flags]
        if self.trusted:
            return "trusted" + (f" (advisory: {', '.join(names)})" if names else "")
        return "NOT TRUSTED: " + ", ".join(names)

    def remedies(self) -> list[str]:
        """What each flag means and what to do, one sentence a flag."""
        return [f"{s.name}: {s.value}" for s in Status if s in self.flags]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        lines = [self.verdict(), *(f"  {label:<{width}}  {value}" for label, value in rows)]
        return "\n".join([*lines, *(f"  ! {line}" for line in self.remedies())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = self.rows()
        return compact_html(
            self.verdict(),
            self.remedies(),
            rows[: self.ndim],
            rows[self.ndim :],
            good=self.trusted,
        )
