"""Tables: names to the left, numbers to the right, or Markdown."""

import pytest

from omni_clst.data.table import make_table

HEADER, ROWS = ("", "rows", "%"), [["train", "12", "100.0"], ["v", "3", "5.0"]]


def test_columns_are_as_wide_as_their_widest_cell():
    assert make_table(HEADER, ROWS).splitlines() == ["       rows      %", "train    12  100.0", "v         3    5.0"]


def test_markdown_has_a_line_below_the_header():
    lines = make_table(HEADER, ROWS, markdown=True).splitlines()
    assert lines == ["|  | rows | % |", "|---|---|---|", "| train | 12 | 100.0 |", "| v | 3 | 5.0 |"]


def test_header_alone_is_a_table():
    assert make_table(HEADER, []) == "  rows  %"


def test_row_with_a_cell_too_few_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        make_table(HEADER, [["train", "12"]])
