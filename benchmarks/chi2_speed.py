"""Speed of chi2_shift beside the package whose documentation it follows.

Both run in turns in one process, on the same pairs; medians over the rounds. Run it with

    python benchmarks/chi2_speed.py --sizes 64 128 256 512 1024 --rounds 9

The other package is in the extra `bench`. For one thread everywhere set OMP_NUM_THREADS=1 and
OPENBLAS_NUM_THREADS=1 before.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import coregister as cr


def pair(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red scene, the same moved with noise of 3 % of its spread, and errors that vary."""
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    k[0, 0] = np.inf
    im1 = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) / k**1.5, s=(size, size))
    im1 /= im1.std()
    err = 0.03 * np.exp(0.3 * rng.normal(size=im1.shape))
    return im1, np.roll(im1, (3, -5), (0, 1)) + err * rng.normal(size=im1.shape), err


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare(sizes: list[int], rounds: int) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from image_registration.chi2_shifts import chi2_shift as original

    print("| size | err | coregister ms | image_registration ms | ratio | 10 % to 90 % |")
    print("|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for size in sizes:
        im1, im2, errors = pair(size, rng)
        for name, err in (("scalar", 0.03), ("array", errors)):
            times = []
            for turn in range(rounds + 1):
                given = [im1.copy(), im2.copy(), np.copy(err) if np.ndim(err) else err]
                own = seconds(cr.chi2_shift, *given)
                other = seconds(original, *given)
                if turn:  # the first warms up
                    times.append((own, other))
            own, other = 1e3 * np.median(times, axis=0)
            ratios = np.divide(*np.transpose(times)[::-1])
            low, high = np.quantile(ratios, [0.1, 0.9])
            print(
                f"| {size} | {name} | {own:.1f} | {other:.1f} | {np.median(ratios):.1f} "
                f"| {low:.1f} to {high:.1f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    compare(options.sizes, options.rounds)


if __name__ == "__main__":
    main()
