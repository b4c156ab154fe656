"""Frames a second on a movie, and how well: ours beside a loop of scikit-image and pystackreg.

    python benchmarks/stack_speed.py [--frames 200] [--side 512] [--noise 0.1] [--scene power-law-3]
    python benchmarks/stack_speed.py --frames 2000 --workers 2

The others are given the first frame as the reference. Their error is counted like ours: against
the truth, each about its mean. Processor time, one thread if OPENBLAS_NUM_THREADS=1 says so; all
are timed in turn, several times over, and medians are printed. With ``--workers`` the movie is in
a file, and one process is compared with so many, their start left out.
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


def processor_times(executor: ProcessPoolExecutor, workers: int) -> dict[int, float]:
    """Of each worker, s."""
    return dict(found.result() for found in [executor.submit(_own) for _ in range(workers)])


def _own() -> tuple[int, float]:
    time.sleep(0.5)  # long enough for every worker to have its own
    return os.getpid(), time.process_time()


def by_processes(workers: int, movie: Float) -> None:
    """One process and several, from a file: wall time, and what each has to do.

    On a machine that does other things wall time says little. What a run takes without them is at
    least the processor time of the one that asks and of the busiest worker, one after the other.
    """
    few = movie[:24]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.npy"
        np.save(path, movie)
        cr.register_stack(few)
        begun, start = time.process_time(), time.perf_counter()
        alone = cr.register_stack(path)
        one, one_busy = time.perf_counter() - start, time.process_time() - begun
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            cr.register_stack(few, executor=executor)  # starts all of them
            before = processor_times(executor, workers)
            begun, start = time.process_time(), time.perf_counter()
            shared = cr.register_stack(path, executor=executor)
            several, asking = time.perf_counter() - start, time.process_time() - begun
            after = processor_times(executor, workers)
    busy = [after[worker] - before[worker] for worker in after]
    same = np.array_equal(alone.offsets, shared.offsets)
    print(f"{len(movie)} frames; same numbers: {same}; load {os.getloadavg()[0]:.1f}")
    print(f"  one process: processor {one_busy:.1f} s, wall {one:.1f} s")
    each = ", ".join(f"{seconds:.1f}" for seconds in busy)
    print(f"  {workers} workers: {each} s, and {asking:.1f} s here, wall {several:.1f} s")
    print(f"  by processor time {one_busy / (asking + max(busy)):.2f} times as fast or more")
    print(f"  by wall time {one / several:.2f} times, on {os.cpu_count()} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--scene", default="power-law-3")
    parser.add_argument("--rounds", type=int, default=3, help="in each all are timed in turn")
    parser.add_argument("--slow", type=int, default=20, help="frames that pystackreg is given")
    parser.add_argument("--workers", type=int, help="compare one process with so many, alone")
    options = parser.parse_args()
    if options.workers:
        movie, _ = make(options.frames, options.side, options.noise, options.scene, "overlap")
        by_processes(options.workers, movie)
        return
    for boundary in ("overlap", "periodic"):
        movie, truth = make(options.frames, options.side, options.noise, options.scene, boundary)
        rows: list[tuple[str, Callable[[Float], Float], Float]] = [
            ("coregister", by_us(boundary), movie),
            ("skimage loop", by_skimage, movie),
            ("pystackreg", by_pystackreg, movie[: options.slow]),
        ]
        print(f"{boundary}: {options.frames} frames, {options.side} px, noise {options.noise}")
        by_us(boundary)(movie[:6])
        times = np.zeros((options.rounds, len(rows)))
        for turn in range(options.rounds):
            for column, (_, function, frames) in enumerate(rows):
                start = time.process_time()
                offsets = function(frames)
                times[turn, column] = (time.process_time() - start) / len(frames)
                if turn == 0:
                    error = offsets - truth[: len(frames)]
                    rms = float(np.std(error - error.mean(axis=0)))
                    print(f"  {rows[column][0]:14s} rms error {rms:.5f} px")
        for (name, _, _), took, ratio in zip(
            rows, np.median(times, axis=0), np.median(times / times[:, :1], axis=0), strict=True
        ):
            print(
                f"  {name:14s} {1 / took:7.1f} frames/s {1e3 * took:7.1f} ms a frame, "
                f"{ratio:5.2f} times ours"
            )


if __name__ == "__main__":
    main()
