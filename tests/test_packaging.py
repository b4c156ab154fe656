"""The wheel: what a user's pip gets."""

from __future__ import annotations

import email
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

import coregister as cr

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed, so nothing is built without the network")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_version_is_said_once():
    assert cr.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_core_needs_numpy_and_scipy_only():
    names = {requirement.partition(">")[0] for requirement in PROJECT["dependencies"]}
    assert names == {"numpy", "scipy"}


def test_every_extra_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    missing = [e for e in PROJECT["optional-dependencies"] if f"pip install '.[{e}]'" not in readme]
    assert not missing


def test_every_extra_that_an_error_names_exists():
    extras = set(metadata("coregister").get_all("Provides-Extra") or [])
    assert extras == set(PROJECT["optional-dependencies"])


def test_the_wheel_holds_the_source_its_marker_and_data(wheel):
    held = {name for name in wheel.namelist() if name.startswith("coregister/")}
    source = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "coregister").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == source
    assert "coregister/py.typed" in held
    assert not [name for name in wheel.namelist() if name.startswith(("tests", "docs"))]


def test_the_metadata_of_the_wheel(wheel):
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    fields = email.message_from_bytes(wheel.read(path))
    assert fields["Name"] == "coregister"
    assert fields["License-Expression"] == "BSD-3-Clause"
    assert fields["Requires-Python"] == ">=3.11"
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    (scripts,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert b"coregister = coregister.cli:main" in wheel.read(scripts)


def test_the_wheel_works_in_an_environment_of_its_own(wheel, tmp_path):
    """Only numpy and scipy are lent to it; everything else is found to be missing."""
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"no environment can be made here: {made.stderr.strip()[-200:]}")
    python = tmp_path / "venv" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    done = subprocess.run([*command, str(wheel.filename)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lent = tmp_path / "lent"
    lent.mkdir()
    for name in ("numpy", "scipy"):
        home = Path(importlib.util.find_spec(name).origin).parent
        (lent / name).symlink_to(home)
        for libraries in home.parent.glob(f"{name}.libs"):
            (lent / libraries.name).symlink_to(libraries)
    code = (
        "import warnings, numpy as np, coregister as cr\n"
        "rng = np.random.default_rng(0)\n"
        "scene = cr.random_scene('power-law-2', (96, 96), rng=rng)\n"
        "pair = cr.simulate_pair(scene, (3, -2), noise=0.1, rng=rng, shape=(48, 48))\n"
        "result = cr.register(*pair)\n"
        "assert np.all(abs(result.offset - (3, -2)) < 0.1), result\n"
        "for call in (result.plot, lambda: cr.register('a.fits', pair[1])):\n"
        "    try:\n"
        "        open('a.fits', 'w').write('x')\n"
        "        call()\n"
        "    except cr.MissingExtraError as error:\n"
        "        print(str(error).partition('[')[2])\n"
        "print(cr.__file__)\n"
    )
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(lent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *extras, place = done.stdout.split()
    assert extras == ["report]'", "io]'"]
    assert Path(place).is_relative_to(tmp_path / "venv")
    assert (Path(place).parent / "py.typed").exists()
    module = subprocess.run(
        [str(python), "-m", "coregister"],
        env={"PYTHONPATH": str(lent)},
        capture_output=True,
        text=True,
    )
    assert module.returncode != 0
    assert module.stderr.strip().endswith("pip install 'coregister[cli]'")
    assert "Traceback" not in module.stderr
