"""
Half a day of the Sun, all frames together
==========================================

Eleven frames of SOHO/EIT, about an hour apart. Registered as a stack, every frame is compared with
what all of them show, and each gets an offset and a bar; differences between any two frames have
true bars too. The straight line is the known rotation, not a fit.

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

with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # flagged frames are drawn open
    stack = cr.register_stack([frame.data for frame in frames])
print(stack)

# %%
# Offsets sum to zero over the trusted frames, and the line is drawn so that it does too.

times = [datetime.fromisoformat(frame.header["DATE_OBS"]) for frame in frames]
hours = np.array([(time - times[0]).total_seconds() / 3600 for time in times])
header = frames[0].header
speed = mean_rotation(float(header["SOLAR_R"]) / REBINNED, np.radians(float(header["SOLAR_B0"])))
along_x = stack.offsets[:, 1]
bars = np.sqrt(stack.covariances[:, 1, 1])
good = stack.trusted
known = -speed * (hours - hours[good].mean())
slope = np.polyfit(hours[good], along_x[good], 1)[0]
print(f"{good.sum()} of {good.size} frames trusted; {-slope:.3f} px/h, known {speed:.3f}")
assert good.sum() >= 8
assert abs(-slope / speed - 1) < 0.1

# %%
# The known rotation is that of the surface, and the header's radius is the surface's too; what
# shines at 195 Å stands above it, so that a few per cent more is no surprise. The bars are far
# smaller than that: they say how well the *motion in the images* is known.

figure, axes = plt.subplots(figsize=(7, 3.6))
axes.plot(hours, known, color="#8a929b", label="known rotation")
for which, face in ((good, "#0072B2"), (~good, "white")):
    axes.errorbar(
        hours[which],
        along_x[which],
        bars[which],
        fmt="o",
        capsize=3,
        color="#0072B2",
        markerfacecolor=face,
    )
axes.set(xlabel="hours", ylabel="offset along x, px")
axes.legend()
plt.show()
