"""Rows in foreign layouts become samples."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_clst.data.layouts import choices_in_text, convert_row, read_samples, strip_letter
from omni_clst.data.samples import make_sample_id
from omni_clst.errors import InputError

CLST_ROW = {
    "question_text": "which animal calls?",
    "multi_choice": ["cat", "cow"],
    "answer": "cow",
    "think": "a low call",
    "audio_path": "clips/x.wav",
    "dataset": "farm",
}


def sft_row(user: str, assistant: str = "<think>low</think><answer>cow</answer>", **more) -> dict:
    """A row in ms-swift's layout."""
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": turns, "audios": ["x.wav"], **more}


def test_published_clst_row():
    sample = convert_row(CLST_ROW)
    assert (sample.question, sample.choices, sample.answer) == ("which animal calls?", ("cat", "cow"), "cow")
    assert (sample.think, sample.audio_path, sample.source) == ("a low call", "clips/x.wav", "published_clst")
    assert sample.id == make_sample_id("clips/x.wav", "which animal calls?", ["cat", "cow"])
    assert (sample.level, sample.prompt, sample.extra) == ("unknown", None, {"dataset": "farm"})


def test_published_clst_row_may_have_level_id_and_source():
    sample = convert_row(CLST_ROW | {"id": "a", "level": "hard", "source": "s"})
    assert (sample.id, sample.level, sample.source) == ("a", "hard", "s")


def test_published_sft_row():
    sample = convert_row(sft_row("<audio>which animal calls? Choose from ['cat', 'cow'].", note=1))
    assert sample.prompt == sample.question == "which animal calls? Choose from ['cat', 'cow']."
    assert (sample.choices, sample.answer, sample.think) == (("cat", "cow"), "cow", "low")
    assert (sample.audio_path, sample.source, sample.extra) == ("x.wav", "published_sft", {"note": 1})
    assert sample.id == make_sample_id("x.wav", sample.question, ["cat", "cow"])


def test_user_text_is_kept_verbatim_as_prompt():
    text = "\n  Which  animal?\tA. cat\r\nB. cow\n\nThink <think></think> first. "
    sample = convert_row(sft_row("<audio>" + text))
    assert (sample.prompt, sample.question, sample.choices) == (text, text.strip(), ("cat", "cow"))
    assert convert_row(sft_row("what? <audio> listen")).prompt == "what?  listen"
    assert convert_row(sft_row("no mark of the clip")).prompt == "no mark of the clip"


THOUGHTS = [
    ("<think>a\nb</think><answer>cow</answer>", "a\nb", "a thought"),
    ("<think>\n\n</think><answer>cow</answer>", "", "an empty one was dropped"),
    ("<think></think>\n<answer> cow </answer>", "", "so was one of no characters"),
    ("<answer>cow</answer>", None, "none at all"),
]


@pytest.mark.parametrize(("assistant", "think", "reason"), THOUGHTS, ids=[row[-1] for row in THOUGHTS])
def test_thought_comes_from_the_tags(assistant, think, reason):
    sample = convert_row(sft_row("<audio>which?", assistant))
    assert (sample.think, sample.answer) == (think, "cow"), reason


def test_system_turn_is_left_to_the_settings():
    row = sft_row("<audio>which?")
    row["messages"].insert(0, {"role": "system", "content": "You are kind."})
    assert convert_row(row) == convert_row(sft_row("<audio>which?"))


def without_assistant() -> dict:
    return {"messages": [{"role": "user", "content": "hi"}], "audios": ["x.wav"]}


