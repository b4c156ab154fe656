"""Are the bars true? Many pairs of known offset are registered, and the answers counted.

`calibrate` measures one kind of pair (a cell), `run_grid` many; both judge other packages on the
same pairs if asked. Everything can be repeated: pair number i of a cell is drawn from the seed
``[seed, i]``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError, optional
from coregister.register import register
from coregister.simulate import Observation, mirrored, random_scene, scene_from_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
Word = Literal["met", "open", "missed"]

#: probabilities of the regions that are counted
LEVELS = (0.6827, 0.95)
#: a result is a silent failure if it is trusted, less likely than this under what it claims, ...
SILENT = 6e-7
#: ... and wrong by more than this times the bound
SILENT_BOUNDS = 3.0
#: a miss is a miss if it is beyond the target by more than this times its own uncertainty
CERTAIN = 3.0
PULL_TARGET = (0.9, 1.1)
PULL_LIMIT = (0.8, 1.25)
COVERAGE_TARGET = (0.05, 0.03)
BIAS_TARGET = 0.2
#: rms error over bound: sides of 96 px and more, below, and where the bound is 0.3 px or more
EFFICIENCY_TARGET = (1.15, 1.3, 1.5)
LARGE_SIDE = 96
#: bound (px) and share of pairs that may be flagged below it
FLAGGED_TARGET = ((0.03, 0.02), (0.1, 0.05), (0.3, 0.2))
#: smallest variance that is taken at its word, px^2: other packages report bars of 0
SMALLEST_VARIANCE = 1e-20


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """What one method answered, pair by pair.

    Attributes
    ----------
    error : (N, ndim) array
        Offset minus truth, px.
    covariance : (N, ndim, ndim) array
        As claimed, px^2; NaN for a method without bars.
    dof : (N,) array
        Degrees of freedom of the claimed regions.
    inside : (N, 2) bool array
        The truth lies in the claimed region of 68.27 %, of 95 %.
    trusted : (N,) bool array
    flags : tuple of str
        Names of the flags of each pair, separated by spaces.
    false_alarm : (N,) array
        NaN for a method that has none.
    seconds : (N,) array
        Wall time.
    """

    error: Float
    covariance: Float
    dof: Float
    inside: NDArray[np.bool_]
    trusted: NDArray[np.bool_]
    flags: tuple[str, ...]
    false_alarm: Float
    seconds: Float

    @cached_property
    def pulls(self) -> Float:
        """Whitened errors (n, ndim) of the trusted results; empty without bars."""
        use = self.trusted & np.isfinite(self.covariance).all(axis=(1, 2))
        root = np.linalg.cholesky(self.covariance[use])
        return np.asarray(np.linalg.solve(root, self.error[use][..., None])[..., 0])

    @cached_property
    def surprise(self) -> Float:
        """Probability (N,) of an error at least this large under the claimed distribution."""
        from scipy import stats

        ndim = self.error.shape[1]
        known = np.isfinite(self.covariance).all(axis=(1, 2))
        probability = np.full(len(self.error), np.nan)
        white = np.linalg.solve(self.covariance[known], self.error[known][..., None])[..., 0]
        q = np.sum(white * self.error[known], axis=1)
        dof = np.minimum(self.dof[known], 1e9)
        # the covariance is that of Student's distribution, wider than its scale matrix
        probability[known] = stats.f.sf(q / ndim * dof / (dof - 2), ndim, dof)
        return probability

    def to_dict(self) -> dict[str, Any]:
        """Types that JSON knows."""
        return {
            "error": _plain(self.error),
            "covariance": _plain(self.covariance),
            "dof": _plain(self.dof),
            "inside": self.inside.tolist(),
            "trusted": self.trusted.tolist(),
            "flags": list(self.flags),
            "false_alarm": _plain(self.false_alarm),
            "seconds": _plain(self.seconds),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trials:
        """What `to_dict` wrote."""
        return cls(
            error=_floats(record["error"]),
            covariance=_floats(record["covariance"]),
            dof=_floats(record["dof"]),
            inside=np.array(record["inside"], dtype=bool),
            trusted=np.array(record["trusted"], dtype=bool),
            flags=tuple(record["flags"]),
            false_alarm=_floats(record["false_alarm"]),
            seconds=_floats(record["seconds"]),
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number with its own uncertainty (1 sigma)."""

    value: float
    stderr: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        digits = 2 if not self.stderr or self.stderr > 0.01 else 3
        return f"{self.value:.{digits}f} +- {self.stderr:.{digits}f}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target and what became of it.

    Attributes
    ----------
    what : str
    measured : Measured
    low, high : float
        Range to reach.
    """

    what: str
    measured: Measured
    low: float
    high: float

    @property
    def word(self) -> Word:
        """ "met": inside; "missed": outside for certain; "open": outside, maybe by chance."""
        value, slack = self.measured.value, CERTAIN * self.measured.stderr
        if self.low <= value <= self.high:
            return "met"
        return "open" if self.low - slack <= value <= self.high + slack else "missed"

    def __str__(self) -> str:
        word = self.word if self.word == "met" else self.word.upper()
        target = f"at most {self.high:g}" if self.low <= 0 else f"{self.low:g} to {self.high:g}"
        return f"{self.what}: {self.measured} ({target}): {word}"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the trials of one method amount to; errors and pulls are those of trusted results.

    Attributes
    ----------
    pairs, trusted : int
    bound, error, claimed : float
        Rms over pairs and axes of the Cramer-Rao bound, of the error, of the claimed bar, px.
    efficiency : Measured
        ``error / bound``; 1 is the best there can be.
    pull_width : Measured
        Rms of the whitened errors; 1 if the bars are true.
    pull_mean : tuple of Measured
        Mean of the whitened errors, one an axis; 0 without bias.
    coverage : tuple of Measured
        Share of claimed regions of 68.27 % and 95 % that hold the truth.
    flags : dict
        How many pairs have each flag.
    silent : int
        Trusted, less likely than 6e-7 under what they claim, and beyond 3 times the bound.
    false_alarm_uniform : float
        Probability of the scatter of `false_alarm`, were it uniform (Kolmogorov-Smirnov).
    seconds : float
        Median time of a pair.
    """

    pairs: int
    trusted: int
    bound: float
    error: float
    claimed: float
    efficiency: Measured
    pull_width: Measured
    pull_mean: tuple[Measured, ...]
    coverage: tuple[Measured, ...]
    flags: Mapping[str, int]
    silent: int
    false_alarm_uniform: float
    seconds: float

    @property
    def flagged(self) -> Measured:
        """Share of pairs that are not trusted."""
        return _share(self.pairs - self.trusted, self.pairs)

    @property
    def bias(self) -> Measured:
        """The largest mean pull of the axes."""
        return max(
            (Measured(value=abs(m.value), stderr=m.stderr) for m in self.pull_mean),
            key=lambda m: m.value,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Many registrations of pairs whose offset is known.

    Attributes
    ----------
    setup : dict
        What was simulated, with the seed: enough to repeat it.
    related : bool
        False if the images show different scenes, so that nothing may be trusted.
    truth : (N, ndim) array
        True offsets, px.
    bound : (N, ndim, ndim) array
        Cramer-Rao bound of every pair, px^2; NaN if the images are unrelated.
    trials : dict
        Method to `Trials`; "coregister" is ours.
    """

    setup: Mapping[str, Any]
    related: bool
    truth: Float
    bound: Float
    trials: Mapping[str, Trials]

    def figures(self, method: str = "coregister") -> Figures:
        """What the trials of one method amount to.

        Parameters
        ----------
        method : str
            One of `trials`.
        """
        if method not in self.trials:
            raise InputError(
                f"no trials of {method!r}; there are those of {', '.join(self.trials)}"
            )
        trials = self.trials[method]
        use = trials.trusted
        ndim = trials.error.shape[1]
        n = int(use.sum())
        bound = np.einsum("nii->ni", self.bound)
        error2, bound2 = trials.error[use] ** 2, bound[use]
        pulls = trials.pulls
        with np.errstate(invalid="ignore"):
            far = np.any(trials.error**2 > SILENT_BOUNDS**2 * bound, axis=1)
        unlikely = np.isnan(trials.surprise) | (trials.surprise < SILENT)
        has_bars = len(pulls) > 0
        return Figures(
            pairs=len(use),
            trusted=n,
            bound=_rms(bound),
            error=_rms(error2),
            claimed=_rms(np.einsum("nii->ni", trials.covariance)[use]),
            efficiency=_root_ratio(error2.mean(axis=1), bound2.mean(axis=1), ndim),
            pull_width=_root_ratio(np.mean(pulls**2, axis=1), np.ones(len(pulls)), ndim),
            pull_mean=tuple(
                Measured(value=float(z.mean()), stderr=max(float(z.std()), 0.5) / math.sqrt(len(z)))
                if has_bars
                else Measured(value=math.nan, stderr=math.nan)
                for z in (pulls.T if has_bars else np.empty((ndim, 0)))
            ),
            coverage=tuple(
                _share(int(inside.sum()), n) if has_bars else _share(0, 0)
                for inside in trials.inside[use].T
            ),
            flags=dict(Counter(name for names in trials.flags for name in names.split())),
            silent=int(np.sum(use & far & unlikely)) if self.related else 0,
            false_alarm_uniform=_uniformity(trials.false_alarm),
            seconds=float(np.median(trials.seconds)),
        )

    def verdicts(self) -> list[Verdict]:
        """Our figures against the project's targets; only those that apply."""
        f = self.figures()
        if not self.related:
            return [
                Verdict(
                    what="unrelated pairs trusted",
                    measured=_share(f.trusted, f.pairs),
                    low=0.0,
                    high=4e-4,
                )
            ]
        found = []
        if f.trusted > 1:
            found.append(_verdict("pull width", f.pull_width, *PULL_TARGET))
            for level, tolerance, share in zip(LEVELS, COVERAGE_TARGET, f.coverage, strict=True):
                found.append(
                    _verdict(
                        f"coverage of {level:.0%}", share, level - tolerance, level + tolerance
                    )
                )
            found.append(_verdict("bias, stderr", f.bias, 0.0, BIAS_TARGET))
            if math.isfinite(f.bound):
                found.append(
                    _verdict("rms error / bound", f.efficiency, 0.0, self.efficiency_target)
                )
            found.append(
                _verdict("silent failures", Measured(value=f.silent, stderr=0.0), 0.0, 0.0)
            )
        for limit, most in FLAGGED_TARGET:
            if f.bound < limit:
                found.append(_verdict("flagged", f.flagged, 0.0, most))
                break
        return found

    @property
    def efficiency_target(self) -> float:
        """What rms error over bound should not exceed at this size and bound."""
        large, small, hard = EFFICIENCY_TARGET
        if not self.figures().bound < FLAGGED_TARGET[-1][0]:
            return hard
        return large if min(self.setup["shape"]) >= LARGE_SIDE else small

    # ---------------------------------------------------------------- printed and drawn

    def table(self) -> str:
        """One line a method, Markdown."""
        head = (
            "| method | rms error px | rms / bound | pull width | mean pull | in 68.3 % region "
            "| in 95 % region | flagged | silent | ms |"
        )
        lines = [head, "|---|" + "---:|" * 9]
        for method in self.trials:
            f = self.figures(method)
            means = ", ".join(_number(m.value, ".2f") for m in f.pull_mean)
            lines.append(
                f"| {method} | {f.error:.3g} | {_number(f.efficiency.value, '.3g')} "
                f"| {f.pull_width} | {means} | {f.coverage[0]} | {f.coverage[1]} "
                f"| {f.flagged.value:.1%} | {f.silent} | {1e3 * f.seconds:.0f} |"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        f = self.figures()
        title = ", ".join(f"{name} {value}" for name, value in self.setup.items())
        flags = ", ".join(f"{name} {count}" for name, count in f.flags.items()) or "none"
        return "\n".join(
            [
                f"{f.pairs} pairs: {title}",
                f"bound {f.bound:.3g} px, claimed {f.claimed:.3g} px, flags: {flags}",
                self.table(),
                *(f"  {verdict}" for verdict in self.verdicts()),
            ]
        )

    __repr__ = __str__

    def plot(self) -> Figure:
        """Figure: pulls against the unit normal, claimed bars against errors, coverage."""
        from coregister.plotting import style

        with style():
            figure = optional("matplotlib.figure", "report").Figure(
                figsize=(11.5, 3.8), layout="constrained"
            )
            first, second, third = figure.subplots(1, 3)
            self._draw_pulls(first)
            self._draw_bars(second)
            self._draw_coverage(third)
        result: Figure = figure
        return result

    def _draw_pulls(self, axes: Axes) -> None:
        from coregister.plotting import BLUE, INK

        pulls = self.trials["coregister"].pulls
        edges = np.linspace(-5, 5, 41)
        axes.hist(
            np.clip(pulls, -4.99, 4.99).ravel(), edges.tolist(), density=True, color=BLUE, alpha=0.6
        )
        z = np.linspace(-5, 5, 301)
        axes.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=INK, label="unit normal")
        axes.set(xlabel="whitened error", ylabel="density")
        axes.set_title(f"pull width {self.figures().pull_width}" if len(pulls) else "no bars")
        axes.legend()

    def _draw_bars(self, axes: Axes) -> None:
        from coregister.plotting import BLUE, FAINT, ORANGE, VERMILLION

        colours = (BLUE, ORANGE, VERMILLION, FAINT)
        low, high = np.inf, 0.0
        for (method, trials), colour in zip(self.trials.items(), colours, strict=False):
            error = np.sqrt(np.mean(trials.error**2, axis=1))
            bar = np.sqrt(np.einsum("nii->n", trials.covariance) / trials.error.shape[1])
            use = trials.trusted & np.isfinite(bar) & (bar > 0) & (error > 0)
            if use.any():
                axes.plot(bar[use], error[use], ".", ms=3, color=colour, label=method)
                low, high = min(low, bar[use].min()), max(high, bar[use].max())
        if high > 0:
            axes.plot([low, high], [low, high], color=FAINT, lw=1)
            axes.legend()
        axes.set(xscale="log", yscale="log", xlabel="claimed bar, px", ylabel="error, px")
        axes.set_title("each trusted pair")

    def _draw_coverage(self, axes: Axes) -> None:
        from coregister.plotting import BLUE, FAINT, ORANGE, VERMILLION

        claimed = np.linspace(0, 1, 201)
        for (method, trials), colour in zip(
            self.trials.items(), (BLUE, ORANGE, VERMILLION, FAINT), strict=False
        ):
            level = np.sort(1 - trials.surprise[trials.trusted & np.isfinite(trials.surprise)])
            if level.size:
                share = np.searchsorted(level, claimed, side="right") / level.size
                axes.plot(claimed, share, color=colour, label=method)
        axes.plot([0, 1], [0, 1], color=FAINT, lw=1)
        axes.set(xlabel="claimed probability", ylabel="share that holds the truth")
        axes.set_title("coverage")
        axes.legend()

    # ---------------------------------------------------------------- files

    def to_dict(self) -> dict[str, Any]:
        """Everything, pair by pair, in types that JSON knows; figures for readers beside it."""
        return {
            "format": "coregister.Calibration",
            "version": 1,
            "setup": dict(self.setup),
            "related": self.related,
            "verdicts": [str(verdict) for verdict in self.verdicts()],
            "truth": _plain(self.truth),
            "bound": _plain(self.bound),
            "trials": {method: trials.to_dict() for method, trials in self.trials.items()},
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """What `to_dict` wrote.

        Raises
        ------
        InputError
            If the record is not one of ours.
        """
        if record.get("format") != "coregister.Calibration" or record.get("version") != 1:
            raise InputError(
                f"found a record of format {record.get('format')!r}, version "
                f"{record.get('version')!r}; 'coregister.Calibration', version 1, is needed"
            )
        return cls(
            setup=dict(record["setup"]),
            related=bool(record["related"]),
            truth=_floats(record["truth"]),
            bound=_floats(record["bound"]),
            trials={name: Trials.from_dict(t) for name, t in record["trials"].items()},
        )


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
        "phase_correlation" and "cross_correlation" of scikit-image.
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
    >>> from coregister.calibrate import calibrate
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
            f"the options {sorted(strange)} are not known; those of simulate_pair are "
            f"{sorted(allowed)}"
        )
    source = _Source.of(scene, shape, offsets, psf, image_noise, options)
    truth, bounds = [], []
    answers: dict[str, list[_Answer]] = {method: [] for method in methods}
    for i in range(n_pairs):
        rng = np.random.default_rng([seed, i])
        observation, values, offset = source.draw(noise, rng)
        reference, moving = observation.take(values, offset, rng)
        if related:
            valid = (np.isfinite(reference), np.isfinite(moving))
            bounds.append(observation.bound(values, offset, valid=valid))
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
        trials={method: _trials(rows) for method, rows in answers.items()},
    )


