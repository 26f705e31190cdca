"""The built book in a real browser: every page on a desk, and what pages can do."""

import re

import crawl
import pytest
import yaml
from browser import (
    BAD_FORMULAS,
    BROKEN_IMAGES,
    CHAPTERS,
    FIGURES,
    FORMULAS,
    HTML,
    MARKS,
    OPEN_SOLUTIONS,
    OVERFLOW,
    PAGES,
    REST,
    TEXT,
    THIN,
    VISIBLE_SEARCHES,
    WIDE_FIGURES,
    WITHOUT_ALT,
    Visit,
    axe,
    choose,
    look_at,
)

from adamtut.rules import RULES
from tools import tidy
from tools.pages import book, ledger

pytestmark = MARKS


@pytest.mark.parametrize("name", REST)
def test_page(one_tab, site, name):
    look_at(one_tab, site, name)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1300])
def test_code_and_everything_else_has_contrast(visit, width, theme):
    page = visit("chapters/notation.html", width).page
    choose(page, theme)
    assert axe(page, ["color-contrast"], code=True) == []


def test_no_link_leads_nowhere(site):
    assert crawl.broken(HTML) == []


def test_front_page_leads_to_the_book(visit):
    page = visit("index.html").page
    page.wait_for_url("**/README.html")
    assert page.title().startswith("Adam, Step by Step")


@pytest.mark.parametrize("words", ["momentum", "bias correction"])
def test_search_finds_a_chapter(visit, words):
    page = visit(f"search.html?q={words}").page
    page.wait_for_selector("#search-results li a")
    links = page.eval_on_selector_all(
        "#search-results li a", "all => all.map(x => x.href)"
    )
    wanted = words.replace(" ", "_")
    assert any(f"chapters/{wanted}.html" in link for link in links[:5])


def test_missing_page_at_any_depth(visit, site):
    seen = visit("chapters/no/such/page.html")
    assert seen.failed == [f"404 {site}/chapters/no/such/page.html"]
    page = seen.page
    assert page.inner_text("article h1").startswith("Page not found")
    assert page.query_selector("#pst-primary-sidebar a[href='/chapters/adam.html']")
    font = page.evaluate("() => getComputedStyle(document.body).fontFamily")
    assert "sans" in font  # the book's stylesheet has come


def test_solution_opens_and_closes(visit):
    page = visit("chapters/adam.html").page
    solution = page.locator(".solution.dropdown").first
    inner = solution.locator("> :nth-child(2)")
    assert not inner.is_visible()
    solution.locator(".toggle-button").click()
    assert inner.is_visible()
    solution.locator(".toggle-button").click()
    assert not inner.is_visible()


def test_ledger_lists_every_claim_and_filters(visit):
    expected = [
        sentence
        for chapter in book.chapters(tidy.ROOT)
        for _, sentence, _ in ledger.claims(chapter)
    ]
    page = visit("reference/ledger.html", 390).page
    rows = page.locator("table.ledger tbody tr")
    shown = page.eval_on_selector_all(
        "table.ledger tbody tr td:first-child", "all => all.map(x => x.textContent)"
    )
    assert [" ".join(x.split()) for x in shown] == [
        " ".join(x.split()) for x in expected
    ]
    page.fill(".ledger-filter input", "first step is lr")
    page.wait_for_function(  # over a thousand rows: not at once on a busy machine
        "() => [...document.querySelectorAll('table.ledger tbody tr')]"
        ".some(x => !x.checkVisibility())"
    )
    visible = rows.evaluate_all(  # of a hidden row, innerText has the text, too
        "all => all.filter(x => x.checkVisibility()).map(x => x.textContent)"
    )
    assert 0 < len(visible) < len(expected)
    words = "first step is lr".split()  # all of them, in any order
    assert all(word in text.lower() for text in visible for word in words)
    page.fill(".ledger-filter input", "")
    page.select_option(".ledger-filter select", "claims-adam")
    chapter = next(x for x in book.chapters(tidy.ROOT) if x.docname == "chapters/adam")
    own = len(list(ledger.claims(chapter)))
    assert (
        page.inner_text(".ledger-filter output") == f"{own} of {len(expected)} claims"
    )


def test_link_of_the_ledger_lands_on_the_cell(visit):
    page = visit("reference/ledger.html").page
    link = page.locator("table.ledger a", has_text="the first step is lr, to one part")
    link.first.click()
    page.wait_for_selector("html[data-formulas=drawn]")
    page.wait_for_timeout(500)
    cell = page.locator(":target")
    assert "to one part in a billion" in cell.inner_text()
    top = cell.evaluate("x => x.getBoundingClientRect().top")
    assert 0 <= top < 300


def test_link_into_a_solution_opens_it(visit):
    page = visit("chapters/adam.html").page
    inside = page.locator(".solution.dropdown .cell").first
    name = inside.get_attribute("id")
    page.goto(f"{page.url}#{name}")
    assert page.locator(f"#{name}").is_visible()


def test_index_of_symbols_has_every_name_of_every_rule(visit):
    page = visit("reference/symbols.html").page
    names = page.eval_on_selector_all(
        "table.names tbody td:first-child", "all => all.map(x => x.textContent.trim())"
    )
    wanted = {name for rule in RULES.values() for name in (*rule.state, *rule.defaults)}
    assert set(names) == wanted


