"""The first half of the pages in a browser; test_book has the others."""

import pytest
from browser import FIRST, MARKS, look_at

pytestmark = MARKS


@pytest.mark.parametrize("name", FIRST)
def test_page(visit, name):
    look_at(visit(f"{name}.html", 390, "load"))
