"""The pipeline: the only module that knows the order of the stages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from coregister.errors import InputError
from coregister.estimator.overlap import OverlapRoute
from coregister.estimator.periodic import PeriodicRoute
from coregister.estimator.single import Single
from coregister.estimator.stages import Fit, NothingSharedError, Route
from coregister.images import Pair, as_image, prepare, together
from coregister.result import Registration
from coregister.status import Status
from coregister.trust import conclude, rivals, unknown


def register(
    reference: Any,
    moving: Any,
    *,
    reference_err: ArrayLike | None = None,
    moving_err: ArrayLike | None = None,
    reference_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
    boundary: Literal["overlap", "periodic"] = "overlap",
    max_offset: ArrayLike | None = None,
    initial: ArrayLike | None = None,
    model: Literal["translation"] = "translation",
) -> Registration:
    """Measure how far two images of one scene are displaced, and how well that is known.

    Nothing need be known about the noise, the gain or the background: they are learnt from the
    pair. Only what both images show is compared, so contents may enter and leave.

    Parameters
    ----------
    reference, moving : array_like
        Real, the same number of axes (1 to 3 or more), any sizes that can overlap, any dtype and
        byte order. Also `numpy.ma`, ``NDData``/``CCDData``, ``xarray.DataArray``, images of
        SimpleITK, dask and zarr arrays, or the path of a file. Never modified. NaN and infinite
        pixels are left out, and so are rows and columns at the rim that hold one value where the
        next ones do not: an earlier shift or crop was padded with it.
    reference_err, moving_err : float or array_like, optional
        1-sigma noise of the pixels. None = learnt from the pair. Only the variation over the
        field matters: the level is learnt in any case. A scalar 0 means noiseless; array
        entries 0, NaN or infinite exclude the pixel.
    reference_valid, moving_valid : array_like of bool, optional
        True = use this pixel.
    boundary : {"overlap", "periodic"}
        "overlap": real edges. "periodic": the images are one period each, of one shape.
    max_offset : float or array_like, optional
        The offset is looked for within ``initial +- max_offset`` pixels.
    initial : array_like, optional
        Prior guess of the offset, pixels.
    model : {"translation"}
        What may differ between the images.

    Returns
    -------
    Registration
        ``offset`` is where the content of `moving` lies with respect to `reference`: array-axis
        order, pixels. A difficult pair does not raise: it comes back flagged.

    Raises
    ------
    InputError
        If the input cannot be used; the message says what to do.

    Warns
    -----
    RegistrationWarning
        If the result is flagged.

    Notes
    -----
    Coherence-weighted generalised least squares on the overlap: the maximum-likelihood weight of
    Knapp & Carter (1976, doi:10.1109/TASSP.1976.1162830) with spectra read from the pair, and a
    sandwich covariance from what is left over.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> rng = np.random.default_rng(1)
    >>> scene = cr.fourier_shift(rng.normal(size=(96, 96)).cumsum(0).cumsum(1), (0, 0))
    >>> result = cr.register(scene[8:72, 8:72], scene[5:69, 13:77])
    >>> result.offset.round(3) + 0.0
    array([ 3., -5.])
    """
    if model != "translation":
        raise InputError(
            f"model={model!r} is not available; 'translation' is the only one: leave model out"
        )
    pair = prepare(
        reference,
        moving,
        reference_err=reference_err,
        moving_err=moving_err,
        reference_valid=reference_valid,
        moving_valid=moving_valid,
        boundary=boundary,
        max_offset=max_offset,
        initial=initial,
    )
    return measure(pair)


class Reference:
    """One reference and many images to be compared with it.

    What is worked out from the reference alone, its transforms and spectra, is kept from one
    image to the next; the results are those of `register`.

    Parameters
    ----------
    reference : array_like
        As for `register`.
    err : float or array_like, optional
        1-sigma noise of its pixels.
    valid : array_like of bool, optional
        True = use this pixel.
    boundary : {"overlap", "periodic"}
        As for `register`.

    Raises
    ------
    InputError
        If it cannot be used.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> rng = np.random.default_rng(1)
    >>> scene = cr.fourier_shift(rng.normal(size=(96, 96)).cumsum(0).cumsum(1), (0, 0))
    >>> reference = cr.Reference(scene[8:72, 8:72])
    >>> [reference.register(scene[5:69, j:j+64]).offset.round(3).tolist() for j in (10, 13)]
    [[3.0, -2.0], [3.0, -5.0]]
    """

    def __init__(
        self,
        reference: Any,
        *,
        err: ArrayLike | None = None,
        valid: ArrayLike | None = None,
        boundary: Literal["overlap", "periodic"] = "overlap",
    ) -> None:
        periodic = boundary == "periodic"
        self._image = as_image(
            reference, err=err, valid=valid, name="reference", err_name="err", padded=not periodic
        )
        self._boundary = boundary
        # any pair tells if the boundary is known
        together(self._image, self._image, boundary=boundary, max_offset=None, initial=None)
        self._single = Single.of(self._image, periodic=periodic)

    def register(
        self,
        moving: Any,
        *,
        moving_err: ArrayLike | None = None,
        moving_valid: ArrayLike | None = None,
        max_offset: ArrayLike | None = None,
        initial: ArrayLike | None = None,
    ) -> Registration:
        """Measure how far an image is displaced from the reference.

        Parameters
        ----------
        moving, moving_err, moving_valid, max_offset, initial
            As for `coregister.register`.

        Returns
        -------
        Registration

        Raises
        ------
        InputError
            If the input cannot be used.
        """
        periodic = self._boundary == "periodic"
        image = as_image(
            moving, err=moving_err, valid=moving_valid, name="moving", padded=not periodic
        )
        pair = together(
            self._image, image, boundary=self._boundary, max_offset=max_offset, initial=initial
        )
        return measure(pair, (self._single, Single.of(image, periodic=periodic)))


def measure(pair: Pair, singles: tuple[Single, Single] | None = None) -> Registration:
    """The stages, one after the other, on what is known of single images where that is kept."""
    if any(image.constant for image in pair.images):
        return unknown(pair, Status.CONSTANT_IMAGE)
    if singles is None:
        periodic = pair.boundary == "periodic"
        first, second = (Single.of(image, periodic=periodic) for image in pair.images)
        singles = first, second
    reference, moving = singles
    away = moving.start - reference.start
    parts = replace(
        pair,
        reference=reference.given,
        moving=moving.given,
        initial=pair.initial - away,
        rest=np.asarray(pair.rest - away, dtype=np.float64),
    )
    fits = [fit.seen_from(away) for fit in fits_of(parts, singles)]
    return conclude(pair, fits) if fits else unknown(pair, Status.LOW_OVERLAP)


def fits_of(pair: Pair, singles: tuple[Single, Single]) -> list[Fit]:
    """Refinements of the candidate offsets that rival each other.

    None where there is no offset at which both images show something.
    """
    route = route_of(pair, singles)
    fits = _refined(route)
    if isinstance(route, PeriodicRoute) and any(fit.outlying for fit in fits):
        # the other route looks at pixels one by one: a few stars stay, rays and hot pixels do not
        others = _refined(OverlapRoute(pair, singles))
        if any(fit.outlying for fit in others):
            return others
    return fits


def _refined(route: Route) -> list[Fit]:
    candidates = route.search()
    fits = []
    for candidate in rivals(candidates) if candidates else []:
        with suppress(NothingSharedError):
            fits.append(route.refine(candidate))
    return fits


def route_of(pair: Pair, singles: tuple[Single, Single]) -> Route:
    """The route that a pair takes."""
    if pair.boundary == "periodic" and pair.uniform:
        return PeriodicRoute(pair, singles)
    return OverlapRoute(pair, singles)
