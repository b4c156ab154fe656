"""Every gallery script draws in the style of the project's own pictures."""

from __future__ import annotations

from typing import Any


def use_house_style(gallery_conf: dict[str, Any], script: str) -> None:
    """Set matplotlib's defaults before a script runs; called by sphinx-gallery."""
    import matplotlib.pyplot as plt

    from coregister.plotting import STYLE

    plt.rcdefaults()
    plt.rcParams.update(STYLE)
    plt.rcParams.update({"figure.dpi": 120.0, "savefig.dpi": 120.0, "figure.figsize": (8, 3.4)})
    plt.rcParams["figure.constrained_layout.use"] = True
