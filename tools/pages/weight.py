"""What keeps a page light: only the styles and icons that the book uses.

The stylesheets that every page has become one, cut down with the icon fonts to what
occurs in pages and scripts; scripts wait for the page; figures carry their size and,
but for the first, load late.
"""

import re
from pathlib import Path

import tinycss2
from fontTools import subset
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.config import Config
from sphinx.util.images import get_image_size

_HERE = Path(__file__).parent
_IMAGE = re.compile(r'<img\b[^>]*?\bsrc="([^"]+)"[^>]*>')
_URL = re.compile(r"""(url\(["']?)(?!data:|["'])""")
_CLASSES = re.compile(r'\bclass="([^"]*)"')
_CLASS = re.compile(r"\.((?:[\w-]|\\.)+)")
_WORD = re.compile(r"[\w-]+")
# Class names that scripts put together from parts.
_MADE_UP = ("bs-", "tooltip", "popover", "modal", "offcanvas")


def _lighten(app: Sphinx, pagename: str, template: str, context: dict, doctree):
    for script in context["script_files"]:
        name = str(script.filename or "")
        # The search page calls its scripts at once; so does an inline script what
        # documentation_options.js defines.
        if pagename == "search":
            script.attributes.pop("defer", None)
        elif name and "documentation_options" not in name:
            script.attributes["defer"] = "defer"
    common = _common(app.builder)
    app.add_css_file("styles/book.css", priority=0)
    context["css_files"][:] = [
        sheet for sheet in context["css_files"] if str(sheet.filename) not in common
    ]
    body = context.get("body", "")
    context["body"] = size_figures(body, app.builder.images, Path(app.srcdir))


def _common(builder: StandaloneHTMLBuilder) -> list[str]:
    """The stylesheets of every page, in order; pages may add their own to these."""
    # Sphinx keeps the two apart under this name alone
    return [str(sheet.filename) for sheet in builder._orig_css_files]


def size_figures(body: str, images: dict[str, str], source: Path) -> str:
    """The HTML with width, height and, after the first figure, loading="lazy".

    images  file name in the book of each path relative to `source`
    """
    paths = {name: source / path for path, name in images.items()}
    first = True

    def sized(match: re.Match) -> str:
        nonlocal first
        path = paths.get(match[1].rsplit("/", 1)[-1])
        size = get_image_size(str(path)) if path else None
        if size is None:
            return match[0]
        late = "" if first else ' loading="lazy" decoding="async"'
        first = False
        return match[0].replace(
            "<img", f'<img width="{size[0]}" height="{size[1]}"{late}', 1
        )

    return _IMAGE.sub(sized, body)


def _trim(app: Sphinx, exception: Exception | None) -> None:
    # where no page is out of date, Sphinx writes none and copies no stylesheet
    if exception or not hasattr(app.builder, "_orig_css_files"):
        return
    out = Path(app.outdir)
    static = out / "_static"
    used = {
        word
        for page in out.rglob("*.html")
        for names in _CLASSES.findall(_read(page))
        for word in names.split()
    }
    for script in out.rglob("*.js"):
        used |= set(_WORD.findall(_read(script)))
    sheets = ["_static/basic.css", "_static/styles/pydata-sphinx-theme.css"]
    sheets += _common(app.builder)
    book = "\n".join(trim_css(_sheet(out / name), used) for name in sheets)
    (static / "styles" / "book.css").write_text(book, encoding="utf-8")
    for path in static.glob("vendor/fontawesome/webfonts/*.woff2"):
        trim_font(path, icons(book))


def _sheet(path: Path) -> str:
    """A stylesheet of _static as it reads from _static/styles."""
    css = _read(path)
    return css if path.parent.name == "styles" else _URL.sub(r"\1../", css)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def trim_css(css: str, used: set[str]) -> str:
    """The stylesheet without rules for classes that no word of `used` names."""
    rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    return "\n".join(filter(None, (_rule(rule, used) for rule in rules)))


def _rule(rule, used: set[str]) -> str:
    if rule.type == "qualified-rule":
        selectors = tinycss2.serialize(rule.prelude).strip()
        kept = [part for part in _parts(rule.prelude) if _occurs(part, used)]
        if not kept:
            return ""
        if len(kept) < len(_parts(rule.prelude)):
            selectors = ",".join(kept)
        return f"{selectors}{{{tinycss2.serialize(rule.content).strip()}}}"
    if rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
        inner = tinycss2.parse_rule_list(
            rule.content, skip_comments=True, skip_whitespace=True
        )
        body = "\n".join(filter(None, (_rule(x, used) for x in inner)))
        prelude = tinycss2.serialize(rule.prelude).strip()
        return f"@{rule.at_keyword} {prelude}{{{body}}}" if body else ""
    return rule.serialize()


def _parts(prelude: list) -> list[str]:
    """The selectors of a list, split at the commas that are in no bracket."""
    parts = [[]]
    for token in prelude:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [tinycss2.serialize(part).strip() for part in parts]


def _occurs(selector: str, used: set[str]) -> bool:
    without = re.sub(r":not\([^)]*\)", "", selector)
    names = (name.replace("\\", "") for name in _CLASS.findall(without))
    return all(x in used or x.startswith(_MADE_UP) or x[0].isdigit() for x in names)


def icons(css: str) -> set[int]:
    """Code points of the private use area that a stylesheet prints."""
    found = {int(x, 16) for x in re.findall(r"\\([ef][0-9a-f]{3})", css)}
    return found | {ord(x) for x in css if 0xE000 <= ord(x) <= 0xF8FF}


def trim_font(path: Path, points: set[int]) -> None:
    """Keep the glyphs of these code points in a woff2 font."""
    options = subset.Options(flavor="woff2")
    font = subset.load_font(str(path), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=points)
    subsetter.subset(font)
    subset.save_font(font, str(path), options)


def _add_templates(app: Sphinx, config: Config) -> None:
    config.templates_path.append(str(_HERE / "templates"))


def setup(app: Sphinx) -> None:
    app.connect("config-inited", _add_templates)
    # after the extensions that add scripts
    app.connect("html-page-context", _lighten, priority=900)
    # after the theme has written its pygments.css
    app.connect("build-finished", _trim, priority=900)
