"""The directive `ledger`: every claim of the book, from the outputs of the notebooks.

`adamtut.show.claim` stores the sentence and the measured value with its output. Here
they become one table a chapter, each row with a link to the cell that checked it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tools.pages import book, cells

_MOST = 12  # numbers of one list that are shown


def claims(chapter: book.Chapter) -> Iterator[tuple[dict, str, object]]:
    """(cell, sentence, measured value or None) of each claim, in order."""
    for cell in chapter.cells:
        for output in cell.get("outputs", []):
            stored = output.get("metadata", {}).get("adamtut", {})
            if "claim" in stored:
                yield cell, stored["claim"], stored["measured"]


def shown(measured) -> str:
    """A measured value as text: numbers to four digits, lists of up to twelve."""
    match measured:
        case None:
            return ""
        case bool():
            return "yes" if measured else "no"
        case float():
            return f"{measured:.4g}"
        case dict():
            return _short([f"{_name(k)}: {shown(x)}" for k, x in measured.items()])
        case list():
            nested = any(isinstance(x, list | dict) for x in measured)
            parts = [f"({shown(x)})" if nested else shown(x) for x in measured]
            return _short(parts)
    return str(measured)


def _name(key: str) -> str:
    """A key as text; that of a pair was stored as Python writes it, ('adam', 1)."""
    name = book.plain(key)
    return re.sub("[()']", "", name) if name.startswith("('") else name


def _short(parts: list[str]) -> str:
    more = [f"… ({len(parts)} values)"] if len(parts) > _MOST else []
    return ", ".join(parts[:_MOST] + more)


class Ledger(SphinxDirective):
    """The sentence that counts the claims, and a section with a table a chapter."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        self.env.note_dependency("_toc.yml")
        sections, total = [], 0
        for chapter in book.chapters(root):
            self.env.note_dependency(f"{chapter.docname}.ipynb")
            rows = list(claims(chapter))
            if rows:
                total += len(rows)
                sections.append(self._section(chapter, rows))
        count = nodes.paragraph(
            "", f"There are {total:,} claims in {len(sections)} chapters."
        )
        return [count, *sections]

    def _section(self, chapter: book.Chapter, rows: list) -> nodes.section:
        section = nodes.section(ids=[f"claims-{chapter.docname.split('/')[-1]}"])
        section += nodes.title("", chapter.title)
        table = nodes.table(classes=["ledger"])
        group = nodes.tgroup(cols=2)
        table += group
        group += [nodes.colspec(colwidth=3), nodes.colspec(colwidth=1)]
        head, body = nodes.thead(), nodes.tbody()
        head += nodes.row("", _entry(nodes.Text("claim")), _entry(nodes.Text("value")))
        for cell, sentence, measured in rows:
            link = cells.reference(chapter.docname, cell, _verbatim(sentence))
            body += nodes.row("", _entry(link), _entry(nodes.Text(shown(measured))))
        group += [head, body]
        section += table
        return section


def _verbatim(sentence: str) -> nodes.inline:
    """The sentence with the quotation marks that it was typed with."""
    return nodes.inline("", sentence, support_smartquotes=False)


def _entry(content: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", content))


def setup(app: Sphinx) -> None:
    app.add_directive("ledger", Ledger)
