"""Anchors on the code cells, so that a link can land on one.

A cell `adam-by-hand` of chapters/adam becomes chapters/adam.html#cell-adam-by-hand, and
`{ref}` knows it as `chapters/adam:cell-adam-by-hand`.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from tools.pages import book


def label(docname: str, cell: dict) -> str:
    """The name under which Sphinx finds the anchor of a cell."""
    return f"{docname}:{book.anchor(cell)}"


def reference(docname: str, cell: dict, content: nodes.Node) -> nodes.Element:
    """A link to a cell, in every kind of output."""
    from sphinx.addnodes import pending_xref

    return pending_xref(
        "",
        content,
        refdomain="std",
        reftype="ref",
        refexplicit=True,
        refwarn=True,
        reftarget=label(docname, cell),
    )


def _add_anchors(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    labels = app.env.get_domain("std").anonlabels
    for node in doctree.findall(nodes.container):
        if node.get("nb_element") == "cell_code":
            cell = cells[node["cell_index"]]
            node["ids"].append(book.anchor(cell))
            labels[label(docname, cell)] = docname, book.anchor(cell)


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", _add_anchors)
