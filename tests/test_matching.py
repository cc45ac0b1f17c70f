"""The choice that a text names: the strict rule, case by case, and against a simpler rule."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_clst.data.benchmark_rows import load_benchmark
from omni_clst.data.matching import bare_letter, fold, split_letter, strict_choice, strict_correct
from omni_clst.data.samples import AudioQASample
from omni_clst.method.rewards import accuracy, parse_completion

STRICT = [
    ("dog", "dog", ["dog", "cat"], True, "the answer"),
    (" Dog.\n", "dog", ["dog", "cat"], True, "case, white space and a full stop do not count"),
    ("'dog'", "dog", ["dog", "cat"], True, "quotes do not count"),
    ("B. dog", "dog", ["cat", "dog"], True, "the choice's own letter"),
    ("(b) dog", "dog", ["cat", "dog"], True, "in brackets, in lower case"),
    ("A. dog", "dog", ["cat", "dog"], False, "another choice's letter"),
    ("B", "dog", ["cat", "dog"], False, "a bare letter names nothing"),
    ("B", "B", ["A", "B"], True, "unless it is a choice"),
    ("the dog", "dog", ["dog", "cat"], False, "other words hurt"),
    ("dog or cat", "dog", ["dog", "cat"], False, "hedging"),
    ("From near to far", "From far to near", ["From far to near", "From near to far"], False, "word order counts"),
    ("dog", "dog", ["dog", "dog", "cat"], True, "a choice that stands twice is one choice"),
    ("C. major", "C. major", ["A minor", "C. major"], True, "a choice that begins like a letter"),
    ("ﬁre", "fire", ["fire", "ice"], True, "Unicode forms do not count"),
    ("fire  engine", "fire engine", ["fire engine", "x"], True, "runs of white space do not count"),
    ("", "dog", ["dog", ""], False, "an empty prediction names no choice, also not an empty one"),
    (None, "dog", ["dog"], False, "no text"),
    ("wolf", "wolf", ["dog", "cat"], True, "an answer that is no choice counts as one"),
    ("dog ", "dog", ["dog", "dog ", "cat"], True, "choices that differ in white space are one choice"),
    ("<5", "<5", ["<5", ">5"], True, "punctuation that tells choices apart"),
    (">5", "<5", ["<5", ">5"], False, "names the other one"),
    ("B. >5", ">5", ["<5", ">5"], True, "also behind its letter"),
    ("A. >5", "<5", ["<5", ">5"], False, "and only behind its own"),
    ("5", "<5", ["<5", ">5"], False, "what names two choices names none"),
    ("?", "?", ["?", "!"], True, "a choice may be punctuation alone"),
    ("...", "?", ["?", "!"], False, "other punctuation does not name it"),
    ("dog。", "dog", ["dog", "cat"], True, "an ideographic full stop"),
    ("「dog」", "dog", ["dog", "cat"], True, "corner brackets"),
    ("《dog》", "dog", ["dog", "cat"], True, "title marks"),
    ("【dog】", "dog", ["dog", "cat"], True, "lenticular brackets"),
    ("„dog“", "dog", ["dog", "cat"], True, "German quotes"),
    ("« dog »", "dog", ["dog", "cat"], True, "French quotes"),
    ("dog、", "dog", ["dog", "cat"], True, "an enumeration comma behind"),
    ("ｄｏｇ！", "dog", ["dog", "cat"], True, "full width"),
    ("- dog", "dog", ["dog", "cat"], True, "a bullet, as the prompt lists choices"),
    ("• dog", "dog", ["dog", "cat"], True, "another bullet"),
    ("**dog**", "dog", ["dog", "cat"], True, "bold"),
    ("dog\u200b", "dog", ["dog", "cat"], True, "an invisible character"),
    ("the dog’s bark", "the dog's bark", ["the dog's bark", "cat"], True, "a typographic apostrophe inside"),
    ("far–near", "far-near", ["far-near", "near-far"], True, "a typographic dash inside"),
    ("a dog，a cat", "a dog, a cat", ["a dog, a cat", "a cat"], True, "a full-width comma inside"),
    ("B、dog", "dog", ["cat", "dog"], True, "a letter with an enumeration comma"),
    ("B．dog", "dog", ["cat", "dog"], True, "with a full-width full stop"),
    ("B：dog", "dog", ["cat", "dog"], True, "with a full-width colon"),
    ("B。dog", "dog", ["cat", "dog"], True, "with an ideographic full stop"),
    ("（B）dog", "dog", ["cat", "dog"], True, "in full-width brackets"),
    ("[B] dog", "dog", ["cat", "dog"], True, "in square brackets"),
    ("【B】dog", "dog", ["cat", "dog"], True, "in lenticular brackets"),
    ("Ｂ．ｄｏｇ", "dog", ["cat", "dog"], True, "letter and text in full width"),
    ("**B.** dog", "dog", ["cat", "dog"], True, "a bold letter"),
    ("- B. dog", "dog", ["cat", "dog"], True, "bullet and letter"),
    ("「B、dog」", "dog", ["cat", "dog"], True, "a lettered choice in corner brackets"),
    ("A、dog", "dog", ["cat", "dog"], False, "another choice's letter, whatever its mark"),
    ("[B]", "dog", ["cat", "dog"], False, "a bare letter in brackets names nothing"),
    ("B、", "dog", ["cat", "dog"], False, "nor with a mark"),
    ("B dog", "dog", ["cat", "dog"], False, "a letter without a mark may be a word"),
    ("dog、cat", "dog", ["dog", "cat"], False, "two answers"),
    ("「dog」「cat」", "dog", ["dog", "cat"], False, "two answers in brackets"),
    ("- dog\n- cat", "dog", ["dog", "cat"], False, "two bullets"),
    ("A. dog\nB. cat", "dog", ["dog", "cat"], False, "two lettered answers"),
    ("Answer: dog", "dog", ["dog", "cat"], False, "other words hurt, in a label too"),
    ("答案：狗", "狗", ["狗", "猫"], False, "in any script"),
    ("《狗》。", "狗", ["狗", "猫"], True, "choices in Chinese"),
    ("C#", "C#", ["C", "C#"], True, "a sharp"),
    ("C#。", "C#", ["C", "C#"], True, "a sharp before a full stop"),
    ("C", "C#", ["C", "C#"], False, "and its natural"),
    ("-1。", "-1", ["1", "-1"], True, "a sign is no bullet"),
    ("−1", "-1", ["1", "-1"], True, "a typographic minus"),
    ("-1", "1", ["1", "-1"], False, "the other number"),
    ("- 1", "1", ["1", "2"], True, "a bullet before a number"),
    ("+5.", "+5", ["5", "+5"], True, "a plus"),
    ("50%。", "50%", ["50", "50%"], True, "a unit"),
    ("\u200b", "?", ["?", "!"], False, "nothing visible"),
]


@pytest.mark.parametrize(("said", "answer", "choices", "right", "reason"), STRICT, ids=[r[-1] for r in STRICT])
def test_strict_rule(said, answer, choices, right, reason):
    assert strict_correct(said, answer, choices) is right, reason


def test_reward_and_score_are_one_rule():
    for said, answer, choices, right, reason in STRICT:
        if isinstance(said, str) and said.strip():
            sample = AudioQASample("x", "x.wav", "q", tuple(choices), answer)
            completion = parse_completion(f"<think>\n\n</think><answer>{said}</answer>", 9, True)
            assert accuracy(sample, completion) == float(right), reason


def simpler_choice(prediction: str, choices: list[str]) -> str | None:
    """The rule before it knew other scripts' punctuation: case, width, white space, ASCII punctuation, an ASCII letter."""

    def equal(text: str) -> str | None:
        for form in (fold, lambda words: fold(words).strip(" \t\r\n.,;:!?\"'`“”‘’()[]{}<>*_")):
            named = [choice for choice in choices if form(text) and form(choice) == form(text)]
            if named:
                return named[0] if len({fold(choice) for choice in named}) == 1 else None
        return None

    match = re.fullmatch(r"\s*\(?([A-Za-z])\s*[.):]\)?\s*(.+)", prediction, re.DOTALL)
    if equal(prediction) is not None or match is None:
        return equal(prediction)
    lettered = choices[ord(match[1].upper()) - ord("A") :][:1]
    named = equal(match[2])
    return named if named is not None and lettered and fold(lettered[0]) == fold(named) else None


