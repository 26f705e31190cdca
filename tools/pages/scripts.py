"""Which of the small scripts of tools/pages/static goes to which page."""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

_HERE = Path(__file__).parent


def _choose(app: Sphinx, pagename: str, template: str, context: dict, doctree):
    app.add_js_file("reveal.js")
    app.add_js_file("scroll_by_key.js")
    if 'class="ledger' in context.get("body", ""):
        app.add_js_file("ledger.js")
    if pagename == "search":
        app.add_js_file("search_as_file.js")


def _add_path(app: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(_HERE / "static"))


def setup(app: Sphinx) -> None:
    app.connect("config-inited", _add_path)
    # before the theme copies the list of scripts
    app.connect("html-page-context", _choose, priority=400)
