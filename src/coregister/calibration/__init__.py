"""Are the bars true? Many pairs of known offset are registered, and the answers counted.

`calibrate` measures one kind of pair, and judges other packages on the same pairs if asked.
Everything can be repeated: pair number i is drawn from the seed ``[seed, i]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from coregister.calibration.methods import METHODS, MODULES, Answer, trials_of
from coregister.calibration.result import Calibration
from coregister.calibration.sources import Source
from coregister.calibration.trials import LEVELS, Trials
from coregister.errors import InputError
from coregister.simulate import Observation
from coregister.simulate.bounds import bound_of

__all__ = ["LEVELS", "METHODS", "MODULES", "Calibration", "Trials", "calibrate"]


def calibrate(
    scene: str | ArrayLike = "power-law-3",
    *,
    noise: float | tuple[float, float] = 0.1,
    shape: Sequence[int] | None = None,
    n_pairs: int = 200,
    seed: int = 0,
    offsets: ArrayLike | None = None,
    psf: float | Literal["cut"] = 1.0,
    image_noise: float | None = None,
    related: bool = True,
    methods: Sequence[str] = ("coregister",),
    **options: Any,
) -> Calibration:
    """Register many simulated pairs, and count how true the bars are.

    Parameters
    ----------
    scene : str or array_like
        A kind of `coregister.simulate.random_scene`, drawn anew for every pair; or an image of
        yours, from which windows are cut anywhere.
    noise : float or (float, float)
        Sigma in units of the scene (a random scene has unit standard deviation): both images, or
        reference and moving.
    shape : sequence of int, optional
        Of the images; default (128, 128), or half of the image given.
    n_pairs : int
        How many.
    seed : int
        Pair i is drawn from ``numpy.random.default_rng([seed, i])``.
    offsets : float or sequence of float, optional
        Largest offset along each axis, px; default a tenth of the side. The truth is uniform
        within.
    psf : float or "cut"
        See `random_scene`.
    image_noise : float, optional
        Noise of the image given, which is taken out of it; None = estimated, 0 = there is none.
    related : bool
        False: the two images show different scenes, so that nothing may be trusted.
    methods : sequence of str
        "coregister", and on the same pairs (extra bench) "chi2_shift" of image_registration,
        "phase_correlation" and "cross_correlation" of scikit-image, "opencv" (phaseCorrelate with
        a Hann window), "pystackreg".
    **options
        Those of `coregister.simulate_pair`. Where `noise_map` is given, `register` is told the
        errors; else it is told nothing.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If an option is not known or cannot be honoured.

    Examples
    --------
    >>> from coregister import calibrate
    >>> proof = calibrate("power-law-2", noise=0.2, shape=(48, 48), n_pairs=5)
    >>> proof.figures().trusted
    5
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise InputError(f"methods={list(methods)}: choose from {', '.join(METHODS)}")
    if n_pairs < 2:
        raise InputError(f"n_pairs={n_pairs}; at least 2 are needed, 200 to learn something")
    allowed = set(Observation.__dataclass_fields__) - {"noise", "shape", "origin"}
    if strange := set(options) - allowed:
        raise InputError(
            f"the options {sorted(strange)} are not known; besides those of calibrate itself "
            f"(n_pairs, seed, offsets ...) there are {sorted(allowed)}"
        )
    source = Source.of(scene, shape, offsets, psf, image_noise, options)
    truth, bounds = [], []
    answers: dict[str, list[Answer]] = {method: [] for method in methods}
    for i in range(n_pairs):
        rng = np.random.default_rng([seed, i])
        observation, values, offset = source.draw(noise, rng)
        reference, moving = observation.take(values, offset, rng)
        if related:
            valid = (np.isfinite(reference), np.isfinite(moving))
            bounds.append(bound_of(observation, values, offset, valid=valid))
        else:
            _, other, _ = source.draw(noise, rng)
            _, moving = observation.take(other, offset, rng)
            bounds.append(np.full((offset.size, offset.size), np.nan))
        truth.append(offset)
        for method in methods:
            answers[method].append(METHODS[method](reference, moving, observation, offset))
    return Calibration(
        setup={
            "scene": source.name,
            "shape": list(source.shape),
            "noise": noise if isinstance(noise, (int, float)) else list(noise),
            "n_pairs": n_pairs,
            "seed": seed,
            "offsets": source.reach.tolist(),
            **({} if psf == 1.0 else {"psf": psf}),
            **{name: _described(value) for name, value in options.items()},
        },
        related=related,
        truth=np.array(truth),
        bound=np.array(bounds),
        trials={method: trials_of(rows) for method, rows in answers.items()},
    )


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return list(value) if isinstance(value, tuple) else value
