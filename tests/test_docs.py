"""The documentation site, as far as it can be checked without building it; `make docs` builds it.

What the pages say runs in `test_readme.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import coregister as cr

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SCRIPTS = sorted((DOCS / "gallery").glob("plot_*.py"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = load(DOCS / "gallery" / "samples.py")


def listed(page: str) -> list[str]:
    """Names in the tables of `page`."""
    text = (DOCS / page).read_text()
    return re.findall(r"^   ([A-Za-z_][\w.]*)$", text, flags=re.MULTILINE)


def find(name: str) -> object:
    """What a dotted name stands for."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            # not by attribute: a function may have the name of its module
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def test_every_public_name_is_on_the_page_of_the_api_once():
    names = listed("api.md")
    assert sorted(names) == sorted(cr.__all__)


@pytest.mark.parametrize("name", listed("inside.md"))
def test_modules_on_the_page_of_the_inside_exist(name):
    assert importlib.import_module(name).__doc__


def roles() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        found += [
            (page.name, name) for name in re.findall(r"\{py:\w+\}`~?([\w.]+)`", page.read_text())
        ]
    return found


@pytest.mark.parametrize(("page", "name"), roles())
def test_what_a_page_refers_to_exists_and_is_documented(page, name):
    assert find(name).__doc__
    public = name.split(".")[1] in cr.__all__ and name.count(".") < 3
    assert public or any(name.startswith(f"{module}.") for module in listed("inside.md"))


def test_a_name_that_does_not_exist_is_seen():
    with pytest.raises(AttributeError):
        find("coregister.estimator.search.no_such_function")


def test_every_formula_of_the_theory_has_its_function_beside_it():
    sections = re.split(r"^## ", (DOCS / "theory.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(sections) >= 8
    for section in sections:
        blocks = section.count("$$") // 2
        assert not blocks or "{py:" in section, section[:40]


def test_every_page_is_in_a_table_of_contents():
    trees = []
    for page in PAGES:
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.M | re.S):
            trees += [line for line in tree.splitlines() if line and not line.startswith(":")]
    unlisted = {page.stem for page in PAGES} - set(trees) - {"index"}
    assert not unlisted
    missing = {entry for entry in trees if "/" not in entry and not (DOCS / f"{entry}.md").exists()}
    assert not missing


def test_formulas_can_be_drawn():
    converter = pytest.importorskip("latex2mathml.converter", reason="group docs")
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for formula in re.findall(r"\$\$(.*?)\$\$", text, flags=re.S):
            drawn = ET.fromstring(converter.convert(formula, display="block"))
            assert not [e for e in drawn.iter() if (e.text or "").startswith("\\")], formula


# ------------------------------------------------------------------------ gallery


def test_the_gallery_is_large_enough():
    assert len(SCRIPTS) >= 8


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_where_its_data_come_from(script):
    text = script.read_text()
    packages = samples.needed(script)
    assert packages <= set(samples.PACKAGES)
    assert packages
    (source,) = re.findall(r"^Data: (.*?)(?:\n\n|\n?\"\"\")", text, flags=re.M | re.S)
    for package in packages:
        requirement, licence = samples.PACKAGES[package]
        name = re.match(r"[\w-]+", requirement)[0]
        assert name in source.replace("OpenPIV", "openpiv")
        assert licence in source
    assert "assert " in text, "a script asserts what its words claim"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(script):
    pytest.importorskip("matplotlib", reason="the gallery draws: extra report")
    for package in ("astropy", "h5py", "nibabel", "PIL", "tifffile"):
        if re.search(rf"^(?:import|from) {package}\b", script.read_text(), flags=re.M):
            pytest.importorskip(package, reason="read by this script")
    if script.name in (missing := samples.missing()):
        pytest.skip(f"{missing[script.name]} is not installed: make docs")
    quiet = "ignore:FigureCanvasAgg is non-interactive"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", quiet, str(script)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_script_without_its_data_says_what_to_install():
    with pytest.raises(SystemExit, match=r"pip install --no-deps .*openpiv"):
        samples.locate("openpiv", "no/such/file")
