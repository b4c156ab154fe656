"""What windows of one pair tell together: a pattern that stays on the detector.

It pulls the same bands of frequencies towards zero in all of them, too little to be told in one.
Noise, motion that varies within a window, and what moves by itself make bands differ as well, but
in another way in each window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coregister.trust import MAX_DISPERSION
from coregister.windows.places import Places, overlaps

Float = NDArray[np.float64]

#: length of the mean direction in which bands of windows differ, below which a pattern moves
#: the answers by no more than a few bars, however surely it is there
LEAST_ALIKE = 0.4


def pulled_alike(pulled: Float, places: Places) -> bool:
    """Whether the same bands are pulled in the same way in all windows.

    Each window has one vote, the direction of what its bands ask for: neither a few of them where
    something else happens, nor noise of another size than was thought, can make it. By chance
    directions are spread evenly (Rayleigh's test; Mardia & Jupp 1999, doi:10.1002/9780470316979).

    Parameters
    ----------
    pulled : (n, bands) array
        As in `verdict.Verdict`; NaN where not known.
    places : Places
        Of the windows: those that overlap count as fewer.
    """
    from scipy.special import chdtrc

    size = np.linalg.norm(pulled, axis=1)
    asked = np.isfinite(size) & (size > 0)
    if not asked.any():
        return False
    votes = pulled[asked] / size[asked, None]
    alike = float(np.linalg.norm(votes.mean(axis=0)))
    # what bands ask for beside what all do: one of them follows from the others
    freedom = max(int(np.count_nonzero(votes.any(axis=0))) - 1, 1)
    count = len(votes) / overlaps(places, asked)
    chance = float(chdtrc(freedom, freedom * count * alike**2))
    return alike > LEAST_ALIKE and chance < MAX_DISPERSION
