"""
A stereo pair with measured depth
=================================

Two cameras see a motorcycle; for each pixel the displacement between the two pictures (the
disparity) was measured by structured light (Scharstein et al. 2014,
`doi:10.1007/978-3-319-11752-2_3 <https://doi.org/10.1007/978-3-319-11752-2_3>`__). A window of
one depth is displaced along ``x`` by one amount. Nearly every window of this scene holds several
depths, and nearly every window is flagged.

Data: ``motorcycle_left.png``, ``_right.png``, ``_disp.npz`` inside scikit-image (BSD-3-Clause; the
pair is from the Middlebury stereo data of 2014).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import samples
from PIL import Image

import coregister as cr

left, right = (
    np.asarray(
        Image.open(samples.locate("skimage", f"data/motorcycle_{side}.png")).convert("L"), float
    )
    for side in ("left", "right")
)
disparity = np.load(samples.locate("skimage", "data/motorcycle_disp.npz"))["arr_0"]

side = 64
windows = []
for y in range(20, 420, 64):
    for x in range(80, 640, 64):
        depth = disparity[y : y + side, x : x + side]
        depth = depth[np.isfinite(depth)]
        start = x - round(float(np.median(depth)))  # near enough that the windows overlap
        if start < 0:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cr.RegistrationWarning)
            r = cr.register(
                left[y : y + side, x : x + side],
                right[y : y + side, start : start + side],
                max_offset=12,
            )
        windows.append((x, y, x - start - r.offset[1], np.percentile(depth, [0, 50, 100]), r))

trusted = [window for window in windows if window[4].trusted]
print(f"{len(windows)} windows, {len(windows) - len(trusted)} flagged")
for _, _, measured, (nearest, _, farthest), r in trusted:
    print(f"{measured:6.2f} +- {r.stderr[1]:.2f}   known {nearest:.1f} to {farthest:.1f} px")
    assert nearest - 0.5 < measured < farthest + 0.5

# %%
# Where a window is trusted, the answer is the depth of what has the most structure in it, which
# need not be the depth of most of its pixels: the pair knows of displacements, not of depths.
# Choose windows in which the question has one answer.

figure, axes = plt.subplots(1, 2, width_ratios=(1.5, 1), figsize=(8, 3.6))
axes[0].imshow(left, cmap="gray")
axes[0].set_axis_off()
for x, y, measured, (nearest, middle, farthest), r in windows:
    colour = "#D55E00" if r.trusted else "#8a929b"
    axes[0].add_patch(plt.Rectangle((x, y), side, side, fill=False, edgecolor=colour))
    if r.trusted:
        spread = [[middle - nearest], [farthest - middle]]
        axes[1].errorbar(middle, measured, xerr=spread, fmt="o", color=colour)
axes[1].axline((30, 30), slope=1, color="#8a929b", linewidth=0.8)
axes[1].set(xlabel="disparities in the window, px (dot: median)", ylabel="measured, px")
axes[1].set_title("the trusted windows")
plt.show()
