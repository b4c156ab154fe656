"""What docs/migration.md shows of other packages is true of those that are installed.

A fence marked ``python NAME`` runs where NAME can be imported, after all those that are marked
``python`` only, which `test_readme` runs.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "migration.md"
TEXT = PAGE.read_text()
FENCE = re.compile(r"^```python(?P<needs>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = [needs for fence in FENCE.finditer(TEXT) if (needs := fence["needs"].strip())]


def code(fence: re.Match[str]) -> object:
    line = TEXT.count("\n", 0, fence.start("body"))
    return compile("\n" * line + fence["body"], str(PAGE), "exec", dont_inherit=True)


@pytest.fixture
def shown():
    """The names that the page has when all that needs nothing has run."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for fence in FENCE.finditer(TEXT):
            if not fence["needs"].strip():
                exec(code(fence), namespace)
    return namespace


def test_the_page_shows_each_package():
    assert NEEDS == ["skimage", "cv2", "pystackreg", "sunkit_image", "reproject"]


@pytest.mark.parametrize("needs", NEEDS)
def test_the_code_beside_another_package_runs(needs, shown):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other packages warn of is their own affair
        pytest.importorskip(needs, reason=f"beside {needs}", exc_type=ImportError)
        for fence in FENCE.finditer(TEXT):
            if fence["needs"].strip() == needs:
                exec(code(fence), shown)
