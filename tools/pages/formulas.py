"""Formulas: KaTeX 0.16.47 from _extra/katex, on pages that have any.

300 KB where MathJax has 1.3 MB. Sphinx writes the formulas for MathJax; here its
scripts give way to KaTeX's. The stylesheet is KaTeX's katex-swap.min.css with woff2
fonts only.
"""

from sphinx.application import Sphinx


def _add_katex(app: Sphinx, pagename: str, template: str, context: dict, doctree):
    if 'class="math' in context.get("body", ""):
        app.add_css_file("../katex/katex.min.css")
        for name in ("katex.min.js", "auto-render.min.js"):
            app.add_js_file(f"../katex/{name}")
        app.add_js_file("formulas.js")


def _drop_mathjax(app: Sphinx, pagename: str, template: str, context: dict, doctree):
    scripts = context["script_files"]
    scripts[:] = [script for script in scripts if not _is_mathjax(script)]


def _is_mathjax(script) -> bool:
    inline = script.attributes.get("body") or ""
    return "mathjax" in f"{script.filename} {inline}".lower()


def setup(app: Sphinx) -> None:
    # before the theme copies the list of scripts, and after Sphinx has added MathJax
    app.connect("html-page-context", _add_katex, priority=400)
    app.connect("html-page-context", _drop_mathjax, priority=800)
