"""Frames a second on a movie, and how well: ours beside a loop of scikit-image and pystackreg.

    python benchmarks/stack_speed.py [--frames 200] [--side 512] [--noise 0.1] [--scene power-law-3]
    python benchmarks/stack_speed.py --frames 2000 --workers 2

The others are given the first frame as the reference. Their error is counted like ours: against
the truth, each about its mean. Processor time, one thread. With ``--workers`` the movie is in a
file and wall time is measured, here and with so many processes, their start left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import coregister as cr

Float = NDArray[np.float64]


def make(frames: int, side: int, noise: float, kind: str, boundary: str) -> tuple[Float, Float]:
    """A movie with known drift, single precision."""
    rng = np.random.default_rng(1)
    truth = np.cumsum(rng.normal(0, 0.3, (frames, 2)), axis=0)
    full = side if boundary == "periodic" else side + 128
    scene = cr.random_scene(kind, (full, full), rng=rng)
    movie = np.empty((frames, side, side), dtype=np.float32)
    shape = None if boundary == "periodic" else (side, side)
    for i in range(frames):  # frame by frame: double precision of all would not fit
        movie[i] = cr.simulate_stack(scene, truth[i : i + 1], noise=noise, rng=rng, shape=shape)[0]
    return movie, truth


def by_us(boundary: str) -> Callable[[Float], Float]:
    return lambda movie: cr.register_stack(movie, boundary=boundary).offsets


def by_skimage(movie: Float) -> Float:
    from skimage.registration import phase_cross_correlation

    return np.array(
        [
            -phase_cross_correlation(movie[0], frame, upsample_factor=100, normalization=None)[0]
            for frame in movie
        ]
    )


def by_pystackreg(movie: Float) -> Float:
    from pystackreg import StackReg

    stackreg = StackReg(StackReg.TRANSLATION)
    matrices = [stackreg.register(movie[0], frame) for frame in movie]
    return np.array([[m[1, 2], m[0, 2]] for m in matrices])


def by_processes(workers: int, movie: Float) -> None:
    """Wall time of one process and of several, from a file."""
    few = movie[:6]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.npy"
        np.save(path, movie)
        start = time.perf_counter()
        alone = cr.register_stack(path)
        one = time.perf_counter() - start
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            for _ in range(2):  # starts all of them
                cr.register_stack(few, executor=executor)
            start = time.perf_counter()
            shared = cr.register_stack(path, executor=executor)
            several = time.perf_counter() - start
    same = np.array_equal(alone.offsets, shared.offsets)
    print(
        f"{len(movie)} frames: one process {one:.1f} s, {workers} workers {several:.1f} s, "
        f"{one / several:.2f} times; same numbers: {same}; load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--scene", default="power-law-3")
    parser.add_argument("--slow", type=int, default=20, help="frames that pystackreg is given")
    parser.add_argument("--workers", type=int, help="compare one process with so many, alone")
    options = parser.parse_args()
    if options.workers:
        movie, _ = make(options.frames, options.side, options.noise, options.scene, "overlap")
        by_processes(options.workers, movie)
        return
    for boundary in ("overlap", "periodic"):
        movie, truth = make(options.frames, options.side, options.noise, options.scene, boundary)
        rows = [("coregister", by_us(boundary), movie), ("skimage loop", by_skimage, movie)]
        rows.append(("pystackreg", by_pystackreg, movie[: options.slow]))
        print(f"{boundary}: {options.frames} frames, {options.side} px, noise {options.noise}")
        for name, function, frames in rows:
            start = time.process_time()
            offsets = function(frames)
            took = time.process_time() - start
            wanted = truth[: len(frames)]
            error = (offsets - offsets.mean(axis=0)) - (wanted - wanted.mean(axis=0))
            rms = float(np.sqrt(np.mean(error**2)))
            print(
                f"  {name:14s} {len(frames) / took:7.1f} frames/s "
                f"{1e3 * took / len(frames):7.1f} ms a frame   rms error {rms:.5f} px"
            )


if __name__ == "__main__":
    main()
