"""What a page says about itself: its description, the version and how to cite."""

import html
import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

_CITATION = "CITATION.cff"


def description(doctree: nodes.document) -> str:
    """The bold question that opens a page; its first paragraph where it has none."""
    paragraphs = [x for x in doctree.findall(nodes.paragraph) if x.astext().strip()]
    for paragraph in paragraphs:
        bold = paragraph.next_node(nodes.strong)
        if bold is not None and paragraph.astext() == bold.astext():
            return _line(paragraph)
    return _line(paragraphs[0]) if paragraphs else ""


def _line(paragraph: nodes.paragraph) -> str:
    return re.sub(r"\s+", " ", paragraph.astext()).strip()


def citation(root: Path) -> str:
    """`The adamtut authors (2026). Adam, ... Version 0.1.0.` from CITATION.cff."""
    cff = yaml.safe_load((root / _CITATION).read_text(encoding="utf-8"))
    authors = ", ".join(author["name"] for author in cff["authors"])
    year = cff["date-released"].year
    return f"{authors} ({year}). {cff['title']}. Version {cff['version']}."


def _complete(app: Sphinx, pagename: str, template: str, context: dict, doctree):
    if doctree is not None:
        text = html.escape(description(doctree), quote=True)
        context["metatags"] += f'\n<meta name="description" content="{text}" />'
    href = context["pathto"](_CITATION, 1)
    line = html.escape(citation(Path(app.srcdir)))
    context["theme_extra_footer"] = (
        f'<p>Cite as: {line} (<a href="{href}">{_CITATION}</a>)</p>'
    )


def _publish(app: Sphinx, config: Config) -> None:
    config.html_extra_path.append(_CITATION)


def setup(app: Sphinx) -> None:
    app.connect("config-inited", _publish)
    app.connect("html-page-context", _complete)
