"""Tables as other programs read them."""

import pytest

from ctcl_hf.base.tables import counted, csv_cell


@pytest.mark.parametrize("name", ["=1+1", '=HYPERLINK("x")', "+1", "-cmd", "@SUM(A1)", "\t=1"])
def test_a_name_that_begins_like_a_formula_is_text_in_a_spreadsheet(name):
    """A class, method or student so called was computed where table.csv was opened."""
    assert csv_cell(name) == f"'{name}"


def test_one_image_is_told_as_one():
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


@pytest.mark.parametrize("value", ["sky", "a=b", "", -1.5, None])
def test_all_else_is_written_as_it_is(value):
    assert csv_cell(value) is value
