"""The whole book as one PDF, printed by the system's chromium.

    python -m tools.pdf [--html FOLDER] [--toc FILE] [--out FILE]

Joins the pages that `make book` built into one, in the order of _toc.yml: title page,
contents with page numbers, the chapters, and the solutions of all exercises at the end.
Code that the pages hide stays hidden. Chromium is the one of the PATH, or the one that
the environment variable CHROMIUM names.
"""

import argparse
import html
import io
import os
import posixpath
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Error, sync_playwright
from pypdf import PdfReader

from tools import tidy

HTML = tidy.ROOT / "_build" / "html"
TOC = tidy.ROOT / "_toc.yml"
OUT = tidy.ROOT / "_build" / "pdf" / "adam-step-by-step.pdf"
STYLE = Path(__file__).with_name("pdf.css")
FLAGS = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
SOLUTIONS = "Solutions"

# The width of the text on paper: 210 mm less the margins of pdf.css, 96 pixels an inch
WIDTH = int((210 - 2 * 22) / 25.4 * 96)
# Figures are made for the screen. At this scale their letters are those of the caption;
# none is wider than the text, or so high that it leaves half a page empty before it.
FIGURE = 0.7
HEIGHT = int(150 / 25.4 * 96)

# Words of code that have no colour of their own: an element of the PDF less for each.
_PLAIN = "pre span.n, pre span.p, pre span.w, pre span:not([class])"

_TYPESET = "() => document.documentElement.dataset.formulas === 'drawn'"
# Formulas and tables that are too wide get smaller letters.
_FIT = """() => {
  const all = '.katex-display, table, div.output pre, div.highlight pre';
  for (const part of document.querySelectorAll(all)) {
    const around = part.parentElement.closest('div, figure, li, td, section');
    const room = around.clientWidth, wide = part.scrollWidth;
    const size = parseFloat(getComputedStyle(part).fontSize);
    if (wide > room + 1) part.style.fontSize = `${0.97 * size * room / wide}px`;
  }
}"""
_NOT_DRAWN = """() => [...document.querySelectorAll('.math')]
  .filter(x => x.querySelector('.katex-error') ||
               !(x.querySelector('.katex-html')?.getBoundingClientRect().height > 4))
  .map(x => `${x.closest('section.chapter')?.id}: ${x.textContent.slice(0, 60)}`)"""
# The parts of a formula are left out: a root sign is metres long, and clipped.
_TOO_WIDE = """() => [...document.querySelectorAll('body :not(.katex *)')]
  .filter(x => {
    const box = x.getBoundingClientRect(), wide = document.body.clientWidth;
    return box.width && (box.left < -1 || box.right > wide + 1);
  })
  .map(x => `${x.closest('section.chapter')?.id}: ${x.textContent.slice(0, 60)}`)"""
# All is laid out anew: what chromium keeps of the pages that it printed before lacks
# margins where they began.
_NUMBER = """pages => {
  for (const place of document.querySelectorAll('a.page'))
    place.textContent = pages[decodeURIComponent(place.hash.slice(1))] ?? '';
  document.body.hidden = true;
  document.body.getBoundingClientRect();
  document.body.hidden = false;
}"""


