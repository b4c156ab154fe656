"""
A spectrum, and a velocity
==========================

One axis only: the spectrum of the quasar UM 184, taken with Keck/ESI. Its pixels are even in the
logarithm of the wavelength, so a displacement is a velocity. As with the
:ref:`micrograph <sphx_glr_auto_gallery_plot_4_micrograph.py>`, even and odd pixels are two spectra
half a (coarser) pixel apart, and the truth is known. The errors of the pixels came with the data.

Data: ``UM184_nF.fits`` and ``UM184_nE.fits`` inside linetools (BSD-3-Clause).
"""

import matplotlib.pyplot as plt
import numpy as np
import samples
from astropy.io import fits

import coregister as cr

flux, error = (
    fits.getdata(samples.locate("linetools", f"spectra/tests/files/UM184_n{which}.fits")).astype(
        float
    )[6000:8000]
    for which in "FE"
)
even, odd = slice(0, None, 2), slice(1, None, 2)
r = cr.register(flux[even], flux[odd], reference_err=error[even], moving_err=error[odd])
r

# %%
# The header has the step: 10 km/s a pixel, 20 a pixel of each half.

header = fits.getheader(samples.locate("linetools", "spectra/tests/files/UM184_nF.fits"))
step = 299792.458 * np.log(10) * header["CDELT1"] * 2
print(f"{step * r.offset[0]:.2f} +- {step * r.stderr[0]:.2f} km/s, truth {step * -0.5:.2f} km/s")
assert r.trusted and r.contains([-0.5], 0.9999)

# %%
# Without the errors of the pixels the bar is read from what is left over, and says the same.

untold = cr.register(flux[even], flux[odd])
print(untold.offset.round(4), "+-", untold.stderr.round(4))
assert untold.contains([-0.5], 0.9999)

# %%

place = np.arange(1000)
figure, axes = plt.subplots(1, 2, sharey=True)
cut = slice(620, 690)
for panel, values, name in ((axes[0], flux[odd], "before"), (axes[1], r.apply(flux[odd]), "after")):
    panel.step(place[cut], flux[even][cut], where="mid", color="#1f2328", label="reference")
    panel.step(place[cut], values[cut], where="mid", color="#E69F00", label="moving")
    panel.set(title=name, xlabel="pixel", ylabel="flux")
    panel.legend()
plt.show()
