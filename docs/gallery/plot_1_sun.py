"""
The Sun turns
=============

Two frames of SOHO/EIT (195 Å, 1 March 2004), two hours apart, 128 px wide. The limb of the disc
stands still while the surface turns, so only the middle of the disc is registered. The rotation
is known (Howard, Harvey & Forgach 1990, `doi:10.1007/BF00156795
<https://doi.org/10.1007/BF00156795>`__), and so is what the offset must be.

Data: inside the package dkist (BSD-3-Clause), frames of SOHO/EIT (ESA & NASA).
"""

import warnings
from datetime import datetime

import matplotlib.pyplot as plt
import numpy as np
import samples

import coregister as cr
from coregister.demo import REBINNED, mean_rotation, middle_of_disc
from coregister.io import read
from coregister.plotting.look import diverging

first, second = (
    read(samples.locate("dkist", f"data/test/EIT/efz20040301.{hour}*_s.fits"))
    for hour in ("02", "04")
)
reference, moving = middle_of_disc(first), middle_of_disc(second)

r = cr.register(reference.data, moving.data)
r

# %%
# Nothing was said about the noise. From the radius of the disc and the tilt of its axis, both in
# the header, follows the known rotation; the spacecraft was rolled by half a turn, so the disc
# turns towards smaller ``x``.

header = first.header
radius = float(header["SOLAR_R"]) / REBINNED
speed = mean_rotation(radius, np.radians(float(header["SOLAR_B0"])))
start, end = (datetime.fromisoformat(frame.header["DATE_OBS"]) for frame in (first, second))
known = -speed * (end - start).total_seconds() / 3600
print(f"measured {r.offset[1]:.3f} +- {r.stderr[1]:.3f} px, known {known:.3f} px")
assert r.trusted and r.contains([0, known], 0.9999)

# %%
# The whole frame is another question: most of its structure is the limb, which does not move. The
# number is a mean of what moves and what does not, and MISFIT says so.

with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)
    whole = cr.register(first.data, second.data)
print(f"{whole.offset[1]:.3f} +- {whole.stderr[1]:.3f} px, {whole.verdict()}")
assert not whole.trusted

# %%
# Before, the difference of the two frames shows what moved; after, what changed.

aligned = r.apply(moving.data)
differences = [moving.data - reference.data, aligned - reference.data]
limit = np.nanpercentile(abs(differences[0]), 99)
figure, axes = plt.subplots(1, 3)
axes[0].imshow(np.sqrt(np.clip(first.data - np.percentile(first.data, 1), 0, None)), origin="lower")
axes[0].set_title("the first frame")
for panel, values, name in zip(axes[1:], differences, ("before", "after"), strict=True):
    panel.imshow(values, cmap=diverging(), vmin=-limit, vmax=limit, origin="lower")
    panel.set_title(f"difference {name}")
for panel in axes:
    panel.set_axis_off()
plt.show()
