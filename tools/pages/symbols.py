"""The directive `names-of-rules`: every hyperparameter and state of every update rule.

A name is introduced where the first rule that has it is shown: by its equations or by
its code. A name of rules that no chapter shows leads to the rule in the API reference.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from adamtut.rules import RULES
from tools.pages import book, cells


def names() -> dict[str, dict[str, str]]:
    """Of each name: which rules have it, and what it starts from there.

    {"beta1": {"adam": "0.9", ...}, "m": {"adam": "state", ...}}; step number, parameter
    and gradient, which every rule has, are left out.
    """
    found = {}
    for rule in RULES.values():
        for name in rule.state:
            found.setdefault(name, {})[rule.__name__] = "state"
        for name, default in rule.defaults.items():
            found.setdefault(name, {})[rule.__name__] = f"{default:g}"
    return dict(sorted(found.items()))


def first_shown(chapters: list[book.Chapter]) -> dict[str, tuple]:
    """Of each rule that a chapter shows: (order, chapter, cell, heading above it)."""
    found = {}
    for at, chapter in enumerate(chapters):
        for number, cell in enumerate(chapter.cells):
            if cell["cell_type"] != "code":
                continue
            for name in shows(book.source(cell)):
                place = (at, number), chapter, cell, chapter.section(number)
                found.setdefault(name, place)
    return found


def shows(code: str) -> set[str]:
    """The rules whose equations, difference or lines a cell prints."""
    named = set()
    for call in re.finditer(r"\b(?:equations|diff)\(([^()]*)\)", code):
        named |= set(re.findall(r"\w+", call[1]))
    named |= set(re.findall(r"^def (\w+)\(p, g\b", code, re.MULTILINE))
    return named & set(RULES)


class NamesOfRules(SphinxDirective):
    """A table: name, rules with their defaults, where it is introduced."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        self.env.note_dependency("_toc.yml")
        for path in (root / "adamtut" / "rules").glob("*.py"):
            self.env.note_dependency(path.relative_to(root).as_posix())
        chapters = [x for x in book.chapters(root) if x.part != "Appendices"]
        for chapter in chapters:
            self.env.note_dependency(f"{chapter.docname}.ipynb")
        places = first_shown(chapters)

        table = nodes.table(classes=["names"])
        group = nodes.tgroup(cols=3)
        table += group
        group += [nodes.colspec(colwidth=width) for width in (1, 3, 2)]
        head, body = nodes.thead(), nodes.tbody()
        titles = ("name", "rules that have it, and the default", "introduced in")
        head += nodes.row("", *(_entry(nodes.Text(x)) for x in titles))
        for name, users in names().items():
            code = _entry(nodes.literal("", name))
            body += nodes.row("", code, _users(users), self._introduced(users, places))
        group += [head, body]
        return [table]

    def _introduced(self, users: dict, places: dict) -> nodes.entry:
        shown = sorted((places[rule] for rule in users if rule in places), key=_order)
        if shown:
            _, chapter, cell, section = shown[0]
            text = nodes.inline("", f"{chapter.title}: {book.plain(section)}")
            return _entry(cells.reference(chapter.docname, cell, text))
        rule = next(iter(users))
        line = f"{{py:func}}`{rule} <adamtut.rules.{rule}>` (API reference)"
        entry = nodes.entry()
        self.state.nested_parse(StringList([line]), 0, entry)
        return entry


def _order(place: tuple) -> tuple[int, int]:
    return place[0]


def _users(users: dict[str, str]) -> nodes.entry:
    parts = []
    for rule, value in users.items():
        parts += [nodes.literal("", rule), nodes.Text(f" ({value}), ")]
    parts[-1] = nodes.Text(f" ({value})")
    return _entry(*parts)


def _entry(*content: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", *content))


def setup(app: Sphinx) -> None:
    app.add_directive("names-of-rules", NamesOfRules)