# ------------------------------------------------------------------------------------ one pair


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a method said of one pair, and how that compares with the truth."""

    error: Float
    covariance: Float
    dof: float
    inside: tuple[bool, ...]
    trusted: bool
    flags: str
    false_alarm: float
    seconds: float


def _ours(reference: Float, moving: Float, observation: Observation, truth: Float) -> _Answer:
    errors: dict[str, Any] = {}
    if observation.noise_map is not None:
        first, second = observation.sigmas
        errors["moving_err"] = second * abs(observation.gain) * observation.noise_map
        errors["reference_err"] = first * observation.noise_map if first > 0 else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        result = register(
            reference,
            moving,
            boundary=observation.boundary,
            **{name: err for name, err in errors.items() if np.any(err)},
        )
        seconds = time.perf_counter() - start
    return _Answer(
        error=result.offset - truth,
        covariance=result.covariance,
        dof=result.dof,
        inside=tuple(result.contains(truth, level) for level in LEVELS),
        trusted=result.trusted,
        flags=" ".join(sorted(status.name for status in result.flags)),
        false_alarm=result.false_alarm,
        seconds=seconds,
    )


def _peer(
    measure: Callable[[Float, Float, float], tuple[ArrayLike, ArrayLike | None]],
    reference: Float,
    moving: Float,
    observation: Observation,
    truth: Float,
) -> _Answer:
    """Another package: no masks and no flags; it is told the noise of the difference."""
    from scipy import stats

    images = [np.where(np.isfinite(v), v, np.nanmedian(v)) for v in (reference, moving)]
    first, second = observation.sigmas
    noise = math.hypot(first, second * observation.gain)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        offset, bars = measure(images[0], images[1], noise or 1.0)
        seconds = time.perf_counter() - start
    error = np.asarray(offset, dtype=np.float64) - truth
    covariance = np.full((truth.size, truth.size), np.nan)
    inside = tuple(False for _ in LEVELS)
    if bars is not None:
        variance = np.maximum(np.asarray(bars, dtype=np.float64) ** 2, SMALLEST_VARIANCE)
        covariance = np.diag(variance)
        q = float(np.sum(error**2 / variance))
        inside = tuple(q <= stats.chi2.ppf(level, truth.size) for level in LEVELS)
    return _Answer(
        error=error,
        covariance=covariance,
        dof=math.inf,
        inside=inside,
        trusted=True,
        flags="",
        false_alarm=math.nan,
        seconds=seconds,
    )


def _chi2_shift(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, ArrayLike]:
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise InputError("chi2_shift needs two 2-D images of one shape; leave that method out")
    package = optional("image_registration", "bench")
    dx, dy, ex, ey = package.chi2_shift(reference, moving, err=noise, return_error=True)
    return (dy, dx), (ey, ex)


def _skimage(
    normalization: str | None, reference: Float, moving: Float, noise: float
) -> tuple[ArrayLike, None]:
    if reference.shape != moving.shape:
        raise InputError("scikit-image needs two images of one shape; leave that method out")
    package = optional("skimage.registration", "bench")
    shift, _, _ = package.phase_cross_correlation(
        reference, moving, upsample_factor=100, normalization=normalization
    )
    return -shift, None


METHODS: dict[str, Callable[[Float, Float, Observation, Float], _Answer]] = {
    "coregister": _ours,
    "chi2_shift": partial(_peer, _chi2_shift),
    "phase_correlation": partial(_peer, partial(_skimage, "phase")),
    "cross_correlation": partial(_peer, partial(_skimage, None)),
}


def _trials(rows: list[_Answer]) -> Trials:
    return Trials(
        error=np.array([row.error for row in rows]),
        covariance=np.array([row.covariance for row in rows]),
        dof=np.array([row.dof for row in rows]),
        inside=np.array([row.inside for row in rows]),
        trusted=np.array([row.trusted for row in rows]),
        flags=tuple(row.flags for row in rows),
        false_alarm=np.array([row.false_alarm for row in rows]),
        seconds=np.array([row.seconds for row in rows]),
    )


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where scenes, windows and offsets come from."""

    name: str
    kind: str | None
    image: Float | None  # given by the user, its noise taken out
    shape: tuple[int, ...]
    reach: Float
    centre: Float
    psf: float | Literal["cut"]
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        scene: str | ArrayLike,
        shape: Sequence[int] | None,
        offsets: ArrayLike | None,
        psf: float | Literal["cut"],
        image_noise: float | None,
        options: Mapping[str, Any],
    ) -> _Source:
        image = None
        periodic = options.get("boundary") == "periodic"
        size = int(options.get("binning", 1))
        if isinstance(scene, str):
            name, kind = scene, scene
            sides = (128, 128) if shape is None else tuple(int(n) for n in shape)
        else:
            image = scene_from_image(scene, noise=image_noise)
            name, kind = f"image of shape {image.shape}", None
            whole = tuple(n // size for n in image.shape)
            sides = tuple(n // 2 for n in whole) if shape is None else tuple(int(n) for n in shape)
            if periodic:
                if shape is not None and sides != whole:
                    raise InputError("a periodic pair is the whole image; leave shape out")
                sides = whole
        reach = np.asarray(0.1 * np.array(sides) if offsets is None else offsets, dtype=np.float64)
        if reach.size not in (1, len(sides)) or not np.all(reach >= 0):
            raise InputError(f"offsets={offsets!r}: one number, or one an axis, of 0 or above")
        other = options.get("moving_shape") or sides
        return cls(
            name=name,
            kind=kind,
            image=image,
            shape=sides,
            reach=np.broadcast_to(reach, (len(sides),)),
            centre=(np.array(other) - np.array(sides)) / 2.0,
            psf=psf,
            options=options,
        )

    def draw(
        self, noise: float | tuple[float, float], rng: np.random.Generator
    ) -> tuple[Observation, Float, Float]:
        """How a pair is taken, of what scene, at what offset."""
        offset = self.centre + rng.uniform(-self.reach, self.reach)
        periodic = self.options.get("boundary") == "periodic"
        size = int(self.options.get("binning", 1))
        other = self.options.get("moving_shape") or self.shape
        before = np.maximum(0, np.ceil(offset)).astype(int)
        extent = [
            int(b + max(n, math.ceil(m - d)))
            for b, n, m, d in zip(before, self.shape, other, offset, strict=True)
        ]
        origin: tuple[int, ...] | None = None
        if self.image is not None:
            scene = self.image if periodic else mirrored(self.image)
            if not periodic:
                room = [n // size - e for n, e in zip(self.image.shape, extent, strict=True)]
                if min(room) < 0:
                    raise InputError(
                        f"{self.name} is too small for windows of {self.shape} px with offsets up "
                        f"to {self.reach.tolist()} px; give a smaller shape or smaller offsets"
                    )
                origin = tuple(
                    int(b + rng.integers(0, r + 1)) for b, r in zip(before, room, strict=True)
                )
        else:
            assert self.kind is not None
            sides = (
                self.shape
                if periodic
                else [
                    scipy.fft.next_fast_len(max(2 * max(n, m), e + 2), real=True)
                    for n, m, e in zip(self.shape, other, extent, strict=True)
                ]
            )
            scene = random_scene(self.kind, [n * size for n in sides], rng=rng, psf=self.psf)
        observation = Observation(
            noise=noise,
            shape=None if periodic else self.shape,
            origin=origin,
            **self.options,
        )
        return observation, scene, offset


# ------------------------------------------------------------------------------------ grids


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One kind of pair in a grid.

    Attributes
    ----------
    name : str
    options : dict
        Arguments of `calibrate`, `scene` among them.
    group : {"standard", "undersampled", "unrelated", "flagged"}
        What is asked of it: all targets; `systematic` and the advisory flag; that nothing is
        trusted, since the images are unrelated or (flagged) the offset cannot be known.
    """

    name: str
    options: Mapping[str, Any]
    group: Literal["standard", "undersampled", "unrelated", "flagged"] = "standard"

    def run(self, *, n_pairs: int, seed: int, methods: Sequence[str]) -> Calibration:
        """`calibrate` with these options; cells differ in their pairs by their names."""
        seed += zlib.crc32(self.name.encode())
        arguments = {"related": self.group != "unrelated", **self.options}
        return calibrate(n_pairs=n_pairs, seed=seed, methods=methods, **arguments)

    def key(self, *, n_pairs: int, seed: int, methods: Sequence[str]) -> str:
        """Changes with anything that the result depends on, the code included."""
        digest = hashlib.sha256(_code_digest().encode())
        digest.update(repr((self.name, self.group, n_pairs, seed, tuple(methods))).encode())
        for name, value in sorted(self.options.items()):
            content = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            digest.update(name.encode() + content)
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells and their calibrations."""

    results: tuple[tuple[Cell, Calibration], ...]

    def of(self, group: str) -> list[tuple[Cell, Calibration]]:
        """The cells of one group."""
        return [(cell, found) for cell, found in self.results if cell.group == group]

    def table(self, group: str = "standard", method: str = "coregister") -> str:
        """One line a cell, Markdown.

        Parameters
        ----------
        group : str
            Of `Cell`.
        method : str
            Whose figures.
        """
        head = (
            "| cell | bound px | rms / bound | pull width | bias | in 68.3 % | in 95 % "
            "| flagged | silent | ms | flags | missed |"
        )
        lines = [head, "|---|" + "---:|" * 9 + "---|---|"]
        for cell, found in self.of(group):
            f = found.figures(method)
            missed = [v for v in found.verdicts() if v.word != "met"] if group == "standard" else []
            notes = "; ".join(v.what if v.word == "open" else v.what.upper() for v in missed)
            flags = ", ".join(f"{name} {count}" for name, count in f.flags.items())
            covered = " | ".join(_number(share.value, ".3f") for share in f.coverage)
            lines.append(
                f"| {cell.name} | {f.bound:.3g} | {f.efficiency} | {f.pull_width} | {f.bias} "
                f"| {covered} | {f.flagged.value:.1%} | {f.silent} | {1e3 * f.seconds:.0f} "
                f"| {flags} | {notes} |"
            )
        return "\n".join(lines)

    def summary(self) -> str:
        """The project's targets over the whole grid, Markdown."""
        standard = [(cell, found.figures(), found) for cell, found in self.of("standard")]
        judged = [(c, f, found) for c, f, found in standard if f.trusted > 1]
        lines = ["| what | to reach | found |", "|---|---|---|"]

        def add(what: str, target: str, found: str) -> None:
            lines.append(f"| {what} | {target} | {found} |")

        def part(name: str, target: str, good: Iterable[bool]) -> None:
            answers = list(good)
            share = f" = {sum(answers) / len(answers):.0%}" if answers else ""
            add(name, target, f"{sum(answers)} of {len(answers)}{share}")

        def within(f: Figures, limits: tuple[float, float]) -> bool:
            return limits[0] <= f.pull_width.value <= limits[1]

        part(
            "pull width 0.9 to 1.1", "95 % of cells", (within(f, PULL_TARGET) for _, f, _ in judged)
        )
        part("pull width 0.8 to 1.25", "all cells", (within(f, PULL_LIMIT) for _, f, _ in judged))
        for i, (level, tolerance) in enumerate(zip(LEVELS, COVERAGE_TARGET, strict=True)):
            part(
                f"coverage of {level:.0%} within {tolerance:.0%}",
                "95 % of cells",
                (abs(f.coverage[i].value - level) <= tolerance for _, f, _ in judged),
            )
        bounded = [(f, found) for _, f, found in judged if f.bound < FLAGGED_TARGET[-1][0]]
        large = [f for f, found in bounded if min(found.setup["shape"]) >= LARGE_SIDE]
        small = [f for f, found in bounded if min(found.setup["shape"]) < LARGE_SIDE]
        for cells, limit, target, label in (
            (large, EFFICIENCY_TARGET[0], "80 % of cells", "96 px and more, bound below 0.3 px"),
            (small, EFFICIENCY_TARGET[1], "all cells", "below 96 px, bound below 0.3 px"),
            ([f for _, f, _ in judged], EFFICIENCY_TARGET[2], "all cells", "all"),
        ):
            part(
                f"rms / bound at most {limit:g}: {label}",
                target,
                (f.efficiency.value <= limit for f in cells),
            )
        part(
            "bias below 0.2 stderr", "all cells", (f.bias.value < BIAS_TARGET for _, f, _ in judged)
        )
        silent, pairs = sum(f.silent for _, f, _ in standard), sum(f.pairs for _, f, _ in standard)
        add("silent failures", "1 in 20,000", f"{silent} of {pairs}")
        above = 0.0
        for bound, share in FLAGGED_TARGET:
            part(
                f"flagged below {share:.0%}: bound {above:g} to {bound:g} px",
                "all cells",
                (f.flagged.value < share for _, f, _ in standard if above <= f.bound < bound),
            )
            above = bound
        for group, label in (("unrelated", "unrelated"), ("flagged", "unknowable")):
            cells = [found.figures() for _, found in self.of(group)]
            trusted, total = sum(f.trusted for f in cells), sum(f.pairs for f in cells)
            add(f"{label} pairs trusted", "4 in 10,000", f"{trusted} of {total}")
        uniform = [found.figures().false_alarm_uniform for _, found in self.of("unrelated")]
        part(
            "false_alarm uniform (p above 0.01)", "all unrelated cells", (p > 0.01 for p in uniform)
        )
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Figure: pull width and efficiency of every standard cell, with the targets."""
        from coregister.plotting import BLUE, FAINT, GREEN, style

        cells = [(cell.name, found.figures()) for cell, found in self.of("standard")]
        rows = np.arange(len(cells))[::-1]
        with style():
            figure = optional("matplotlib.figure", "report").Figure(
                figsize=(11.5, 1.5 + 0.19 * len(cells)), layout="constrained"
            )
            left, right = figure.subplots(1, 2, sharey=True)
            left.axvspan(*PULL_TARGET, color=GREEN, alpha=0.15, lw=0)
            right.axvspan(1.0, EFFICIENCY_TARGET[0], color=GREEN, alpha=0.15, lw=0)
            for axes, numbers in (
                (left, [f.pull_width for _, f in cells]),
                (right, [f.efficiency for _, f in cells]),
            ):
                axes.errorbar(
                    [m.value for m in numbers],
                    rows,
                    xerr=[m.stderr for m in numbers],
                    fmt="o",
                    ms=3,
                    color=BLUE,
                )
                axes.axvline(1.0, color=FAINT, lw=1)
            left.set_yticks(rows, [name for name, _ in cells])
            left.set_title("pull width (1: the bars are true)")
            right.set_title("rms error / bound (1: no better is possible)")
            right.set_xscale("log")
        result: Figure = figure
        return result


def run_grid(
    cells: Sequence[Cell],
    *,
    n_pairs: int = 500,
    seed: int = 0,
    methods: Sequence[str] = ("coregister",),
    workers: int = 1,
    output: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[Cell, Calibration]]:
    """Calibrate many cells, in the order in which they finish.

    Parameters
    ----------
    cells : sequence of Cell
    n_pairs, seed, methods
        See `calibrate`.
    workers : int
        Processes; each takes one cell at a time.
    output : path, optional
        A file of JSON lines, one a cell, added to as cells finish. Cells that it holds already,
        made by the same code from the same arguments, are read and not run again.

    Yields
    ------
    Cell, Calibration

    Examples
    --------
    >>> cells = [Cell(name="small", options={"shape": (32, 32), "noise": 0.1})]
    >>> grid = Grid(tuple(run_grid(cells, n_pairs=2)))
    >>> [cell.name for cell, _ in grid.results]
    ['small']
    """
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        raise InputError(f"cells of one name: {[n for n, c in Counter(names).items() if c > 1]}")
    task = partial(_run_cell, n_pairs=n_pairs, seed=seed, methods=tuple(methods))
    keys = [cell.key(n_pairs=n_pairs, seed=seed, methods=methods) for cell in cells]
    known = {} if output is None else _read_lines(Path(output))
    todo = []
    for cell, key in zip(cells, keys, strict=True):
        if key in known:
            yield cell, Calibration.from_dict(known[key])
        else:
            todo.append((cell, key))
    for cell, key, found in _each(task, todo, workers):
        if output is not None:
            with open(output, "a", encoding="utf-8") as file:
                file.write(
                    json.dumps({"cell": cell.name, "key": key, "result": found.to_dict()}) + "\n"
                )
        yield cell, found


def _run_cell(cell: Cell, *, n_pairs: int, seed: int, methods: tuple[str, ...]) -> Calibration:
    return cell.run(n_pairs=n_pairs, seed=seed, methods=methods)


def _each(
    task: Callable[[Cell], Calibration], todo: list[tuple[Cell, str]], workers: int
) -> Iterator[tuple[Cell, str, Calibration]]:
    if workers <= 1:
        for cell, key in todo:
            yield cell, key, task(cell)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(task, cell): (cell, key) for cell, key in todo}
        for future in as_completed(futures):
            yield (*futures[future], future.result())


def _read_lines(path: Path) -> dict[str, Any]:
    """Results by key; a line that was cut off when the run was stopped is left out."""
    found: dict[str, Any] = {}
    if not path.exists():
        return found
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            record = json.loads(line)
            found[record["key"]] = record["result"]
        except (ValueError, KeyError, TypeError):
            continue
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    return found


def _code_digest() -> str:
    """Digest of this package's sources, so that old figures are never taken for new ones."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------ numbers


def _verdict(what: str, measured: Measured, low: float, high: float) -> Verdict:
    return Verdict(what=what, measured=measured, low=low, high=high)


def _rms(squares: Float) -> float:
    return float(np.sqrt(np.mean(squares))) if squares.size else math.nan


def _root_ratio(squares: Float, expected: Float, axes: int) -> Measured:
    """``sqrt(sum squares / sum expected)`` with its uncertainty from the scatter of the pairs."""
    n = len(squares)
    if n < 2 or not np.all(np.isfinite(expected)):
        return Measured(value=math.nan, stderr=math.nan)
    ratio = squares.sum() / expected.sum()
    scatter = np.std(squares - ratio * expected, ddof=1) * math.sqrt(n) / expected.sum()
    scatter = max(float(scatter), ratio * math.sqrt(2 / (n * axes)))  # a few pairs may agree
    root = math.sqrt(ratio)
    return Measured(value=root, stderr=float(scatter / (2 * root)) if root > 0 else 0.0)


def _share(count: int, total: int) -> Measured:
    """A share, its uncertainty that of Wilson's interval: above 0 even for none of many."""
    if total == 0:
        return Measured(value=math.nan, stderr=math.nan)
    p = count / total
    half = math.sqrt(p * (1 - p) / total + 1 / (4 * total**2)) / (1 + 1 / total)
    return Measured(value=p, stderr=half)


def _uniformity(values: Float) -> float:
    from scipy import stats

    known = values[np.isfinite(values)]
    return float(stats.kstest(known, "uniform").pvalue) if known.size else math.nan


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return list(value) if isinstance(value, tuple) else value


def _plain(values: Float) -> Any:
    if values.ndim:
        return [_plain(entry) for entry in values]
    number = float(values)
    return number if math.isfinite(number) else repr(number)


def _floats(values: Any) -> Float:
    return np.array(values, dtype=np.float64)  # reads 'inf' and 'nan' as well