class Book:
    """The pages of a built book, joined into one page that prints well."""

    def __init__(self, folder: Path, toc: Path):
        self.folder = folder
        read = yaml.safe_load((tidy.ROOT / "_config.yml").read_text(encoding="utf-8"))
        self.title, self.author = read["title"], read["author"]
        self.year, self.url = read["copyright"], read["repository"]["url"]
        project = tomllib.loads((tidy.ROOT / "pyproject.toml").read_text("utf-8"))
        self.version = project["project"]["version"]
        listed = yaml.safe_load(toc.read_text(encoding="utf-8"))
        self.root = listed["root"]
        self.parts = [
            (part["caption"], [chapter["file"] for chapter in part["chapters"]])
            for part in listed["parts"]
        ]
        self.names = [self.root, *(name for _, names in self.parts for name in names)]
        self.pages = {name: self._page(name) for name in self.names}
        # the front page of the site has the title of the book
        self.pages[self.root].find("h1").string = "About this book"
        self.titles = {x: self.pages[x].find("h1").get_text() for x in self.names}
        self.titles[SOLUTIONS] = SOLUTIONS

    def _page(self, name: str) -> Tag:
        """The article of a page, with addresses that hold in the joined page."""
        path = self.folder / f"{name}.html"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; run `make book` first")
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        page = soup.find("article")
        for useless in page.select(
            "a.headerlink, details.above-input, .toctree-wrapper, script,"
            ".backrefs, .citation > .label"  # the text cites by name and year
        ):
            useless.decompose()
        for plain in page.select(_PLAIN):
            plain.unwrap()
        page.smooth()
        for hidden in page.find_all("details"):
            hidden["open"] = ""
        for thing in page.find_all(id=True):
            thing["id"] = _anchor(name, thing["id"])
        for image in page.find_all("img"):
            image["src"] = (path.parent / image["src"]).resolve().as_uri()
            _shrink(image)
        for link in page.find_all("a", href=True):
            self._set_link(link, name)
        return page

    def _set_link(self, link: Tag, name: str) -> None:
        """Lead a link to its place in the joined page, or to the web, or nowhere."""
        if ":" in link["href"]:
            return
        path, _, anchor = link["href"].partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        target = target.removesuffix(".html") if path else name
        if target in self.names:
            link["href"] = "#" + _anchor(target, anchor)
        else:  # a download, an index: not in this file
            link.unwrap()

    def joined(self) -> str:
        """The whole book as one HTML page."""
        body, solutions, contents = [], [], self._contents()
        for name, page in self.pages.items():
            for cell in page.select("div.cell"):
                _join_caption(cell)
            found = page.select("div.solution")
            if found:
                solutions.append(f"<h2>{html.escape(self.titles[name])}</h2>")
            for solution in found:
                _refer(page, solution)
                solutions.append(str(solution.extract()))
            if name != self.root:
                _lower(page)
            part = next((title for title, names in self.parts if names[0] == name), "")
            above = f'<h1 class="part">{html.escape(part)}</h1>' if part else ""
            body.append(self._chapter(name, above + page.decode_contents()))
        title = f"<h1>{SOLUTIONS}</h1>"
        body.append(self._chapter(SOLUTIONS, title + "".join(solutions)))
        return _PAGE.format(
            title=html.escape(self.title),
            author=html.escape(self.author),
            style=STYLE.read_text(encoding="utf-8") + self._running_heads(),
            pygments=(self.folder / "_static" / "pygments.css").as_uri(),
            formulas=self._formulas(),
            front=self._front(),
            contents=contents,
            body="\n".join(body),
        )

    def _chapter(self, name: str, inside: str) -> str:
        page = f"chapter{list(self.titles).index(name)}"
        start = f'<section class="chapter" id="{_anchor(name)}" style="page: {page}">'
        return f"{start}{inside}</section>"

    def _running_heads(self) -> str:
        rule = '@page chapter{} {{ @top-right {{ content: "{}"; }} }}'
        titles = enumerate(self.titles.values())
        return "\n".join(rule.format(number, title) for number, title in titles)

    def _formulas(self) -> str:
        """What draws the formulas, as on the pages."""
        katex, static = self.folder / "katex", self.folder / "_static"
        scripts = (
            katex / "katex.min.js",
            katex / "auto-render.min.js",
            static / "formulas.js",
        )
        tags = [f'<script defer src="{path.as_uri()}"></script>' for path in scripts]
        style = (katex / "katex.min.css").as_uri()
        return "\n".join([f'<link rel="stylesheet" href="{style}">', *tags])

    def _front(self) -> str:
        return (
            f'<p class="title">{html.escape(self.title)}</p>'
            f"<p>{html.escape(self.author)}</p>"
            f"<p>Version {self.version}, {self.year}</p>"
            f'<p><a href="{self.url}">{self.url}</a></p>'
            '<p class="left-out">Code that the pages fold is in the notebooks only. '
            "Solutions stand at the end.</p>"
            '<p class="licence">Code: MIT. Text and figures: CC BY 4.0.</p>'
        )

    def _contents(self) -> str:
        groups = [("", [self.root]), *self.parts, ("", [SOLUTIONS])]
        lines = []
        for part, names in groups:
            lines.append(f'<p class="part">{html.escape(part)}</p>')
            for name in names:
                anchor = _anchor(name)
                about = self._question(name)
                link = f'<a href="#{anchor}">{html.escape(self.titles[name])}</a>'
                page = f'<a class="page" href="#{anchor}">000</a>'
                about = f'<span class="about">{html.escape(about)}</span>'
                lines.append(f'<p class="entry">{link} {about} {page}</p>')
        return "".join(lines)

    def _question(self, name: str) -> str:
        """The bold line below the title of a chapter."""
        line = (
            self.pages[name].select_one("h1 + p > strong") if name in self.pages else 0
        )
        return line.get_text() if line else ""


