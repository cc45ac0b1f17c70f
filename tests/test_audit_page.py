"""The audit's page and table: numbers add up, the page is self-contained, texts are escaped."""

import re
from dataclasses import replace

import pytest

from omni_clst.preparation.page import AuditSummary, Histogram, RuleCount, audit_page, audit_table, make_histogram

SUMMARY = AuditSummary(
    title="a <b> & 'c'",
    rows_in=10,
    rows_out={"train": 6, "valid": 1},
    rules=(
        RuleCount("no clip", "dropped", 3, ("x.json: row 1: <script>alert(1)</script>",)),
        RuleCount("says video", "changed", 4, ('x.json: row 2: née 音 "quoted"',)),
        RuleCount("no thought", "flagged", 7, ()),
    ),
    clips=7,
    findings=(("more than two channels", 2, ("<a>.wav", "b.wav")),),
    formats={"WAV PCM_16, 16 kHz, 1 channel": 7},
    histograms=(make_histogram("seconds", [1.0, 2.0, 9.5]), make_histogram("peak", [])),
    settings={"input": "/a&b"},
)


def test_texts_of_the_data_are_escaped():
    page = audit_page(SUMMARY)
    for text in ("<script>", "<b> &", "<a>.wav", "/a&b<"):
        assert text not in page
    for text in (
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "a &lt;b&gt; &amp;",
        "&lt;a&gt;.wav",
        "née 音 &#34;quoted&#34;",
    ):
        assert text in page


def test_page_needs_nothing_but_itself():
    page = audit_page(SUMMARY)
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert page.count("<section>") == page.count("</section>") == 6


def test_rows_that_do_not_add_up_are_an_error():
    with pytest.raises(ValueError, match="3 dropped and 7 kept rows do not add up to 11"):
        replace(SUMMARY, rows_in=11)


def test_table_has_a_line_per_rule_and_the_sum():
    lines = audit_table(SUMMARY).splitlines()
    assert lines[0] == "      10 rows in"
    assert lines[1].startswith("       3 dropped  no clip ")
    assert lines[3] == "       7 flagged  no thought"
    assert lines[4] == "       7 rows out (train 6, valid 1) + 3 dropped = 10 in"
    assert lines[-1] == "       2 more than two channels: <a>.wav"


def test_bar_is_as_long_as_all_rows():
    widths = re.findall(r'width="([\d.]+)%" height="34" fill', audit_page(SUMMARY))
    assert widths == ["60.000", "10.000", "30.000"]


@pytest.mark.parametrize(
    ("values", "bins", "edges", "counts", "why"),
    [
        ([0.0, 1.0, 2.0, 9.9], 5, (0, 2, 4, 6, 8, 10), (2, 1, 0, 0, 1), "2 is the first round width of five over 9.9"),
        ([0.0, 10.0], 5, (0, 2, 4, 6, 8, 10), (1, 0, 0, 0, 1), "the last edge belongs to the last bin"),
        ([3.0], 5, (3, 4), (1,), "one value"),
        ([0.25, 0.25], 5, (0, 1), (2,), "equal values"),
        ([0.12, 0.31], 4, (0.1, 0.15, 0.2, 0.25, 0.3, 0.35), (1, 0, 0, 0, 1), "edges are rounded"),
        ([], 5, (), (), "no value"),
    ],
)
def test_histogram_has_round_edges(values, bins, edges, counts, why):
    assert make_histogram("x", values, bins) == Histogram("x", edges, counts), why


def test_empty_data_set_has_a_page():
    nothing = replace(
        SUMMARY, rows_in=0, rows_out={}, rules=(), clips=0, findings=(), formats={}, histograms=(), settings={}
    )
    assert "0 of 0 rows are kept" in audit_page(nothing)
    assert "0 rows out (none) + 0 dropped = 0 in" in audit_table(nothing)
