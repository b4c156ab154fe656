"""The site that `make docs` has built, page by page in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

SITE = Path(__file__).parents[1] / "docs" / "_build" / "html"
PHONE = (390, 844)
#: the theme's template, copied beside its styles
NOT_PAGES = {"_modules", "_static"}


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    found = [
        path
        for path in sorted(SITE.rglob("*.html"))
        if not NOT_PAGES & set(path.relative_to(SITE).parts)
    ]
    if not found:
        pytest.skip("the site is not built: make docs")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_needs_no_network(browser, pages, scheme):
    context = browser.new_context(
        viewport={"width": PHONE[0], "height": PHONE[1]}, color_scheme=scheme, offline=True
    )
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append((page.url, str(error))))
    page.on("requestfailed", lambda request: wrong.append((page.url, request.url)))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:")) or wrong.append((page.url, request.url))
        ),
    )
    for path in pages:
        page.goto(path.as_uri())
        if page.evaluate("document.documentElement.scrollWidth") > PHONE[0]:
            wrong.append((page.url, "wider than the screen"))
    context.close()
    assert not wrong


def test_links_between_pages_lead_to_pages_and_places(browser, pages):
    context = browser.new_context(offline=True)
    page = context.new_page()
    links: set[str] = set()
    places: dict[str, set[str]] = {}
    for path in pages:
        page.goto(path.as_uri())
        links |= set(
            page.evaluate("[...document.querySelectorAll('article a')].map((a) => a.href)")
        )
        names = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        places[path.as_uri()] = set(names)
    context.close()
    inside = {link for link in links if link.startswith(SITE.as_uri())}
    assert len(inside) > 100
    broken = set()
    for link in inside:
        target, _, place = link.partition("#")
        if target in places:
            if place and place not in places[target]:
                broken.add(link)
        elif not Path(target.removeprefix("file://")).exists():
            broken.add(link)
    assert not broken
