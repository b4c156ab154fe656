"""
Half a day of the Sun
=====================

Eleven frames of SOHO/EIT, about an hour apart. The surface turns by five pixels, and meanwhile it
changes: loops flare up and fade. So every frame is compared with the one before, and the offsets
add up; their bars grow along the series. Against what all frames show together, the default, not
all of them are trusted: there is no one scene that all of them show.

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

first = samples.locate("dkist", "data/test/EIT/efz20040301.00*_s.fits")
frames = [middle_of_disc(read(path)) for path in sorted(first.parent.glob("efz*_s.fits"))]
images = [frame.data for frame in frames]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # flagged frames are drawn open
    together = cr.register_stack(images)
    stack = cr.register_stack(images, reference="previous")
print(f"{together.trusted.sum()} of {len(together)} frames trusted against all of them")
assert not together.trusted.all()

# %%
# One after the other:

print(stack)
good = stack.trusted
assert good.sum() >= 9

# %%
# The rotation of the surface is known (Howard, Harvey & Forgach 1990, `doi:10.1007/BF00156795
# <https://doi.org/10.1007/BF00156795>`__). The frames are binned to 128 px and UNDERSAMPLED, which
# is only advice: aliasing may pull every step by more than its bar.

times = [datetime.fromisoformat(frame.header["DATE_OBS"]) for frame in frames]
hours = np.array([(time - times[0]).total_seconds() / 3600 for time in times])
header = frames[0].header
speed = mean_rotation(float(header["SOLAR_R"]) / REBINNED, np.radians(float(header["SOLAR_B0"])))
moved, bars = stack.offsets[:, 1], stack.stderr[:, 1]
last = np.flatnonzero(good)[-1]
found, bar = -moved[last] / hours[last], bars[last] / hours[last]
print(f"{found:.3f} +- {bar:.3f} px/h, known {speed:.3f} px/h")
assert abs(found / speed - 1) < 0.1

# %%
# Below, the mean of all frames as they came, and brought onto the first.

figure, axes = plt.subplots(1, 3, width_ratios=(2, 1, 1))
axes[0].plot(hours, -speed * hours, color="#8a929b", label="known rotation")
for which, face, name in ((good, "#0072B2", "measured"), (~good, "white", "flagged")):
    axes[0].errorbar(
        hours[which],
        moved[which],
        bars[which],
        fmt="o",
        capsize=3,
        color="#0072B2",
        markerfacecolor=face,
        label=name if which.any() else None,
    )
axes[0].set(xlabel="hours", ylabel="offset along x, px")
axes[0].legend(loc="lower left")
means = np.mean(images, axis=0), np.nanmean(stack.apply(images), axis=0)
for panel, mean, name in zip(axes[1:], means, ("as they came", "aligned"), strict=True):
    panel.imshow(np.sqrt(mean), origin="lower")
    panel.set_title(name)
    panel.set_axis_off()
plt.show()
