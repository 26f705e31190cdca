"""The PDF, read by other programs than the one that wrote it.

The book of these tests has two chapters; with the environment variable WHOLE_PDF=1 it
has all of them, which takes minutes.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pypdfium2
import pytest
import yaml
from PIL import Image
from pypdf import PdfReader

from tools import pdf, tidy

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
TOC = yaml.safe_load((tidy.ROOT / "_toc.yml").read_text(encoding="utf-8"))
if not os.environ.get("WHOLE_PDF"):
    # many formulas and figures; the widest code and tables
    few = ("chapters/adam", "chapters/rosetta")
    for part in TOC["parts"]:
        part["chapters"] = [x for x in part["chapters"] if x["file"] in few]
    TOC["parts"] = [part for part in TOC["parts"] if part["chapters"]]
PARTS = [part["caption"] for part in TOC["parts"]]
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
RAW = ("$$", r"\frac", r"\begin", r"\(", "{cite}", ":::", "```{")
EDGE = 60  # points: no letter comes nearer to the sides of the paper

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: apt-get install chromium, or set CHROMIUM to its path",
)


def title(name):
    """The first heading in a chapter's source."""
    path = tidy.ROOT / f"{name}.ipynb"
    source = (
        "\n".join(x.source for x in tidy.read(path).cells if x.cell_type == "markdown")
        if path.is_file()
        else path.with_suffix(".md").read_text(encoding="utf-8")
    )
    return plain(re.search(r"^# (.*)$", source, re.MULTILINE)[1])


