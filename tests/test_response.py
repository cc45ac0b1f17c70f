"""The parser of completions, case by case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_clst.data.response import Response, format_response, is_answer_alone, parse_response

TABLE = [
    ("<think>a b</think><answer>dog</answer>", "a b", "dog", True, "the contract"),
    ("<think>\n\n</think><answer>dog</answer>", "", "dog", True, "an empty thought is well formed"),
    ("<think></think><answer>dog</answer>", "", "dog", True, "a thought of no characters is an empty one"),
    (" <think>a</think>\n <answer> dog </answer>\n", "a", "dog", True, "white space around and between is free"),
    ("<think>a\nb</think><answer>a\ndog</answer>", "a\nb", "a\ndog", True, "newlines stand inside tags"),
    ("<THINK>a</THINK><Answer>dog</ANSWER>", "a", "dog", False, "tags in capitals are read, not well formed"),
    ("dog", None, None, False, "no tags: the caller decides what the text means"),
    ("", None, None, False, "nothing"),
    ("<answer>dog</answer>", None, "dog", False, "an answer without a thought"),
    ("<think>a</think>dog", "a", None, False, "no answer tags behind the thought"),
    ("<think>a</think>", "a", None, False, "a thought alone"),
    ("<think>a", "a", None, False, "cut off while thinking"),
    ("<think>a</think><answer>dog", "a", "dog", False, "an answer cut off runs to the end"),
    ("<think>a</think><answer>", "a", None, False, "an answer cut off before its first word"),
    ("<think>a</think><answer> </answer>", "a", None, False, "an empty answer is none"),
    ("<think>a</think><answer>dog</answer> bye", "a", "dog", False, "text behind"),
    ("well <think>a</think><answer>dog</answer>", "a", "dog", False, "text before"),
    ("<think>a</think> so <answer>dog</answer>", "a", "dog", False, "text between"),
    ("<think>a</think><answer>dog</answer> or <answer>cat</answer>", "a", None, False, "hedging is no answer"),
    ("<think>a</think><answer>dog</answer><answer>Dog </answer>", "a", "dog", False, "saying it twice is one answer"),
    ("<think>maybe <answer>cat</answer></think><answer>dog</answer>", "maybe <answer>cat</answer>", "dog", False,
     "the answer behind the thought counts"),
    ("<think>it is <answer>cat</answer></think>", "it is <answer>cat</answer>", "cat", False,
     "an answer inside the thought counts where there is none behind it"),
    ("<think>a<answer>dog</answer>", None, "dog", False, "an unclosed thought before an answer is not one"),
    ("<think>a</think><think>b</think><answer>dog</answer>", "a", "dog", False, "the first of two thoughts"),
    ("<answer>dog</answer><think>a</think>", "a", "dog", False, "the wrong order is read, not well formed"),
    ("<think>a</think><answer>dog</answer></answer>", "a", "dog", False, "a stray closing tag"),
    ("<think>a</think><answer><answer>dog</answer></answer>", "a", "dog", False, "tags written twice are read"),
    ("<think>a</think><answer>dog<answer>cat</answer>", "a", None, False, "hedging without closing is hedging"),
    ("<think>a</think><answer>dog</think></answer>", "a", "dog", False, "any tag ends an answer"),
    ("<think>a</think><answer>x < y > z</answer>", "a", "x < y > z", True, "other brackets are text"),
    ("<think>a</think><answer>é 世界</answer>", "a", "é 世界", True, "any script"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "think", "answer", "well_formed", "reason"), TABLE, ids=[row[-1] for row in TABLE])
def test_parser_decides(text, think, answer, well_formed, reason):
    assert parse_response(text) == Response(think, answer, well_formed), reason


def test_empty_thought_is_written_as_two_newlines():
    assert format_response("", "dog") == "<think>\n\n</think><answer>dog</answer>"
    assert format_response("a b", "dog") == "<think>a b</think><answer>dog</answer>"


def test_answer_without_a_thought_is_written_alone():
    assert format_response(None, "dog") == "<answer>dog</answer>"
    assert is_answer_alone(format_response(None, "dog"))


PLAIN = st.text(st.characters(blacklist_characters="<>", blacklist_categories=["Cs"])).map(str.strip)


@given(think=PLAIN, answer=PLAIN.filter(bool))
def test_what_is_written_is_read_back(think, answer):
    assert parse_response(format_response(think, answer)) == Response(think, answer, True)


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<Answer>"]


@given(
    before=st.lists(st.sampled_from(["", "<answer>", "</answer>", " "]), max_size=3).map("".join),
    between=st.lists(st.sampled_from(["</answer>", "</think>", "", " or "]), max_size=3).map("".join),
    behind=st.sampled_from(["", "</answer>", "</think>"]),
)
def test_two_different_answers_are_never_one(before, between, behind):
    text = f"<think>a</think>{before}<answer>dog{between}<answer>cat{behind}"
    assert parse_response(text).answer is None


@given(st.lists(st.sampled_from([*TAGS, "dog", "\n"]), max_size=12).map("".join))
def test_answer_never_holds_a_tag(text):
    response = parse_response(text)
    assert not any(tag in (response.answer or "") for tag in TAGS)
    assert response.answer != ""


@given(st.text(alphabet="<>/thinkaswer \n"))
def test_no_text_makes_the_parser_fail(text):
    parse_response(text)
