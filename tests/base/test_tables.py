"""Tables as other programs read them."""

import pytest

from ctcl_hf.base.tables import csv_cell


@pytest.mark.parametrize("name", ["=1+1", '=HYPERLINK("x")', "+1", "-cmd", "@SUM(A1)", "\t=1"])
def test_a_name_that_begins_like_a_formula_is_text_in_a_spreadsheet(name):
    """A class, method or student so called was computed where table.csv was opened."""
    assert csv_cell(name) == f"'{name}"


@pytest.mark.parametrize("value", ["sky", "a=b", "", -1.5, None])
def test_all_else_is_written_as_it_is(value):
    assert csv_cell(value) is value