TURN = "{'role': 'user', 'content': 'hi'}"
BAD_SFT_ROWS = [
    (sft_row("hi", "it is the cow"), "assistant text 'it is the cow' has no <answer>"),
    (sft_row("hi", "<answer>cat</answer><answer>cow</answer>"),
     "assistant text '<answer>cat</answer><answer>cow</answer>' has no <answer>"),
    (sft_row("hi", "<think>" + "x" * 100), f"assistant text '<think>{'x' * 73}' has no <answer>"),
    (without_assistant(), f"messages [{TURN}] are not one user's and one assistant's text"),
    ({"messages": [], "audios": ["x"]}, "messages [] are not one user's and one assistant's text"),
    ({"messages": None, "audios": ["x"]}, "messages None are not one user's and one assistant's text"),
    ({"messages": ["hi"], "audios": ["x"]}, "messages ['hi'] are not one user's and one assistant's text"),
    (without_assistant() | {"messages": without_assistant()["messages"] * 2},
     f"messages [{TURN}, {TURN}] are not one user's and one assistant's text"),
    (sft_row("<audio>") | {"audios": []}, "audios [] with 1 <audio> in the text: one clip is expected"),
    (sft_row("hi") | {"audios": "x.wav"}, "audios 'x.wav' with 0 <audio> in the text: one clip is expected"),
    (sft_row("hi") | {"audios": ["x", "y"]}, "audios ['x', 'y'] with 0 <audio> in the text: one clip is expected"),
    (sft_row("<audio><audio>hi"), "audios ['x.wav'] with 2 <audio> in the text: one clip is expected"),
    (sft_row("<audio> \n"), "question '' is not a text"),
    (sft_row("hi", id=3), "id 3 is not a text"),
    ({"text": "x", "label": 1}, "unknown layout with the keys ['label', 'text']"),
    ({}, "unknown layout with the keys []"),
    (CLST_ROW | {"answer": 1}, "answer 1 is not a text"),
    (CLST_ROW | {"multi_choice": "cat"}, "choices 'cat' is not a list of texts"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "message"), BAD_SFT_ROWS, ids=[row[-1][:50] for row in BAD_SFT_ROWS])
def test_bad_row_is_named(row, message):
    with pytest.raises(InputError) as caught:
        convert_row(row)
    assert str(caught.value) == message


IN_TEXT = [
    ("Choose from ['cat', 'cow'].", "cat|cow", "list literal"),
    ('Choose from ["cat", "cow"].', "cat|cow", "with double quotes, as JSON has them"),
    ("""['a "loud" cat', "the cow's bell"]""", 'a "loud" cat|the cow\'s bell', "each quoted by what it does not hold"),
    (r"""['the cow\'s "bell"', 'b']""", 'the cow\'s "bell"|b', "an escaped quote"),
    (r'["caf\u00e9", "a\"b"]', 'café|a"b', "JSON's escapes"),
    ("['a, b', 'c]d', '[e']", "a, b|c]d|[e", "commas and brackets inside"),
    ("[\n  'cat',\n  'cow',\n]", "cat|cow", "over several lines"),
    ("[' cat ', 'cow']", "cat|cow", "white space at their ends"),
    ("Tags ['x']: choose from ['cat', 'cow'], say ['cat'].", "cat|cow", "lists of one are none"),
    ("Heard ['a', 'b']; which? ['cat', 'cow']", "cat|cow", "the last list: choices stand behind the question"),
    ("['A. cat', 'B. cow']", "A. cat|B. cow", "a list goes before letters, and stays as it is"),
    ("which?\nA. cat\nB. cow", "cat|cow", "lettered lines"),
    ("which?\n(A) cat\n(B) cow\n(C) the hen", "cat|cow|the hen", "in brackets"),
    ("A) cat\nB) cow\n", "cat|cow", "with a bracket"),
    ("A: cat\nB: cow\n", "cat|cow", "with a colon"),
    ("which?\n  A. cat \r\n  B. cow\r\n\r\nThink.", "cat|cow", "indented, CRLF, text behind"),
    ("A、猫\nB、牛", "猫|牛", "with an enumeration comma"),
    ("（A）猫\n（B）牛", "猫|牛", "in full-width brackets"),
    ("哪个？A：猫 B：牛", "", "a letter that follows a word begins nothing"),
    ("[A] cat\n[B] cow", "cat|cow", "in square brackets"),
    ("Choices: A. cat\nB. cow", "cat|cow", "the first behind other words"),
    ("which? A. cat B. a big cow C. hen", "cat|a big cow|hen", "on one line"),
    ("which? (A) cat (B) cow\nThink first.", "cat|cow", "on one line in brackets, text on the next"),
    ("A) cat B) cow", "cat|cow", "on one line with a bracket"),
    ("Options: A: cat B: cow", "cat|cow", "on one line with a colon"),
    ("A. cat B. cow\nC. hen D. dog", "cat|cow|hen|dog", "on two lines"),
    ("A. vitamin B. or C.\nB. vitamin C. alone", "vitamin B. or C.|vitamin C. alone", "letters inside lettered lines"),
    ("A. cat? (B) no\nB. cow", "cat? (B) no|cow", "another style inside"),
    ("A: hi\nB: hello\nWho?\nA: cat\nB: cow\nC: hen", "cat|cow|hen", "the last run of letters"),
    ("Which key is in A. major? A. yes B. no", "yes|no", "a letter in the question"),
    ("\n".join(f"{letter}. {letter * 2}" for letter in "ABCDEFGHIJ"), "AA|BB|CC|DD|EE|FF|GG|HH|II|JJ", "ten of them"),
    ("which animal calls?", "", "none"),
    ("", "", "no text"),
    ("A. cat", "", "one letter is no run"),
    ("B. cat\nC. cow", "", "a run starts at A"),
    ("A. cat\nC. cow", "", "and leaves no letter out"),
    ("a. cat\nb. cow", "", "small letters are words"),
    ("A.cat\nB.cow", "", "letters stand apart from their choice"),
    ("in the U.S.A. cats ... V.I.B. cows", "", "abbreviations"),
    ("[1, 2] ['a', 3] [] ['a' 'b'] ['a', 'b'", "", "no lists of texts"),
    (r"['a\x', 'b']", "", "a backslash that means nothing"),
]


