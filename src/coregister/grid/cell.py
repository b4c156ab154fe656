"""One kind of pair, and all that its figures depend on."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregister.calibration import MODULES, Calibration, calibrate
from coregister.errors import optional

Group = Literal["standard", "undersampled", "unrelated", "flagged"]
#: modules of this package that change nothing that a calibration measures
OTHERS = (
    "__init__",
    "__main__",
    "chi2",
    "cli",
    "demo",
    "errors",
    "grid",
    "image_registration",
    "io",
    "napari",
    "place",
    "plotting",
    "posterior",
    "report",
    "resample",
    "several",
    "sky",
    "stack",
    "transforms",
    "windows",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One kind of pair in a grid.

    Attributes
    ----------
    name : str
    options : dict
        Arguments of `calibrate`, `scene` among them.
    group : {"standard", "undersampled", "unrelated", "flagged"}
        What is asked of it: all targets; `systematic` and the advisory flag; that nothing is
        trusted, since the images are unrelated or (flagged) the offset cannot be known.
    methods : tuple of str
        Of `calibrate`.
    note : str
        Why a target is not reached, for readers.
    """

    name: str
    options: Mapping[str, Any]
    group: Group = "standard"
    methods: tuple[str, ...] = ("coregister",)
    note: str = ""

    def arguments(self, *, n_pairs: int, seed: int) -> dict[str, Any]:
        """Those of `calibrate`; cells differ in their pairs by their names."""
        return {
            "n_pairs": n_pairs,
            "seed": seed + zlib.crc32(self.name.encode()),
            "related": self.group != "unrelated",
            "methods": self.methods,
            **self.options,
        }

    def run(self, *, n_pairs: int, seed: int) -> Calibration:
        """`calibrate` with these arguments."""
        return calibrate(**self.arguments(n_pairs=n_pairs, seed=seed))

    def key(self, *, n_pairs: int, seed: int) -> str:
        """Changes with anything that the result depends on, the code included."""
        digest = hashlib.sha256(code_digest().encode())
        digest.update(repr(package_versions(self.methods)).encode())
        for name, value in sorted(self.arguments(n_pairs=n_pairs, seed=seed).items()):
            content = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            digest.update(name.encode() + content)
        return digest.hexdigest()[:16]


@cache
def code_digest() -> str:
    """Digest of the sources that the figures depend on: old figures are never taken for new.

    Kept from the first call on: a source that is edited during a run is not the one that runs.
    """
    digest = hashlib.sha256()
    home = Path(__file__).parents[1]
    for path in sorted(home.rglob("*.py")):
        if path.relative_to(home).with_suffix("").parts[0] not in OTHERS:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def package_versions(methods: Iterable[str]) -> dict[str, str]:
    """Versions of the packages behind these methods, and of those that all results rest on."""
    names = dict.fromkeys(["numpy", "scipy", *(MODULES[method] for method in methods)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are imported here, and are theirs
        return {name: str(optional(name, "bench").__version__) for name in names}
