"""Many kinds of pairs, each calibrated: the targets of the project over all of them.

A `Cell` is one kind; `run_grid` calibrates cells, goes on where a run was stopped, and takes
nothing from a run of other code; `Grid` holds what was found and writes the tables.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from coregister.calibration import Calibration
from coregister.errors import InputError
from coregister.grid.cell import Cell, Group, code_digest, package_versions
from coregister.grid.tables import Grid

__all__ = ["Cell", "Grid", "Group", "code_digest", "package_versions", "run_grid"]


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
