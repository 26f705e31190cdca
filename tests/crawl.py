"""The links of a built site, read from its files: which lead nowhere."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Anchors that a page has, and addresses that it names."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links = {"", "top"}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "base":
                self.links.append(value)


def broken(folder: Path) -> list[str]:
    """`page: link` for each internal link to a file or an anchor that is not there."""
    pages = {
        path: _Page(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.html"))
        if "_static" not in path.parts
    }
    faults = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            at = unquote(url.path)
            base = folder if at.startswith("/") else path.parent
            target = (base / at.lstrip("/")).resolve() if at else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.is_file() or (
                known and unquote(url.fragment) not in known.anchors
            ):
                faults.append(f"{path.relative_to(folder)}: {link}")
    return faults
