"""The HTML report in a real browser: controls clicked, both colour schemes, a phone, no network."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import coregister as cr
from coregister.report.calibration import render_calibration

playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser: group dev")
pytest.importorskip("matplotlib", reason="the report draws: extra report")
pytest.importorskip("jinja2", reason="the report is a template: extra report")

PHONE, DESK = (390, 844), (1280, 900)


def quietly(*images: np.ndarray) -> cr.Registration:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register(*images)


@pytest.fixture(scope="module")
def reports(make_pair, tmp_path_factory) -> dict[str, Path]:
    """One report a kind."""
    folder = tmp_path_factory.mktemp("reports")
    rng = np.random.default_rng(1)
    reference, moving = make_pair()
    results = {
        "trusted": quietly(reference, moving),
        "flagged": quietly(*rng.standard_normal((2, 48, 64))),
        "line": quietly(reference[20], moving[20]),
        "volume": quietly(*(rng.standard_normal((10, 16, 20)) for _ in range(2))),
    }
    first = results["trusted"]
    far = replace(first.modes[0], offset=first.offset + 25, probability=0.2)
    results["ambiguous"] = replace(
        first, modes=(first.modes[0], far), flags=frozenset({cr.Status.AMBIGUOUS})
    )
    paths = {}
    for name, result in results.items():
        paths[name] = folder / f"{name}.html"
        result.report(paths[name])
    return paths


class Opened:
    """A page of a report, and all that went wrong in it."""

    def __init__(self, browser, path: Path, size=DESK, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
        )
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self):
        return self.page

    def __exit__(self, kind, *_):
        url = self.page.url
        self.context.close()
        if kind is None:
            assert not self.wrong
            asked = [request for request in self.requests if not request.startswith("data:")]
            assert asked == [url]


KINDS = ("trusted", "flagged", "line", "volume", "ambiguous")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_phone_nothing_is_wider_than_the_screen(browser, reports, kind, scheme):
    with Opened(browser, reports[kind], PHONE, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        too_wide = page.evaluate(
            """() => [...document.querySelectorAll('h1, h2, p, dd, li, figure, svg, button, input')]
                .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
                .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert not too_wide


