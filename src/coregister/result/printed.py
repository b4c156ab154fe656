"""Numbers, axes and verdicts as they are printed, in a terminal and in a notebook."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from coregister.estimator.stages import Mode
from coregister.status import Status

if TYPE_CHECKING:
    from coregister.result import Registration
    from coregister.transforms import Physical


def rows_of(result: Registration) -> list[tuple[str, str]]:
    """Label and value of what the printed forms show."""
    names = axis_names(result.ndim)
    table = [
        (f"offset {name}", f"{round_pdg(d, s)} px")
        for name, d, s in zip(names, result.offset, result.stderr, strict=True)
    ]
    if result._pair is not None and result._pair.reference.spacing is not None:
        table += physical_rows(result.physical())
    if result.ndim == 2 and np.all(np.isfinite(result.covariance)):
        correlation = result.covariance[0, 1] / np.prod(result.stderr)
        table.append(("correlation of the bars", f"{correlation:.2f}"))
    table += [
        ("false alarm", _probability(result.false_alarm)),
        ("gain, background", f"{result.gain:.4g}, {result.background:.4g}"),
        ("overlap", f"{100 * result.overlap:.1f} %"),
    ]
    if np.any(result.systematic > 0):
        table.append(
            ("systematic below", ", ".join(f"{value:.2g}" for value in result.systematic) + " px")
        )
    if Status.UNEVEN_NOISE in result.flags:
        even = np.sqrt(np.diag(result.model_covariance))
        table.append(("bars of even noise", ", ".join(f"{v:.2g}" for v in even) + " px"))
    if len(result.modes) > 1:
        table.append(("other modes", "; ".join(_mode(m) for m in result.modes[1:4])))
    return table


def _mode(mode: Mode) -> str:
    place = ", ".join(f"{d:.2f}" for d in mode.offset)
    return f"({place}) with probability {mode.probability:.2g}"


def axis_names(ndim: int) -> list[str]:
    """Labels of the array axes as people call them: the last is x, the one before y."""
    letters = ["x", "y", "z"]
    return [
        f"axis {axis}" + (f" ({letters[ndim - 1 - axis]})" if ndim - 1 - axis < 3 else "")
        for axis in range(ndim)
    ]


def physical_rows(real: Physical) -> list[tuple[str, str]]:
    """Label and value of an offset in the units of the pixels' size, for the printed forms."""
    names = [name.split()[-1].strip("()") for name in axis_names(real.offset.size)]
    return [
        (f"in {unit}, {name}", f"{round_pdg(offset, bar)} {unit}")
        for name, offset, bar, unit in zip(names, real.offset, real.stderr, real.units, strict=True)
        if unit
    ]


def round_pdg(value: float, stderr: float) -> str:
    """``value +- stderr`` rounded by the rule of the Particle Data Group.

    The three leading digits of the bar decide: up to 354 two digits are kept, up to 949 one,
    above that it becomes 1000 and two are kept.

    Examples
    --------
    >>> round_pdg(0.827, 0.119)
    '0.83 +- 0.12'
    >>> round_pdg(0.827, 0.367)
    '0.8 +- 0.4'
    >>> round_pdg(12.3456, 0.00096)
    '12.3456 +- 0.0010'
    """
    if not math.isfinite(stderr):
        return f"{value:.3g} +- inf (undetermined)"
    if stderr <= 0:
        return f"{value:.6g} +- 0"
    exponent = math.floor(math.log10(stderr))
    leading = round(stderr / 10.0 ** (exponent - 2))
    if leading > 999:
        leading, exponent = 100, exponent + 1
    digits = 2 if leading <= 354 else 1
    if leading >= 950:
        digits, exponent, stderr = 2, exponent + 1, 10.0 ** (exponent + 1)
    places = digits - 1 - exponent
    if abs(places) > 12:
        return f"{value:.6e} +- {stderr:.1e}"
    scale = 10.0 ** (-places) if places < 0 else 1.0
    shown = max(places, 0)
    number = round(value / scale) * scale if places < 0 else round(value, places) + 0.0
    bar = round(stderr / scale) * scale if places < 0 else stderr
    return f"{number:.{shown}f} +- {bar:.{shown}f}"


def _probability(value: float) -> str:
    """Of chance, in two digits; what is next to nothing is called that."""
    if value < 1e-16:
        return "below 1e-16"
    return f"{value:.1e}" if value < 0.01 else f"{value:.3f}"


def compact_html(
    verdict: str,
    notes: Iterable[str],
    rows: Iterable[tuple[str, str]],
    more: Sequence[tuple[str, str]] = (),
    *,
    good: bool,
) -> str:
    """What a notebook shows: verdict, the rows that matter and what is wrong; more on demand."""
    # the words keep the page's own colour, dark or light; only the rule beside them speaks
    colour = "#009E73" if good else "#D55E00"
    items = "".join(f"<li>{_as_html(line)}</li>" for line in notes)
    return (
        f'<div style="border-left:4px solid {colour};padding-left:.8em">'
        f"<strong>{html.escape(verdict)}</strong>{_table(rows)}"
        + (f"<ul>{items}</ul>" if items else "")
        + (f"<details><summary>more</summary>{_table(more)}</details>" if more else "")
        + "</div>"
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(label)}</th>'
        f'<td style="text-align:left">{html.escape(value).replace("+-", "±")}</td></tr>'
        for label, value in rows
    )
    return f'<table style="margin:.3em 0">{cells}</table>'


def _as_html(sentence: str) -> str:
    """Names between backticks set as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(sentence))
