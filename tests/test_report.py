"""The HTML report: one file, well formed, nothing from the network, whole or absent."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import sys
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

import coregister as cr
from coregister.report import render, write_report
from coregister.report.calibration import render_calibration
from coregister.report.words import assumptions

matplotlib_image = pytest.importorskip("matplotlib.image")
pytest.importorskip("jinja2")

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and visible words; an error where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.scripts: dict[str | None, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[self.tags[-1][1].get("type")] = data
        elif "style" not in self._open:
            self.words += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", self.words)


def quietly(*images, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register(*images, **options)


@pytest.fixture(scope="module")
def result(make_pair):
    reference, moving = make_pair()
    moving[30:33, 31] = np.nan
    return quietly(reference, moving, moving_err=0.05, max_offset=9, initial=(2, -1))


@pytest.fixture(scope="module")
def text(result):
    return render(result, result.images())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_headline(result, page):
    for row in result.rows()[:2]:
        value, bar = row[1].replace("-", "\N{MINUS SIGN}").split(" +\N{MINUS SIGN} ")
        assert f"{value} ± {bar}" in page.text
    assert result.verdict() in page.text


def test_nothing_comes_from_the_network(text, page):
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:image/png;base64,", "#")), value[:60]
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "@import" not in text
    policy = next(m for m in page.all("meta") if "http-equiv" in m)
    assert policy["content"].startswith("default-src 'none'")


def test_names_are_unique_and_what_is_referred_to_is_there(text, page):
    names = [a["id"] for _, a in page.tags if "id" in a]
    assert len(names) == len(set(names))
    referred = re.findall(r"url\(#([^)]+)\)", text)
    referred += [a["xlink:href"][1:] for a in page.all("use")]
    referred += [a["aria-labelledby"] for a in page.all("section")]
    assert set(referred) <= set(names)


def test_every_picture_says_what_it_is(page):
    assert len(page.all("svg")) == 6
    for picture in page.all("svg"):
        assert picture["role"] == "img"
        assert picture["aria-label"]
    for picture in page.all("img"):
        assert picture["alt"]
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("label")) == len(page.all("input") + page.all("select"))


def test_vector_graphics_are_well_formed_and_take_the_colours_of_the_page(text):
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(pictures) == 6
    for picture in pictures:
        ET.fromstring(picture)
        assert "var(--ink)" in picture
        assert "#1f2328" not in picture
    assert "prefers-color-scheme: dark" in text


def test_the_blink_pictures_are_pixel_for_pixel(result, page):
    pictures = {}
    for attributes in page.all("img"):
        data = base64.b64decode(attributes["src"].partition(",")[2])
        pictures[attributes["alt"]] = matplotlib_image.imread(io.BytesIO(data))
    assert len(pictures) == 3
    aligned = pictures["The moving image after alignment"]
    assert aligned.shape == (*result.reference_shape, 4)
    known = np.isfinite(result.apply(result.images().moving.data))
    assert not aligned[~known, 3].any()
    assert 0 < np.count_nonzero(aligned[..., 3] == 0) - np.count_nonzero(~known) < 60
    reference = pictures["The reference image"]
    assert np.all(reference[..., 3] == 1)
    both = aligned[..., 3] == 1
    # after alignment the two agree, before they do not
    difference = np.abs(aligned - reference)[both, 0].mean()
    before = pictures["The moving image before alignment"]
    assert difference < 0.2 * np.abs(before - reference)[both, 0].mean()


@pytest.mark.parametrize(("origin", "step"), [("upper", 1), ("lower", -1)])
def test_index_zero_is_where_it_is_asked_for(result, origin, step):
    page = Page(render(result, result.images(), origin=origin))
    data = base64.b64decode(page.all("img")[0]["src"].partition(",")[2])
    shown = matplotlib_image.imread(io.BytesIO(data))[::step, :, 0]
    assert np.corrcoef(shown.ravel(), result.images().reference.data.ravel())[0, 1] > 0.95


def test_the_record_in_the_page_is_the_result(result, page):
    again = cr.Registration.from_dict(json.loads(page.scripts["application/json"]))
    assert str(again) == str(result)


def test_the_same_result_gives_the_same_page(result, text):
    assert render(result, result.images()) == text


def test_what_was_assumed(result, page):
    rows = dict(assumptions(result, result.images()))
    assert rows["edges"].startswith("real edges")
    assert rows["reference"] == "64 x 60 px, all used"
    assert rows["moving"] == "64 x 60 px, 3 left out (0.078 %)"
    assert rows["noise of reference"] == "learnt from the pair"
    assert rows["noise of moving"] == "0.05, one for all pixels"
    assert rows["initial guess"] == "(2, \N{MINUS SIGN}1) px"
    assert rows["search"] == "within (9, 9) px of it"
    for label, value in rows.items():
        assert label in page.text
        assert value in page.text


def test_a_result_read_back_claims_nothing_about_its_options(result):
    pair = result.images()
    again = cr.Registration.from_dict(result.to_dict())
    images = again.images(pair.reference.data, pair.moving.data)
    rows = dict(assumptions(again, images))
    assert rows["options"] == "unknown: the result was read back from a file"
    assert "search" not in rows
    assert "options" in Page(render(again, images)).text


def test_flags_are_explained():
    rng = np.random.default_rng(3)
    result = quietly(rng.normal(size=(40, 40)), rng.normal(size=(40, 40)))
    page = Page(render(result, result.images()))
    assert "NOT TRUSTED: " in page.text
    assert "NO_MATCH: the images show no common content" in page.text
    assert "max_offset" in page.text
    assert "`" not in page.text


def test_where_many_offsets_are_possible_all_are_drawn(result):
    rng = np.random.default_rng(8)
    small = quietly(*rng.standard_normal((2, 32, 32)))
    assert cr.Status.NO_MATCH in small.flags
    words = "Probability of every offset"
    assert words in render(small, small.images())
    assert words not in render(result, result.images())
    back = cr.Registration.from_dict(small.to_dict())
    assert words not in render(back, small.images())  # it needs what the result holds


def test_infinity_is_written_as_such():
    with pytest.warns(cr.RegistrationWarning):
        result = cr.register(np.ones((16, 16)), np.eye(16))
    page = Page(render(result, result.images()))
    assert "undetermined" in page.text
    assert "everything" in page.text
    assert "\N{INFINITY}" in page.text
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("shape", [(120,), (13, 21, 17)])
def test_spectra_and_volumes(shape):
    x = np.random.default_rng(4).normal(size=shape).cumsum(axis=-1)
    result = quietly(x, np.roll(x, 2, axis=-1), boundary="periodic")
    page = Page(render(result, result.images()))
    assert len(page.all("svg")) == (7 if len(shape) == 1 else 6)
    assert len(page.all("img")) == (0 if len(shape) == 1 else 3)
    assert ("plane 6 of axis 0" in page.text) == (len(shape) == 3)


def test_large_images_are_averaged_down():
    from coregister.report.blink import LONGEST, shrunk

    image = np.arange(4.0 * (2 * LONGEST + 2)).reshape(4, -1)
    image[0, 0] = np.nan
    small = shrunk(image)
    assert small.shape == (1, (2 * LONGEST + 2) // 3)
    np.testing.assert_allclose(small[0, 5], image[:3, 15:18].mean())
    np.testing.assert_allclose(small[0, 0], np.nanmean(image[:3, :3]))
    np.testing.assert_array_equal(shrunk(image[:, :50]), image[:, :50])


# ------------------------------------------------------------------------ the file


def test_the_file_is_the_page(result, text, tmp_path):
    result.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_an_existing_file_is_kept_unless_it_may_be_replaced(result, tmp_path, monkeypatch):
    monkeypatch.setattr("coregister.report.render", lambda *_, **__: "new")
    path = tmp_path / "report.html"
    path.write_text("kept")
    with pytest.raises(cr.InputError, match="exists"):
        result.report(path)
    assert path.read_text() == "kept"
    result.report(path, overwrite=True)
    assert path.read_text() == "new"


def test_a_folder_and_a_missing_folder_are_refused(result, tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "report.html"):
        with pytest.raises(cr.InputError, match="folder"):
            result.report(path)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(cr.MissingExtraError, match=r"coregister\[report\]"):
        write_report(result, result.images(), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------ calibration


@pytest.fixture(scope="module")
def proof():
    return cr.calibrate("texture", noise=0.2, shape=(40, 40), n_pairs=4, offsets=(3.5, 2))


def test_the_page_of_a_calibration_holds_its_figures(proof):
    page = Page(render_calibration(proof))
    assert "4 simulated pairs of texture" in page.text
    assert str(proof.figures().pull_width.value)[:4] in page.text
    for verdict in proof.verdicts():
        assert str(verdict).partition(":")[0] in page.text
    for entry in (*proof.rows()[0], "coregister", "3.5, 2"):
        assert entry in page.text
    assert len(page.all("svg")) == 3


def test_the_page_of_a_calibration_is_one_file_well_formed(proof):
    text = render_calibration(proof)
    page = Page(text)
    test_nothing_comes_from_the_network(text, page)
    test_names_are_unique_and_what_is_referred_to_is_there(text, page)
    assert not page.scripts
    for picture in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ET.fromstring(picture)
    for picture in page.all("svg"):
        assert picture["aria-label"]


def test_the_page_of_a_calibration_says_what_is_missed(proof):
    assert "no target missed" in render_calibration(proof)
    trials = proof.trials["coregister"]
    worse = replace(trials, error=50 * trials.error, inside=np.zeros_like(trials.inside))
    text = render_calibration(replace(proof, trials={"coregister": worse}))
    assert "targets missed" in text
    assert "MISSED" in Page(text).text


def test_the_page_of_a_calibration_where_nothing_is_trusted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cr.calibrate("white", shape=(32, 32), n_pairs=3, related=False)
        page = Page(render_calibration(found))
    assert "unrelated pairs trusted" in page.text


def test_the_page_of_a_calibration_never_overwrites_by_accident(proof, tmp_path):
    path = tmp_path / "proof.html"
    proof.report(path)
    with pytest.raises(cr.InputError, match="exists"):
        proof.report(path)
    proof.report(path, overwrite=True)
