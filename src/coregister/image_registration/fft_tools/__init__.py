"""Shifts, zooms and correlations of periodic images."""

from coregister.image_registration.fft_tools import (
    downsample,
    fast_ffts,
    scale,
    shift,
    smooth_tools,
    upsample,
    zoom,
)
from coregister.image_registration.fft_tools.correlate2d import correlate2d
from coregister.image_registration.fft_tools.fast_ffts import get_ffts
from coregister.image_registration.fft_tools.scale import (
    fourier_interp1d,
    fourier_interp2d,
    fourier_interpnd,
)
from coregister.image_registration.fft_tools.shift import shift2d, shiftnd
from coregister.image_registration.fft_tools.smooth_tools import smooth
from coregister.image_registration.fft_tools.upsample import dftups, upsample_image
from coregister.image_registration.fft_tools.zoom import zoom_on_pixel, zoomnd

__all__ = [
    "correlate2d",
    "dftups",
    "downsample",
    "fast_ffts",
    "fourier_interp1d",
    "fourier_interp2d",
    "fourier_interpnd",
    "get_ffts",
    "scale",
    "shift",
    "shift2d",
    "shiftnd",
    "smooth",
    "smooth_tools",
    "upsample",
    "upsample_image",
    "zoom",
    "zoom_on_pixel",
    "zoomnd",
]
