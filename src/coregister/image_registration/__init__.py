"""The functions of the package `image_registration`, its names and conventions, on this core.

``import coregister.image_registration as image_registration``, and scripts for that package go on.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from coregister.image_registration import fft_tools, tests
from coregister.image_registration.chi2_shifts import (
    chi2_shift,
    chi2_shift_iterzoom,
    chi2map_to_errors,
    chi2n_map,
)
from coregister.image_registration.cross_correlation_shifts import cross_correlation_shifts
from coregister.image_registration.misuse import MisuseWarning
from coregister.image_registration.register_images import dftregistration, register_images

__all__ = [
    "MisuseWarning",
    "chi2_shift",
    "chi2_shift_iterzoom",
    "chi2map_to_errors",
    "chi2n_map",
    "cross_correlation_shifts",
    "dftregistration",
    "fft_tools",
    "register_images",
    "tests",
]

#: parts that need packages of an extra, imported when they are first asked for
ON_DEMAND = ("FITS_tools",)


def __getattr__(name: str) -> ModuleType:
    if name in ON_DEMAND:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