def plain(text):
    """Without the typography that Sphinx adds."""
    return text.replace("’", "'").replace("`", "").strip()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The PDF of a book that was built for it."""
    folder = tmp_path_factory.mktemp("book")
    toc, out = folder / "_toc.yml", folder / "book.pdf"
    toc.write_text(yaml.safe_dump(TOC))
    command = [Path(sys.executable).with_name("jupyter-book"), "build", tidy.ROOT]
    command += ["--toc", toc, "--path-output", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    pages = str(folder / "_build" / "html")
    assert pdf.main(["--html", pages, "--toc", str(toc), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def reader(file):
    return PdfReader(file)


@pytest.fixture(scope="module")
def pages(file):
    return texts(file)


def texts(path):
    """The text of each page, as pdfium reads it."""
    with pypdfium2.PdfDocument(path) as document:
        return [page.get_textpage().get_text_range() for page in document]


def outline(reader):
    """The bookmarks as (depth, title, page)."""

    def entries(level, depth):
        for entry in level:
            if isinstance(entry, list):
                yield from entries(entry, depth + 1)
            else:
                number = reader.get_destination_page_number(entry) + 1
                yield depth, plain(entry.title), number

    return list(entries(reader.outline, 0))


def outside(path):
    """Letters that come too near to the edge of their page, or leave it."""
    found = []
    with pypdfium2.PdfDocument(path) as document:
        for number, page in enumerate(document, 1):
            width, height = page.get_size()
            letters = page.get_textpage()
            for i in range(letters.count_chars()):
                left, bottom, right, top = letters.get_charbox(i)
                if right - left and not (
                    EDGE < left and right < width - EDGE and 20 < bottom < height - 20
                ):
                    found.append((number, letters.get_text_range(i, 1)))
    return found


def images(path):
    """Where the pictures of a PDF stand on their pages."""
    kind = pypdfium2.raw.FPDF_PAGEOBJ_IMAGE
    with pypdfium2.PdfDocument(path) as document:
        return [x.get_bounds() for page in document for x in page.get_objects([kind])]


def cut(wanted, pages):
    """Those of the wanted texts that no page has whole, whatever the spaces."""
    pages = ["".join(page.split()) for page in pages]
    return [x for x in wanted if not any("".join(x.split()) in page for page in pages)]


def not_embedded(reader):
    """Names of fonts that a reader would have to have."""
    found = set()
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            font = font.get_object()
            inner = font.get("/DescendantFonts", [font])[0].get_object()
            described = inner.get("/FontDescriptor", {})
            files = ("/FontFile", "/FontFile2", "/FontFile3")
            if inner["/Subtype"] != "/Type3" and not any(x in described for x in files):
                found.add(str(inner.get("/BaseFont")))
    return found


@needs_chromium
@pytest.mark.slow
class TestTheBook:
    """What `make pdf` makes of today's chapters."""

    def test_outline_is_the_table_of_contents(self, reader):
        found = outline(reader)
        first = [name for depth, name, _ in found if depth == 0]
        assert first == ["About this book", *PARTS, "Solutions"]
        last = next(i for i, entry in enumerate(found) if entry[1] == "Solutions")
        start = next(i for i, entry in enumerate(found) if entry[1] == PARTS[0])
        second = [name for depth, name, _ in found[start:last] if depth == 1]
        assert second == [title(name) for name in CHAPTERS]

    def test_chapters_begin_where_the_outline_and_the_contents_say(self, reader, pages):
        # the first of a name: the ledger and the solutions have headings for chapters
        found = [entry for entry in reversed(outline(reader)) if entry[0] < 2]
        start = {name: number for _, name, number in found}
        contents = plain("\n".join(pages[1 : start["About this book"] - 1]))
        for name in map(title, CHAPTERS):
            assert name in plain(pages[start[name] - 1])[:200]
            line = rf"^{re.escape(name)}\b.*?\s{start[name]}\s*$"
            assert re.search(line, contents, re.MULTILINE | re.DOTALL)

    def test_title_page_has_the_version(self, reader, pages):
        version = re.search(
            r'__version__ = "(.*)"', (tidy.PACKAGE / "__init__.py").read_text()
        )
        assert "Adam, Step by Step" in pages[0]
        assert f"Version {version[1]}" in pages[0]
        assert reader.metadata.title == "Adam, Step by Step"

    def test_pages_are_numbered(self, pages):
        for number, text in enumerate(pages[1:], 2):
            assert str(number) in text.split()

    @pytest.mark.parametrize("raw", RAW)
    def test_nothing_is_raw(self, pages, raw):
        # code, and what tells how to write, may show what the text may not
        shown = [(tidy.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")]
        for path in (tidy.ROOT / f"{name}.ipynb" for name in CHAPTERS):
            for cell in tidy.read(path).cells if path.is_file() else ():
                shown += [cell.source] * (cell.cell_type == "code")
        wanted = sum(text.count(raw) for text in shown)
        assert sum(text.count(raw) for text in pages) <= wanted

    def test_every_cell_is_whole_on_one_page(self, pages):
        shown, printed = [], []
        for path in (tidy.ROOT / f"{name}.ipynb" for name in CHAPTERS):
            for cell in tidy.read(path).cells if path.is_file() else ():
                tags = set(cell.metadata.get("tags", []))
                if cell.cell_type == "code" and "remove-cell" not in tags:
                    if not tags & {"hide-input", "remove-input"}:
                        shown.append(cell.source)
                    printed += [x.text for x in cell.outputs if x.get("text")]
        assert len(shown) > 10 and len(printed) > 10
        assert cut(shown, pages) == []
        assert cut(printed, pages) == []

    @pytest.mark.parametrize(
        ("tex", "letter"), [("alpha", "α"), ("beta", "β"), ("theta", "θ")]
    )
    def test_formulas_have_their_letters(self, pages, tex, letter):
        wanted = 0
        for path in (tidy.ROOT / f"{name}.ipynb" for name in CHAPTERS):
            for cell in tidy.read(path).cells if path.is_file() else ():
                outputs = [x.get("data", {}) for x in cell.get("outputs", [])]
                texts = [x.get("text/latex", "") for x in outputs]
                texts += [cell.source] * (cell.cell_type == "markdown")
                wanted += sum(text.count(rf"\{tex}") for text in texts)
        assert wanted
        assert sum(page.count(letter) for page in pages) >= wanted

    def test_letters_stay_on_the_page(self, file):
        assert outside(file) == []

    def test_fonts_are_embedded(self, reader):
        assert not_embedded(reader) == set()

    def test_links_lead_somewhere(self, reader):
        names, inside = set(reader.named_destinations), 0
        for page in reader.pages:
            for note in page.get("/Annots", []):
                note = note.get_object()
                if "/Dest" in note:
                    inside += 1
                    assert str(note["/Dest"]).lstrip("/") in {
                        n.lstrip("/") for n in names
                    }
                else:
                    assert not str(note["/A"].get("/URI", "")).startswith("file:")
        assert inside > 2 * len(CHAPTERS)


# The checks see what they should see: each is shown a book that is wrong.


def small_book(folder, body="<p>text</p>"):
    """A book of one page, as jupyter-book would build it."""
    (folder / "html" / "_static").mkdir(parents=True)
    (folder / "html" / "_static" / "pygments.css").touch()
    (folder / "html" / "katex").symlink_to(tidy.ROOT / "_extra" / "katex")
    drawn = "document.documentElement.dataset.formulas = 'drawn'"
    (folder / "html" / "_static" / "formulas.js").write_text(drawn)
    (folder / "_toc.yml").write_text(
        "root: README\nparts: [{caption: P, chapters: [{file: one}]}]\n"
    )
    for name in ("README", "one"):
        (folder / "html" / f"{name}.html").write_text(
            f"<article><h1 id='a'>T {name}</h1>{body * (name == 'one')}</article>"
        )
    return pdf.Book(folder / "html", folder / "_toc.yml")


def test_a_page_that_was_not_built_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gradient_descent.html is missing"):
        (tmp_path / "README.html").write_text("<article><h1>T</h1></article>")
        pdf.Book(tmp_path, tidy.ROOT / "_toc.yml")


@needs_chromium
def test_what_is_too_wide_is_named(tmp_path):
    wide = '<p style="width: 300mm">as wide as a poster</p>'
    with pytest.raises(RuntimeError, match="one: as wide as a poster"):
        pdf.print_pdf(small_book(tmp_path, wide))


@needs_chromium
def test_a_wide_table_gets_smaller_letters(tmp_path):
    row = " ".join(f"word{i}" for i in range(30))
    cell = f'<td style="white-space: nowrap">{row}</td>'
    made = tmp_path / "made.pdf"
    book = small_book(tmp_path / "book", f"<div><table><tr>{cell}</tr></table></div>")
    made.write_bytes(pdf.print_pdf(book))
    assert cut([row], texts(made)) == []


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(825, 1057), (1002, 452), (782, 452)])
def test_a_figure_keeps_its_shape(tmp_path, width, height):
    drawn = tmp_path / "book" / "html" / "figure.png"
    image = f'<figure><img src="figure.png" width="{width}" height="{height}"></figure>'
    book = small_book(tmp_path / "book", image)
    Image.new("RGB", (width, height), "navy").save(drawn)
    made = tmp_path / "made.pdf"
    made.write_bytes(pdf.print_pdf(book))
    ((left, bottom, right, top),) = images(made)
    assert (top - bottom) / (right - left) == pytest.approx(height / width, rel=0.01)
    assert right - left <= 0.75 * pdf.WIDTH + 1  # 0.75 points a pixel
    assert top - bottom <= 0.75 * pdf.HEIGHT + 1


