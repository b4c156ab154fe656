"""Candidates for the offset, and how likely chance is to make one as good.

Both images are filtered by the weight that their own spectra suggest, which leaves their samples
nearly independent; the correlation over the overlap, normalised by the energies found there, then
has a known distribution for unrelated images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.search.chance import (
    GAUSSIAN_POWER,
    SPARSE_POWER,
    chance_by_null,
    chance_of_peaks,
)
from coregister.estimator.search.correlation import Lag, around, summit, vertex
from coregister.estimator.search.sparse import chance_of_features, features
from coregister.estimator.stages import Candidate
from coregister.products import dot

Float = NDArray[np.float64]

#: candidates kept, and lags looked at for them: most may lie on the flanks of one broad peak
MAX_CANDIDATES = 5
MAX_LOOKS = 40
#: correlation with the reversed image, at this share of the overlap, that only symmetry makes
SYMMETRIC = 0.5
SYMMETRIC_OVERLAP = 0.3
#: a further candidate must be less likely by chance than this
MAX_CHANCE = 0.01
#: chance of a Gaussian peak below which thirty peaks of the null say less than theory
FAR_TAIL = 1e-4
#: and below this one, since of two estimates the larger is no longer uniform
NEAR_TAIL = 0.03
#: images whose correlation differs from 1 by less are the same, as far as the arithmetic can tell
SAME = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}
#: correlation over more than half of the largest overlap above which nothing is left to chance
IDENTICAL = 0.9
#: pixels around a candidate in which no other is looked for
SEPARATION = 3


def evidence_of(correlation: Any) -> Any:
    """Log-likelihood ratio against "no common content", per independent sample."""
    same = 1 - SAME[np.dtype(correlation.dtype)]
    return -0.5 * np.log1p(-(np.clip(correlation, 0.0, same, dtype=np.float64) ** 2))


def pick(
    correlation: Float,
    samples: Float | float,
    *,
    null: Float,
    counted: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    lags: list[Float],
    roughness: float,
    edge: Callable[[Float], bool],
    band: float,
    periodic: bool,
    sparse_fields: tuple[Float, Float] | None,
) -> list[Candidate]:
    """The highest peaks, with the probability that chance makes them.

    Parameters
    ----------
    correlation : array
        Normalised correlation at every lag, -1 to 1.
    samples : array
        Independent samples in the overlap at every lag; a single number if all lags have as many.
    null : array
        The same correlation with one image flipped: same spectra, no common content.
    counted : bool array
        Lags with overlap enough: from these is learnt what chance does.
    allowed : bool array
        Those of them that may be answered; the same array if all may be.
    lags : list of array
        Lag of every sample along each axis.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    edge : callable
        Tells if an offset lies at the limit of the search.
    band : float
        Independent samples, for each sample of the overlap.
    periodic : bool
        The images wrap around.
    sparse_fields : two arrays or None
        Of a sparse scene, both filtered images.
    """
    every = bool(counted.all())

    def known(values: Float) -> Float:
        return values.ravel() if every else values[counted]

    if isinstance(samples, float):  # the highest correlation has the highest score
        counts, most = np.broadcast_to(samples, correlation.shape), samples
        rank, root, wide = correlation, np.sqrt(samples), known(null)
    else:
        counts, most = samples, float(samples.max())
        rank, root = evidence_of(correlation) * samples, np.sqrt(known(samples))
        wide = null[counted & (samples > SYMMETRIC_OVERLAP * most)]
    rank = np.array(rank) if allowed.all() else np.where(allowed, rank, -np.inf)
    # unrelated images scatter by 1 in these units; more, where samples are fewer than thought
    chance = known(null) * root
    scatter = max(0.8, np.sqrt(dot(chance, chance) / chance.size)) if chance.size else 1.0
    if wide.size and wide.max() > SYMMETRIC:
        scatter = 1.0  # stripes, a lattice: flipping it does not make the scene another one
    lags_allowed = float(np.count_nonzero(allowed))
    spacing = np.array([lag.reshape(-1)[1] - lag.reshape(-1)[0] for lag in lags])

    @cache
    def tail() -> Callable[[float], float] | None:
        power = GAUSSIAN_POWER if sparse_fields is None else SPARSE_POWER
        return chance_by_null(null * np.sqrt(samples), counted, allowed, power)

    seen = [features(field) for field in sparse_fields or ()]

    def height(near: tuple[NDArray[np.intp], ...]) -> Float:
        values = correlation[near]
        if not isinstance(samples, float):
            values = evidence_of(values) * samples[near]
        return np.where(allowed[near], values, -np.inf)

    candidates: list[Candidate] = []
    summits: list[Lag] = []
    for _ in range(MAX_LOOKS):
        best = tuple(int(i) for i in np.unravel_index(int(np.argmax(rank)), rank.shape))
        if rank[best] == -np.inf:
            break
        near = around(best, rank.shape, SEPARATION)
        top = summit(height, best, rank.shape) if summits else best  # nothing is higher
        rank[near] = -np.inf
        if top in summits:
            continue  # on the flank of a candidate: it would only lead there
        summits.append(top)
        offset = np.array(
            [float(lag.reshape(-1)[index]) for lag, index in zip(lags, best, strict=True)]
        )
        evidence, count = float(evidence_of(correlation[best])), float(counts[best])
        z = np.sqrt(2 * evidence * count) / scatter
        heights = z * np.array([scatter, 1.0])
        plain, false_alarm = chance_of_peaks(heights, lags_allowed, roughness, rank.ndim).tolist()
        rival = plain
        if candidates and sparse_fields is None and rival > MAX_CHANCE:
            break  # as below, where there is more to be asked
        same = correlation[best] > IDENTICAL and count > most / 2
        if sparse_fields is not None and not same:
            told = tail()
            by_null = chance_of_features(
                sparse_fields,
                seen,
                offset / spacing,
                1.0 if told is None else told(z * scatter),
                lags=lags_allowed,
                band=band,
                roughness=roughness,
                periodic=periodic,
            )
            rival = false_alarm = max(false_alarm, by_null)
        elif false_alarm > FAR_TAIL and not same:
            told = tail()
            by_null = false_alarm if told is None else told(z * scatter)
            # what is doubtful is judged by both; what is not, by the scenes themselves
            false_alarm = max(false_alarm, by_null) if false_alarm < NEAR_TAIL else by_null
        if candidates and rival > MAX_CHANCE:
            break  # no match in its own right, so no rival of the first
        candidates.append(
            Candidate(
                offset=offset + spacing * vertex(correlation, best),
                evidence=evidence,
                samples=count,
                false_alarm=false_alarm,
                plain=plain,
                at_edge=edge(offset),
            )
        )
        if len(candidates) == MAX_CANDIDATES:
            break
    return candidates
