"""From fits to a verdict: which flags hold, and what the answer then is."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coregister.errors import RegistrationWarning
from coregister.estimator.levels import coarsely_rounded
from coregister.estimator.matrices import principal
from coregister.estimator.stages import Candidate, Fit
from coregister.images import Pair
from coregister.result import Coherence, Mode, Registration
from coregister.status import Status

Float = NDArray[np.float64]

#: unrelated images give a peak that is trusted with this probability
MAX_FALSE_ALARM = 2e-4
#: share of the best candidate's evidence that a rival has at least
RIVAL = 0.6
#: another offset is an alternative while it is less likely than the best by at most this
MAX_LOG_ODDS = 12.0
#: a pair that is only shifted is flagged as distorted with this probability
MAX_DISTORTION = 1e-6
#: the same for frequencies that disagree, and for coarse ones that agree elsewhere
MAX_DISPERSION = 1e-6
#: the same for a ring that is anticorrelated, and for what is left over, where it is opposite to
#: itself; lower, since modes are taken as independent, and chance as Gaussian
MAX_CONTRADICTION = 1e-9
#: the same for either where it is likely beforehand: a pattern where the answer stays in place, a
#: source that moves by itself where the noise is uneven
MAX_IF_LIKELY = 1e-3
#: and where aliasing may make noise uneven
MAX_IF_ALIASED = 1e-4
#: energy of a second scene, in units of the first, below which the bars hold beside it
SECOND_SCENE = 0.01
#: share of the best candidate's evidence, in the search, above which a scene repeats there
REPEATS = 0.75
#: offset (px) below which frequencies that disagree point to a pattern that stays in place
FIXED = 0.1
#: bars differ from those of even noise where they do by more than this factor
UNEVEN = 1.5
#: share of the smaller image below which an overlap is too small
LOW_OVERLAP = 0.1
#: components of an open direction below this are taken as noise
TILT = 0.03
#: bars do not go below what the arithmetic gives, px
PRECISION = 1e-10


def rivals(candidates: list[Candidate]) -> list[Candidate]:
    """The best candidate and those that could be as good after refinement.

    A rival agrees about as well, and on no much smaller part of the images: a few stars fit a few
    others somewhere, and say nothing against a match of all of them.
    """
    best, *others = candidates
    return [best] + [
        other
        for other in others
        if other.total > REPEATS * best.total
        or (other.evidence > RIVAL * best.evidence and other.total > RIVAL / 2 * best.total)
    ]


def conclude(pair: Pair, fits: list[Fit]) -> Registration:
    """The result, with every flag that holds.

    Parameters
    ----------
    pair : Pair
    fits : list of Fit
        Refinements of the rivals, at least one.
    """
    fits = _distinct(fits)
    best = fits[0]
    odds = np.array([max(np.exp(_log_odds(fit, best)), _repeats(fit, best)) for fit in fits])
    probability = odds / odds.sum()
    directions = _directions(best)
    covariance = _open(best.covariance, directions)
    model_covariance = _open(best.model_covariance, directions)
    information = _information(best.covariance, directions)
    flags = set()
    open_axis = not np.all(np.isfinite(covariance))
    # stripes match their mirror image too: what they lack is not a match
    stripes = open_axis and np.any(information) and best.candidate.plain < MAX_FALSE_ALARM**3
    if best.candidate.false_alarm > MAX_FALSE_ALARM and not stripes:
        flags.add(Status.NO_MATCH)
    if np.any(odds[1:] > np.exp(-MAX_LOG_ODDS)):
        flags.add(Status.AMBIGUOUS)
    if open_axis:
        flags.add(Status.UNDETERMINED_AXIS)
    if best.candidate.at_edge or _outside(pair, best.offset):
        flags.add(Status.SEARCH_EDGE)
    if best.overlap < LOW_OVERLAP:
        flags.add(Status.LOW_OVERLAP)
    excess = _excess(covariance, model_covariance)
    uneven = excess > UNEVEN and best.unevenness < MAX_FALSE_ALARM
    stderr = np.sqrt(covariance.diagonal())
    still = bool(in_place(best.offset - pair.rest, stderr))
    echo, second = best.echo(0.0 if still or uneven else SECOND_SCENE)
    # noise that only its pixels explain may be a source that moves by itself, or aliasing
    aliased = np.any(best.systematic > np.sqrt(np.diag(model_covariance)))
    uncommon = MAX_IF_ALIASED if aliased else MAX_IF_LIKELY
    distorted = uneven and min(best.distortion, echo) < uncommon
    if distorted or best.distortion < MAX_DISTORTION:
        flags.add(Status.MISFIT)
    limit = MAX_IF_LIKELY if still else MAX_DISPERSION
    apart = min(best.dispersion.anyhow, best.competing, echo if still else 1.0) < limit
    apart = apart or best.contradiction < MAX_CONTRADICTION
    apart = apart or (echo < MAX_CONTRADICTION and second > SECOND_SCENE)
    if best.dispersion.along < uncommon and not apart:
        flags.add(Status.FIXED_PATTERN)
    if apart or (still and best.lines_alone()):
        flags.add(Status.FIXED_PATTERN if still else Status.MISFIT)
    if not best.converged:
        flags.add(Status.NOT_CONVERGED)
    if any(coarsely_rounded(image) for image in pair.images):
        flags.add(Status.COARSE_LEVELS)
    if np.any(best.systematic > stderr):
        flags.add(Status.UNDERSAMPLED)
    if uneven:
        flags.add(Status.UNEVEN_NOISE)
    offset = best.offset
    if Status.NO_MATCH in flags:  # a guess: it may lie anywhere
        sides = np.array([max(n) for n in zip(*_shapes(pair), strict=True)], dtype=float)
        anywhere = np.diag(sides**2 / 12)
        if open_axis:
            covariance = model_covariance = anywhere
            information = np.diag(12 / sides**2)
            flags.discard(Status.UNDETERMINED_AXIS)
        else:
            chance = best.candidate.false_alarm
            covariance = covariance + chance * anywhere
            model_covariance = model_covariance + chance * anywhere
    elif open_axis:
        known, _ = directions
        offset = pair.initial + known @ (known.T @ (offset - pair.initial))
    covariances = [covariance] + [_open(f.covariance, _directions(f)) for f in fits[1:]]
    kept = [i for i in range(len(fits)) if odds[i] > np.exp(-MAX_LOG_ODDS)]
    return announce(
        Registration(
            offset=offset,
            covariance=covariance,
            model_covariance=model_covariance,
            information=information,
            systematic=best.systematic,
            dof=best.dof,
            flags=frozenset(flags),
            false_alarm=best.candidate.false_alarm,
            modes=tuple(
                Mode(
                    offset=offset if i == 0 else fits[i].offset,
                    covariance=covariances[i],
                    probability=float(probability[i]),
                )
                for i in kept
            ),
            gain=best.gain,
            background=best.background,
            overlap=best.overlap,
            coherence=Coherence(best.frequency, best.coherence),
            n_iter=best.n_iter,
            reference_shape=pair.reference.values.shape,
            moving_shape=pair.moving.values.shape,
            boundary=pair.boundary,
            _pair=pair,
            _surface=best.surface,
        )
    )


def in_place(offset: Float, stderr: Float) -> NDArray[np.bool_]:
    """True for answers so near to zero that a pattern which stays in place may have made them.

    Parameters
    ----------
    offset, stderr : (..., ndim) array
    """
    near = np.abs(offset) < FIXED + np.minimum(2 * stderr, 2 * FIXED)
    return np.asarray(near.all(axis=-1))


def unknown(pair: Pair, why: Status) -> Registration:
    """The result for a pair of which nothing is known, and the flag that says why."""
    ndim = pair.ndim
    covariance = np.where(np.eye(ndim, dtype=bool), np.inf, 0.0)
    nothing = np.zeros(0)
    return announce(
        Registration(
            offset=pair.initial.copy(),
            covariance=covariance,
            model_covariance=covariance,
            information=np.zeros((ndim, ndim)),
            systematic=np.zeros(ndim),
            dof=np.inf,
            flags=frozenset({Status.UNDETERMINED_AXIS, why}),
            false_alarm=1.0,
            modes=(Mode(offset=pair.initial.copy(), covariance=covariance, probability=1.0),),
            gain=1.0,
            background=0.0,
            overlap=1.0,
            coherence=Coherence(nothing, nothing),
            n_iter=0,
            reference_shape=pair.reference.values.shape,
            moving_shape=pair.moving.values.shape,
            boundary=pair.boundary,
            _pair=pair,
        )
    )


def announce(result: Registration) -> Registration:
    """Warn once if the result must not be used as it is."""
    if not result.trusted:
        # the caller's line: announce <- conclude or unknown <- measure <- register <- caller
        warnings.warn("; ".join(result.remedies()), RegistrationWarning, stacklevel=5)
    return result


def _shapes(pair: Pair) -> list[tuple[int, ...]]:
    return [image.values.shape for image in pair.images]


def _distinct(fits: list[Fit]) -> list[Fit]:
    """Fits in order of likelihood, without those that say the same where anything is known.

    Several candidates may lead to one offset: the best of them tells how likely chance is.
    """
    ordered = sorted(fits, key=lambda fit: fit.evidence * fit.modes, reverse=True)
    kept: list[Fit] = []
    for fit in ordered:
        same = next((i for i, other in enumerate(kept) if not _apart(fit, other)), None)
        if same is None:
            kept.append(fit)
        elif fit.candidate.total > kept[same].candidate.total:
            kept[same] = replace(kept[same], candidate=fit.candidate)
    return kept


def _apart(fit: Fit, other: Fit) -> bool:
    known, _ = _directions(fit)
    return bool(np.linalg.norm(known.T @ (fit.offset - other.offset)) > 0.5)


def _directions(fit: Fit) -> tuple[Float, Float]:
    """Unit vectors, in columns, along which something is known, and the others."""
    values, vectors = principal(fit.information)
    determined = values > 1e-10 * values.max(initial=1e-300)
    if determined.all() or not determined.any():
        return vectors[:, determined], vectors[:, ~determined]
    # noise tilts an open axis a little; it is the axis that is meant
    aligned = np.where(np.abs(vectors[:, ~determined]) < TILT, 0.0, vectors[:, ~determined])
    basis, _ = np.linalg.qr(np.hstack([aligned, vectors[:, determined]]))
    count = aligned.shape[1]
    return basis[:, count:], basis[:, :count]


def _log_odds(fit: Fit, other: Fit) -> float:
    """Log-odds of two offsets, on as much of the scene as both compare.

    An offset with less overlap is not the less likely for it. Two overlaps hold different noise,
    so their evidence differs by chance; it counts in units of a third of that.
    """
    modes = min(fit.modes, other.modes)
    chance = np.sqrt(2 * max(fit.evidence, other.evidence) * modes)
    return float(min((fit.evidence - other.evidence) * modes / max(1.0, chance / 3), 0.0))


def _repeats(fit: Fit, best: Fit) -> float:
    """How well the search rated an offset beside the best; 0 if less well than a repeat would be.

    A scene that repeats matches itself a period away as well. Where something else in the field
    spoils the right match, refinement may favour the wrong one beyond doubt; the search, in which
    no pixel has much to say, is not misled so.
    """
    first, second = best.candidate.total, fit.candidate.total
    return float(min(second / first, 1.0)) if second > REPEATS * first else 0.0


def _outside(pair: Pair, offset: Float) -> bool:
    if pair.max_offset is None:
        return False
    return bool(np.any(np.abs(offset - pair.initial) > pair.max_offset))


def _excess(covariance: Float, model: Float) -> float:
    """Factor by which two sets of bars differ, either way, along the axis where it is largest."""
    seen, even = covariance.diagonal(), model.diagonal()
    finite = np.isfinite(seen) & np.isfinite(even)
    return float(np.exp(np.max(np.abs(np.log(seen[finite] / even[finite])) / 2, initial=0.0)))


def _information(covariance: Float, directions: tuple[Float, Float]) -> Float:
    """Inverse of a covariance along the `_directions` that are known, 0 along the others."""
    known, _ = directions
    information = known @ np.linalg.inv(_inner(covariance, known)) @ known.T
    return np.asarray((information + information.T) / 2)


def _open(covariance: Float, directions: tuple[Float, Float]) -> Float:
    """The covariance, infinite along the `_directions` of which nothing is known."""
    known, unknown_directions = directions
    full = known @ _inner(covariance, known) @ known.T
    for u in unknown_directions.T:
        product = np.outer(u, u)
        open_entries = np.abs(product) > 1e-6
        full[open_entries] = np.sign(product[open_entries]) * np.inf
    return np.asarray(full)


def _inner(covariance: Float, known: Float) -> Float:
    return np.asarray(known.T @ covariance @ known + PRECISION**2 * np.eye(known.shape[1]))
