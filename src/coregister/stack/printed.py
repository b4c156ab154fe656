"""The answer for a stack in a few lines, as text and in notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coregister.result import axis_names, compact_html, round_pdg
from coregister.status import Status

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration


def text(result: StackRegistration) -> str:
    """What `str` gives."""
    found = _rows(result)
    width = max((len(label) for label, _ in found), default=0)
    rows = [f"  {label:<{width}}  {value}" for label, value in found]
    return "\n".join([_verdict(result), *rows, *(f"  ! {note}" for note in _notes(result))])


def page(result: StackRegistration) -> str:
    """What a notebook shows."""
    good = bool(result.trusted.all())
    return compact_html(_verdict(result), _notes(result), _rows(result), good=good)


def _verdict(result: StackRegistration) -> str:
    return f"{result.trusted.sum()} of {len(result)} frames trusted"


def _rows(result: StackRegistration) -> list[tuple[str, str]]:
    good, rows = result.trusted, []
    if good.any():
        bars = np.median(result.stderr[good], axis=0)
        span = np.ptp(result.offsets[good], axis=0)
        for name, size, bar in zip(axis_names(result.ndim), span, bars, strict=True):
            rows.append((name, f"moves over {round_pdg(size, max(bar, 1e-12))} px"))
        bounds = result.systematic[good].max(axis=0)
        if np.any(bounds > 0):
            rows.append(("systematic below", ", ".join(f"{b:.2g}" for b in bounds) + " px"))
        rows.append(("counted from", str(result.reference)))
    if np.isfinite(result.closure):
        rows.append(("loops close", f"within {result.closure:.2f} of what they may"))
    return rows


def _notes(result: StackRegistration) -> list[str]:
    notes = []
    if result.part.max() > 0:
        notes.append(
            f"DISCONNECTED: the stack falls into {result.part.max() + 1} parts that share "
            "nothing; offsets are those of the largest"
        )
    for status in Status:
        bad = [t for t, flags in enumerate(result.flags) if status in flags]
        if bad:
            few = ", ".join(map(str, bad[:8])) + (" ..." if len(bad) > 8 else "")
            notes.append(f"{status}: frames {few}")
    return notes
