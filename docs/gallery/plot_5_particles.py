"""
A particle-image pair, window by window
=======================================

Particle image velocimetry asks for a field of displacements: small windows, one offset each. Each
window gives a vector *and* its bar. A window in which the flow shears shows no single displacement;
MISFIT says so, and the vector is a mean over the window. For whole fields, outlier replacement and
deforming windows use `OpenPIV <https://openpiv.readthedocs.io>`__.

Data: ``test1`` inside OpenPIV (GPL-3.0; read, not copied).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import samples
from PIL import Image

import coregister as cr

first, second = (
    np.asarray(Image.open(samples.locate("openpiv", f"data/test1/exp1_001_{name}.bmp")), float)
    for name in "ab"
)
side = 64
corners = [(y, x) for y in range(16, 300, 64) for x in range(16, 440, 64)]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # flagged windows are drawn in blue
    results = [
        cr.register(
            first[y : y + side, x : x + side], second[y : y + side, x : x + side], max_offset=16
        )
        for y, x in corners
    ]
trusted = np.array([r.trusted for r in results])
found = np.array([cr.Status.NO_MATCH not in r.flags for r in results])
offsets = np.array([r.offset for r in results])
bars = np.array([r.stderr for r in results])
print(f"{len(results)} windows, {found.sum()} with a match, {trusted.sum()} of these trusted")
print(f"median displacement {np.median(offsets[found], axis=0).round(2)} px,")
print(f"median bar {np.median(bars[found], axis=0).round(3)} px")
assert found.mean() > 0.8

# %%
# Vectors, five times as long as the displacement: orange where the window moves as one, blue
# where MISFIT says that it shears.

middles = np.array(corners) + side / 2
figure, axes = plt.subplots(figsize=(7, 4.6))
axes.imshow(first, cmap="gray", alpha=0.55)
for which, colour in ((found & ~trusted, "#56B4E9"), (trusted, "#D55E00")):
    axes.quiver(
        *middles[which].T[::-1],
        *offsets[which].T[::-1],
        color=colour,
        angles="xy",
        scale_units="xy",
        scale=0.2,
        width=0.006,
    )
axes.set_axis_off()
plt.show()
