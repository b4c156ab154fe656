"""How fast, beside the FFTs it is made of and beside other packages: `make bench`.

    python benchmarks/speed.py --json speed.json --page docs/speed.md
    python benchmarks/speed.py --quick            # a try: small sizes, few repetitions
    python benchmarks/speed.py --json speed.json --check   # exits 1 if a target is missed

All systems run in turns in one process, with one thread, on fresh copies of the same pairs. The
pairs and the systems are in `speed_pairs.py`, what the figures say in `speed_page.py`. `--check`
judges the figures of the file if they are of these sources, and measures if not; with `--page` it
writes the page from them too.
"""

from __future__ import annotations

import os

# before numpy is imported, here and in the processes started from here
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import logging
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import speed_page as figures
from speed_page import BATCHED, FLOOR, KEPT, LOOP, OURS, Row
from speed_pairs import (
    CHI2_SYSTEMS,
    EDGE_SYSTEMS,
    INSTALLED,
    MASK_SYSTEMS,
    MODULE,
    PERIODIC_SYSTEMS,
    VOLUME_SYSTEMS,
    Sample,
    System,
    as_float32,
    batched,
    edge_samples,
    installed,
    kept_reference,
    loop,
    one_for_many,
    periodic_samples,
    windows,
    with_holes,
)

import coregister as cr

SIZES = (64, 128, 256, 512, 1024, 2048)
QUICK_SIZES = (64, 128)
EDGE_SCENES = ("power-law-3", "power-law-2", "texture")


Clock = Callable[[], float]


@dataclass(frozen=True)
class Effort:
    """How often: until `seconds` are used up, within the two limits."""

    seconds: float = 5.0
    fewest: int = 4
    most: int = 16
    pairs: int = 4


def measure(
    systems: dict[str, System],
    samples: Sequence[Sample],
    effort: Effort,
    *,
    clock: Clock = time.process_time,
    warm_up: bool = True,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every system in every repetition, and its rms error over the bound.

    Each repetition runs all systems on one sample; the first of them changes from one to the
    next. A warm-up is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in systems}
    squares: dict[str, dict[int, float]] = {name: {} for name in systems}
    names = list(systems)
    if warm_up:
        for name in names:
            systems[name](samples[0].copy())
    spent, turn = 0.0, 0
    while (
        turn < effort.fewest
        or turn % len(samples)  # the pairs count alike: some take far longer than others
        or (spent < effort.seconds and turn < effort.most)
    ):
        which = turn % len(samples)
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            given = samples[which].copy()
            start = clock()
            offset = systems[name](given)
            elapsed = clock() - start
            times[name].append(elapsed)
            spent += elapsed
            if offset is not None and given.truth is not None and given.bound is not None:
                error = np.asarray(offset, dtype=np.float64) - given.truth
                squares[name][which] = float(np.mean(error**2 / given.bound))
        turn += 1
    accuracy = {n: float(np.sqrt(np.mean(list(s.values())))) for n, s in squares.items() if s}
    return times, accuracy


# ------------------------------------------------------------------------------------ rows


def rows_of_pairs(sizes: Sequence[int], effort: Effort) -> Iterator[Row]:
    def row(case: str, label: str, size: int, systems: dict[str, System], samples: Any) -> Row:
        times, accuracy = measure(installed(systems), samples, effort)
        return Row(case=case, label=label, size=size, times=times, accuracy=accuracy)

    for size in sizes:
        pairs = effort.pairs if size < 1024 else 2
        plain = periodic_samples(size, pairs, (0.1, 0.1))
        yield row(figures.PERIODIC, "float64", size, PERIODIC_SYSTEMS, plain)
        single = [as_float32(s) for s in plain]
        yield row(figures.PERIODIC, "float32", size, PERIODIC_SYSTEMS, single)
        for name, varying in (("err scalar", False), ("err array", True)):
            samples = periodic_samples(size, pairs, (0.0, 0.1), varying)
            yield row(figures.CHI2, name, size, CHI2_SYSTEMS, samples)
        for scene in EDGE_SCENES:
            samples = edge_samples(scene, (size, size), pairs, 8.0)
            yield row(figures.EDGES, scene, size, EDGE_SYSTEMS, samples)
            if scene == "power-law-3" and size <= 1024:
                for kind in ("block", "scattered"):
                    holed = [with_holes(s, kind) for s in samples]
                    yield row(figures.MASKS, kind, size, MASK_SYSTEMS, holed)


