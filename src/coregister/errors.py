"""Exceptions and warnings, and the one door to optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType


class CoregisterError(Exception):
    """Base of every exception that this package raises on purpose."""


class InputError(CoregisterError, ValueError):
    """The input cannot be used: what was found, what is needed, what to do."""


class OutputError(CoregisterError, OSError):
    """An output could not be written; what stood in its place is untouched."""


class MissingExtraError(CoregisterError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class RegistrationWarning(UserWarning):
    """A result that must not be used as it is; its ``status`` says why."""


def optional(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Parameters
    ----------
    module : str
        Dotted name of the module, for instance ``"astropy.io.fits"``.
    extra : str
        The extra of this package that installs it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{package} is not installed and is needed here: pip install 'coregister[{extra}]'"
        ) from error
