"""The site of `make docs` in a browser: its pages, formulas, search and executed notebooks; nothing from elsewhere."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

from tests.browser.laboratory import playwright

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="`make docs` has not built the site"),
]


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def page(address):
    start, options = playwright()
    with start as play:
        browser = play.chromium.launch(**options)
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.outside, page.errors = [], []
        page.on("request", lambda one: one.url.startswith((address, "data:")) or page.outside.append(one.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
        browser.close()


def test_the_site_loads_nothing_from_elsewhere_and_has_no_broken_script(page, address):
    for name in ("index", "docs/methods", "docs/results", "gallery", "api/method", "notebooks/03_grpo"):
        page.goto(f"{address}/{name}.html")
        broken = "one => one.complete && one.naturalWidth === 0"
        assert not page.evaluate(f"() => [...document.images].filter({broken}).map(one => one.src)"), name
    assert page.outside == [] and page.errors == []


def test_formulas_are_typeset_and_examples_are_code(page, address):
    page.goto(f"{address}/docs/methods.html")
    assert page.locator("math").count() > 5 and "$" not in page.locator("table").first.inner_text()
    page.goto(f"{address}/api/method.html")
    assert any(">>> dr_grpo(" in text for text in page.locator("pre").all_inner_texts())


def test_the_search_finds_a_parameter_and_the_gallery_opens_a_notebook(page, address):
    page.goto(f"{address}/index.html")
    page.locator("input.md-search__input").first.fill("weight_midpoint")
    page.locator(".md-search-result__item a").first.wait_for()
    page.goto(f"{address}/gallery.html")
    page.get_by_role("link", name="03_grpo").click()
    assert page.locator("h1").inner_text().startswith("03") and page.locator("img").count() > 0
    page.get_by_role("link", name="docs/methods.md").first.click()
    assert page.locator("h1").inner_text().startswith("Methods")
