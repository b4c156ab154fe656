"""The names that scripts import, what they say of themselves, and the example of the original."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest

import coregister.image_registration as image_registration

MODULES = [
    info.name
    for info in pkgutil.walk_packages(
        image_registration.__path__, image_registration.__name__ + "."
    )
    if ".FITS_tools" not in info.name  # tested beside its code
]
#: as the scripts that exist import them: module, name
NAMES = [
    ("", "chi2_shift"),
    ("", "chi2_shift_iterzoom"),
    ("", "chi2n_map"),
    ("", "cross_correlation_shifts"),
    ("", "register_images"),
    ("chi2_shifts", "chi2_shift"),
    ("chi2_shifts", "chi2_shift_iterzoom"),
    ("chi2_shifts", "chi2n_map"),
    ("chi2_shifts", "chi2map_to_errors"),
    ("cross_correlation_shifts", "cross_correlation_shifts"),
    ("register_images", "register_images"),
    ("register_images", "dftregistration"),
    ("tests", "make_extended"),
    ("tests", "make_offset_extended"),
    ("tests.registration_testing", "make_extended"),
    ("fft_tools", "shift2d"),
    ("fft_tools", "shiftnd"),
    ("fft_tools", "correlate2d"),
    ("fft_tools", "dftups"),
    ("fft_tools", "upsample_image"),
    ("fft_tools", "smooth"),
    ("fft_tools", "get_ffts"),
    ("fft_tools.shift", "shift2d"),
    ("fft_tools.shift", "shiftnd"),
    ("fft_tools.zoom", "zoom1d"),
    ("fft_tools.zoom", "zoomnd"),
    ("fft_tools.zoom", "zoom_on_pixel"),
    ("fft_tools.upsample", "upsample_image"),
    ("fft_tools.upsample", "dftups"),
    ("fft_tools.correlate2d", "correlate2d"),
    ("fft_tools.scale", "fourier_interp1d"),
    ("fft_tools.scale", "fourier_interp2d"),
    ("fft_tools.scale", "fourier_interpnd"),
    ("fft_tools.downsample", "downsample"),
    ("fft_tools.downsample", "downsample_cube"),
    ("fft_tools.downsample", "downsample_1d"),
    ("fft_tools.downsample", "downsample_axis"),
    ("fft_tools.smooth_tools", "smooth"),
    ("fft_tools.smooth_tools", "make_kernel"),
    ("fft_tools.fast_ffts", "get_ffts"),
]


def module(name):
    return importlib.import_module(".".join(["coregister.image_registration", name]).rstrip("."))


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_the_name_is_where_scripts_look_for_it(path, name):
    assert callable(getattr(module(path), name))


def test_modules_are_attributes_as_in_the_original():
    tools = image_registration.fft_tools
    for name in ("shift", "zoom", "scale", "upsample", "downsample", "smooth_tools", "fast_ffts"):
        assert inspect.ismodule(getattr(tools, name))
    assert callable(tools.zoom.zoom_on_pixel)
    assert callable(image_registration.tests.make_extended)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = image_registration.no_such_thing


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def functions():
    for name in MODULES:
        found = importlib.import_module(name)
        for own in getattr(found, "__all__", ()):
            thing = getattr(found, own)
            if inspect.isfunction(thing) and thing.__module__ == name:
                yield pytest.param(thing, id=f"{name.partition('image_registration.')[2]}.{own}")


@pytest.mark.parametrize("function", list(functions()))
def test_every_function_documents_its_parameters_and_shows_an_example(function):
    doc = inspect.getdoc(function)
    listed = doc.partition("Parameters\n---")[2].partition("Returns\n---")[0]
    missing = [
        p for p in inspect.signature(function).parameters if not re.search(rf"\b{p}\b", listed)
    ]
    assert not missing
    assert "Examples\n---" in doc


def test_the_example_of_the_readme_of_the_original():
    from coregister.image_registration import chi2_shift
    from coregister.image_registration.fft_tools import shift

    image = image_registration.tests.make_extended(100, rng=1)
    offset_image = image_registration.tests.make_offset_extended(
        image, 4.76666, -12.33333333333333333333333, noise=0.1, rng=2
    )
    xoff, yoff, exoff, eyoff = chi2_shift(image, offset_image)
    corrected_image2 = shift.shiftnd(offset_image, (-yoff, -xoff))
    assert abs(xoff - 4.76666) < 3 * exoff < 0.01
    assert abs(yoff + 12.33333) < 3 * eyoff < 0.01
    inner = image - np.roll(image, 1, 1)
    assert np.std(corrected_image2 - image) < 0.3 * np.std(inner)
