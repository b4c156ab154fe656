"""FITS images on one grid of the sky, and the offset between them there.

Needs astropy and reproject: ``pip install 'coregister[fits]'``.
"""

from __future__ import annotations

from coregister.image_registration.FITS_tools.load_header import load_data, load_header
from coregister.image_registration.FITS_tools.match_images import (
    match_fits,
    project_to_header,
    register_fits,
)

__all__ = ["load_data", "load_header", "match_fits", "project_to_header", "register_fits"]
