"""The built book in a real browser, with every other machine out of reach.

What test_book.py and test_pages.py share; two files, so that two workers share the
pages.
"""

import functools
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from filelock import FileLock
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
    # every other machine is out of reach
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
TOC = yaml.safe_load((tidy.ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [TOC["root"], *CHAPTERS]
WITHOUT_FORMULAS = {"chapters/instructors"}
GENERATED = ["search", "genindex"]
# test_book.py has fewer: its other tests take as long as nine pages
_FIRST = 5 * len(PAGES) // 8
FIRST, REST = PAGES[:_FIRST], PAGES[_FIRST:] + GENERATED
HEAVIEST = 1_500_000  # bytes of a page with its figures
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no chromium: apt-get install chromium, or set CHROMIUM to its path",
    ),
]

# What a reader sees: the text without code, formulas and what the theme hides.
TEXT = """() => {
  const page = (document.querySelector('article') ??
                document.querySelector('main')).cloneNode(true);
  page.querySelectorAll('pre, code, script, .katex').forEach(x => x.remove());
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
FORMULAS = "() => document.querySelectorAll('.math .katex').length"
BAD_FORMULAS = "() => document.querySelectorAll('.katex-error').length"
# A figure is as wide as the text at most; nothing is wider without a box that scrolls.
WIDE_FIGURES = """() => [...document.querySelectorAll('article img')]
  .filter(x => x.getBoundingClientRect().width > x.closest('article').clientWidth + 1)
  .map(x => x.src)"""
OPEN_SOLUTIONS = """() => [...document.querySelectorAll('.solution.dropdown')]
  .filter(x => !x.classList.contains('toggle-hidden')).length"""
# Figures load when the reader comes near; this one reads all, in solutions, too.
FIGURES = """async () => {
  const coming = [...document.images].filter(x => !x.complete);
  await Promise.all(coming.map(x => new Promise(done => {
    x.onload = x.onerror = done;
    x.loading = 'eager';
  })));
}"""

# What axe need not see, for it takes most of the time. Formulas and code as empty boxes
# of the same size: axe leaves them out, but would walk through each of their letters.
# Of what a generated page has hundreds of the same kind of, the first: rows of the
# ledger, entries of the API.
HOLLOW = """() => {
  document.querySelectorAll('.katex, .highlight pre').forEach(x => {
    const box = document.createElement('span'), css = box.style;
    css.display = 'inline-block';
    css.width = `${x.scrollWidth || x.offsetWidth}px`;
    css.height = `${x.scrollHeight || x.offsetHeight}px`;
    x.replaceChildren(box);
  });
  for (const [kind, most] of [['article tr', 200], ['article dl.py', 60]])
    [...document.querySelectorAll(kind)].slice(most).forEach(x => x.remove());
}"""

# For contrast, five elements of a kind are enough: of the same tag and class, in the
# same place, with the same colours and letters.
THIN = """() => {
  const ground = x => {
    const colour = x ? getComputedStyle(x).backgroundColor : '';
    return colour === 'rgba(0, 0, 0, 0)' ? ground(x.parentElement) : colour;
  };
  const seen = {}, name = x => `${x.tagName}.${x.className}`;
  const again = new Set([...document.querySelectorAll('article *')].filter(x => {
    const css = getComputedStyle(x), kind = [name(x), name(x.parentElement), ground(x),
      css.color, css.opacity, css.fontSize, css.fontWeight].join();
    return (seen[kind] = (seen[kind] ?? 0) + 1) > 5;
  }));
  const whole = x => again.has(x) && [...x.children].every(whole);
  [...again].filter(whole).forEach(x => x.remove());
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Print nothing."""

    def send_error(self, code, message=None, explain=None):
        """Answer what is missing with the book's own page, as a web server would."""
        page = (HTML / "404.html").read_bytes()
        self.send_response(code, message)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


@pytest.fixture(scope="session")
def site():
    """The address of the book, built from today's files."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", tidy.ROOT]
    HTML.parent.mkdir(exist_ok=True)
    run, built = os.environ.get("PYTEST_XDIST_TESTRUNUID"), HTML.parent / "tests.built"
    with FileLock(HTML.parent / "tests.lock"):  # the first worker builds for all
        if run is None or not built.exists() or built.read_text() != run:
            build = subprocess.run(command, capture_output=True, text=True)
            assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
            built.write_text(run or "")
    handler = functools.partial(_Quiet, directory=str(HTML))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")  # one playwright at a time; test_pdf has its own
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened in a tab, and what it asked of whom."""

    def __init__(self, tab, site, name, until="networkidle"):
        self.elsewhere, self.failed, self.errors = [], [], []
        self.page, self.site, self.files = tab, site, set()
        self._listeners = {
            "request": self._request,
            "response": self._response,
            "pageerror": lambda error: self.errors.append(str(error)),
            "console": self._console,
        }
        for event, listener in self._listeners.items():
            tab.on(event, listener)
        tab.goto(f"{site}/{name}", wait_until=until)
        if tab.query_selector(".math"):
            tab.wait_for_selector("html[data-formulas=drawn]")

    @property
    def bytes(self):
        """Of all its files, those from the cache, too."""
        return sum((HTML / path).stat().st_size for path in self.files)

    def leave(self):
        """Let another page be opened in the same tab, as if it were new."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)
        self.page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")

    def _request(self, request):
        if request.url.startswith(f"{self.site}/"):
            path = urlsplit(request.url.removeprefix(f"{self.site}/")).path
            self.files.add(path or "index.html")
        elif not request.url.startswith(("data:", "blob:")):
            self.elsewhere.append(request.url)

    def _response(self, response):
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")

    def _console(self, message):
        if message.type == "error":
            self.errors.append(message.text)


@pytest.fixture
def new_tab(browser):
    """Open a tab of this width, which shares nothing with others."""
    opened = []

    def new(width):
        context = browser.new_context(viewport={"width": width, "height": 900})
        opened.append(context)
        return context.new_page()

    yield new
    for context in opened:
        context.close()


@pytest.fixture
def visit(new_tab, site):
    """Open a page by name and width."""
    return lambda name, width=1300: Visit(new_tab(width), site, name)


@pytest.fixture(scope="module")
def one_tab(browser):
    """For pages one after the other: a new tab takes longer than the page in it."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def axe(page, rules=None, but=(), code=False):
    """What axe-core calls serious or critical: rule, and the first places.

    rules   some of its rules; None for all
    but     rules that are left out of all
    code    with the colours of code, which are the same on every page. Formulas have
            the colour of the text around them; looking at each of their letters would
            take most of the time
    """
    options = {"resultTypes": ["violations"], "preload": False}
    options["rules"] = {rule: {"enabled": False} for rule in but}
    if rules:
        options["runOnly"] = rules
    skipped = [[".katex"]] if code else [[".katex"], [".highlight pre"]]
    found = Axe().run(page, {"exclude": skipped}, options).response
    return [
        f"{fault['id']}: {[node['target'] for node in fault['nodes'][:3]]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


def choose(page, theme):
    """Switch the theme, and end the fading of colours: axe would see them half-way."""
    page.evaluate(f"() => document.documentElement.dataset.theme = '{theme}'")
    page.evaluate(
        """() => document.getAnimations().filter(x => x instanceof CSSTransition)
                   .forEach(x => x.finish())"""
    )


def look_at(tab, site, name):
    """What holds for every page: on a phone in the dark, on a desk in the light."""
    tab.set_viewport_size({"width": 390, "height": 900})
    seen = Visit(tab, site, f"{name}.html", "load")
    tab.evaluate(FIGURES)
    tab.wait_for_load_state("networkidle")  # what comes later is looked at in the end
    assert seen.elsewhere == [], "the page asks for files of other machines"
    assert seen.failed == []
    assert seen.errors == []
    assert seen.bytes <= HEAVIEST
    assert tab.evaluate(WITHOUT_ALT) == []
    assert tab.evaluate(BROKEN_IMAGES) == []
    assert tab.evaluate(OPEN_SOLUTIONS) == 0
    text = tab.evaluate(TEXT)
    for raw in ("$", r"\(", r"\[", r"\begin", "{cite}", "{ref}", ":::", "```"):
        assert raw not in text, f"{raw!r} was not rendered"
    assert tab.evaluate(BAD_FORMULAS) == 0
    if name.startswith("chapters/") and name not in WITHOUT_FORMULAS:
        assert tab.evaluate(FORMULAS) > 0
    for width, theme in ((390, "dark"), (1300, "light")):
        if tab.viewport_size["width"] != width:
            tab.set_viewport_size({"width": width, "height": 900})
            tab.wait_for_timeout(400)  # after 300 the theme looks what scrolls now
        choose(tab, theme)
        where = f"at {width} pixels in the {theme} theme"
        assert tab.evaluate(OVERFLOW) <= 0, f"the page scrolls sideways {where}"
        assert tab.evaluate(VISIBLE_SEARCHES) == 1 or name == "search", where
        assert tab.evaluate(WIDE_FIGURES) == [], where
    tab.evaluate(HOLLOW)
    assert axe(tab, but=["color-contrast"]) == []
    tab.evaluate(THIN)
    for theme in ("light", "dark"):
        choose(tab, theme)
        assert axe(tab, ["color-contrast"]) == [], theme
    assert seen.elsewhere == seen.failed == seen.errors == []
    seen.leave()
