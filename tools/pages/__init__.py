"""The Sphinx extension of this book: what its pages have that nobody writes by hand.

Each module is one piece with a `setup` of its own; _config.yml lists this package.
"""

from sphinx.application import Sphinx

from tools.pages import api, cells, ledger, symbols


def setup(app: Sphinx) -> dict:
    for piece in (cells, ledger, api, symbols):
        piece.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