DRESSED = st.text("aB1 .:)(][-*#<>«」、。：'’\u200b", min_size=1, max_size=6).filter(str.strip)


@given(said=DRESSED, choices=st.lists(DRESSED, min_size=1, max_size=4))
def test_what_the_simpler_rule_named_is_named_still(said, choices):
    before = simpler_choice(said, choices)
    if before is not None:
        assert strict_choice(said, choices) == before


@given(st.lists(st.text("aB (.):<>?5é\t「。-", min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_every_choice_names_itself(choices):
    for choice in choices:
        assert fold(strict_choice(choice, choices)) == fold(choice)


SPLIT = [
    ("A. dog", (0, "dog")),
    ("(b) dog", (1, "dog")),
    ("C、狗", (2, "狗")),
    ("[D] dog.", (3, "dog.")),
    ("**A.** dog", (0, "** dog")),
    ("A.", (0, "")),
    ("A dog", None),
    ("dog", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), SPLIT, ids=[row[0] or "nothing" for row in SPLIT])
def test_letter_in_front_is_split_off(text, expected):
    assert split_letter(text) == expected


BARE = [("B", 1), (" b ", 1), ("(B)", 1), ("B.", 1), ("[B]", 1), ("B、", 1), ("【B】", 1), ("B. dog", None), ("BB", None)]


@pytest.mark.parametrize(("text", "expected"), BARE, ids=[row[0] for row in BARE])
def test_letter_that_stands_alone(text, expected):
    assert bare_letter(text) == expected


METADATA = [("mmau-mini", "mmau-test-mini.json"), ("mmar", "MMAR-meta.jsonl"), ("mmar", "MMAR-meta.json")]
DRESSES = [
    "{}",
    "{}.",
    "{}。",
    "「{}」",
    "《{}》",
    "**{}**",
    "- {}",
    "“{}”",
    "{letter}. {}",
    "{letter}、{}",
    "[{letter}] {}",
]


@pytest.mark.parametrize(("name", "file"), METADATA)
def test_every_answer_is_right_in_every_form_and_no_other_choice_is(real_data, name, file):
    for sample in load_benchmark(name, real_data / file).samples:
        for place, choice in enumerate(sample.choices):
            is_answer = fold(choice) == fold(sample.answer)
            is_alone = [c for c in sample.choices if bare(c) == bare(choice)] == [choice]
            for dress in DRESSES if is_alone else ():
                said = dress.format(choice, letter="ABCDEFGH"[place])
                assert strict_correct(said, sample.answer, sample.choices) is is_answer, (sample.id, said)
        assert strict_correct(sample.answer, sample.answer, sample.choices)


def bare(text: str) -> str:
    """Letters, digits and signs that are no punctuation: choices that agree in these may need theirs."""
    return "".join(sign for sign in fold(text) if unicodedata.category(sign)[0] in "LNS")
