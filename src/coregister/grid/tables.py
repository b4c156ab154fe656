"""`Grid`: what was found for all cells, as tables and as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coregister.calibration import LEVELS, MODULES, Calibration
from coregister.calibration.figures import Figures, shown
from coregister.calibration.targets import (
    BIAS_TARGET,
    COVERAGE_TARGET,
    EFFICIENCY_TARGET,
    FLAGGED_TARGET,
    LARGE_SIDE,
    PULL_LIMIT,
    PULL_TARGET,
)
from coregister.grid.cell import Cell, Group, package_versions
from coregister.grid.picture import plot_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
#: columns of words; all others hold numbers
WORDS = (
    "cell",
    "method",
    "package",
    "flags",
    "missed",
    "not reached",
    "what the results say",
    "why",
)
#: share of trusted undersampled pairs that should lie within systematic + 3 stderr
WITHIN_TARGET = 0.99
#: smallest p of the test that `false_alarm` is uniform
UNIFORM_TARGET = 0.01


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells and their calibrations."""

    results: tuple[tuple[Cell, Calibration], ...]

    def of(self, group: str) -> list[tuple[Cell, Calibration]]:
        """The cells of one group."""
        return [(cell, found) for cell, found in self.results if cell.group == group]

    def table(self, group: Group = "standard") -> str:
        """One line a cell, Markdown; the columns are what is asked of the group.

        Parameters
        ----------
        group : str
            Of `Cell`.
        """
        row = {"standard": _standard_row, "undersampled": _undersampled_row}.get(
            group, _untrusted_row
        )
        return _markdown([{"cell": cell.name, **row(found)} for cell, found in self.of(group)])

    def not_reached(self) -> str:
        """The standard cells that miss a target, what their results say then, and why; Markdown."""
        rows = []
        for cell, found in self.of("standard"):
            missed = [verdict for verdict in found.verdicts() if verdict.word != "met"]
            if missed:
                rows.append(
                    {
                        "cell": cell.name,
                        "not reached": "; ".join(
                            str(v).removesuffix(": MISSED").replace(": OPEN", ", maybe by chance")
                            for v in missed
                        ),
                        "what the results say": _said(found.figures()),
                        "why": cell.note,
                    }
                )
        return _markdown(rows) if rows else "Every cell reaches every target."

    def peers(self) -> str:
        """Other packages on the same pairs: one line a method, then one line a cell; Markdown."""
        compared = [(cell, found) for cell, found in self.results if len(found.trials) > 1]
        methods = list(dict.fromkeys(m for _, found in compared for m in found.trials))
        versions = package_versions(methods)
        summary = []
        for method in methods:
            have = [found for _, found in compared if method in found.trials]
            figures = [found.figures(method) for found in have]
            widths = [f.pull_width.value for f in figures]
            within = [PULL_LIMIT[0] <= width <= PULL_LIMIT[1] for width in widths]
            bars = not all(math.isnan(width) for width in widths)
            typical = float(np.median(np.concatenate([_in_bounds(c, method) for c in have])))
            summary.append(
                {
                    "method": method,
                    "package": f"{MODULES[method]} {versions[MODULES[method]]}",
                    "median rms / bound": _ratio(
                        float(np.median([f.efficiency.value for f in figures]))
                    ),
                    "median error / bound": _ratio(typical),
                    "median pull width": _ratio(float(np.median(widths))) if bars else "no bars",
                    "pull width 0.8 to 1.25": f"{sum(within)} of {len(within)}" if bars else "-",
                    "flagged": f"{sum(f.pairs - f.trusted for f in figures)}",
                    "silent failures": f"{sum(f.silent for f in figures)} "
                    f"of {sum(f.pairs for f in figures)}",
                }
            )
        cells = []
        for cell, found in compared:
            row = {"cell": cell.name}
            for method in methods:
                f = found.figures(method) if method in found.trials else None
                row[method] = "-" if f is None else _ratio(f.efficiency.value)
                if f is not None and not math.isnan(f.pull_width.value):
                    row[method] += f" (pull {_ratio(f.pull_width.value)})"
            cells.append(row)
        return f"{_markdown(summary)}\n\nEach cell, rms / bound:\n\n{_markdown(cells)}"

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
        aliased = [found.aliasing() for _, found in self.of("undersampled")]
        part(
            f"undersampled: {WITHIN_TARGET:.0%} of errors within systematic + 3 stderr",
            "all undersampled cells",
            (a.within.value >= WITHIN_TARGET for a in aliased),
        )
        pairs = sum(len(found.truth) for _, found in self.of("undersampled"))
        silent = sum(a.silent for a in aliased)
        add("undersampled: silent failures", "1 in 20,000", f"{silent} of {pairs}")
        for group, label in (("unrelated", "unrelated"), ("flagged", "unknowable")):
            figures = [found.figures() for _, found in self.of(group)]
            trusted, total = sum(f.trusted for f in figures), sum(f.pairs for f in figures)
            add(f"{label} pairs trusted", "4 in 10,000", f"{trusted} of {total}")
        uniform = [found.figures().false_alarm_uniform for _, found in self.of("unrelated")]
        part(
            f"false_alarm uniform (p above {UNIFORM_TARGET:g})",
            "all unrelated cells",
            (p > UNIFORM_TARGET for p in uniform),
        )
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Figure: pull width, coverage and efficiency of every standard cell, with the targets.

        An arrow stands where the figure lies outside of the panel.
        """
        return plot_grid(self.of("standard"))


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table: words to the left, numbers to the right."""
    rule = ["---" if name in WORDS else "---:" for name in rows[0]]
    lines = [list(rows[0]), rule, *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _standard_row(found: Calibration) -> dict[str, str]:
    f = found.figures()
    missed = [verdict for verdict in found.verdicts() if verdict.word != "met"]
    return {
        "bound px": f"{f.bound:.3g}",
        "rms / bound": str(f.efficiency),
        "pull width": str(f.pull_width),
        "bias": str(f.bias),
        "in 68.3 %": shown(f.coverage[0].value, ".3f"),
        "in 95 %": shown(f.coverage[1].value, ".3f"),
        "flagged": f"{f.flagged.value:.1%}",
        "silent": str(f.silent),
        "flags": _counts(f),
        "missed": "; ".join(v.what if v.word == "open" else v.what.upper() for v in missed),
    }


def _undersampled_row(found: Calibration) -> dict[str, str]:
    f, aliasing = found.figures(), found.aliasing()
    return {
        "error px": shown(f.error, ".3g"),
        "stderr px": shown(f.claimed, ".3g"),
        "systematic px": shown(aliasing.systematic, ".3g"),
        "systematic / error": shown(aliasing.ratio, ".3g"),
        "within": shown(aliasing.within.value, ".3f"),
        "UNDERSAMPLED": f"{aliasing.advised.value:.1%}",
        "flagged": f"{f.flagged.value:.1%}",
        "silent": str(aliasing.silent),
        "flags": _counts(f),
    }


def _untrusted_row(found: Calibration) -> dict[str, str]:
    f = found.figures()
    return {
        "pairs": str(f.pairs),
        "trusted": str(f.trusted),
        "false_alarm uniform, p": "-" if found.related else shown(f.false_alarm_uniform, ".2g"),
        "flags": _counts(f),
    }


def _counts(f: Figures) -> str:
    return ", ".join(f"{name} {count}" for name, count in f.flags.items())


def _said(f: Figures) -> str:
    """What users see of pairs like these."""
    if not f.trusted:
        return f"none trusted; flags: {_counts(f)}"
    bars = f"bar {f.claimed:.2g} px, error {f.error:.2g} px"
    trusted = f"{1 - f.flagged.value:.1%} trusted" if f.trusted < f.pairs else "all trusted"
    return f"{bars}; {trusted}" + (f"; flags: {_counts(f)}" if f.flags else "")


def _ratio(value: float) -> str:
    """Three digits, without an exponent up to 100,000."""
    return shown(value, ".3g" if not 1e3 <= value < 1e5 else ".0f")


def _in_bounds(found: Calibration, method: str) -> Float:
    """Error of each pair over the root of the trace of its bound."""
    error2 = np.sum(found.trials[method].error ** 2, axis=1)
    return np.asarray(np.sqrt(error2 / np.einsum("nii->n", found.bound)))
