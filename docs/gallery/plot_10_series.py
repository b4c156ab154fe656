"""
Half a day of the Sun
=====================

Eleven frames of SOHO/EIT, about an hour apart. The surface turns by five pixels, and meanwhile it
changes: loops flare up and fade. So every frame is compared with the one before, and the offsets add
up; their bars grow along the series. Registered against what all frames show together, the default,
the frames are flagged: there is no one scene that all of them show.

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
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # the flags are what is shown here
    together = cr.register_stack(images)
print(f"{together.trusted.sum()} of {len(together)} frames trusted against all of them")
assert not together.trusted.all()

# %%
# One after the other:

stack = cr.register_stack(images, reference="previous")
print(stack)
assert stack.trusted.all()

# %%
# The rotation of the surface is known (Howard, Harvey & Forgach 1990, `doi:10.1007/BF00156795
# <https://doi.org/10.1007/BF00156795>`__). What shines at 195 Å stands above the surface, so that a
# few per cent more would be no surprise.

times = [datetime.fromisoformat(frame.header["DATE_OBS"]) for frame in frames]
hours = np.array([(time - times[0]).total_seconds() / 3600 for time in times])
header = frames[0].header
speed = mean_rotation(float(header["SOLAR_R"]) / REBINNED, np.radians(float(header["SOLAR_B0"])))
moved, bars = stack.offsets[:, 1], stack.stderr[:, 1]
print(f"{-moved[-1] / hours[-1]:.3f} +- {bars[-1] / hours[-1]:.3f} px/h, known {speed:.3f} px/h")
for before, after, offset, bar in zip(hours, hours[1:], np.diff(moved), np.sqrt(stack.steps[1:, 1, 1])):
    print(f"{before:5.2f} h to {after:5.2f} h: {offset:6.2f} +- {bar:.2f}, known {-speed * (after - before):6.2f}, {(offset+speed*(after-before))/bar:.1f}")
