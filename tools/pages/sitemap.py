"""The list of all pages for search engines, sitemap.xml.

sphinx-sitemap lists the pages that a build wrote; after a build that found one page
changed, that is one page.
"""

from pathlib import Path
from xml.etree import ElementTree

from sphinx.application import Sphinx


def _write(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.format != "html":
        return
    root = ElementTree.Element(
        "urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
    )
    base = app.config.html_baseurl.rstrip("/")
    for name in sorted(app.env.found_docs):
        address = f"{base}/{app.builder.get_target_uri(name)}"
        ElementTree.SubElement(
            ElementTree.SubElement(root, "url"), "loc"
        ).text = address
    ElementTree.indent(root)
    tree = ElementTree.ElementTree(root)
    tree.write(Path(app.outdir) / "sitemap.xml", encoding="utf-8", xml_declaration=True)


def setup(app: Sphinx) -> None:
    app.connect("build-finished", _write)
