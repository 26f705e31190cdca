"""The built book in a real browser, with every other machine out of reach."""

import functools
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright

from tools import tidy

HTML = tidy.ROOT / "_build" / "html"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOC = yaml.safe_load((tidy.ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [TOC["root"], *CHAPTERS]
WIDTHS = [1300, 390]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no chromium: apt-get install chromium, or set CHROMIUM to its path",
    ),
]

# What a reader sees: the text without code, formulas and what the theme hides.
TEXT = """() => {
  const page = document.querySelector('article').cloneNode(true);
  page.querySelectorAll('pre, code, script, mjx-container').forEach(x => x.remove());
  return page.textContent;
}"""
VISIBLE_SEARCHES = """() => [...document.querySelectorAll(
    '.search-button__button, .search-button, .search-button-field, input[type=search]'
  )].filter(x => x.checkVisibility({visibilityProperty: true}) &&
                 x.getBoundingClientRect().width > 0).length"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
WITHOUT_ALT = """() => [...document.querySelectorAll('article img')]
  .filter(x => !x.alt.trim() || x.alt.startsWith('../_images')).map(x => x.src)"""
BROKEN_IMAGES = """() => [...document.querySelectorAll('article img')]
  .filter(x => x.complete && x.naturalWidth === 0).map(x => x.src)"""
FORMULAS = "() => document.querySelectorAll('mjx-container').length"
BAD_FORMULAS = """() => document.querySelectorAll(
    'mjx-merror, [data-mjx-error], .MathJax_Error').length"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Print nothing."""


@pytest.fixture(scope="module")
def site():
    """The address of the book, built from today's files."""
    build = subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", tidy.ROOT],
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    handler = functools.partial(_Quiet, directory=str(HTML))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened, and what it asked of whom."""

    def __init__(self, browser, site, name, width):
        self.elsewhere, self.failed, self.errors = [], [], []
        self.site = site
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.route("**/*", self._route)
        self.page = context.new_page()
        self.page.on("response", self._response)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{site}/{name}", wait_until="networkidle")
        if self.page.query_selector(".math"):
            self.page.wait_for_function(
                "() => window.MathJax?.startup?.promise?.then(() => true)"
            )

    def _route(self, route):
        if route.request.url.startswith((f"{self.site}/", "data:", "blob:")):
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def _response(self, response):
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")

    def close(self):
        self.page.context.close()


@pytest.fixture
def visit(browser, site):
    """Open a page by name and width."""
    opened = []

    def open_page(name, width=1300):
        opened.append(Visit(browser, site, name, width))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page(visit, name, width):
    seen = visit(f"{name}.html", width)
    page = seen.page
    assert seen.elsewhere == [], "the page asks for files of other machines"
    assert seen.failed == []
    assert seen.errors == []
    assert page.evaluate(OVERFLOW) <= 0, "the page scrolls sideways"
    assert page.evaluate(VISIBLE_SEARCHES) == 1
    assert page.evaluate(WITHOUT_ALT) == []
    assert page.evaluate(BROKEN_IMAGES) == []
    text = page.evaluate(TEXT)
    for raw in ("$", r"\(", r"\[", r"\begin", "{cite}", "{ref}", ":::", "```"):
        assert raw not in text, f"{raw!r} was not rendered"
    assert page.evaluate(BAD_FORMULAS) == 0
    if name.startswith("chapters/"):
        assert page.evaluate(FORMULAS) > 0


def test_front_page_leads_to_the_book(visit):
    page = visit("index.html").page
    page.wait_for_url("**/README.html")
    assert page.title().startswith("Adam, Step by Step")


def test_search_finds_a_chapter(visit):
    page = visit("search.html?q=momentum").page
    page.wait_for_selector("#search-results li a")
    assert "chapters/" in page.get_attribute("#search-results li a", "href")


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_offers_colab_and_download(visit, name):
    if not name.startswith("chapters/"):
        pytest.skip("a page without code")
    page = visit(f"{name}.html").page
    links = page.eval_on_selector_all("a", "all => all.map(x => x.href)")
    assert any("colab.research.google.com" in link for link in links)
    assert any(link.endswith(f"{name.split('/')[-1]}.ipynb") for link in links)


# The tests above see what they should see: each is shown a page that is wrong.


@pytest.fixture
def blank(browser, site):
    """A function that opens a page of this HTML, as if it were in the book."""
    (HTML / "wrong.html").unlink(missing_ok=True)
    opened = []

    def open_html(body):
        (HTML / "wrong.html").write_text(f"<article>{body}</article>")
        opened.append(Visit(browser, site, "wrong.html", 390))
        return opened[-1]

    yield open_html
    for page in opened:
        page.close()
    (HTML / "wrong.html").unlink(missing_ok=True)


def test_a_request_elsewhere_is_seen_and_stopped(blank):
    seen = blank('<img src="https://example.org/x.png" alt="x">')
    assert seen.elsewhere == ["https://example.org/x.png"]
    assert seen.page.evaluate(BROKEN_IMAGES) == ["https://example.org/x.png"]


def test_a_missing_file_is_seen(blank):
    assert blank('<img src="nothing.png" alt="x">').failed


def test_other_faults_are_seen(blank):
    page = blank(
        '<div style="width: 2000px">$x$</div><img src="favicon.png">'
        '<input type="search"><input type="search"><mjx-merror></mjx-merror>'
    ).page
    assert page.evaluate(OVERFLOW) > 0
    assert "$" in page.evaluate(TEXT)
    assert len(page.evaluate(WITHOUT_ALT)) == 1
    assert page.evaluate(VISIBLE_SEARCHES) == 2
    assert page.evaluate(BAD_FORMULAS) == 1
