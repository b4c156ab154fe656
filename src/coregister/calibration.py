"""Are the bars true? Many pairs of known offset are registered, and the answers counted.

`calibrate` measures one kind of pair, and judges other packages on the same pairs if asked.
Everything can be repeated: pair number i is drawn from the seed ``[seed, i]``.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
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
#: undersampled pairs: errors should stay within systematic + so many stderr, and a trusted one
#: beyond systematic + so many is a silent failure
WITHIN_SIGMAS, BEYOND_SIGMAS = 3.0, 5.0
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
    systematic : (N, ndim) array
        Bound on what the covariance cannot see, px; NaN for a method that has none.
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
    systematic: Float
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
            "systematic": _plain(self.systematic),
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
            systematic=_floats(record["systematic"]),
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
        if self.stderr == 0:
            return f"{self.value:g}"
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
        return share_of(self.pairs - self.trusted, self.pairs)

    @property
    def bias(self) -> Measured:
        """The largest mean pull of the axes."""
        return max(
            (Measured(value=abs(m.value), stderr=m.stderr) for m in self.pull_mean),
            key=lambda m: m.value,
        )


@dataclass(frozen=True, kw_only=True)
class Aliasing:
    """How well `systematic` and the advisory flag cover the errors of undersampled pairs.

    Attributes
    ----------
    systematic : float
        Rms over trusted pairs and axes, px.
    ratio : float
        `systematic` over the rms error: below 1 the bound is too small, far above it useless.
    within : Measured
        Share of trusted pairs with the error of every axis within systematic + 3 stderr.
    advised : Measured
        Share of all pairs with the flag UNDERSAMPLED.
    silent : int
        Trusted pairs that have not the flag and are less likely than 6e-7 under what they claim,
        or that lie beyond systematic + 5 stderr.
    """

    systematic: float
    ratio: float
    within: Measured
    advised: Measured
    silent: int


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
                share_of(int(inside.sum()), n) if has_bars else share_of(0, 0)
                for inside in trials.inside[use].T
            ),
            flags=dict(Counter(name for names in trials.flags for name in names.split())),
            silent=int(np.sum(use & far & unlikely)) if self.related else 0,
            false_alarm_uniform=_uniformity(trials.false_alarm),
            seconds=float(np.median(trials.seconds)),
        )

    def aliasing(self) -> Aliasing:
        """What `systematic` is worth where the images are undersampled.

        The covariance alone is no measure there: no residual shows an error by aliasing.
        """
        trials = self.trials["coregister"]
        use = trials.trusted
        error, stderr = np.abs(trials.error), np.sqrt(np.einsum("nii->ni", trials.covariance))

        def within(sigmas: float) -> NDArray[np.bool_]:
            inside = np.all(error <= trials.systematic + sigmas * stderr, axis=1)
            return np.asarray(inside, dtype=bool)

        advised = np.array(["UNDERSAMPLED" in names.split() for names in trials.flags])
        unlikely = ~advised & (trials.surprise < SILENT)
        systematic = _rms(trials.systematic[use] ** 2)
        return Aliasing(
            systematic=systematic,
            ratio=systematic / rms if (rms := _rms(error[use] ** 2)) > 0 else math.nan,
            within=share_of(int(within(WITHIN_SIGMAS)[use].sum()), int(use.sum())),
            advised=share_of(int(advised.sum()), len(use)),
            silent=int(np.sum(use & (unlikely | ~within(BEYOND_SIGMAS)))),
        )

    def verdicts(self) -> list[Verdict]:
        """Our figures against the project's targets; only those that apply."""
        f = self.figures()
        if not self.related:
            return [
                Verdict(
                    what="unrelated pairs trusted",
                    measured=share_of(f.trusted, f.pairs),
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

    def described(self) -> list[tuple[str, str]]:
        """The setup as it is printed: name and value."""
        return [
            (name, ", ".join(f"{entry:g}" for entry in value))
            if isinstance(value, list)
            else (name, str(value))
            for name, value in self.setup.items()
        ]

    def rows(self) -> list[list[str]]:
        """The table: names of the columns, then a row for each method."""
        names = (
            "method|rms error px|rms / bound|pull width|mean pull|in 68.3 % region"
            "|in 95 % region|flagged|silent|ms"
        )
        rows = [names.split("|")]
        for method in self.trials:
            f = self.figures(method)
            rows.append(
                [
                    method,
                    f"{f.error:.3g}",
                    shown(f.efficiency.value, ".3g"),
                    str(f.pull_width),
                    ", ".join(shown(m.value, ".2f") for m in f.pull_mean),
                    *(str(share) for share in f.coverage),
                    f"{f.flagged.value:.1%}",
                    str(f.silent),
                    f"{1e3 * f.seconds:.0f}",
                ]
            )
        return rows

    def table(self) -> str:
        """One line a method, Markdown."""
        names, *rows = self.rows()
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(
            "| "
            + " | ".join(
                entry.rjust(width) if i else entry.ljust(width)
                for i, (entry, width) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
            for row in (names, rule, *rows)
        )

    def __str__(self) -> str:
        f = self.figures()
        title = ", ".join(f"{name} {value}" for name, value in self.described())
        flags = ", ".join(f"{name} {count}" for name, count in f.flags.items()) or "none"
        return "\n".join(
            [
                f"{f.pairs} pairs: {title}",
                f"bound {f.bound:.3g} px, claimed {f.claimed:.3g} px, "
                f"systematic {shown(self.aliasing().systematic, '.2g')} px, flags: {flags}",
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
            draw_pulls(first, self)
            draw_bars(second, self)
            draw_coverage(third, self)
        result: Figure = figure
        return result

    def report(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write table, verdicts and pictures as one self-contained HTML file.

        Parameters
        ----------
        path : path
            The file to write: whole, or not at all.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        InputError, OutputError, MissingExtraError
            As in `Registration.report`.
        """
        from coregister.report import write_calibration

        write_calibration(self, path, overwrite=overwrite)

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
    systematic: Float
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
        systematic=result.systematic,
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
        systematic=np.full(truth.size, np.nan),
        dof=math.inf,
        inside=inside,
        trusted=True,
        flags="",
        false_alarm=math.nan,
        seconds=seconds,
    )


def _plane(package: str, reference: Float, moving: Float) -> None:
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise InputError(f"{package} needs two 2-D images of one shape; leave that method out")


def _chi2_shift(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, ArrayLike]:
    _plane("chi2_shift", reference, moving)
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


def _opencv(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, None]:
    _plane("OpenCV's phaseCorrelate", reference, moving)
    package = optional("cv2", "bench")
    window = package.createHanningWindow(reference.shape[::-1], package.CV_64F)
    (dx, dy), _ = package.phaseCorrelate(reference, moving, window)
    return (dy, dx), None


def _stackreg(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, None]:
    _plane("pystackreg", reference, moving)
    package = optional("pystackreg", "bench")
    matrix = package.StackReg(package.StackReg.TRANSLATION).register(reference, moving)
    return (matrix[1, 2], matrix[0, 2]), None


METHODS: dict[str, Callable[[Float, Float, Observation, Float], _Answer]] = {
    "coregister": _ours,
    "chi2_shift": partial(_peer, _chi2_shift),
    "phase_correlation": partial(_peer, partial(_skimage, "phase")),
    "cross_correlation": partial(_peer, partial(_skimage, None)),
    "opencv": partial(_peer, _opencv),
    "pystackreg": partial(_peer, _stackreg),
}
#: the module that each method needs
MODULES = {
    "coregister": "coregister",
    "chi2_shift": "image_registration",
    "phase_correlation": "skimage",
    "cross_correlation": "skimage",
    "opencv": "cv2",
    "pystackreg": "pystackreg",
}


def _trials(rows: list[_Answer]) -> Trials:
    return Trials(
        error=np.array([row.error for row in rows]),
        covariance=np.array([row.covariance for row in rows]),
        systematic=np.array([row.systematic for row in rows]),
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


# ------------------------------------------------------------------------------------ pictures


def draw_pulls(axes: Axes, found: Calibration) -> None:
    """Histogram of the whitened errors of trusted results, beside the unit normal."""
    from coregister.plotting import BLUE, INK

    pulls = found.trials["coregister"].pulls
    if pulls.size:
        edges = np.linspace(-5, 5, 41).tolist()
        inside = np.clip(pulls, -4.99, 4.99).ravel()
        axes.hist(inside, edges, density=True, color=BLUE, alpha=0.6)
    z = np.linspace(-5, 5, 301)
    axes.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=INK, label="unit normal")
    axes.set(xlabel="whitened error", ylabel="density")
    axes.set_title(f"pull width {found.figures().pull_width}" if len(pulls) else "no bars")
    axes.legend()


def draw_bars(axes: Axes, found: Calibration) -> None:
    """Error against claimed bar, a point for each trusted result of the methods that have bars."""
    from coregister.plotting import FAINT

    low, high = np.inf, 0.0
    for method, colour in _coloured(found):
        trials = found.trials[method]
        error = np.sqrt(np.mean(trials.error**2, axis=1))
        bar = np.sqrt(np.einsum("nii->n", trials.covariance) / trials.error.shape[1])
        use = trials.trusted & np.isfinite(bar) & (bar**2 > SMALLEST_VARIANCE) & (error > 0)
        if use.any():
            axes.plot(bar[use], error[use], ".", ms=4, color=colour, label=method)
            low, high = min(low, bar[use].min()), max(high, bar[use].max())
    if high > 0:
        axes.plot([low, high], [low, high], color=FAINT, lw=1, zorder=0, label="error = bar")
        axes.legend()
    axes.set(xscale="log", yscale="log", xlabel="claimed bar, px", ylabel="error, px")
    axes.set_title("each trusted pair")


def draw_coverage(axes: Axes, found: Calibration) -> None:
    """Share of the claimed regions that hold the truth, against their probability."""
    from coregister.plotting import FAINT

    claimed = np.linspace(0, 1, 201)
    for method, colour in _coloured(found):
        trials = found.trials[method]
        level = np.sort(1 - trials.surprise[trials.trusted & np.isfinite(trials.surprise)])
        if level.size:
            share = np.searchsorted(level, claimed, side="right") / level.size
            axes.plot(claimed, share, color=colour, label=method)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, zorder=0)
    axes.set(xlabel="claimed probability", ylabel="share that holds the truth")
    axes.set_title("coverage")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _coloured(found: Calibration) -> list[tuple[str, str]]:
    """Methods that have bars, each with its colour."""
    from coregister.plotting import BLUE, GREEN, ORANGE, VERMILLION

    methods = [m for m, t in found.trials.items() if np.isfinite(t.covariance).any()]
    return list(zip(methods, (BLUE, ORANGE, VERMILLION, GREEN), strict=False))


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


def share_of(count: int, total: int) -> Measured:
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


def shown(value: float, form: str) -> str:
    """The number in this form; a dash if there is none."""
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
