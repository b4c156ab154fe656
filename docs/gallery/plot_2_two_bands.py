"""
One field in two bands
======================

The red and the blue channel of the Hubble Deep Field. Galaxies differ in colour, so the two are no
copies of each other; gain and background are free, and the weight of each frequency follows from
what the two share. Two windows are cut from the channels at different places, so the true offset is
known up to the registration of the published picture itself.

Data: ``hubble_deep_field.jpg`` inside scikit-image (BSD-3-Clause; the picture is NASA's, public
domain).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import samples
from PIL import Image

import coregister as cr

field = np.asarray(Image.open(samples.locate("skimage", "data/hubble_deep_field.jpg")), float)
red, blue = field[100:356, 500:756, 0], field[107:363, 488:744, 2]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # what is flagged is said below
    r = cr.register(red, blue)
r

# %%
# The windows are 7 rows and 12 columns apart. What is left over, hundredths of a pixel, is many
# bars: the two bands show different light, and a galaxy's blue arms are not where its red bulge is.
# A bar speaks of the noise in a pair that shows one scene. MISFIT says that this one shows two: the
# offset is a mean over what they share, good to a fraction of a pixel, and its bars do not hold.
# UNDERSAMPLED is advice, not a verdict: stars in this picture are sharp to the last pixel.

beyond = r.offset - [-7, 12]
print("left over:", beyond.round(4), "px; bars", r.stderr.round(4), "px")
assert np.all(abs(beyond) < 0.05)
assert not r.trusted or r.contains([-7, 12], 0.9999)

# %%
# The two bands as one colour picture, before and after.

figure, axes = plt.subplots(1, 2, figsize=(7, 3.6))
for panel, image, name in (
    (axes[0], blue, "before"),
    (axes[1], r.apply(blue), "after"),
):
    both = np.stack([red, (red + image) / 2, image], axis=-1) / 140
    panel.imshow(np.clip(np.where(np.isnan(image)[..., None], 0, both), 0, 1))
    panel.set_title(name)
    panel.set_axis_off()
plt.show()
