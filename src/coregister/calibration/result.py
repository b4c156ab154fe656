"""`Calibration`: trials whose truth is known, what they amount to, and its printed forms."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.calibration.figures import (
    Aliasing,
    Figures,
    Measured,
    rms,
    root_ratio,
    share_of,
    shown,
    uniformity,
)
from coregister.calibration.pictures import plot_calibration
from coregister.calibration.targets import (
    BIAS_TARGET,
    COVERAGE_TARGET,
    EFFICIENCY_TARGET,
    FLAGGED_TARGET,
    LARGE_SIDE,
    PULL_TARGET,
    Verdict,
)
from coregister.calibration.trials import LEVELS, Trials
from coregister.errors import InputError
from coregister.result.record import floats, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
#: a result is a silent failure if it is trusted, less likely than this under what it claims, ...
SILENT = 6e-7
#: ... and wrong by more than this times the bound
SILENT_BOUNDS = 3.0
#: undersampled pairs: errors should stay within systematic + so many stderr, and a trusted one
#: beyond systematic + so many is a silent failure
WITHIN_SIGMAS, BEYOND_SIGMAS = 3.0, 5.0


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
            bound=rms(bound),
            error=rms(error2),
            claimed=rms(np.einsum("nii->ni", trials.covariance)[use]),
            efficiency=root_ratio(error2.mean(axis=1), bound2.mean(axis=1), ndim),
            pull_width=root_ratio(np.mean(pulls**2, axis=1), np.ones(len(pulls)), ndim),
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
            false_alarm_uniform=uniformity(trials.false_alarm),
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
        systematic = rms(trials.systematic[use] ** 2)
        return Aliasing(
            systematic=systematic,
            ratio=systematic / size if (size := rms(error[use] ** 2)) > 0 else math.nan,
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
            found.append(Verdict("pull width", f.pull_width, *PULL_TARGET))
            for level, tolerance, share in zip(LEVELS, COVERAGE_TARGET, f.coverage, strict=True):
                found.append(
                    Verdict(f"coverage of {level:.0%}", share, level - tolerance, level + tolerance)
                )
            found.append(Verdict("bias, stderr", f.bias, 0.0, BIAS_TARGET))
            if math.isfinite(f.bound):
                found.append(
                    Verdict("rms error / bound", f.efficiency, 0.0, self.efficiency_target)
                )
            found.append(Verdict("silent failures", Measured(value=f.silent, stderr=0.0), 0.0, 0.0))
        for limit, most in FLAGGED_TARGET:
            if f.bound < limit:
                found.append(Verdict("flagged", f.flagged, 0.0, most))
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
        return plot_calibration(self)

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
        from coregister.report.calibration import write_calibration

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
            "truth": plain(self.truth),
            "bound": plain(self.bound),
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
            truth=floats(record["truth"]),
            bound=floats(record["bound"]),
            trials={name: Trials.from_dict(t) for name, t in record["trials"].items()},
        )
