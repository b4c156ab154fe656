"""The targets of the project, and whether a figure reaches its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coregister.calibration.figures import Measured

Word = Literal["met", "open", "missed"]
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


@dataclass(frozen=True)
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
