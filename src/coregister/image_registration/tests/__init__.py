"""Images to try a registration on."""

from coregister.image_registration.tests.registration_testing import (
    chi2,
    edge_weight,
    make_extended,
    make_offset_extended,
    make_offset_images,
)

__all__ = ["chi2", "edge_weight", "make_extended", "make_offset_extended", "make_offset_images"]
