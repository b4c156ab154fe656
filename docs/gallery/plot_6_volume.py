"""
A volume
========

Two scans of one head, one after the other, by magnetic resonance. The same call takes volumes:
three axes, three offsets, a 3 x 3 covariance. The two windows are cut two planes and one row
apart, so the truth is (-2, 1, 0) voxels up to the motion of the head.

Data: ``example4d.nii.gz`` inside nibabel (MIT).
"""

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import samples

import coregister as cr
from coregister.plotting.look import diverging

image = nibabel.load(samples.locate("nibabel", "tests/data/example4d.nii.gz"))
scans = image.get_fdata()
reference, moving = scans[40:72, 30:62, 4:20, 0], scans[42:74, 29:61, 4:20, 1]

r = cr.register(reference, moving)
r

# %%
# In millimetres: the size of a voxel from the header scales offset and covariance.

size = np.diag(image.header.get_zooms()[:3])
print("offset", (size @ r.offset).round(3), "mm")
print("bars  ", np.sqrt(np.diag(size @ r.covariance @ size)).round(3), "mm")
assert r.trusted and np.all(abs(r.offset - [-2, 1, 0]) < 0.1)

# %%
# A hundredth of a voxel is left over: the head moved, or its tissue pulsed, by hundredths of a
# millimetre.

aligned = r.apply(moving)
plane = 8
differences = [moving - reference, aligned - reference]
figure, axes = plt.subplots(1, 3)
axes[0].imshow(scans[:, :, 12, 0], cmap="gray")
axes[0].set_title("one slice of the head")
for panel, values, name in zip(axes[1:], differences, ("before", "after"), strict=True):
    panel.imshow(values[:, :, plane], cmap=diverging(), vmin=-300, vmax=300)
    panel.set_title(f"difference {name}")
for panel in axes:
    panel.set_axis_off()
plt.show()
