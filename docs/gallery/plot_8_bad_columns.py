"""
A detector with bad columns
===========================

What is fixed to the detector does not move with the scene, and pulls a correlation to zero offset.
Here two frames of the Sun, two hours apart, get three bright columns each, at the same place in
both, as a broken readout would leave them. Told which pixels to leave out, coregister gives the
answer of the clean frames; the value of a pixel that is left out has no influence at all.

Rows or columns that ask for another offset than the rest of the image does are flagged, as
FIXED_PATTERN or MISFIT. Mask what you know to be bad.

Data: inside the package dkist (BSD-3-Clause), frames of SOHO/EIT (ESA & NASA); the columns are
ours.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import samples

import coregister as cr
from coregister.demo import middle_of_disc
from coregister.io import read

frames = [
    read(samples.locate("dkist", f"data/test/EIT/efz20040301.{hour}*_s.fits"))
    for hour in ("02", "04")
]
clean = [np.array(middle_of_disc(frame).data, float) for frame in frames]
truth = cr.register(*clean)

columns = [7, 18, 31]
damaged = [image.copy() for image in clean]
for image in damaged:
    image[:, columns] = image.max()

with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)
    blind = cr.register(*damaged)
valid = np.ones(clean[0].shape, bool)
valid[:, columns] = False
told = cr.register(*damaged, reference_valid=valid, moving_valid=valid)

for name, r in (("clean frames", truth), ("columns unknown", blind), ("columns told", told)):
    print(f"{name:16} x = {r.offset[1]:6.3f} +- {r.stderr[1]:.3f} px   {r.verdict()}")
assert cr.Status.FIXED_PATTERN in blind.flags
difference = abs(told.offset - truth.offset)
assert np.all(difference < 3 * told.stderr)

# %%
# NaN in the images does the same as the mask.

for image in damaged:
    image[:, columns] = np.nan
assert np.array_equal(cr.register(*damaged).offset, told.offset)

# %%

figure, axes = plt.subplots(1, 3)
axes[0].imshow(clean[0], origin="lower")
axes[0].set_title("clean")
axes[1].imshow(np.where(valid, clean[0], clean[0].max()), origin="lower")
axes[1].set_title("with bad columns")
for place, r in enumerate((truth, blind, told)):  # open: not trusted
    face = "#0072B2" if r.trusted else "white"
    style = {"fmt": "o", "capsize": 3, "color": "#0072B2", "mfc": face}
    axes[2].errorbar(place, r.offset[1], r.stderr[1], **style)
axes[2].set(xticks=range(3), xticklabels=["clean", "unknown", "told"], title="offset along x, px")
axes[2].margins(x=0.3)
for panel in axes[:2]:
    panel.set_axis_off()
plt.show()