def row_of_volumes(size: int, effort: Effort) -> Row:
    samples = edge_samples("power-law-3", (size,) * 3, 2, 4.0)
    times, accuracy = measure(installed(VOLUME_SYSTEMS), samples, effort)
    return Row(case=figures.VOLUMES, label="float64", size=size, times=times, accuracy=accuracy)


def row_of_windows(count: int, effort: Effort) -> Row:
    systems: dict[str, System] = {LOOP: loop, BATCHED: batched}
    once = Effort(seconds=effort.seconds, fewest=2, most=5)
    times, _ = measure(systems, [windows(count)], once, warm_up=False)
    return Row(case=figures.WINDOWS, label=f"{count} windows", size=64, times=times)


def row_of_reference(size: int, effort: Effort) -> Row:
    pairs = edge_samples("power-law-3", (size, size), effort.pairs, 8.0)
    rng = np.random.default_rng(size)
    moving = pairs[0].moving
    many = np.stack([moving + 0.03 * rng.normal(size=moving.shape) for _ in range(8)])
    sample = Sample(pairs[0].reference, many)
    systems: dict[str, System] = {LOOP: one_for_many}
    if hasattr(cr, "Reference"):
        systems[KEPT] = kept_reference
    times, _ = measure(systems, [sample], effort)
    return Row(case=figures.REFERENCE, label="8 images", size=size, times=times)


IMPORTS = {FLOOR: "numpy, scipy.fft", OURS: "coregister"}
TIMED_IMPORT = "import time; s = time.process_time(); import {}; print(time.process_time() - s)"


def row_of_import(repetitions: int) -> Row:
    """Fresh interpreters; the first of each compiles what it imports, as an installation does."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as compiled:
        kept = {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for turn in range(repetitions + 1):
            for name, modules in IMPORTS.items():
                done = subprocess.run(
                    [sys.executable, "-c", TIMED_IMPORT.format(modules)],
                    env={**os.environ, **kept},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                if turn:
                    times[name].append(float(done.stdout))
    return Row(case=figures.IMPORT, label="fresh interpreter", size=0, times=times)


# ------------------------------------------------------------------------------------ memory

STATUS = Path("/proc/self/status")


def resident(what: str) -> int:
    """Bytes, now (VmRSS) or the most since it was reset (VmHWM)."""
    line = next(li for li in STATUS.read_text().splitlines() if li.startswith(what))
    return 1024 * int(line.split()[1])


def peak(system: str, path: str) -> int:
    """Bytes above what was there before one call: in a process of its own."""
    with np.load(path) as held:
        sample = Sample(held["reference"], held["moving"])
    small = Sample(sample.reference[:64, :64].copy(), sample.moving[:64, :64].copy())
    EDGE_SYSTEMS[system](small)  # imports are not counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    EDGE_SYSTEMS[system](sample)
    return max(resident("VmHWM") - before, 0)


def row_of_memory(size: int) -> Row:
    sample = edge_samples("power-law-3", (size, size), 2, 8.0)[0]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.npz"
        np.savez(path, reference=sample.reference, moving=sample.moving)
        for system in installed(EDGE_SYSTEMS):
            done = subprocess.run(
                [sys.executable, __file__, "--peak", system, str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            found[system] = int(done.stdout) / (8 * size**2)
    return Row(case=figures.MEMORY, label="float64", size=size, peak=found)


# ------------------------------------------------------------------------------------ a run


def run(*, quick: bool, effort: Effort) -> Iterator[Row]:
    yield row_of_import(3 if quick else 15)
    yield row_of_windows(20 if quick else 1000, effort)
    if STATUS.exists():
        for size in (64, 128) if quick else (256, 512, 1024, 2048):
            yield row_of_memory(size)
    yield row_of_volumes(32 if quick else 128, effort)
    yield row_of_reference(64 if quick else 512, effort)
    yield from rows_of_pairs(QUICK_SIZES if quick else SIZES, effort)


@cache
def digest() -> str:
    """Of the sources that are measured, as they were at the first call."""
    found = hashlib.sha256()
    folder = Path(cr.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:12]


def machine() -> str:
    """What the machine is, not which one."""
    names = [
        f"coregister {cr.__version__} (sources {digest()})",
        f"Python {platform.python_version()}",
    ]
    names += [f"numpy {np.__version__}", f"scipy {scipy.__version__}"]
    model, memory = platform.machine(), ""
    with_model = Path("/proc/cpuinfo")
    if with_model.exists():
        lines = [li for li in with_model.read_text().splitlines() if li.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    with_memory = Path("/proc/meminfo")
    if with_memory.exists():
        kib = int(with_memory.read_text().split()[1])
        memory = f", {kib / 2**20:.0f} GiB of memory"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.system()}; {', '.join(names)}"


def save(rows: Sequence[Row], path: Path, *, whole: bool) -> None:
    content = {
        "sources": digest(),
        "machine": machine(),
        "whole": whole,
        "absent": sorted(set(MODULE) - INSTALLED),
        "rows": [row.to_dict() for row in rows],
    }
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def load(path: Path) -> list[Row] | None:
    """The rows of a whole run of these sources; None where there is no such file."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    if not content["whole"] or content["sources"] != digest():
        return None
    return [Row(**row) for row in content["rows"]]


