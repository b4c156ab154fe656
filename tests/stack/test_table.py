"""The answer for a stack in files: all of it there and back, and what is no such file."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace

import numpy as np
import pytest

import coregister as cr

pytest.importorskip("astropy.table")


@pytest.fixture(scope="module")
def results() -> dict[str, cr.StackRegistration]:
    rng = np.random.default_rng(2)
    scene = cr.random_scene("power-law-2", (96, 96), rng=rng)
    truth = np.cumsum(rng.normal(scale=0.5, size=(7, 2)), axis=0)
    movie = cr.simulate_stack(scene, truth, noise=0.05, rng=rng, shape=(48, 56))
    movie[2] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        drifting = cr.register_stack(movie, drift="smooth")
        return {
            "drift": replace(drifting, times=np.arange(7) * 0.1, start="2004-03-01T02:00:10"),
            "chain": cr.register_stack(movie, reference="previous"),
            "number": cr.register_stack(movie, reference=1),
            "image": cr.register_stack(movie[1:], reference=movie[0]),
            "nothing": cr.register_stack(rng.normal(size=(3, 48, 56))),
        }


def same(a: object, b: object) -> bool:
    """All fields, NaN and infinity too, to the last bit."""
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    if isinstance(a, (float, np.ndarray)):
        return b is not None and np.array_equal(a, b, equal_nan=True)
    return a == b and type(a) is type(b)


@pytest.mark.parametrize("suffix", [".ecsv", ".parquet", ".json"])
@pytest.mark.parametrize("kind", ["drift", "chain", "number", "image", "nothing"])
def test_all_of_it_there_and_back(tmp_path, results, kind, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    result, path = results[kind], tmp_path / f"t{suffix}"
    result.save(path, provenance={"frames": ["m.tif"]})
    again = cr.read_table(path)
    for field in fields(result):
        assert same(getattr(result, field.name), getattr(again, field.name)), field.name
    assert not same(result, replace(again, offsets=again.offsets + 1e-15))  # the control
    np.testing.assert_array_equal(again.covariance_between(0, -1), result.covariance_between(0, -1))
    assert str(again) == str(result)


def test_times_stand_in_every_table(tmp_path, results):
    from astropy.table import QTable

    results["drift"].save(tmp_path / "t.csv")
    results["drift"].save(tmp_path / "t.ecsv")
    table = QTable.read(tmp_path / "t.ecsv")
    assert str(table["time"].unit) == "s"
    assert table.meta["coregister"]["start"] == "2004-03-01T02:00:10"
    plain = QTable.read(tmp_path / "t.csv", format="ascii.csv")
    np.testing.assert_array_equal(plain["time_s"], table["time"].value)


def test_what_is_no_saved_table_is_refused(tmp_path, results):
    from astropy.table import Table

    results["chain"].save(tmp_path / "t.csv")
    results["chain"].save(tmp_path / "t.json")
    whole = (tmp_path / "t.json").read_text()
    (tmp_path / "cut.json").write_text(whole[: len(whole) // 2])
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "less.json").write_text('{"format": "coregister.StackRegistration"}')
    Table({"a": [1, 2]}).write(tmp_path / "other.ecsv")
    (tmp_path / "text.ecsv").write_text("no table")
    (tmp_path / "text.parquet").write_text("no table")
    names = ("t.csv", "cut.json", "list.json", "less.json", "other.ecsv", "text.ecsv")
    for name in (*names, "text.parquet", "missing.ecsv", "t.tif"):
        with pytest.raises(cr.InputError, match=r"needed|damaged"):
            cr.read_table(tmp_path / name)
