"""Every page on a phone, in the dark theme."""

import pytest
from browser import GENERATED, MARKS, PAGES, look_at

pytestmark = MARKS


@pytest.mark.parametrize("name", PAGES + GENERATED)
def test_page(visit, name):
    # the other rules of axe are those of test_book, on the same elements
    look_at(visit(f"{name}.html", 390), "dark", ["color-contrast"])
