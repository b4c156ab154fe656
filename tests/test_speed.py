"""The benchmark's logic: turns, ratios, targets, the page. Nothing here is timed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def speed():
    """The module benchmarks/speed.py."""
    if not FOLDER.exists():
        pytest.skip("the benchmarks are not here")
    spec = importlib.util.spec_from_file_location("speed", FOLDER / "speed.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")  # it sets them; what was there comes back
        patch.syspath_prepend(str(FOLDER))
        patch.setitem(sys.modules, "speed", module)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures(speed):
    return speed.figures


def fast_enough(figures):
    """Rows that reach every target, just so."""
    rows = []
    for target in figures.TARGETS:
        two = {target.system: [target.limit, target.limit], target.to: [1.0, 1.0]}
        rows.append(figures.Row(case=target.case, label=target.to, size=512, times=two))
    # one target's pair of systems at a time, so each row needs the others' too
    merged = {}
    for row in rows:
        times = merged.setdefault(row.case, {})
        times.update({name: times.get(name, values) for name, values in row.times.items()})
    merged[figures.PERIODIC] = {
        figures.FLOOR: [1.0, 1.0],
        figures.OURS: [2.0, 2.0],
        figures.SKIMAGE: [4.0, 4.0],
    }
    peak = {figures.OURS: 10.0}
    return [
        *(figures.Row(case=c, label="x", size=512, times=t) for c, t in merged.items()),
        *(figures.Row(case=figures.MEMORY, label="x", size=n, peak=peak) for n in (256, 2048)),
    ]


def changed(figures, rows, case, **values):
    return [
        figures.Row(**{**row.to_dict(), **(values if row.case == case else {})}) for row in rows
    ]


def test_a_ratio_is_the_median_of_those_within_a_repetition(figures):
    times = {"a": [1.0, 20.0, 3.0], "b": [1.0, 10.0, 1.0]}
    row = figures.Row(case="c", label="", size=64, times=times)
    assert row.ratio("a", "b") == 2.0  # of 1, 2, 3; the medians' ratio would be 3
    assert math.isnan(row.ratio("a", "absent"))


def test_systems_take_turns_on_fresh_copies(speed):
    calls, given = [], []

    def system(name, cost):
        def call(sample):
            calls.append(name)
            given.append(sample.reference)
            now[0] += cost
            sample.reference[:] = np.nan  # whoever spoils its images spoils nobody else's
            return (0.1, 0.0)

        return call

    now = [0.0]
    image = np.ones((4, 4))
    sample = speed.Sample(image, image, np.zeros(2), np.full(2, 0.005))
    systems = {"a": system("a", 1.0), "b": system("b", 3.0)}
    effort = speed.Effort(seconds=9.0, fewest=1, most=10)
    times, accuracy = speed.measure(systems, [sample], effort, clock=lambda: now[0])
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]  # the first two warm up
    assert times == {"a": [1.0] * 3, "b": [3.0] * 3}  # 4 a turn: 9 are used up in the third
    assert accuracy == pytest.approx({"a": 1.0, "b": 1.0})
    assert len({id(array) for array in given}) > 1
    assert np.all(image == 1)


@pytest.mark.parametrize(("fewest", "most", "turns"), [(3, 9, 3), (1, 2, 2)])
def test_repetitions_stay_within_their_limits(speed, fewest, most, turns):
    seconds = 0.0 if turns == fewest else 1e9
    sample = speed.Sample(np.ones(3), np.ones(3))
    clock = itertools.count().__next__
    effort = speed.Effort(seconds=seconds, fewest=fewest, most=most)
    times, accuracy = speed.measure({"a": lambda s: None}, [sample], effort, clock=clock)
    assert len(times["a"]) == turns
    assert accuracy == {}


def test_all_targets_reached_exits_0(speed, figures, capsys):
    rows = fast_enough(figures)
    assert [str(v) for v in figures.judge(rows) if not v.reached] == []
    assert speed.check(rows) == 0
    assert capsys.readouterr().err == ""


def test_each_missed_target_exits_1_and_is_named(speed, figures, capsys):
    good = fast_enough(figures)
    for target in figures.TARGETS:
        row = next(r for r in good if r.case == target.case)
        worse = 0.9 if target.at_least else 1.1
        times = {**row.times, target.system: [worse * t for t in row.times[target.system]]}
        assert speed.check(changed(figures, good, target.case, times=times)) == 1
        said = capsys.readouterr().err
        assert target.case in said
        assert f"{target.system} / {target.to}" in said
    for peak in ({"coregister": 10.5}, {}):
        assert speed.check(changed(figures, good, figures.MEMORY, peak=peak)) == 1
        assert "memory" in capsys.readouterr().err


def test_memory_that_grows_faster_than_the_images_is_missed(figures):
    def rows(*peaks):
        return [
            figures.Row(case=figures.MEMORY, label="x", size=n, peak={figures.OURS: p})
            for n, p in zip((256, 1024), peaks, strict=True)
        ]

    assert all(v.reached for v in figures.judge_memory(rows(6.0, 7.0)))
    assert [v.reached for v in figures.judge_memory(rows(4.0, 8.0))] == [True, True, False]
    assert not figures.judge_memory(rows(4.0, 8.0)[:1])[-1].reached  # one size tells nothing


@pytest.mark.parametrize("lost", ["row", "system"])
def test_what_is_not_measured_is_missed(speed, figures, lost, capsys):
    good = fast_enough(figures)
    if lost == "row":
        rows = [r for r in good if r.case != figures.MASKS]
    else:
        row = next(r for r in good if r.case == figures.MASKS)
        times = {figures.OURS: row.times[figures.OURS]}
        rows = changed(figures, good, figures.MASKS, times=times)
    assert speed.check(rows) == 1
    assert "not measured" in capsys.readouterr().err


def test_nothing_is_promised_below_the_smallest_size(figures):
    slow = {figures.FLOOR: [1.0], figures.OURS: [50.0]}
    rows = [
        figures.Row(case=figures.EDGES, label="x", size=n, times=slow if n < 512 else fast)
        for n, fast in ((256, None), (512, {figures.FLOOR: [1.0], figures.OURS: [9.0]}))
    ]
    target = next(t for t in figures.TARGETS if t.case == figures.EDGES)
    assert [v.reached for v in target.judge(rows)] == [True]


def test_figures_are_taken_from_a_whole_run_of_these_sources_only(
    speed, figures, tmp_path, monkeypatch
):
    path, rows = tmp_path / "speed.json", fast_enough(figures)
    assert speed.load(path) is None
    speed.save(rows, path, whole=False)
    assert speed.load(path) is None
    speed.save(rows, path, whole=True)
    assert speed.load(path) == rows
    monkeypatch.setattr(speed, "digest", lambda: "other")
    assert speed.load(path) is None


def test_the_check_reads_the_file_and_writes_the_page(speed, figures, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(speed, "run", lambda **_: pytest.fail("measured again"))
    path, document = tmp_path / "speed.json", tmp_path / "speed.md"
    speed.save(fast_enough(figures), path, whole=True)
    assert speed.main(["--json", str(path), "--check", "--page", str(document)]) == 0
    text = document.read_text()
    assert "**2x**" in text  # periodic, times the floor
    assert "| **NO** |" not in text
    assert (tmp_path / "images" / "speed.png").stat().st_size > 1000


def test_a_run_fails_on_nothing(speed, figures, tmp_path, monkeypatch):
    slow = {figures.FLOOR: [1.0], figures.OURS: [100.0]}
    row = figures.Row(case=figures.EDGES, label="x", size=512, times=slow)
    monkeypatch.setattr(speed, "run", lambda **_: iter([row]))
    path = tmp_path / "speed.json"
    assert speed.main(["--json", str(path)]) == 0
    assert len(json.loads(path.read_text())["rows"]) == 1
    assert speed.main(["--json", str(path), "--check"]) == 1


@pytest.mark.parametrize("kind", ["block", "scattered"])
def test_pairs_with_holes_say_where_they_are(speed, kind):
    sample = speed.edge_samples("power-law-3", (32, 32), 1, 2.0)[0]
    holed = speed.with_holes(sample, kind)
    for name, image in (("reference", holed.reference), ("moving", holed.moving)):
        assert np.array_equal(np.isfinite(image), holed.extra[f"{name}_valid"])
    assert 0 < np.isnan(holed.moving).mean() < 0.1


def test_our_systems_find_the_offset(speed):
    edges = speed.edge_samples("power-law-3", (48, 48), 1, 2.0)
    periodic = speed.periodic_samples(48, 1, (0.0, 0.1), True)
    for systems, samples in (
        (speed.EDGE_SYSTEMS, edges),
        (speed.MASK_SYSTEMS, [speed.with_holes(edges[0], "block")]),
        (speed.PERIODIC_SYSTEMS, periodic),
        (speed.CHI2_SYSTEMS, periodic),
    ):
        found = systems[speed.OURS](samples[0].copy())
        # 6 bounds: chance alone does so once in 10^7
        assert np.all(np.abs(found - samples[0].truth) < 6 * np.sqrt(samples[0].bound))


def test_windows_are_cut_at_the_same_places(speed):
    sample = speed.windows(5)
    assert sample.reference.shape == sample.moving.shape == (5, 64, 64)
    for one, other in zip(sample.reference, sample.moving, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.1


def test_the_pairs_count_alike(speed):
    samples = [speed.Sample(np.full(2, n), np.ones(2)) for n in range(3)]
    seen = []
    effort = speed.Effort(seconds=0.0, fewest=4, most=5)
    speed.measure({"a": lambda s: seen.append(s.reference[0])}, samples, effort, warm_up=False)
    assert seen == [0, 1, 2] * 2


def test_what_is_given_back_at_no_cost_changes_no_answer():
    # in a process of its own: functions are replaced for good
    if not FOLDER.exists():
        pytest.skip("the benchmarks are not here")
    program = """
import numpy as np
import ceiling
sample, call = ceiling.pair("texture", 64, "float64")
expected = call(sample)
tape = ceiling.Tape()
asked = 0
for names in ceiling.GROUPS.values():
    for name in names:
        ceiling.replace(name, tape)
    tape.rewind(record=True)
    np.testing.assert_array_equal(call(sample), expected)
    assert len(tape) >= asked
    asked = len(tape)
    for _ in range(2):
        tape.rewind()
        np.testing.assert_array_equal(call(sample), expected)
        assert tape.used == asked
    tape.stop()
print(asked)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