def luminance(page, selector: str, which: str) -> float:
    """Relative luminance of a colour of an element, as WCAG 2 defines it."""
    text = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{which}")
    channels = np.array([float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]])
    linear = np.where(
        channels <= 10.31, channels / 255 / 12.92, ((channels / 255 + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["trusted", "flagged"])
def test_words_stand_out_from_their_ground(browser, reports, kind, scheme):
    with Opened(browser, reports[kind], scheme=scheme) as page:
        ground = luminance(page, "body", "backgroundColor")
        assert (ground < 0.1) == (scheme == "dark")
        for words, behind in (
            ("h1", "body"),
            (".offsets dd", "body"),
            (".note", "body"),
            ("figcaption", "figure"),
            (".verdict strong", ".verdict"),
            (".verdict li, .verdict p", ".verdict"),
            ("figure svg text", "figure"),
        ):
            which = "fill" if "svg" in words else "color"
            pair = luminance(page, words, which), luminance(page, behind, "backgroundColor")
            contrast = (max(pair) + 0.05) / (min(pair) + 0.05)
            assert contrast >= 4.5, f"{words}: {contrast:.2f}"


def test_the_slider_uncovers_the_reference(browser, reports):
    with Opened(browser, reports["trusted"]) as page:
        slider, edge = page.locator("#slider"), page.locator(".edge")
        stage = page.locator("#stage").bounding_box()
        slider.focus()
        page.keyboard.press("Home")
        assert slider.input_value() == "0"
        assert abs(edge.bounding_box()["x"] - stage["x"]) < 3
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        assert slider.input_value() == "30"
        middle = edge.bounding_box()["x"] + 1 - stage["x"]
        assert abs(middle / stage["width"] - 0.3) < 0.01
        assert slider.get_attribute("aria-valuetext") == "reference left of 30 %"


def test_dragging_over_the_picture_moves_the_slider(browser, reports):
    with Opened(browser, reports["trusted"]) as page:
        page.locator("#stage").scroll_into_view_if_needed()
        stage = page.locator("#stage").bounding_box()
        y = stage["y"] + stage["height"] / 2
        page.mouse.move(stage["x"] + stage["width"] * 0.5, y)
        page.mouse.down()
        page.mouse.move(stage["x"] + stage["width"] * 0.8, y, steps=4)
        page.mouse.up()
        page.mouse.move(stage["x"] + stage["width"] * 0.1, y)  # not pressed: nothing moves
        assert page.locator("#slider").input_value() == "80"


def test_blink_shows_the_two_in_turn_and_stops(browser, reports):
    with Opened(browser, reports["trusted"]) as page:
        button, over, tag = (page.locator(f"#{name}") for name in ("blink", "over", "left-tag"))
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        for shown, name in (("hidden", "reference"), ("visible", "aligned")):
            playwright.expect(over).to_have_css("visibility", shown, timeout=3000)
            assert tag.text_content() == name
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        page.wait_for_timeout(800)
        assert over.is_visible()
        assert tag.text_content() == "reference"


def test_before_and_after_are_exchanged(browser, reports):
    with Opened(browser, reports["trusted"]) as page:
        before, after = page.locator("#before-image"), page.locator("#after-image")
        assert not before.is_visible()
        page.get_by_role("radio", name="before").check()
        assert before.is_visible()
        assert not after.is_visible()
        assert page.locator("#right-tag").text_content() == "moving"
        page.get_by_role("radio", name="after").check()
        assert after.is_visible()


def test_zoom_makes_pixels_larger_and_stays_in_the_frame(browser, reports):
    with Opened(browser, reports["trusted"]) as page:
        picture = page.locator("#after-image")
        width = picture.bounding_box()["width"]
        page.locator("#zoom").select_option("4")
        assert picture.bounding_box()["width"] == pytest.approx(4 * width, rel=0.01)
        assert page.evaluate("document.documentElement.scrollWidth") <= DESK[0]


def test_every_picture_is_drawn(browser, reports):
    with Opened(browser, reports["trusted"]) as page:
        sizes = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert len(sizes) == 3
        assert min(sizes) > 0
        svgs = page.locator("figure svg")
        assert svgs.count() == 6
        for i in range(6):
            assert svgs.nth(i).bounding_box()["height"] > 100


def test_the_page_of_a_calibration(browser, tmp_path):
    found = cr.calibrate("power-law-3", noise=0.1, n_pairs=12, shape=(32, 32), seed=3)
    path = tmp_path / "calibration.html"
    path.write_text(render_calibration(found), encoding="utf-8")
    for size in (PHONE, DESK):
        with Opened(browser, path, size, "dark") as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.fixture(scope="module")
def stack_page(tmp_path_factory) -> Path:
    """A drifting series with a frame of something else in it."""
    rng = np.random.default_rng(5)
    scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    drift = np.outer(np.arange(5), (0.8, -0.5))
    frames = cr.simulate_stack(scene, drift, noise=0.1, rng=rng, shape=(64, 64))
    frames[3] = rng.standard_normal((64, 64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register_stack(frames, times=[f"2004-03-01T02:0{i}:10" for i in range(5)])
    path = tmp_path_factory.mktemp("stack") / "stack.html"
    result.report(path, frames, provenance={"frames": ["a.tif"], "options": {"drift": "none"}})
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_the_page_of_a_stack_fits_and_is_read(browser, stack_page, size, scheme):
    with Opened(browser, stack_page, size, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for words, behind in (("h1", "body"), (".verdict strong", ".verdict"), ("th", "body")):
            pair = luminance(page, words, "color"), luminance(page, behind, "backgroundColor")
            assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5, words
        flagged, every = page.locator("main table").all()
        assert "NO_MATCH" in flagged.text_content()
        assert "2004-03-01 02:03:10" in flagged.text_content()
        assert flagged.locator("img").count() == 1
        page.locator("summary").click()
        assert every.locator("tr").count() == 6
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for picture in page.locator("img.plot").all():  # offsets, and pairs by themselves
            assert picture.evaluate("e => e.complete && e.naturalWidth") > 500
            assert picture.bounding_box()["width"] > 500  # readable: a phone scrolls it
        assert page.locator("img.plot").count() == 2
        assert "frames: a.tif" in page.locator("footer").text_content()


def test_the_film_of_a_stack_plays_stops_and_shows_frames_as_taken(browser, stack_page):
    with Opened(browser, stack_page) as page:
        blink, play, frame, label = (
            page.locator(f"#{name}") for name in ("blink", "play", "frame", "label")
        )
        playwright.expect(frame).not_to_have_value("0", timeout=3000)  # it plays
        play.click()
        frame.focus()
        page.keyboard.press("Home")
        assert label.text_content() == "frame 0, 2004-03-01 02:00:10.000, aligned"
        aligned = page.locator("#picture").get_attribute("src")
        blink.click()
        assert label.text_content() == "frame 0, 2004-03-01 02:00:10.000, as taken"
        assert blink.get_attribute("aria-pressed") == "true"
        assert page.locator("#picture").get_attribute("src") != aligned
        page.wait_for_timeout(900)
        assert frame.input_value() == "0"


def test_an_error_of_a_script_is_seen(browser, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text("<!doctype html><title>x</title><script>undefined_name()</script>")
    with pytest.raises(AssertionError), Opened(browser, path) as page:
        assert page.title() == "x"
    path.write_text('<!doctype html><title>x</title><img src="http://example.org/a.png">')
    with pytest.raises(AssertionError), Opened(browser, path) as page:
        assert page.title() == "x"
