"""Bars and flags of many windows together, by the formulas of `estimator.uncertainty` and `trust`.

What those ask further about, in pixels or at other offsets, is not asked here: such a window is
in doubt, and is measured by itself.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.fill import departure, outliers
from coregister.estimator.movable import FADE, faded
from coregister.estimator.overlap import COLOUR
from coregister.estimator.overlap.rays import OUTLIER_SHARE
from coregister.estimator.uncertainty import FEWEST_DOF, NOISELESS
from coregister.estimator.uncertainty.aliasing import aliased, folded_power
from coregister.estimator.uncertainty.covariance import MOST_LOST, STEP_ASIDE
from coregister.estimator.uncertainty.disagreement import (
    ASK_PIXELS,
    BANDS,
    COARSE_EXCESS,
    FINER_BANDS,
    NEAR,
    contradictions,
)
from coregister.estimator.uncertainty.misfit import echoes
from coregister.products import matmul
from coregister.trust import (
    MAX_CONTRADICTION,
    MAX_DISTORTION,
    MAX_FALSE_ALARM,
    MAX_IF_LIKELY,
    PRECISION,
    SECOND_SCENE,
    UNEVEN,
    in_place,
)
from coregister.windows.descent import Patches, Settled
from coregister.windows.equations import DX, DY, X, Y, ring_means
from coregister.windows.kernels import REACH, SINGLE, Kernels
from coregister.windows.spectra import photometry

Float = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

#: a whitened residual beyond this may hold an outlier
LOOK_CLOSER = 5.0


class Verdict(NamedTuple):
    """What is known of every window.

    Attributes
    ----------
    covariance : (n, 2, 2) array
    misfit, fixed, uneven, undersampled : (n,) bool array
        Flags.
    doubt : (n,) bool array
        Windows to be measured by themselves.
    pulled : (n, bands) array
        What bands of frequencies ask for along the offset beside what all do, each in its own
        bars; NaN where that is not asked.
    """

    covariance: Float
    misfit: Mask
    fixed: Mask
    uneven: Mask
    undersampled: Mask
    doubt: Mask
    pulled: Float


def conclude(kernels: Kernels, settled: Settled, patches: Patches, whole: Float) -> Verdict:
    """Bars and flags, at the optimum.

    Parameters
    ----------
    kernels : Kernels
    settled : Settled
    patches : two arrays
        As for `descend`.
    whole : (n, 2) array
        The whole-pixel offset of these.
    """
    equations, modes = settled.equations, settled.modes
    spectra, count, n = equations.spectra, kernels.count, len(modes)
    noise, scene = spectra.residual, spectra.scene
    noisy = noise @ count > NOISELESS * (scene @ count)
    clear = kernels.frequency < FADE[0]
    doubt = ~settled.settled | ~noisy | np.any(equations.values <= 0, axis=1)
    doubt |= noise.max(axis=1) > COLOUR * noise[:, clear].min(axis=1)
    doubt |= _second_scene(kernels, spectra.coherence, noise)

    fields = np.concatenate(
        [equations.residual[:, None], equations.gradient, equations.scene[:, None]], axis=1
    )
    fields = fields.astype(SINGLE)
    values = fields[:, :, :6] @ modes
    if equations.tilted.any():
        values += fields[:, :, 6:] @ kernels.slopes
    residual, gradient = values[:, 0], values[:, 1:3]
    bread = equations.bread
    loosened = loosened_by(kernels, settled, values[:, :3], bread)
    white = np.sqrt(kernels.spread_out(noise))
    leverage = _leverage(bread, gradient) + _nuisance_leverage(kernels, settled, values[:, 3])
    leverage *= equations.weight
    kept = np.sqrt(1.0 - np.clip(leverage, 0.0, 0.9))
    weighted = gradient * equations.weight[:, None]
    pulling = np.concatenate([weighted, values[:, 3:] * equations.weight[:, None]], axis=1)
    pulling *= white[:, None]
    in_pixels = kernels.untransform(
        np.concatenate([(residual / (white * kept))[:, None], pulling], axis=1)
    ).reshape(n, 4, -1)
    left = _unabsorbed(in_pixels[:, 0], in_pixels[:, 1:])
    pulls = in_pixels[:, 1:3]

    share = equations.weight * np.einsum("nik,nik->nk", gradient, gradient)
    effective = share.sum(axis=1) ** 2 / np.maximum(np.einsum("nk,nk->n", share, share), 1e-300)
    seen, even, pixels, chance = _spread(left, pulls, loosened)
    dof = np.maximum(np.minimum(effective - 4, pixels), FEWEST_DOF)
    student = (dof / (dof - 2.0))[:, None, None]
    covariance = student * seen + PRECISION**2 * np.eye(2)
    model = student * even + PRECISION**2 * np.eye(2)

    ratio = np.einsum("nii->ni", covariance) / np.maximum(np.einsum("nii->ni", model), 1e-300)
    excess = np.exp(np.max(np.abs(np.log(np.maximum(ratio, 1e-300))), axis=1) / 2)
    uneven = (excess > UNEVEN) & (chance < MAX_FALSE_ALARM)
    shape = kernels.shape
    rest = left.reshape(n, *shape)
    warp = _distortion(rest, pulls.reshape(n, 2, *shape))
    offset, stderr = whole + settled.offset, np.sqrt(np.einsum("nii->ni", covariance))
    still = in_place(offset, stderr)
    second = contradictions(spectra.coherence, count) < MAX_CONTRADICTION
    signal = scene / np.maximum(noise, 1e-300)
    echo, energy = echoes(rest, kernels.frequency, count, signal, closely=still | uneven)
    second |= (echo < MAX_CONTRADICTION) & (energy > SECOND_SCENE)
    echoed = echo < MAX_IF_LIKELY
    second |= echoed & still
    # noise that only its pixels explain may be a source that moves by itself
    misfit = (warp < MAX_DISTORTION) | (uneven & (echoed | (warp < MAX_IF_LIKELY)))
    agreed, pulled = _dispersion(kernels, residual, weighted, gradient, white / kept, offset)
    doubt |= agreed < ASK_PIXELS
    doubt |= _outlying(kernels, residual, left, patches, equations.gain)
    fixed, misfit = second & still, misfit | (second & ~still)
    systematic = _aliasing(kernels, settled, gradient, bread)
    undersampled = np.any(systematic > stderr, axis=1)
    pulled[undersampled] = np.nan  # aliasing pulls along the offset, too, in the same way in all
    return Verdict(
        covariance=covariance,
        misfit=misfit,
        fixed=fixed,
        uneven=uneven,
        undersampled=undersampled,
        doubt=doubt,
        pulled=pulled,
    )


def _second_scene(kernels: Kernels, coherence: Float, noise: Float) -> Mask:
    """Where coarse frequencies leave more behind than fine ones; see `uncertainty.competing`."""
    frequency = kernels.frequency
    coarse = (frequency > BANDS[0]) & (frequency < BANDS[2])
    fine = (frequency > BANDS[3]) & (frequency < FADE[0])
    if not coarse.any() or not fine.any():
        return np.zeros(len(noise), dtype=bool)
    agreement = coherence[:, fine].max(axis=1) - coherence[:, coarse].min(axis=1)
    steep = noise[:, coarse].max(axis=1) >= COARSE_EXCESS * noise[:, fine].min(axis=1)
    return np.asarray((agreement >= 0.05) & steep)


def loosened_by(kernels: Kernels, settled: Settled, values: Float, bread: Float) -> Float:
    """See `uncertainty.loosened_by`; the images are moved by their derivatives, to first order."""
    equations, modes = settled.equations, settled.modes
    n, gain, share = len(modes), equations.gain, equations.spectra.share
    residual, gradient = values[:, 0], values[:, 1:]
    scene = equations.scene[:, :6][:, None].astype(SINGLE) @ modes
    both = scene[:, 0], residual
    pairs = [(both[i], both[j]) for i, j in ((0, 0), (0, 1), (1, 1))]
    pairs += [(field, modes[:, row]) for field in both for row in range(DX.start, DY.stop)]
    ss, sr, rr, *crossed = ring_means(kernels, pairs)
    # reference and moving are put together from the scene and what is left over
    of_x = [(s - share * r) / gain[:, None] for s, r in zip(crossed[:4], crossed[4:], strict=True)]
    of_y = [s + (1 - share) * r for s, r in zip(crossed[:4], crossed[4:], strict=True)]
    means = of_x[:2] + of_y[2:] + of_x[2:] + of_y[:2]
    xx = (ss - 2 * share * sr + share**2 * rr) / gain[:, None] ** 2
    yy = ss + 2 * (1 - share) * sr + (1 - share) ** 2 * rr
    xy = (ss + (1 - 2 * share) * sr - share * (1 - share) * rr) / gain[:, None]
    bars = np.sqrt(np.clip(np.einsum("nii->ni", bread), 0.0, None))
    known = bars > 0
    away = STEP_ASIDE * np.where(known, bars, 1.0)
    sides = []
    for axis in range(2):
        changes = [
            away[:, axis, None] * change
            for change in (-means[axis], means[2 + axis], (means[4 + axis] - means[6 + axis]) / 2)
        ]
        for sign in (-1, 1):
            sides.append([a + sign * b for a, b in zip((xx, yy, xy), changes, strict=True)])
    stacked = [np.concatenate(part) for part in zip(*sides, strict=True)]
    least = [1e-3 * np.tile(part, (4, 1)) for part in (xx, yy)]
    _, spectra = photometry(
        xx=np.maximum(stacked[0], least[0]),
        yy=np.maximum(stacked[1], least[1]),
        xy=stacked[2],
        count=kernels.count,
        gain=np.tile(gain, 4),
        scene=np.tile(equations.spectra.scene, (4, 1)),
    )
    weights = spectra.weight.reshape(2, 2, n, -1)  # axis, side
    products = (gradient * residual[:, None]) @ kernels.spread.T
    change = np.einsum("nir,anr->nia", products, weights[:, 0] - weights[:, 1])
    change *= (known / (2 * away))[:, None]
    values_, vectors = np.linalg.eigh(bread)
    root = (vectors * np.sqrt(np.clip(values_, 0.0, None))[:, None]) @ vectors.transpose(0, 2, 1)
    lost, axes = np.linalg.eigh(root @ (change + change.transpose(0, 2, 1)) @ root / 2)
    wider = axes / (1.0 - np.clip(lost, 0.0, MOST_LOST))[:, None]
    return np.asarray(root @ wider @ axes.transpose(0, 2, 1) @ root)


def _leverage(inverse: Float, columns: Float) -> Float:
    """Diagonal of ``columns^T inverse columns``: (n, modes)."""
    return np.asarray(np.einsum("nik,nik->nk", inverse.astype(SINGLE) @ columns, columns))


def _nuisance_leverage(kernels: Kernels, settled: Settled, scene: Float) -> Float:
    inverse, tilted = settled.equations.nuisance_inverse, settled.equations.tilted
    share = inverse[:, 0, :1].astype(SINGLE) * scene**2
    if tilted.any():
        slopes = np.broadcast_to(kernels.slopes, (int(tilted.sum()), *kernels.slopes.shape))
        columns = np.concatenate([scene[tilted][:, None], slopes], axis=1)
        share[tilted] = _leverage(inverse[tilted], columns)
    return np.asarray(share)


def _unabsorbed(left: Float, columns: Float) -> Float:
    """See `equations.unabsorbed`."""
    products = (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
    inverse = np.asarray(np.linalg.pinv(products, hermitian=True))
    return np.asarray(left / np.sqrt(1.0 - np.clip(_leverage(inverse, columns), 0.0, 0.9)))


def _spread(left: Float, pulls: Float, bread: Float) -> tuple[Float, Float, Float, Float]:
    """See `uncertainty.spread_of`: covariances seen and even, pixels behind the first, chance."""
    from scipy.special import gammainc, gammaincc

    pulls = bread @ pulls
    level = np.mean(left**2, axis=1)
    even = level[:, None, None] * (pulls @ pulls.transpose(0, 2, 1))
    squares = pulls**2
    total = squares.sum(axis=2)
    dof = total**2 / np.maximum(np.einsum("nik,nik->ni", squares, squares), 1e-300)
    pulls = pulls * left[:, None]
    seen = pulls @ pulls.transpose(0, 2, 1)
    diagonal = np.einsum("nii->ni", seen)
    np.square(pulls, out=pulls)
    fourth = np.maximum(np.einsum("nik,nik->ni", pulls, pulls), 1e-300)
    pixels = np.max(2 * diagonal**2 / fourth, axis=1)
    expected = level[:, None] * total
    known = expected > 0
    chi2 = np.divide(diagonal, expected, out=np.ones_like(diagonal), where=known) * dof
    tails = np.minimum(gammainc(dof / 2, chi2 / 2), gammaincc(dof / 2, chi2 / 2))
    chance = np.min(np.where(known, 4 * tails, 1.0), axis=1)
    return seen, even, pixels, np.minimum(chance, 1.0)


def _distortion(left: Float, pulls: Float) -> Float:
    """See `uncertainty.distortion`."""
    from scipy.special import gammaincc

    n = len(left)
    energy = np.einsum("nijk,nijk->njk", pulls, pulls)
    arms = []
    for axis, size in enumerate(left.shape[1:]):
        arm = np.linspace(-1.0, 1.0, size)
        along_axis = energy.sum(axis=2 - axis)
        total = along_axis.sum(axis=1)
        middle = np.divide(along_axis @ arm, total, out=np.zeros(n), where=total > 0)
        arms.append(arm - middle[:, None])
    scores = pulls * left[:, None]
    amplitude, scatter = np.empty((n, 2, 2)), np.empty((n, 2, 2, 2, 2))
    for i in range(2):
        amplitude[:, i, 0] = np.einsum("nj,nj->n", scores[:, i].sum(axis=2), arms[0])
        amplitude[:, i, 1] = np.einsum("nk,nk->n", scores[:, i].sum(axis=1), arms[1])
        for j in range(i, 2):
            product = scores[:, i] * scores[:, j]
            square = np.einsum("nj,nj->n", product.sum(axis=2), arms[0] ** 2)
            other = np.einsum("nk,nk->n", product.sum(axis=1), arms[1] ** 2)
            mixed = np.einsum("nj,nj->n", (product @ arms[1][:, :, None])[:, :, 0], arms[0])
            for i_, j_ in {(i, j), (j, i)}:
                scatter[:, i_, 0, j_, 0] = square
                scatter[:, i_, 1, j_, 1] = other
                scatter[:, i_, 0, j_, 1] = scatter[:, i_, 1, j_, 0] = mixed
    inverse = np.linalg.pinv(scatter.reshape(n, 4, 4), rcond=1e-10, hermitian=True)
    flat = amplitude.reshape(n, 4)
    return np.asarray(gammaincc(2.0, np.einsum("ni,nij,nj->n", flat, inverse, flat) / 2))


def _dispersion(
    kernels: Kernels, residual: Float, weighted: Float, gradient: Float, white: Float, offset: Float
) -> tuple[Float, Float]:
    """See `uncertainty.dispersion`: the lower one, with the variance that even noise has.

    The second: what bands ask for along the offset, (n, bands), rows and columns of one value
    left out: noise that a detector has row by row is not as even as this.
    """
    n, (bands, start) = len(residual), kernels.bands
    pulls = weighted * white[:, None]

    def sums(modes: slice | Ints) -> tuple[Float, Float, Float]:
        """Score, its variance and information, band by band."""
        of_band, weights, noise = bands[modes], weighted[:, :, modes], pulls[:, :, modes]
        slopes = gradient[:, :, modes]
        score = matmul(weights * residual[:, None, modes], of_band).transpose(0, 2, 1)
        even, parts = np.empty((2, n, of_band.shape[1], 2, 2))
        for i in range(2):
            for j in range(i, 2):
                even[:, :, i, j] = even[:, :, j, i] = matmul(noise[:, i] * noise[:, j], of_band)
                shares = matmul(weights[:, i] * slopes[:, j], of_band)
                parts[:, :, i, j] = parts[:, :, j, i] = shares
        return score, even, parts

    whole = sums(slice(None))
    anyhow, _ = _disagreement(*(np.add.reduceat(v, start, axis=1) for v in whole))
    length = np.linalg.norm(offset, axis=1)
    direction = offset / np.maximum(length, 1e-300)[:, None]
    along, _ = _disagreement(*whole, direction)
    lines, inside, others = kernels.lines
    score, even, parts = ((w - part)[:, others] for w, part in zip(whole, sums(lines), strict=True))
    pulled = np.zeros((n, len(FINER_BANDS) + 1))
    pulled[:, inside[others]] = _disagreement(score, even, parts, direction)[1]
    pulled[(length >= NEAR) | (length == 0)] = np.nan
    return np.minimum(anyhow, np.where(length < NEAR, along, 1.0)), pulled


def _disagreement(
    score: Float, even: Float, parts: Float, direction: Float | None = None
) -> tuple[Float, Float]:
    """Probability that bands ask for offsets as different as these, (n,), and what they ask for.

    The second is beside what all bands do, in units of its bars: (n, bands), or (n, 2 bands).
    """
    from scipy.special import gammaincc

    n, count = score.shape[:2]
    variance = np.zeros((n, count, 2, count, 2))
    band = np.arange(count)
    variance[:, band, :, band] = even.swapaxes(0, 1)
    whole = np.linalg.pinv(parts.sum(axis=1))
    taken = parts.reshape(n, 2 * count, 2) @ whole
    project = np.eye(2 * count) - np.tile(taken, (1, 1, count))
    if direction is not None:
        split = project.reshape(n, count, 2, 2 * count)
        project = np.einsum("ni,nbik->nbk", direction, split)
    variance = project @ variance.reshape(n, 2 * count, -1) @ project.transpose(0, 2, 1)
    left_over = (project @ score.reshape(n, -1, 1))[:, :, 0]
    values, vectors = np.linalg.eigh(variance)
    kept = np.abs(values) > 1e-8 * np.abs(values).max(axis=1, keepdims=True)
    turned = np.einsum("nij,ni->nj", vectors, left_over)
    bars = np.sqrt(np.abs(values))
    in_bars = np.divide(turned, bars, out=np.zeros_like(turned), where=kept)
    chi2 = np.sum(in_bars**2, axis=1)
    probability = gammaincc(np.maximum(kept.sum(axis=1), 1) / 2, chi2 / 2)
    return np.asarray(probability), np.einsum("nij,nj->ni", vectors, in_bars)


def _outlying(
    kernels: Kernels, residual: Float, left: Float, patches: Patches, gain: Float
) -> Mask:
    """Where one image shows what the other does not; see `overlap.rays.seen_once`."""
    found = np.max(np.abs(left), axis=1) > LOOK_CLOSER
    for index in np.flatnonzero(found):
        field = kernels.untransform(residual[index])
        places = outliers(field)
        inside = tuple(place + REACH for place in places)
        own = [departure(patch[index], inside) for patch in patches]
        real = np.abs(own[1] - gain[index] * own[0]) > OUTLIER_SHARE * np.abs(field[places])
        found[index] = real.any()
    return np.asarray(found)


def _aliasing(kernels: Kernels, settled: Settled, gradient: Float, bread: Float) -> Float:
    """See `uncertainty.aliasing`: bound on the error, (n, 2), px."""
    equations, frequency = settled.equations, kernels.frequency
    spectra = equations.spectra
    systematic = np.zeros((len(gradient), 2))
    near = (frequency > 0.36) & (frequency < FADE[0])
    asked = np.flatnonzero(np.any(spectra.scene[:, near] >= 0.01 * spectra.residual[:, near], 1))
    if asked.size == 0:
        return systematic
    offset, weight = settled.offset[asked], equations.weight[asked]
    x, y = settled.modes[asked, X], settled.modes[asked, Y]
    fade = (faded(kernels.k[0]) * faded(kernels.k[1])) ** 2
    passed = kernels.mean(fade[None])[0]
    cross = equations.gain[asked, None] * kernels.mean(x * y)
    some = spectra.of(asked)
    folded = np.stack(
        [
            folded_power(kernels.rings, *rings, passed)
            for rings in zip(cross, some.scene, some.noise_product, strict=True)
        ]
    )
    transmitted = kernels.spread_out(folded) * fade
    power, scene = transmitted * weight, np.maximum(kernels.spread_out(some.scene), 1e-30)
    meeting, moduli = np.sqrt(transmitted * scene) * weight, np.abs(kernels.k)
    coherent, alike = power @ moduli.T, meeting @ moduli.T
    columns, inverse = gradient[asked], bread[asked]
    chance = (columns * (power * weight)[:, None]) @ columns.transpose(0, 2, 1)

    def density(i: int) -> tuple[Float, Float]:
        filtered = np.sqrt(np.hypot(*moduli) * meeting[i] / scene[i])
        first, second = kernels.untransform(filtered * np.stack([x[i], y[i]]))
        return first * second, filtered**2 * scene[i]

    parts = zip(coherent, chance, alike, inverse, offset, strict=True)
    systematic[asked] = [
        aliased(pull, random, stars, partial(density, i), one, moved)
        for i, (pull, random, stars, one, moved) in enumerate(parts)
    ]
    return systematic
