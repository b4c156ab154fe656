"""
Electron micrographs: a truth from one image
============================================

A scanning electron micrograph (HAADF-STEM) of a gold nanoparticle is read out row by row. Its even
rows and its odd rows are two images of one specimen with independent noise, and half a row of the
coarser grid apart: the true offset is known from the geometry alone, on real data with real noise.

Data: ``example_Au_nanoparticle.emd`` inside temul-toolkit (GPL-3.0; read, not copied).
"""

import h5py
import matplotlib.pyplot as plt
import numpy as np
import samples

import coregister as cr

path = samples.locate("temul", "example_data/experimental/example_Au_nanoparticle.emd")
with h5py.File(path) as file:
    (name,) = file["Data/Image"]
    image = file[f"Data/Image/{name}/Data"][..., 0].astype(float)

particle = image[700:1212, 700:956]
even, odd = particle[0::2], particle[1::2]
r = cr.register(even, odd)
r

# %%
# What the even rows show at row ``p``, the odd rows show at ``p - 1/2``.

truth = (-0.5, 0.0)
print("errors over bars:", r.pull(truth).round(2))
assert r.trusted and r.contains(truth, 0.9999)

# %%
# ``modes`` lists every offset that the data allow, with its probability: one here. In a field that
# shows nothing but a lattice there are as many as the search has periods, and AMBIGUOUS says so.

print([(mode.offset.round(2).tolist(), round(mode.probability, 3)) for mode in r.modes])

# %%

positions, delta_chi2 = r.chi2_map()
figure, axes = plt.subplots(1, 2, width_ratios=(1, 1.3))
axes[0].imshow(image, vmax=np.percentile(image, 99.8))
axes[0].set_axis_off()
axes[0].set_title("the specimen")
axes[1].contour(positions[1], positions[0], delta_chi2, levels=[2.30, 5.99], colors="#0072B2")
axes[1].plot(*truth[::-1], "o", color="#D55E00", label="the truth")
axes[1].plot(*r.offset[::-1], "+", color="#0072B2", label="measured")
axes[1].set(xlabel="axis 1 (x), px", ylabel="axis 0 (y), px", title="regions of 68 and 95 %")
axes[1].legend()
plt.show()
