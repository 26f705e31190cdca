"""The first half of the pages in a browser; test_book has the others."""

import pytest
from browser import FIRST, MARKS, look_at

pytestmark = MARKS


@pytest.mark.parametrize("name", FIRST)
def test_page(one_tab, site, name):
    look_at(one_tab, site, name)
