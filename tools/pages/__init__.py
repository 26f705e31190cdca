"""The Sphinx extension of this book: what its pages have that nobody writes by hand.

Each module is one piece with a `setup` of its own; _config.yml lists this package.
"""

import hashlib
from pathlib import Path

from sphinx.application import Sphinx

from tools.pages import (
    about,
    access,
    api,
    cells,
    formulas,
    ledger,
    scripts,
    sitemap,
    symbols,
    weight,
)


def setup(app: Sphinx) -> dict:
    # a change here reads and writes every page again
    files = sorted(x for x in Path(__file__).parent.rglob("*.*") if x.suffix != ".pyc")
    digest = hashlib.sha256(b"".join(x.read_bytes() for x in files)).hexdigest()
    app.add_config_value("pages_digest", digest, "env")
    pieces = (
        about,
        access,
        api,
        cells,
        formulas,
        ledger,
        scripts,
        sitemap,
        symbols,
        weight,
    )
    for piece in pieces:
        piece.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
