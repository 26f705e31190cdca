"""The Sphinx extension that puts the playground into the pages of the book.

A page that contains `<adam-playground>` gets the script; the others do not.
"""

from pathlib import Path

from adamtut.playground import bundle

FILE = "playground.js"


def setup(app) -> dict:
    app.connect("builder-inited", _write)
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app) -> None:
    if app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(bundle.script(), encoding="utf-8")


def _add(app, pagename, templatename, context, doctree) -> None:
    if "<adam-playground" in context.get("body", ""):
        app.add_js_file(FILE, loading_method="defer")
