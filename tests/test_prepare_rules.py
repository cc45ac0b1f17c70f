"""The rules for rows, before their clips are inspected."""

import pytest
from foreign_sets import CHOICES, audiomcq_row, audsem_row, avqa_row, lettered

from omni_clst.preparation.layouts import convert
from omni_clst.preparation.rules import RULES, Dropped

LETTERS = [f"{letter}. {choice}" for letter, choice in zip("ABCD", CHOICES, strict=True)]
THOUGHT = "first a bark, then nothing"

DROPPED_ROWS = [
    ("avqa", avqa_row(0, question_relation="View"), "asks for what can only be seen", "AVQA says so"),
    ("avqa", avqa_row(0, question_text="What color is the car?"), "asks for a colour", "in the question"),
    ("avqa", avqa_row(0, multi_choice=["red", "blue", "a", "b"]), "asks for a colour", "in two choices"),
    ("avqa", avqa_row(0, question_text=" "), "is incomplete", "no question"),
    ("avqa", avqa_row(0, multi_choice=None), "is incomplete", "no choices"),
    ("avqa", avqa_row(0, answer=4), "answer is no choice", "a place behind the last"),
    ("avqa", avqa_row(0, answer=-1), "answer is no choice", "not counted from the end"),
    ("avqa", avqa_row(0, answer=True), "answer is no choice", "not the place 1"),
    ("avqa", avqa_row(0, answer=None), "answer is no choice", "none"),
    ("avqa", avqa_row(0, multi_choice=["a", "a", " ", "a"], answer=0), "fewer than two choices", "one is left"),
    ("audsem", audsem_row(0, question="Which?", choices=None), "is incomplete", "choices nowhere"),
    ("audsem", audsem_row(0, answer="E. thunder"), "answer is no choice", "a letter behind the last"),
    ("audiomcq", audiomcq_row(0, answer="thunder"), "answer is no choice", "another text"),
    ("audiomcq", audiomcq_row(0, question="What? <|im_end|>"), "holds a special token", "would end the turn"),
    ("published", {"messages": [], "audios": ["a.wav"]}, "is incomplete", "a chat without turns"),
]


@pytest.mark.parametrize(("source", "row", "rule", "why"), DROPPED_ROWS, ids=[f"{r[2]}: {r[3]}" for r in DROPPED_ROWS])
def test_row_that_cannot_be_trained_on_is_dropped_by_its_rule(source, row, rule, why):
    with pytest.raises(Dropped) as caught:
        convert(source, row)
    assert caught.value.rule == rule
    assert RULES[rule] == "dropped"


CHANGED_ROWS = [
    ("avqa", avqa_row(2), {"answer": "piano"}, None, "counted from 0"),
    ("avqa", avqa_row(0, answer="3"), {"answer": "rain"}, None, "a place written as text"),
    ("audiomcq", audiomcq_row(0, choices=["1", "2", "4"], answer="2"), {"answer": "2"}, None, "a number that is a choice"),
    ("avqa", avqa_row(0), {"question": "What is heard at place 0 in the recording?"}, "says video", ""),
    ("avqa", avqa_row(0, question_text="Video clips?"), {"question": "Recordings?"}, "says video", "as it was written"),
    ("audiomcq", audiomcq_row(0, question="A video game?"), {"question": "A video game?"}, None, "a game stays"),
    ("audiomcq", audiomcq_row(0, question="videogame?"), {"question": "videogame?"}, None, "not inside a word"),
    ("audsem", audsem_row(1), {"choices": tuple(CHOICES), "answer": "car horn", "think": "At place 1 there is a car horn."},
     None, "with its thought"),
    ("audsem", audsem_row(1, choices=str(audsem_row(1)["choices"])), {"choices": tuple(CHOICES)}, None, "from a CSV"),
    ("audsem", audsem_row(1, choices={"A": "a", "B": "b", "C": None}, answer="B"), {"choices": ("a", "b"), "answer": "b"},
     None, "the Hub writes absent letters as None"),
    ("audiomcq", audiomcq_row(0, choices=LETTERS, answer="B"), {"choices": tuple(CHOICES), "answer": "car horn"},
     "letters in front of choices or answer", "a letter alone"),
    ("audiomcq", audiomcq_row(0, choices=LETTERS, answer=LETTERS[3]), {"answer": "rain"}, None, "as its choice is written"),
    ("audiomcq", audiomcq_row(0, answer="(C) piano"), {"answer": "piano"}, "letters in front of choices or answer", ""),
    ("audiomcq", audiomcq_row(0, choices=["A. one", "two"], answer="two"), {"choices": ("A. one", "two")}, None,
     "a letter that only one carries belongs to it"),
    ("audiomcq", audiomcq_row(0, choices=["a", "", "b", "a"], answer="a"), {"choices": ("a", "b")}, "a choice twice", ""),
    ("audiomcq", audiomcq_row(0, choices=["a", "", "b"], answer="a"), {"choices": ("a", "b")}, "an empty choice", ""),
    ("avqa", avqa_row(0), {"think": None}, "no thought", "AVQA has none"),
    ("audiomcq", audiomcq_row(0, gemini_cot=f"<think>{THOUGHT}</think><answer>x</answer>"), {"think": THOUGHT}, None, ""),
    ("audiomcq", audiomcq_row(0, gemini_cot="N/A"), {"think": None}, "no thought", "a word for none"),
    ("audiomcq", audiomcq_row(0, gemini_cot="A dog."), {"think": None}, "thought is not usable", "says nothing"),
    ("audiomcq", audiomcq_row(0, gemini_cot="I say </answer> it now"), {"think": None}, "thought is not usable", "a tag"),
    ("published", {"question_text": "?", "multi_choice": CHOICES, "answer": "rain", "think": "", "audio_path": "a.wav"},
     {"think": "", "choices": tuple(CHOICES)}, None, "a thought that was dropped stays dropped"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "row", "expected", "rule", "why"), CHANGED_ROWS, ids=[f"{r[3]}: {r[4]}" for r in CHANGED_ROWS]
)
def test_row_becomes_a_sample_and_notes_what_changed(source, row, expected, rule, why):
    candidate = convert(source, row)
    assert {name: getattr(candidate.sample, name) for name in expected} == expected
    noted = {name for name, _ in candidate.notes}
    assert noted <= RULES.keys()
    assert rule is None or rule in noted


@pytest.mark.parametrize(("source", "row"), [("avqa", avqa_row(2)), ("audsem", audsem_row(1))])
def test_letters_and_places_that_a_source_always_has_are_no_change(source, row):
    noted = {name for name, _ in convert(source, row).notes}
    assert not noted & {"answer given by its place", "letters in front of choices or answer"}
    unusual = convert("audiomcq", audiomcq_row(0, choices=["a", "b"], answer=1))
    assert ("answer given by its place", "1") in unusual.notes


def test_published_chat_keeps_its_own_wording():
    text = f"<audio>{lettered('Which video?', CHOICES)}"
    row = {"messages": [{"role": "user", "content": text},
                        {"role": "assistant", "content": f"<think>{THOUGHT}</think><answer>rain</answer>"}],
           "audios": ["a.wav"]}  # fmt: skip
    sample = convert("published", row).sample
    assert sample.prompt == lettered("Which video?", CHOICES)
    assert (sample.audio_path, sample.answer, sample.think, sample.choices) == ("a.wav", "rain", THOUGHT, tuple(CHOICES))