# Where a page may break. The words of a block and, of each, those that stay together.
BLOCKS = {
    "<p>" + "<br>".join(["pa", "pb", "pc", "pd"]) + "</p>": ["pa pb pc pd"],
    "<ul>" + "".join(f"<li>l{x}</li>" for x in "abcde") + "</ul>": ["la lb", "ld le"],
    "<table><thead><tr><th>t</th></tr></thead><tbody>"
    + "".join(f"<tr><td>t{x}</td></tr>" for x in "abcde")
    + "</tbody></table>": ["ta tb", "td te"],
    '<div class="cell"><div class="cell_input"><pre>oa</pre></div>'
    '<div class="cell_output">'
    + "".join(f'<div class="output stream"><pre>o{x}</pre></div>' for x in "bcde")
    + "</div></div>": ["oa ob oc od oe"],
}


@needs_chromium
@pytest.mark.parametrize("block", BLOCKS, ids=["text", "list", "table", "outputs"])
def test_nothing_stands_alone(tmp_path, block):
    # the same block ever further down a page, as far as its foot, and a word before it
    spaces = range(215, 252, 2)
    place = '<p style="break-before: page; height: {}mm">w</p>'
    made = tmp_path / "made.pdf"
    body = "".join(place.format(space) + block for space in spaces)
    made.write_bytes(pdf.print_pdf(small_book(tmp_path / "book", body)))
    pages = [set(page.split()) for page in texts(made)]
    kept = sorted(word for words in BLOCKS[block] for word in words.split())
    where = {word: [n for n, page in enumerate(pages) if word in page] for word in kept}
    assert all(len(found) == len(spaces) for found in where.values())
    assert {len(page & set(kept)) for page in pages} > {len(kept)}
    for first, *others in map(str.split, BLOCKS[block]):
        assert all(where[word] == where[first] for word in others)


@needs_chromium
def test_a_formula_that_is_not_drawn_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"not drawn: one: \\\(x\\\)"):
        pdf.print_pdf(small_book(tmp_path, r'<span class="math">\(x\)</span>'))


@needs_chromium
def test_wrong_pages_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "_TOO_WIDE", "() => []")
    body = '<p style="margin-left: -3mm">xy z</p>'
    made = tmp_path / "made.pdf"
    made.write_bytes(pdf.print_pdf(small_book(tmp_path / "book", body)))
    assert {letter for _, letter in outside(made)} == {"y"}
    assert cut(["xy z", "y z", "T one"], texts(made)) == ["xy z"]
    names = [name for depth, name, _ in outline(PdfReader(made)) if depth < 2]
    assert names == ["About this book", "P", "T one", "Solutions"]


def test_links_and_hidden_code(tmp_path):
    body = (
        '<a href="README.html#a">up</a> <a href="#a">here</a> <a href="x.html">x</a>'
        '<div class="cell"><details class="above-input">secret</details></div>'
    )
    joined = small_book(tmp_path, body).joined()
    assert '<a href="#README--a">up</a> <a href="#one--a">here</a> x' in joined
    assert "secret" not in joined


def test_solutions_stand_at_the_end(tmp_path):
    body = (
        '<div class="exercise" id="e">How?</div>'
        '<div class="solution"><a href="#e">Exercise 1</a> So.</div><p>After</p>'
    )
    joined = small_book(tmp_path, body).joined()
    assert joined.index("How?") < joined.index("After") < joined.index("So.")
    assert 'href="#solution-of-one--e">000</a>' in joined


def test_an_error_leaves_the_old_file(tmp_path):
    old = tmp_path / "book.pdf"
    old.write_text("old")
    assert pdf.main(["--html", str(tmp_path), "--out", str(old)]) == 1
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["book.pdf"]