@pytest.mark.parametrize(("text", "expected", "reason"), IN_TEXT, ids=[row[-1] for row in IN_TEXT])
def test_choices_in_text(text, expected, reason):
    assert choices_in_text(text) == (tuple(expected.split("|")) if expected else ()), reason


LETTERS = [
    ("B. cow", "cow", "its own letter"),
    ("(B) cow", "cow", "in brackets"),
    ("B) cow", "cow", "with a bracket"),
    ("b: cow", "cow", "with a colon, small"),
    ("B.cow", "cow", "without a space"),
    ("A. cow", "A. cow", "another choice's letter"),
    ("Z. cow", "Z. cow", "no choice's letter"),
    ("B. hen", "B. hen", "another text"),
    ("cow", "cow", "no letter"),
    ("B", "B", "a bare letter is no text of a choice"),
    ("C. major", "C. major", "a choice that begins like a letter"),
    ("D. C. major", "D. C. major", "D is not C. major's letter"),
    ("C. C. major", "C. major", "C is"),
]


@pytest.mark.parametrize(("answer", "expected", "reason"), LETTERS, ids=[row[-1] for row in LETTERS])
def test_letter_is_stripped_only_where_it_is_the_choices_own(answer, expected, reason):
    choices = ("cat", "cow", "C. major")
    assert strip_letter(answer, choices) == expected, reason
    row = sft_row(f"<audio>which? {list(choices)}", f"<think></think><answer>{answer}</answer>")
    assert convert_row(row).answer == expected


# White space at a choice's ends is not kept, and a text ends with its line.
CHOICE = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\0")).map(str.strip).filter(bool)
CHOICES = st.lists(CHOICE, min_size=2, max_size=10, unique=True)
# On one line nothing tells a letter inside a choice from the next choice's.
UNLETTERED = st.lists(CHOICE.filter(lambda text: not set(text) & set(".):[]、")), min_size=2, max_size=10, unique=True)
STYLES = st.sampled_from(["{}. {}", "({}) {}", "{}) {}", "{}: {}", "{}、{}", "[{}] {}"])


