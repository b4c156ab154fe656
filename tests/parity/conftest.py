"""The original package, imported in silence: what it warns of is its own affair."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def theirs() -> Callable[[str], Any]:
    """A function that imports a module of the original; its tests are skipped without it."""

    def load(name: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            try:
                return pytest.importorskip(f"image_registration{name}", exc_type=ImportError)
            finally:
                logging.disable(logging.NOTSET)

    return load
