"""coregister: registration whose error bars are true."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coregister.errors import CoregisterError, InputError, MissingExtraError, RegistrationWarning
from coregister.fourier import fourier_shift
from coregister.register import Reference, register
from coregister.result import Coherence, Mode, Registration
from coregister.status import Status

if TYPE_CHECKING:
    from coregister.calibration import Calibration, calibrate
    from coregister.chi2 import chi2_shift, chi2map_to_errors, chi2n_map
    from coregister.posterior import Posterior
    from coregister.simulate import expected_stderr, pair_bound, random_scene, simulate_pair
    from coregister.simulate.movies import simulate_stack
    from coregister.sky import SkyRegistration, register_sky
    from coregister.stack import StackRegistration, read_table, register_stack
    from coregister.windows import WindowsRegistration, register_windows

#: imported when they are first asked for: a pair needs none of them
_LATER = {
    "Calibration": "coregister.calibration",
    "Posterior": "coregister.posterior",
    "SkyRegistration": "coregister.sky",
    "StackRegistration": "coregister.stack",
    "WindowsRegistration": "coregister.windows",
    "calibrate": "coregister.calibration",
    "chi2_shift": "coregister.chi2",
    "chi2map_to_errors": "coregister.chi2",
    "chi2n_map": "coregister.chi2",
    "expected_stderr": "coregister.simulate",
    "pair_bound": "coregister.simulate",
    "random_scene": "coregister.simulate",
    "read_table": "coregister.stack",
    "register_sky": "coregister.sky",
    "register_stack": "coregister.stack",
    "register_windows": "coregister.windows",
    "simulate_pair": "coregister.simulate",
    "simulate_stack": "coregister.simulate.movies",
}

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
    "WindowsRegistration",
    "calibrate",
    "chi2_shift",
    "chi2map_to_errors",
    "chi2n_map",
    "expected_stderr",
    "fourier_shift",
    "pair_bound",
    "random_scene",
    "read_table",
    "register",
    "register_sky",
    "register_stack",
    "register_windows",
    "simulate_pair",
    "simulate_stack",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("coregister")
    elif name in _LATER:
        value = getattr(import_module(_LATER[name]), name)
    else:
        raise AttributeError(f"module 'coregister' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, "__version__"})
