"""
A particle-image pair, window by window
=======================================

Particle image velocimetry asks for a field of displacements: small windows, one offset each.
``register_windows`` gives each a vector, its bars *and* a verdict. A window in which the flow
shears shows no single displacement, which MISFIT says: there the vector is a mean over the window.
For outlier replacement and deforming windows use `OpenPIV <https://openpiv.readthedocs.io>`__.

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
with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # crosses in the picture
    result = cr.register_windows(first, second, size=32, step=32)
print(result)
good = result.trusted
assert good.mean() > 0.7

# %%
# Vectors, four times as long as the displacement; crosses are windows that are not trusted.

y, x = result.centers.T
v, u = result.offsets.T
figure, axes = plt.subplots(figsize=(7, 5.2))
axes.imshow(first, cmap="gray", vmax=2 * first.max())
arrows = {"angles": "xy", "scale_units": "xy", "scale": 0.25, "width": 0.004}
axes.quiver(x[good], y[good], u[good], v[good], color="#56B4E9", **arrows)
axes.plot(x[~good], y[~good], "x", color="#E69F00", markersize=4)
axes.set_axis_off()
plt.show()
