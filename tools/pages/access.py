"""Mends in the HTML of docutils what a screen reader stumbles over."""

from sphinx.application import Sphinx

# A list of references is no ARIA list: its children are entries of another kind, which
# the standard has since withdrawn.
_ROLES = (
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    (' role="doc-biblioentry"', ""),
    (' role="doc-backlink"', ""),
)


def _mend(app: Sphinx, pagename: str, template: str, context: dict, doctree):
    for old, new in _ROLES:
        context["body"] = context.get("body", "").replace(old, new)


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", _mend)
