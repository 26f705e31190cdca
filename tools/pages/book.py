"""The chapters as the generated pages read them: in the order of _toc.yml, by cell."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*$", re.MULTILINE)
_FENCED = re.compile(r"^(`{3,}|:{3,}).*?^\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Chapter:
    """A notebook of the book.

    part      caption of its part in _toc.yml
    docname   its path without suffix, such as "chapters/adam"
    cells     its cells as stored, in order
    """

    part: str
    docname: str
    cells: list[dict]

    @property
    def title(self) -> str:
        """Its first heading."""
        return next(heading for _, heading in self.headings())

    @property
    def question(self) -> str:
        """The bold question after the title, without its stars; "" where there is none.

        Inline code and links lose their marks.
        """
        for cell in self.cells:
            if cell["cell_type"] == "markdown":
                bold = re.search(r"^\*\*([^*]+\?)\*\*", source(cell), re.MULTILINE)
                return plain(bold[1]) if bold else ""
        return ""

    def headings(self) -> Iterator[tuple[int, str]]:
        """(number of the cell, text) of each heading, in order."""
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] == "markdown":
                prose = _FENCED.sub("", source(cell))
                for heading in _HEADING.finditer(prose):
                    yield number, heading[2]

    def section(self, number: int) -> str:
        """The heading under which cell `number` stands."""
        return [text for at, text in self.headings() if at <= number][-1]


def chapters(root: Path) -> list[Chapter]:
    """Every notebook that root/_toc.yml lists, in its order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found = []
    for part in toc["parts"]:
        for entry in part["chapters"]:
            path = root / f"{entry['file']}.ipynb"
            if path.is_file():
                cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
                found.append(Chapter(part["caption"], entry["file"], cells))
    return found


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def plain(markdown: str) -> str:
    """A line of Markdown without its marks: links, code, emphasis, formulas."""
    line = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"[`*$\\]", "", line)


def anchor(cell: dict) -> str:
    """The id of a code cell on its page (see `cells`)."""
    return f"cell-{cell['id']}"
