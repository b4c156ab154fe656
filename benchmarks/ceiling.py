"""What a compiled kernel could save at most.

    python benchmarks/ceiling.py
    python benchmarks/ceiling.py --quick          # a try: small sizes, one repetition

What is computed between the transforms is taken from a first call and given back, at no cost, in
those that are timed: a group of functions more in every line. No kernel is faster than that. What
is left are the transforms, arithmetic on whole images, and the steps of Python between them.
"""

from __future__ import annotations

import os

# before numpy is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from speed_pairs import Sample, as_float32, edge_samples, floor, ours, periodic_samples

#: what is free, one group after the other
GROUPS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "fits of spectra to rings": ("estimator.spectrum:fit_rings",),
    "and sums over rings, values at modes": (
        "estimator.rings:Rings.sums",
        "estimator.rings:Rings.mean",
        "estimator.rings:Rings.at_modes",
    ),
    "and contractions, scalar products, the sandwich": (
        "products:contract",
        "products:dot",
        "estimator.equations:_absorbed",
        "estimator.uncertainty.covariance:spread_of",
    ),
    "and bands of frequencies, peaks, trust": (
        "estimator.uncertainty.disagreement:dispersion_of_bands",
        "estimator.search:pick",
        "trust:conclude",
    ),
}
CASES = (
    ("periodic", 512, "float64"),
    ("periodic", 512, "float32"),
    ("periodic", 1024, "float32"),
    ("power-law-2", 512, "float64"),
    ("power-law-2", 1024, "float64"),
    ("texture", 512, "float64"),
    ("texture", 1024, "float64"),
)
QUICK_CASES = (("periodic", 64, "float64"), ("texture", 64, "float64"))
REPEATS = 15


class Tape:
    """Results of calls in the order in which they come, to be given back."""

    def __init__(self) -> None:
        self._results: list[Any] = []
        self._next = 0
        self._inside = self.playing = self.recording = False

    def __len__(self) -> int:
        return len(self._results)

    @property
    def used(self) -> int:
        """How many were given back since it was rewound."""
        return self._next

    def rewind(self, *, record: bool = False) -> None:
        """From the start; with `record` a new one."""
        self._next, self.recording, self.playing = 0, record, not record
        if record:
            self._results.clear()

    def stop(self) -> None:
        """Calls are calls again."""
        self.recording = self.playing = False

    def on(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose results are recorded, or given back; not those of calls inside it."""

        def call(*args: Any, **options: Any) -> Any:
            if self.playing:
                result = self._results[self._next]
                self._next += 1
                # what is changed in place must be whole the next time
                return result.copy() if isinstance(result, np.ndarray) else result
            if not self.recording or self._inside:
                return function(*args, **options)
            self._inside = True
            try:
                result = function(*args, **options)
            finally:
                self._inside = False
            self._results.append(result.copy() if isinstance(result, np.ndarray) else result)
            return result

        return call


def replace(name: str, tape: Tape) -> None:
    """Put a function on the tape wherever it was imported."""
    module, _, path = name.partition(":")
    owner: Any = importlib.import_module(f"coregister.{module}")
    *outer, last = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    function = getattr(owner, last)
    call = tape.on(function)
    setattr(owner, last, call)
    for found, loaded in list(sys.modules.items()):
        if found.startswith("coregister") and getattr(loaded, last, None) is function:
            setattr(loaded, last, call)


def pair(case: str, size: int, precision: str) -> tuple[Sample, Callable[[Sample], Any]]:
    """One pair, and the call that registers it."""
    if case == "periodic":
        sample = periodic_samples(size, 4, (0.1, 0.1))[0]
        return (
            sample if precision == "float64" else as_float32(sample),
            partial(ours, boundary="periodic"),
        )
    return edge_samples(case, (size, size), 4, 8.0)[0], ours


def timed(call: Callable[[Sample], Any], sample: Sample, repeats: int, tape: Tape) -> float:
    """Median ratio to the floor of the same repetition."""
    ratios = []
    for _ in range(repeats):
        fresh = sample.copy()
        tape.rewind()
        start = time.process_time()
        call(fresh)
        middle = time.process_time()
        tape.stop()
        floor(fresh)
        ratios.append((middle - start) / (time.process_time() - middle))
    return float(np.median(ratios))


def main() -> None:
    """Print a line for each group that is free, a column for each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, one repetition")
    quick = parser.parse_args().quick
    repeats, cases = (1, QUICK_CASES) if quick else (REPEATS, CASES)
    tape = Tape()
    pairs = [pair(*case) for case in cases]
    for sample, call in pairs:  # rings, waves and what else is kept for a shape
        call(sample)
    print("times the floor   ", *(f"{c} {n} {p}".rjust(24) for c, n, p in cases))
    for group, names in GROUPS.items():
        for name in names:
            replace(name, tape)
        found = []
        for sample, call in pairs:
            tape.rewind(record=True)
            call(sample)
            found.append(timed(call, sample, repeats, tape))
        tape.stop()
        print(group)
        print(" " * 18, *(f"{ratio:.2f}".rjust(24) for ratio in found))


if __name__ == "__main__":
    main()
