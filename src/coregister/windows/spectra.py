"""Gain and spectra of many pairs of windows together: the first axis of every array is the window.

The fits are those of `estimator.spectrum`, whose banded equations stand one behind the other in
one long system.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.spectrum import Spectra, fit_rings

Float = NDArray[np.float64]

#: rounds of gain and spectra
ROUNDS = 5


class WindowSpectra(Spectra):
    """Those of many windows, a row each; `share` is (n, 1)."""

    def of(self, index: NDArray[np.intp]) -> WindowSpectra:
        """Those of some windows."""
        return WindowSpectra(
            scene=self.scene[index],
            residual=self.residual[index],
            share=np.asarray(self.share)[index],
            coherence=self.coherence[index],
        )

    def put(self, index: NDArray[np.intp], other: WindowSpectra) -> None:
        """Replace those of some windows."""
        for name in ("scene", "residual", "share", "coherence"):
            getattr(self, name)[index] = getattr(other, name)


def photometry(
    *,
    xx: Float,
    yy: Float,
    xy: Float,
    count: Float,
    gain: Float | None,
    scene: Float | None = None,
) -> tuple[Float, WindowSpectra]:
    """Gain of moving over reference, and the spectra in units of moving.

    Parameters
    ----------
    xx, yy, xy : (n, rings) array
        Ring averages of the raw auto-spectra and the cross-spectrum.
    count : (rings,) array
        Modes in each ring.
    gain : (n,) array or None
        First guess.
    scene : (n, rings) array, optional
        A first guess of its spectrum.
    """
    if gain is None:
        gain = np.copysign(np.sqrt((yy @ count) / (xx @ count)), xy @ count)
    gain = gain.copy()
    active = np.arange(len(xx))
    spectra: WindowSpectra | None = None
    for _ in range(ROUNDS):
        g = gain[active, None]
        first, cross, other = g**2 * xx[active], g * xy[active], yy[active]
        left = np.maximum(other - 2 * cross + first, 0.0)
        power, noise, share = fit_rings(first, other, cross, left, count, scene)
        coherence = cross / np.sqrt(np.maximum(first * other, 1e-300))
        fitted = WindowSpectra(scene=power, residual=noise, share=share, coherence=coherence)
        if spectra is None:
            spectra = fitted
        else:
            spectra.put(active, fitted)
        weight = count * fitted.weight
        left_over = weight * ((1 - share) * (cross - first) + share * (other - cross))
        signal = weight * ((1 - share) * first + share * cross)
        change = left_over.sum(axis=1) / signal.sum(axis=1)
        gain[active] *= 1 + np.clip(change, -0.5, 0.5)
        going = np.abs(change) >= 1e-3
        if not going.any():
            break
        active, scene = active[going], power[going]
    assert spectra is not None
    return gain, spectra
