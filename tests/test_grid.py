"""Many cells: what is kept and what is run again, the tables, the page of the documents."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import coregister as cr
from coregister.grid import Cell, Grid, code_digest, run_grid

SIGMA = np.array([0.02, 0.05])  # of the trials that are made up


def cells() -> list[Cell]:
    shape = (32, 32)
    return [
        Cell(name="a", options={"scene": "power-law-2", "shape": shape}),
        Cell(name="b", options={"scene": "blobs", "shape": shape, "noise": 0.2}),
        Cell(name="c", options={"scene": "white", "shape": shape}, group="unrelated"),
    ]


def test_a_grid_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    output = tmp_path / "grid.jsonl"
    first = dict(zip("ab", run_grid(cells()[:2], n_pairs=2, output=output), strict=True))
    text = output.read_text()
    assert len(text.splitlines()) == 2
    output.write_text(text + text.splitlines()[0][:100])  # cut off while it was written
    monkeypatch.setattr(Cell, "run", lambda *_, **__: pytest.fail("ran again"))
    again = dict(zip("ab", run_grid(cells()[:2], n_pairs=2, output=output), strict=True))
    assert {name: str(found) for name, (_, found) in again.items()} == {
        name: str(found) for name, (_, found) in first.items()
    }
    monkeypatch.undo()
    assert [c.name for c, _ in run_grid(cells(), n_pairs=2, output=output)] == ["a", "b", "c"]
    assert sum(line.endswith("}") for line in output.read_text().splitlines()) == 3


def test_the_key_of_a_cell_changes_with_all_that_matters(monkeypatch):
    cell = cells()[0]
    keys = {
        cell.key(n_pairs=2, seed=0),
        cell.key(n_pairs=3, seed=0),
        cell.key(n_pairs=2, seed=1),
        cells()[1].key(n_pairs=2, seed=0),
        Cell(name="a", options={**cell.options, "gain": 2.0}).key(n_pairs=2, seed=0),
        Cell(name="a", options=cell.options, group="unrelated").key(n_pairs=2, seed=0),
    }
    assert len(keys) == 6
    noted = Cell(name="a", options=cell.options, note="a reason for readers")
    assert noted.key(n_pairs=2, seed=0) in keys
    monkeypatch.setattr("coregister.grid.cell.code_digest", lambda: "other code")
    assert cell.key(n_pairs=2, seed=0) not in keys


def test_two_processes_find_what_one_finds():
    alone = {c.name: found for c, found in run_grid(cells()[:2], n_pairs=2)}
    together = {c.name: found for c, found in run_grid(cells()[:2], n_pairs=2, workers=2)}
    for name, found in alone.items():
        assert np.array_equal(
            found.trials["coregister"].error, together[name].trials["coregister"].error
        )


@pytest.mark.skipif(os.name == "nt", reason="signals of a process group")
def test_a_run_that_is_stopped_stops(tmp_path):
    code = (
        "import sys; from coregister.grid import Cell, run_grid\n"
        "if __name__ == '__main__':\n"
        "    quick = Cell(name='a', options={'shape': (24, 24), 'boundary': 'periodic'})\n"
        "    slow = [Cell(name=n, options={'shape': (400, 400)}) for n in 'bcdef']\n"
        "    list(run_grid([quick, *slow], n_pairs=60, workers=2, output=sys.argv[1]))\n"
    )
    output = tmp_path / "grid.jsonl"
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(output)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            if (output.exists() and output.read_text()) or run.poll() is not None:
                break
            time.sleep(0.1)
        assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)  # what Ctrl-C does
        assert run.wait(timeout=30) != 0
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert len(output.read_text().splitlines()) == 1


def test_the_table_has_a_line_a_cell_and_the_summary_every_target():
    grid = Grid(tuple(run_grid(cells(), n_pairs=2)))
    assert len(grid.table().splitlines()) == 2 + 2
    assert len(grid.table("unrelated").splitlines()) == 2 + 1
    summary = grid.summary()
    for words in ("pull width", "coverage", "rms / bound", "bias", "silent", "flagged", "uniform"):
        assert words in summary
    with pytest.raises(cr.InputError, match="one name"):
        list(run_grid([cells()[0]] * 2, n_pairs=2))


def test_every_group_has_the_columns_that_are_asked_of_it(made_up):
    aliased = Cell(name="d", options={}, group="undersampled")
    grid = Grid(((aliased, made_up(50)), (cells()[2], made_up(50))))
    assert "systematic / error" in grid.table("undersampled")
    assert "| c | 50 | 50 |" in grid.table("unrelated")
    assert "| undersampled: silent failures | 1 in 20,000 | 0 of 50 |" in grid.summary()
    assert "within systematic + 3 stderr | all undersampled cells | 1 of 1" in grid.summary()


def test_what_is_not_reached_is_listed_with_its_reason(made_up):
    first, second = cells()[:2]
    second = Cell(name="b", options=second.options, note="made up so")
    assert "Every cell" in Grid(((first, made_up()),)).not_reached()
    grid = Grid(((first, made_up()), (second, made_up(true_over_claimed=1.5, untrusted=400))))
    (line,) = grid.not_reached().splitlines()[2:]
    name, missed, said, why = line.strip("| ").split(" | ")
    assert (name, why) == ("b", "made up so")
    assert missed.startswith("pull width: 1.5")
    assert "(0.9 to 1.1); coverage" in missed
    assert said.startswith("bar 0.038 px, error 0.057 px; 90.0% trusted; flags: MISFIT 400")


def test_a_miss_that_may_be_chance_says_so(made_up):
    grid = Grid(((cells()[0], made_up(40, bias=0.25)),))
    assert "(at most 0.2), maybe by chance" in grid.not_reached()


def test_other_packages_beside(made_up):
    found = made_up(100)
    ours = found.trials["coregister"]
    nobars = replace(
        ours, error=10 * ours.error, covariance=np.full((100, 2, 2), np.nan), flags=("",) * 100
    )
    compared = replace(found, trials={"coregister": ours, "cross_correlation": nobars})
    pytest.importorskip("skimage")
    text = Grid(((cells()[0], compared), (cells()[1], made_up(50)))).peers()
    line = next(line for line in text.splitlines() if line.startswith("| cross_correlation"))
    silent = int((np.abs(nobars.error) > 3 * SIGMA / 1.1).any(axis=1).sum())
    assert "| no bars | - | 0 |" in line
    assert line.endswith(f"| {silent} of 100 |")
    assert silent > 80
    assert "| b |" not in text


def test_a_perfect_cell_and_a_false_one_in_the_summary(made_up):
    results = ((cells()[0], made_up()), (cells()[1], made_up(true_over_claimed=1.5)))
    summary = Grid(results).summary()
    assert "| pull width 0.9 to 1.1 | 95 % of cells | 1 of 2 = 50% |" in summary
    assert "| pull width 0.8 to 1.25 | all cells | 1 of 2 = 50% |" in summary


def test_the_plot_of_a_grid_shows_every_standard_cell(made_up):
    pytest.importorskip("matplotlib")
    outside = made_up(true_over_claimed=3.0)
    figure = Grid(((cells()[0], made_up()), (cells()[1], outside))).plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert ">" in [line.get_marker() for line in figure.axes[0].lines]


# ------------------------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def committed():
    """The module benchmarks/grid.py."""
    path = Path(__file__).parents[1] / "benchmarks" / "grid.py"
    if not path.exists():
        pytest.skip("the benchmarks are not here")
    spec = importlib.util.spec_from_file_location("committed_grid", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")  # it sets them; what was there comes back
        spec.loader.exec_module(module)
    return module


def test_the_committed_cells_are_cells(committed):
    found = committed.all_cells()
    assert len({cell.name for cell in found}) == len(found) < 96
    assert {cell.group for cell in found} == {"standard", "undersampled", "unrelated", "flagged"}


def test_the_page_is_written_again_without_a_pair(committed, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(committed, "all_cells", cells)
    document = tmp_path / "calibration.md"
    arguments = ["--pairs", "2", "--output", str(tmp_path / "g.jsonl"), "--page", str(document)]
    assert committed.main(arguments) == 0
    text, picture = document.read_text(), (tmp_path / "images" / "calibration.png").read_bytes()
    monkeypatch.setattr(Cell, "run", lambda *_, **__: pytest.fail("ran again"))
    assert committed.main(arguments) == 0
    assert document.read_text() == text
    assert (tmp_path / "images" / "calibration.png").read_bytes() == picture
    assert f"coregister {cr.__version__} (sources {code_digest()[:12]})" in text
    assert "3 cells (all), 2 pairs each, seed 0" in text
    assert "```" not in text
    for heading in ("Targets", "Cells", "Not reached", "Unrelated images"):
        assert f"\n## {heading}" in text
    assert text.index("| a |") < text.index("| b |") < text.index("| c |")
    assert capsys.readouterr().out == ""


def test_part_of_the_page_says_so(committed, monkeypatch, capsys):
    monkeypatch.setattr(committed, "all_cells", cells)
    assert committed.main(["--pairs", "2", "--only", "b"]) == 0
    assert '1 cells (those of 3 whose name holds "b")' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        committed.main(["--only", "nothing"])
