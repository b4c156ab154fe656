"""Many kinds of pairs, each calibrated: the targets of the project over all of them.

A `Cell` is one kind; `run_grid` calibrates cells, goes on where a run was stopped, and takes
nothing from a run of other code; `Grid` holds what was found and writes the tables.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coregister.calibration import LEVELS, MODULES, Calibration, calibrate
from coregister.calibration.figures import Figures, Measured, shown
from coregister.calibration.targets import (
    BIAS_TARGET,
    COVERAGE_TARGET,
    EFFICIENCY_TARGET,
    FLAGGED_TARGET,
    LARGE_SIDE,
    PULL_LIMIT,
    PULL_TARGET,
    Verdict,
)
from coregister.errors import InputError, optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
Group = Literal["standard", "undersampled", "unrelated", "flagged"]

#: modules of this package that change nothing that a calibration measures
OTHERS = (
    "__init__",
    "__main__",
    "chi2",
    "cli",
    "cli_options",
    "cli_sky",
    "cli_stack",
    "demo",
    "errors",
    "grid",
    "image_registration",
    "io",
    "napari",
    "place",
    "plotting",
    "posterior",
    "regrid",
    "report",
    "resample",
    "several",
    "sky",
    "stack",
    "transforms",
    "windows",
    "world",
)
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
    methods : tuple of str
        Of `calibrate`.
    note : str
        Why a target is not reached, for readers.
    """

    name: str
    options: Mapping[str, Any]
    group: Group = "standard"
    methods: tuple[str, ...] = ("coregister",)
    note: str = ""

    def arguments(self, *, n_pairs: int, seed: int) -> dict[str, Any]:
        """Those of `calibrate`; cells differ in their pairs by their names."""
        return {
            "n_pairs": n_pairs,
            "seed": seed + zlib.crc32(self.name.encode()),
            "related": self.group != "unrelated",
            "methods": self.methods,
            **self.options,
        }

    def run(self, *, n_pairs: int, seed: int) -> Calibration:
        """`calibrate` with these arguments."""
        return calibrate(**self.arguments(n_pairs=n_pairs, seed=seed))

    def key(self, *, n_pairs: int, seed: int) -> str:
        """Changes with anything that the result depends on, the code included."""
        digest = hashlib.sha256(code_digest().encode())
        digest.update(repr(package_versions(self.methods)).encode())
        for name, value in sorted(self.arguments(n_pairs=n_pairs, seed=seed).items()):
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

    # ---------------------------------------------------------------- tables

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

    # ---------------------------------------------------------------- pictures

    def plot(self) -> Figure:
        """Figure: pull width, coverage and efficiency of every standard cell, with the targets.

        An arrow stands where the figure lies outside of the panel.
        """
        from coregister.plotting import FAINT, style

        cells = [(cell.name, found) for cell, found in self.of("standard")]
        figures = [found.figures() for _, found in cells]
        rows = np.arange(len(cells))[::-1]
        with style():
            figure = optional("matplotlib.figure", "report").Figure(
                figsize=(11.5, 1.2 + 0.19 * len(cells)), layout="constrained"
            )
            pull, cover, ratio = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1, 1.2))
            pull.set_xlim(0.6, 1.5)
            cover.set(xlim=(0.5, 1.03), xticks=[0.6, 0.7, 0.8, 0.9, 1.0])
            ratio.set_xlim(0.8, 2.2)
            _dots(pull, rows, [f.pull_width for f in figures], [PULL_TARGET] * len(cells))
            for i, (level, tolerance) in enumerate(zip(LEVELS, COVERAGE_TARGET, strict=True)):
                cover.axvline(level, color=FAINT, lw=1, zorder=0)
                limits = [(level - tolerance, level + tolerance)] * len(cells)
                _dots(cover, rows, [f.coverage[i] for f in figures], limits)
            limits = [(0.0, found.efficiency_target) for _, found in cells]
            _dots(ratio, rows, [f.efficiency for f in figures], limits)
            pull.axvline(1.0, color=FAINT, lw=1, zorder=0)
            ratio.axvline(1.0, color=FAINT, lw=1, zorder=0)
            pull.set(yticks=rows, ylim=(-0.8, len(cells) - 0.2))
            pull.set_yticklabels([name for name, _ in cells])
            pull.set_title("pull width (1: true bars)")
            cover.set_title("share in 68 % and 95 % region")
            ratio.set_title("rms error / bound (1: ideal)")
            for axes in (pull, cover, ratio):
                axes.tick_params(axis="y", length=0)
                axes.grid(axis="y", color=FAINT, alpha=0.2, lw=0.5)
        result: Figure = figure
        return result