def test_pages_describe_themselves_and_are_in_the_sitemap(site):
    sitemap = (HTML / "sitemap.xml").read_text(encoding="utf-8")
    listed = re.findall("<loc>(.*?)</loc>", sitemap)
    for name in PAGES:
        assert sum(address.endswith(f"/{name}.html") for address in listed) == 1
        text = (HTML / f"{name}.html").read_text(encoding="utf-8")
        found = re.findall('<meta name="description" content="([^"]*)"', text)
        assert len(found) == 1 and len(found[0]) > 15, name
    question = next(x for x in book.chapters(tidy.ROOT) if x.title == "Adam").question
    text = (HTML / "chapters" / "adam.html").read_text(encoding="utf-8")
    assert question.split("first")[1] in text.split("</head>")[0]


def test_footer_says_version_and_how_to_cite(visit):
    footer = visit("chapters/adam.html").page.inner_text("footer.bd-footer-content")
    cff = yaml.safe_load((tidy.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"Version {cff['version']}" in footer and cff["title"] in footer


def test_book_opened_as_files(new_tab):
    """Formulas, figures, navigation and search; results come without excerpts."""
    page = new_tab(1300)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((HTML / "chapters" / "adam.html").as_uri(), wait_until="load")
    page.wait_for_selector("html[data-formulas=drawn]")
    assert page.evaluate(FORMULAS) > 0 and page.evaluate(BAD_FORMULAS) == 0
    page.evaluate(FIGURES)
    assert page.evaluate(BROKEN_IMAGES) == []
    page.click(".prev-next-footer a.right-next")
    page.wait_for_selector("article h1")
    assert page.url.startswith("file:") and "adam.html" not in page.url
    page.goto(f"{(HTML / 'search.html').as_uri()}?q=bias+correction")
    page.wait_for_selector("#search-results li a")
    assert "without excerpts" in page.inner_text(".as-file")
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    assert [error for error in errors if "fetch" not in error.lower()] == []


@pytest.mark.parametrize("name", [x for x in CHAPTERS if x.startswith("chapters/")])
def test_chapter_offers_colab_and_download(site, name):
    text = (HTML / f"{name}.html").read_text(encoding="utf-8")
    links = re.findall('href="([^"]*)"', text)
    assert any("colab.research.google.com" in link for link in links)
    assert any(link.endswith(f"_sources/{name}.ipynb") for link in links)


# The tests above see what they should see: each is shown a page that is wrong.


@pytest.fixture
def blank(new_tab, site):
    """A function that opens a page of this HTML, as if it were in the book."""

    def open_html(body):
        (HTML / "wrong.html").write_text(f"<article>{body}</article>")
        return Visit(new_tab(390), site, "wrong.html")

    yield open_html
    (HTML / "wrong.html").unlink(missing_ok=True)


def test_a_request_elsewhere_is_seen_and_stopped(blank):
    seen = blank('<img src="https://example.org/x.png" alt="x">')
    assert seen.elsewhere == ["https://example.org/x.png"]
    assert seen.page.evaluate(BROKEN_IMAGES) == ["https://example.org/x.png"]


def test_a_missing_file_is_seen(blank):
    assert blank('<img src="nothing.png" alt="x">').failed


def test_other_faults_are_seen(blank):
    page = blank(
        '<div style="width: 2000px">$x$</div>'
        '<img src="favicon.png" style="width: 900px">'
        '<input type="search"><input type="search"><i class="katex-error"></i>'
        '<div class="solution dropdown">open</div>'
    ).page
    assert page.evaluate(OVERFLOW) > 0
    assert "$" in page.evaluate(TEXT)
    assert len(page.evaluate(WITHOUT_ALT)) == 1
    assert page.evaluate(VISIBLE_SEARCHES) == 2
    assert page.evaluate(BAD_FORMULAS) == 1
    assert page.evaluate(OPEN_SOLUTIONS) == 1
    assert len(page.evaluate(WIDE_FIGURES)) == 1
    assert any(fault.startswith("image-alt") for fault in axe(page))


def test_one_pale_word_among_many_is_seen(blank):
    words = (
        '<div style="background: %s"><p>Words <i style="color: %s">here</i>.</p></div>'
    )
    fine = [words % ("white", "black")] * 50
    for pale in (words % ("white", "#ccc"), words % ("#222", "black")):
        page = blank("".join([*fine, pale])).page
        page.evaluate(THIN)
        assert page.locator("p").count() == 6 and page.locator("i").count() == 6
        assert any("i" in fault for fault in axe(page, ["color-contrast"]))
    page = blank("".join(fine)).page
    assert axe(page, ["color-contrast"]) == []


def test_a_page_in_a_used_tab_is_as_in_a_new_one(one_tab, site):
    def read():
        seen = Visit(one_tab, site, "chapters/adam.html", "load")
        one_tab.evaluate(FIGURES)
        one_tab.wait_for_load_state("networkidle")
        return seen

    first = read()
    one_tab.evaluate("() => localStorage.setItem('theme', 'dark')")
    first.leave()
    with pytest.raises(AssertionError):
        look_at(one_tab, site, "no/such/page")
    again = read()
    assert first.failed == again.failed == []
    assert first.files == again.files and first.bytes > 500_000
    assert one_tab.evaluate("() => localStorage.getItem('theme')") != "dark"


def test_a_link_to_nowhere_is_seen(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="#gone">2</a><a href="b.html">3</a>'
        '<a href="https://example.org/x">4</a><img src="/c.png">'
    )
    assert crawl.broken(tmp_path) == [
        "a.html: #gone",
        "a.html: b.html",
        "a.html: /c.png",
    ]


def test_an_error_of_a_script_is_seen(blank):
    seen = blank("<script>console.error('no'); throw Error('broken')</script>")
    assert seen.errors == ["no", "broken"]