def write_page(rows: Sequence[Row], path: Path) -> None:
    picture = path.parent / "images" / f"{path.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    figures.draw(rows).savefig(picture, dpi=110, metadata={"Software": None})
    counts = [len(next(iter(row.times.values()))) for row in rows if row.times]
    text = figures.page(
        rows,
        machine=machine(),
        absent=sorted(set(MODULE) - INSTALLED),
        repetitions=f"{min(counts)} to {max(counts)} repetitions",
        picture=f"images/{picture.name}",
    )
    path.write_text(text)


def check(rows: Sequence[Row]) -> int:
    """1 if a target is missed or was not looked at, each named on standard error."""
    missed = [verdict for verdict in figures.judge(rows) if not verdict.reached]
    for verdict in missed:
        sys.stderr.write(f"{verdict}\n")
    return 1 if missed else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="the figures")
    parser.add_argument("--page", type=Path, help="Markdown; its picture goes into images/ beside")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a try")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row (default 4)")
    parser.add_argument("--peak", nargs=2, metavar=("SYSTEM", "FILE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # of difficult pairs and of other packages
    logging.disable(logging.CRITICAL)
    if chosen.peak:
        sys.stdout.write(f"{peak(*chosen.peak)}\n")
        return 0
    rows = load(chosen.json) if chosen.check and chosen.json and not chosen.quick else None
    if rows is None:
        rows = []
        effort = Effort(seconds=0.3) if chosen.quick else Effort(seconds=chosen.seconds)
        for row in run(quick=chosen.quick, effort=effort):
            rows.append(row)
            sys.stderr.write(f"{row.name}: {summary(row)}\n")
            if chosen.json:
                save(rows, chosen.json, whole=False)
        if chosen.json:
            save(rows, chosen.json, whole=not chosen.quick)
    if chosen.page:
        write_page(rows, chosen.page)
    return check(rows) if chosen.check else 0


def summary(row: Row) -> str:
    parts = [f"{name} {row.milliseconds(name):.3g} ms" for name in row.times]
    parts += [f"{name} {figure:.1f} images" for name, figure in row.peak.items()]
    if row.times.get(FLOOR) and row.times.get(OURS):
        parts.append(f"{row.ratio(OURS, FLOOR):.2f} x the floor")
    return ", ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