# ------------------------------------------------------------------------------------ runs


def run_grid(
    cells: Sequence[Cell],
    *,
    n_pairs: int = 500,
    seed: int = 0,
    workers: int = 1,
    output: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[Cell, Calibration]]:
    """Calibrate many cells, in the order in which they finish.

    Parameters
    ----------
    cells : sequence of Cell
    n_pairs, seed
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
    task = partial(_run_cell, n_pairs=n_pairs, seed=seed)
    keys = [cell.key(n_pairs=n_pairs, seed=seed) for cell in cells]
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


def _run_cell(cell: Cell, *, n_pairs: int, seed: int) -> Calibration:
    return cell.run(n_pairs=n_pairs, seed=seed)


def _each(
    task: Callable[[Cell], Calibration], todo: list[tuple[Cell, str]], workers: int
) -> Iterator[tuple[Cell, str, Calibration]]:
    if workers <= 1:
        for cell, key in todo:
            yield cell, key, task(cell)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        # Ctrl-C reaches the workers too; a KeyboardInterrupt in one that takes its next task would
        # leave the lock of the queue held, and everybody waiting
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        futures = {pool.submit(task, cell): (cell, key) for cell, key in todo}
        for future in as_completed(futures):
            yield (*futures[future], future.result())
    finally:
        pool.shutdown(cancel_futures=True)


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


@cache
def code_digest() -> str:
    """Digest of the sources that the figures depend on: old figures are never taken for new.

    Kept from the first call on: a source that is edited during a run is not the one that runs.
    """
    digest = hashlib.sha256()
    home = Path(__file__).parent
    for path in sorted(home.rglob("*.py")):
        if path.relative_to(home).with_suffix("").parts[0] not in OTHERS:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def package_versions(methods: Iterable[str]) -> dict[str, str]:
    """Versions of the packages behind these methods, and of those that all results rest on."""
    names = dict.fromkeys(["numpy", "scipy", *(MODULES[method] for method in methods)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are imported here, and are theirs
        return {name: str(optional(name, "bench").__version__) for name in names}


# ------------------------------------------------------------------------------------ rows


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


def _dots(
    axes: Axes,
    rows: NDArray[np.int_],
    numbers: Sequence[Measured],
    limits: Sequence[tuple[float, float]],
) -> None:
    """One number a row with its uncertainty, over the range that it should reach."""
    from coregister.plotting import BLUE, GREEN, ORANGE, VERMILLION

    colours = {"met": BLUE, "open": ORANGE, "missed": VERMILLION}
    left, right = axes.get_xlim()
    for row, number, (low, high) in zip(rows, numbers, limits, strict=True):
        axes.fill_betweenx([row - 0.5, row + 0.5], low, high, color=GREEN, alpha=0.15, lw=0)
        if math.isnan(number.value):
            continue
        colour = colours[Verdict(what="", measured=number, low=low, high=high).word]
        if left <= number.value <= right:
            axes.errorbar(number.value, row, xerr=number.stderr, fmt="o", ms=3, lw=1, color=colour)
        else:
            edge, arrow = (right, ">") if number.value > right else (left, "<")
            axes.plot(edge, row, arrow, ms=6, color=colour, clip_on=False)
    axes.set_xlim(left, right)