def _anchor(name: str, anchor: str = "") -> str:
    """The id of a page, or of a place in it, in the joined page."""
    return f"{name}--{anchor}".replace("/", "-") if anchor else name.replace("/", "-")


def _shrink(image: Tag) -> None:
    """Give a figure its size on paper."""
    if image.get("width"):
        width, height = int(image["width"]), int(image["height"])
        scale = min(FIGURE, WIDTH / width, HEIGHT / height)
        image["width"], image["height"] = round(scale * width), round(scale * height)


def _lower(page: Tag) -> None:
    """Move the headings a level down: a chapter stands below its part."""
    for level in (4, 3, 2, 1):
        for heading in page.find_all(f"h{level}"):
            heading.name = f"h{level + 1}"


def _join_caption(cell: Tag) -> None:
    """Put a figure and its caption into one element, which stays on one page."""
    output = cell.find("div", class_="cell_output")
    if not output or not output.find("img"):
        return
    figure = BeautifulSoup("<figure></figure>", "html.parser").figure
    caption = cell.find_next_sibling()
    cell.insert_after(figure)
    figure.append(output.extract())
    if caption is not None and caption.get_text().startswith("Figure"):
        caption.name = "figcaption"
        figure.append(caption.extract())
    if not cell.get_text(strip=True):
        cell.decompose()


def _refer(page: Tag, solution: Tag) -> None:
    """Say below an exercise where its solution is."""
    link = solution.find("a", href=True)
    exercise = page.find(id=link["href"].removeprefix("#"))
    solution["id"] = f"solution-of-{exercise['id']}"
    line = (
        f'<p class="refer">Solution on page <a class="page" href="#{solution["id"]}">'
    )
    exercise.append(BeautifulSoup(f"{line}000</a></p>", "html.parser"))


_PAGE = """\
<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="author" content="{author}">
<link rel="stylesheet" href="{pygments}">
<style>{style}</style>
{formulas}
</head>
<body>
<section class="front">{front}</section>
<nav class="contents"><p class="head">Contents</p>{contents}</nav>
{body}
</body>
</html>
"""


def print_pdf(book: Book) -> bytes:
    """The PDF of a book.

    Raises RuntimeError where chromium is missing or fails, a formula is not drawn, or
    something is wider than the page.
    """
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise RuntimeError(
            "no chromium: apt-get install chromium, or set CHROMIUM to its path"
        )
    try:
        with (
            tempfile.TemporaryDirectory(prefix="adamtut_") as temporary,
            sync_playwright() as playwright,
        ):
            source = Path(temporary, "book.html")
            source.write_text(book.joined(), encoding="utf-8")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
            page.emulate_media(media="print")
            page.goto(source.as_uri(), wait_until="load", timeout=120_000)
            page.wait_for_function(_TYPESET, timeout=300_000)
            page.evaluate("document.fonts.ready")
            page.evaluate(_FIT)
            if lost := page.evaluate(_NOT_DRAWN):
                raise RuntimeError("formulas not drawn: " + "; ".join(lost[:5]))
            if wide := page.evaluate(_TOO_WIDE):
                raise RuntimeError("wider than the page: " + "; ".join(wide[:5]))
            numbers = None
            # the numbers are known once it is printed; they do not move a line
            for _ in range(2):
                pdf = page.pdf(prefer_css_page_size=True, outline=True, tagged=True)
                found = _page_numbers(pdf)
                page.evaluate(_NUMBER, found)
                if found == numbers:
                    return pdf
                numbers = found
    except Error as error:
        raise RuntimeError(f"chromium failed: {error}") from None
    raise RuntimeError("the page numbers moved when they were filled in")


def _page_numbers(pdf: bytes) -> dict[str, int]:
    """On which page each target of a link stands."""
    reader = PdfReader(io.BytesIO(pdf))
    places = reader.named_destinations.items()
    return {
        name.lstrip("/"): reader.get_destination_page_number(place) + 1
        for name, place in places
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.pdf", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--html", type=Path, default=HTML, help="the built book")
    parser.add_argument("--toc", type=Path, default=TOC, help="its table of contents")
    parser.add_argument("--out", type=Path, default=OUT, help="the PDF to write")
    options = parser.parse_args(arguments)
    try:
        pdf = print_pdf(Book(options.html.resolve(), options.toc))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        new = options.out.with_suffix(".new")
        new.write_bytes(pdf)
        os.replace(new, options.out)
    except (OSError, RuntimeError) as error:
        print(f"pdf: {error}", file=sys.stderr)
        return 1
    print(f"{len(PdfReader(options.out).pages)} pages: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
