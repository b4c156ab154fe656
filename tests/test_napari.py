"""The napari plugin: its function without a display, its manifest, its form in a real viewer."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import coregister as cr
from coregister.napari import align_frames, align_layers, described, described_frames

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "src/coregister/napari/napari.yaml"
#: an interpreter with napari, which is large; that of the tests if it has napari
PYTHON = os.environ.get("COREGISTER_NAPARI_PYTHON", sys.executable)

IN_A_VIEWER = """
import warnings
warnings.simplefilter("ignore")
import numpy as np, napari, coregister as cr
rng = np.random.default_rng(0)
scene = cr.random_scene("power-law-2", (128, 128), rng=rng)
a, b = cr.simulate_pair(scene, (3.3, -2.2), noise=0.1, rng=rng, shape=(64, 64))
TRUE = [(0, 0), (0.5, -1), (1, -2), (1.5, -2.5)]
viewer = napari.Viewer(show=True)
for name, data in (("a", a), ("b", b)):
    viewer.add_image(data, name=name, scale=(0.2, 0.2), units=("um", "um"))
from coregister.napari import align_widget
form, panel = widget = align_widget()
viewer.window.add_dock_widget(widget, name="coregister")
assert list(form.reference.choices) == list(viewer.layers)
form.reference.value, form.moving.value = viewer.layers
form.call_button.native.click()
layer = viewer.layers["b on a"]
assert layer.data.shape == (64, 64), layer.data.shape
np.testing.assert_allclose(layer.metadata["coregister"].offset, (3.3, -2.2), atol=0.05)
assert panel.value.startswith("trusted"), panel.value
assert "micrometer" in panel.value, panel.value
form.resample.value = False
form.call_button.native.click()
np.testing.assert_allclose(viewer.layers[-1].translate, (-0.66, 0.44), atol=0.01)
movie = np.stack(cr.simulate_stack(scene, TRUE, noise=0.1, rng=rng, shape=(64, 64)))
viewer.add_image(movie, name="movie", scale=(1, 0.2, 0.2), units=("s", "um", "um"))
from coregister.napari import series_widget
form, panel = widget = series_widget()
viewer.window.add_dock_widget(widget, name="series")
form.series.value = viewer.layers["movie"]
form.call_button.native.click()
layer = viewer.layers["movie aligned"]
assert layer.data.shape == (4, 64, 64), layer.data.shape
np.testing.assert_allclose(layer.metadata["coregister"].offsets, TRUE, atol=0.05)
np.testing.assert_allclose(layer.scale, (1, 0.2, 0.2))
assert "4 of 4 frames trusted" in panel.value, panel.value
assert "y, micrometer" in panel.value, panel.value
viewer.close()
print("done")
"""


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    scene = cr.random_scene("power-law-2", (128, 128), rng=rng)
    pair = cr.simulate_pair(scene, (3.3, -2.2), noise=0.1, rng=rng, shape=(64, 64))
    return [
        SimpleNamespace(
            data=data,
            name=name,
            scale=np.array([0.25, 0.1]),
            translate=np.array([5.0, 7.0]),
            units=("micrometer", "micrometer"),
            colormap="magenta",
        )
        for data, name in zip(pair, "ab", strict=True)
    ]


def changed(layer, **attributes):
    return SimpleNamespace(**{**vars(layer), **attributes})


def test_the_new_layer_lies_on_the_reference(layers):
    data, attributes, kind = align_layers(*layers)
    result = cr.register(layers[0].data, layers[1].data)
    np.testing.assert_array_equal(data, result.apply(layers[1].data))
    np.testing.assert_array_equal(attributes["translate"], (5.0, 7.0))
    np.testing.assert_array_equal(attributes["scale"], (0.25, 0.1))
    assert (attributes["name"], attributes["colormap"], kind) == ("b on a", "magenta", "image")
    np.testing.assert_array_equal(attributes["metadata"]["coregister"].offset, result.offset)


def test_or_keeps_its_pixels_and_is_moved(layers):
    data, attributes, _ = align_layers(*layers, resample=False)
    assert data is layers[1].data
    # pixel p of the reference and p + offset of the new layer are at one place
    place = np.array([5.0, 7.0]) + (0.25, 0.1) * np.array([10.0, 20.0])
    offset = attributes["metadata"]["coregister"].offset
    there = attributes["translate"] + (0.25, 0.1) * (np.array([10.0, 20.0]) + offset)
    np.testing.assert_allclose(there, place)


def test_the_panel_speaks_the_units_of_the_layer(layers):
    result = align_layers(*layers)[1]["metadata"]["coregister"]
    assert "along axis 0: 0.82" in described(result, layers[0])
    assert "micrometer" in described(result, layers[0])
    assert described(result, changed(layers[0], units=("pixel", "pixel"))) == str(result)
    assert described(result, SimpleNamespace(data=layers[0].data)) == str(result)


@pytest.mark.parametrize(
    ("attributes", "remedy"),
    [
        ({"rgb": True}, "Split RGB"),
        ({"multiscale": True}, "one level"),
        ({"scale": np.array([1.0, 1.0])}, "set its scale"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_layers_that_cannot_be_compared_are_refused(layers, attributes, remedy):
    with pytest.raises(cr.InputError, match=remedy):
        align_layers(layers[0], changed(layers[1], **attributes))


@pytest.fixture(scope="module")
def movie():
    rng = np.random.default_rng(0)
    scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    frames = cr.simulate_stack(scene, TRUE, noise=0.05, rng=rng, shape=(64, 64))
    return SimpleNamespace(
        data=np.stack(frames),
        name="movie",
        scale=np.array([2.0, 0.25, 0.1]),
        translate=np.array([0.0, 5.0, 7.0]),
        units=("second", "micrometer", "micrometer"),
        gamma=0.8,
    )


TRUE = [(0, 0), (0.5, -1), (1, -2), (1.5, -2.5)]


def test_a_series_is_aligned_frame_by_frame(movie):
    before = movie.data.copy()
    data, attributes, kind = align_frames(movie)
    np.testing.assert_array_equal(movie.data, before)
    result = cr.register_stack(movie.data, reference="first")
    np.testing.assert_array_equal(data, result.apply(movie.data))
    np.testing.assert_allclose(attributes["metadata"]["coregister"].offsets, TRUE, atol=0.1)
    np.testing.assert_array_equal(attributes["scale"], movie.scale)
    np.testing.assert_array_equal(attributes["translate"], movie.translate)
    assert (attributes["name"], attributes["gamma"], kind) == ("movie aligned", 0.8, "image")
    inner = (slice(None), slice(4, -4), slice(4, -4))
    noise = 0.05 * np.sqrt(2)  # all that is left of differences; interpolation only damps it
    assert (
        np.std(np.diff(data[inner], axis=0))
        < noise
        < np.std(np.diff(movie.data[inner], axis=0)) / 2
    )


def test_the_panel_of_a_series_lists_its_frames(movie):
    result = align_frames(movie)[1]["metadata"]["coregister"]
    panel = described_frames(result, movie).splitlines()[-5:]
    assert panel[0].split() == ["frame", "y,", "micrometer", "x,", "micrometer"]
    assert re.fullmatch(r" +3 +0\.37\d* \+- \S+ +-0\.25\S* \+- \S+", panel[-1]), panel
    bare = SimpleNamespace(data=movie.data, name="movie")
    panel = described_frames(result, bare).splitlines()[-5:]
    assert panel[0].split() == ["frame", "y,", "px", "x,", "px"]
    assert re.match(r" +3 +1\.\d+ ", panel[-1]), panel
    spoilt = movie.data.copy()
    spoilt[2] = np.random.default_rng(1).normal(size=spoilt[2].shape)
    with pytest.warns(cr.RegistrationWarning):
        data, attributes, _ = align_frames(changed(movie, data=spoilt))
    assert np.isnan(data[2]).all()
    panel = described_frames(attributes["metadata"]["coregister"], movie)
    assert re.search(r"^ +2 +NO_MATCH$", panel, flags=re.MULTILINE)


def test_what_is_no_series_is_refused(movie, layers):
    with pytest.raises(cr.InputError, match="Align two images"):
        align_frames(layers[0])
    with pytest.raises(cr.InputError, match="Split RGB"):
        align_frames(changed(movie, rgb=True))


def test_the_manifest_names_what_is_there():
    text = MANIFEST.read_text()
    ids = re.findall(r"- id: (\S+)", text)
    names = re.findall(r"python_name: (\S+):(\S+)", text)
    assert len(ids) == len(names) == 4
    for module, name in names:
        assert callable(getattr(importlib.import_module(module), name))
    assert set(re.findall(r"- command: (\S+)", text)) <= set(ids)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["napari.manifest"] == {
        project["name"]: "coregister.napari:napari.yaml"
    }


def has(package):
    code = f"import importlib.util as u, sys; sys.exit(not u.find_spec({package!r}))"
    return subprocess.run([PYTHON, "-c", code], check=False).returncode == 0


def test_the_manifest_is_valid():
    # in a process of its own: npe2 brings a plugin for pytest that warns when it is imported
    if not has("npe2"):
        pytest.skip("npe2 is not installed; COREGISTER_NAPARI_PYTHON names a python that has it")
    done = subprocess.run(
        [PYTHON, "-m", "npe2", "validate", str(MANIFEST)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout


def test_the_form_works_in_a_viewer():
    if shutil.which("xvfb-run") is None:
        pytest.skip("xvfb-run is not installed, and the viewer needs a display")
    if not has("napari"):
        pytest.skip("napari is not installed; COREGISTER_NAPARI_PYTHON names a python that has it")
    done = subprocess.run(
        ["xvfb-run", "--auto-servernum", PYTHON, "-c", IN_A_VIEWER],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip().endswith("done"), done.stderr[-3000:]
