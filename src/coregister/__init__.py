"""coregister: registration whose error bars are true."""

from importlib.metadata import version

from coregister.errors import CoregisterError, InputError, MissingExtraError, RegistrationWarning
from coregister.fourier import fourier_shift
from coregister.register import register
from coregister.result import Coherence, Mode, Registration
from coregister.status import Status

__version__ = version("coregister")

__all__ = [
    "Coherence",
    "CoregisterError",
    "InputError",
    "MissingExtraError",
    "Mode",
    "Registration",
    "RegistrationWarning",
    "Status",
    "fourier_shift",
    "register",
]