@settings(deadline=None)
@given(CHOICES)
def test_choices_written_as_a_list_are_read_back(choices):
    assert choices_in_text(f"which? {choices}") == tuple(choices)
    assert choices_in_text(f"which? {json.dumps(choices, ensure_ascii=False)}\nThink.") == tuple(choices)


@settings(deadline=None)
@given(
    CHOICES.filter(lambda choices: not any("[" in choice for choice in choices)), STYLES, st.sampled_from(["", "\nThink."])
)
def test_choices_written_as_lettered_lines_are_read_back(choices, style, behind):
    lines = [style.format(chr(ord("A") + index), choice) for index, choice in enumerate(choices)]
    assert choices_in_text("which?\n" + "\n".join(lines) + behind) == tuple(choices)


@settings(deadline=None)
@given(UNLETTERED, STYLES)
def test_choices_written_on_one_line_are_read_back(choices, style):
    items = [style.format(chr(ord("A") + index), choice) for index, choice in enumerate(choices)]
    assert choices_in_text("which? " + " ".join(items)) == tuple(choices)


@settings(deadline=None)
@given(st.text(alphabet="AB.():[]'\", \n\\x"))
def test_no_text_makes_the_search_fail(text):
    choices_in_text(text)


def test_mmau_row():
    row = {
        "id": "u1", "audio_id": "./test-mini-audios/u1.wav", "question": "which?", "choices": ["cat", "cow"],
        "answer": "cow", "dataset": "farm", "task": "sound", "split": "test-mini", "category": ["a", "b"],
        "sub-category": "calls", "difficulty": "easy",
    }  # fmt: skip
    sample = convert_row(row)
    assert (sample.id, sample.audio_path, sample.source) == ("u1", "./test-mini-audios/u1.wav", "farm")
    assert (sample.question, sample.choices, sample.answer) == ("which?", ("cat", "cow"), "cow")
    assert (sample.extra["category"], sample.extra["task"], sample.think) == ("a, b", "sound", None)


@pytest.mark.parametrize("newer", [{}, {"thinking": "low", "cue": ["low"], "rubric": [{"note": "x"}]}])
def test_mmar_row(newer):
    row = {
        "id": "v1", "audio_path": "./audio/v_1.wav", "question": "which?", "choices": ["cat", ""], "answer": "hen",
        "modality": "mix-sound-speech", "category": "Signal Layer", "sub-category": "x", "language": None,
        "source": "youtube", "url": "u", "timestamp": "t",
    }  # fmt: skip
    sample = convert_row(row | newer)
    assert (sample.id, sample.audio_path, sample.source) == ("v1", "./audio/v_1.wav", "youtube")
    assert (sample.choices, sample.answer, sample.think) == (("cat", ""), "hen", None)
    assert sample.extra["modality"] == "mix-sound-speech"
    assert ("rubric" in sample.extra) is bool(newer)


def test_odd_values_of_a_benchmark_become_texts():
    row = {"id": 5, "audio_id": "a.wav", "question": None, "choices": [1, None], "answer": 1}
    sample = convert_row(row)
    assert (sample.id, sample.question, sample.choices, sample.answer) == ("5", "", ("1", "None"), "1")
    assert convert_row(row | {"choices": "cat or cow"}).choices == ()
    assert convert_row(row | {"audio_id": None}).audio_path == ""
    assert convert_row({"id": "v1", "audio_path": "a.wav", "modality": "speech"}).choices == ()


def test_all_layouts_are_read_from_files(tmp_path):
    rows = [CLST_ROW, sft_row("<audio>which? ['cat', 'cow']"),
            {"audio_path": "y.wav", "question": "q", "choices": ["a", "b"], "answer": "a"}]  # fmt: skip
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [sample.audio_path for sample in read_samples(path, "/r")] == ["/r/clips/x.wav", "/r/x.wav", "/r/y.wav"]


def test_answer_that_is_none_of_the_choices_in_the_text_is_an_error(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(sft_row("which? ['cat', 'hen']")))
    with pytest.raises(InputError) as caught:
        read_samples(path)
    assert str(caught.value) == f"{path}:1: answer 'cow' is not one of ['cat', 'hen']"
