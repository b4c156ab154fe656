"""coregister: registration whose error bars are true."""

from importlib.metadata import version

from coregister.calibrate import Calibration, calibrate
from coregister.chi2 import chi2_shift, chi2map_to_errors, chi2n_map
from coregister.errors import CoregisterError, InputError, MissingExtraError, RegistrationWarning
from coregister.fourier import fourier_shift
from coregister.posterior import Posterior
from coregister.register import Reference, register
from coregister.result import Coherence, Mode, Registration
from coregister.simulate import expected_stderr, pair_bound, random_scene, simulate_pair
from coregister.sky import SkyRegistration, register_sky
from coregister.stack import StackRegistration, register_stack
from coregister.stack.simulate import simulate_stack
from coregister.status import Status

__version__ = version("coregister")

__all__ = [
    "Calibration",
    "Coherence",
    "CoregisterError",
    "InputError",
    "MissingExtraError",
    "Mode",
    "Posterior",
    "Reference",
    "Registration",
    "RegistrationWarning",
    "SkyRegistration",
    "StackRegistration",
    "Status",
    "calibrate",
    "chi2_shift",
    "chi2map_to_errors",
    "chi2n_map",
    "expected_stderr",
    "fourier_shift",
    "pair_bound",
    "random_scene",
    "register",
    "register_sky",
    "register_stack",
    "simulate_pair",
    "simulate_stack",
]
