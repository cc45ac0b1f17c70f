"""The extracting rule: the one choice that a text names, by its text or its letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_clst.data.extraction import extracted_choice, extracted_correct
from omni_clst.data.matching import strict_correct

CHOICES = ["dog", "cat", "bass guitar", "guitar"]
TEXTS = [
    # text, choices, named, reason
    ("dog", CHOICES, "dog", "the choice itself"),
    ("I think it is the dog.", CHOICES, "dog", "in a sentence"),
    ("I THINK IT IS THE DOG", CHOICES, "dog", "in any case"),
    ("It is a dog, and the dog barks.", CHOICES, "dog", "named twice is named"),
    ("Not the dog but the cat.", CHOICES, None, "two are named"),
    ("a dogs\u2019 home", CHOICES, None, "part of a longer word"),
    ("I hear a bass guitar", CHOICES, "bass guitar", "a choice inside a longer one is not named by it"),
    ("a bass guitar and a guitar", CHOICES, None, "unless it stands elsewhere too"),
    ("The answer is B", CHOICES, "cat", "by its letter"),
    ("The answer is (B).", CHOICES, "cat", "by its letter in brackets"),
    ("Option C) bass guitar", CHOICES, "bass guitar", "letter and text agree"),
    ("B. dog", CHOICES, None, "letter and text name different ones"),
    ("**B**", CHOICES, "cat", "an emphasised letter"),
    ("b", CHOICES, "cat", "a letter alone"),
    ("answer: b", CHOICES, "cat", "a small letter at the end"),
    ("A bird sings", CHOICES, None, "an article is no letter"),
    ("Answer: A cat.", CHOICES, "cat", "nor is it one after the word answer"),
    ("The answer is A because it barks", CHOICES, "dog", "a letter with its reason"),
    ("Option A is right", CHOICES, "dog", "a letter after the word option"),
    ("i.e. nothing", ["x", "y", "z", "u", "v", "w", "s", "t", "r"], None, "an abbreviation is no letter"),
    ("The answer is E", CHOICES, None, "no such choice"),
    ("12 times", ["2", "12"], "12", "a number is a whole word"),
    ("Die Antwort ist zw\u00f6lf.", ["zwei", "zw\u00f6lf"], "zw\u00f6lf", "another language"),
    ("\u7b54\u6848\u662f\u72d7\u3002", ["\u72d7", "\u732b"], "\u72d7", "a script without spaces"),
    ("", CHOICES, None, "no text"),
    (None, CHOICES, None, "no text at all"),
    ("I do not know", CHOICES, None, "none is named"),
    ("the Dog", ["dog", "Dog"], "dog", "equal choices are one choice"),
]


@pytest.mark.parametrize(("text", "choices", "named", "reason"), TEXTS, ids=[reason for *_, reason in TEXTS])
def test_named_choice(text, choices, named, reason):
    found = extracted_choice(text, choices)
    assert (found and found.casefold()) == (named and named.casefold()), reason


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=4), st.integers(0, 3))
def test_what_is_strictly_right_is_right_here_too(text, choices, place):
    answer = choices[place % len(choices)]
    for said in (text, answer, f"{chr(65 + place % len(choices))}. {answer}"):
        assert extracted_correct(said, answer, choices) >= strict_correct(said, answer, choices)


def test_answer_that_is_no_choice_counts_as_one_more(tmp_path):
    assert extracted_correct("it is a horse", "horse", ["dog", "cat"])
    assert not extracted_correct("it is a horse or a dog", "horse", ["dog", "cat"])
    assert not extracted_correct("dog", None, ["dog", "cat"])
