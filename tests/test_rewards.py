"""Rewards: one case per rule, each with its reason."""

import pytest

from omni_clst.data.samples import AudioQASample
from omni_clst.method.own_rules import names_in_logs
from omni_clst.method.rewards import REWARDS, make_rewards, parse_completion, score_completion

SAMPLE = AudioQASample("a", "/a.wav", "What barks?", ("A dog", "a cat", "a cow"), "A dog")
OPEN = AudioQASample("b", "/b.wav", "What barks?", (), "A dog", prompt="What barks? Say it.")
RIGHT = "<think>\n\n</think><answer>A dog</answer>"

TABLE = [
    ("accuracy", RIGHT, 1.0, "the right choice"),
    ("accuracy", "<think>it barks</think><answer> a DOG. </answer>", 1.0, "case, white space and a full stop do not count"),
    ("accuracy", "<answer>A dog</answer>", 1.0, "accuracy does not ask for the form"),
    ("accuracy", "<think>\n\n</think><answer>a cat</answer>", 0.0, "a wrong choice"),
    ("accuracy", "<think>\n\n</think><answer>A</answer>", 0.0, "a letter is no answer"),
    ("accuracy", "<think>\n\n</think><answer>A dog or a cat</answer>", 0.0, "two choices are none"),
    ("accuracy", "<answer>A dog</answer> or <answer>a cat</answer>", 0.0, "hedging earns nothing"),
    ("accuracy", "A dog", 0.0, "no tags, no answer"),
    ("accuracy", "", 0.0, "nothing written"),
    ("accuracy", "<think>A dog</think>", 0.0, "a thought is no answer"),
    ("exact_accuracy", RIGHT, 1.0, "letter for letter"),
    ("brevity", "<think>\n\n</think><answer>a dog</answer>", 1.0, "no words, no cost"),
    ("brevity", "<think>" + "a " * 25 + "</think>", 0.75, "a quarter of the words that cost all"),
    ("brevity", "<think>" + "a " * 300 + "</think>", 0.0, "never below 0"),
    ("exact_accuracy", "<think>\n\n</think><answer>a dog</answer>", 0.0, "as published, case counts"),
    ("format", RIGHT, 1.0, "an empty thought is a thought"),
    ("format", "<think>it barks</think>\n<answer>a cat</answer>", 1.0, "a wrong answer in the right form"),
    ("format", "<answer>A dog</answer>", 0.0, "no thought"),
    ("format", "so: " + RIGHT, 0.0, "words in front"),
    ("format", RIGHT + " I am sure", 0.0, "words behind"),
    ("format", "<answer>A dog</answer><think>it barks</think>", 0.0, "the other way round"),
    ("format", RIGHT + "<answer>A dog</answer>", 0.0, "two answers, even if they agree"),
    ("format", "<think>a</think>" + RIGHT, 0.0, "two thoughts"),
    ("format", "<think>\n\n</think><answer></answer>", 0.0, "an empty answer"),
    ("format", "<think>\n\n</think><answer>A dog", 0.0, "cut off"),
    ("answer_format", "<answer>a cat</answer>", 1.0, "a wrong answer alone in its tags"),
    ("answer_format", " <answer>A dog</answer>\n", 1.0, "white space around it"),
    ("answer_format", RIGHT, 0.0, "an empty thought is one too many"),
    ("answer_format", "It is <answer>A dog</answer>", 0.0, "words in front of the answer"),
    ("answer_format", "<answer>A dog</answer><answer>A dog</answer>", 0.0, "two answers alone"),
    ("answer_format", "<answer> </answer>", 0.0, "no word in the answer"),
    ("answer_format", "<answer>A dog", 0.0, "cut off in the answer"),
    ("length", RIGHT, 1.0, "nothing thought"),
    ("length", f"<think>{'a ' * 100}</think><answer>A dog</answer>", 1.0, "100 words are fine"),
    ("length", f"<think>{'a ' * 150}</think><answer>A dog</answer>", 0.5, "halfway to 200"),
    ("length", f"<think>{'a ' * 300}</think><answer>A dog</answer>", 0.0, "far over"),
    ("length", f"<think>{'a ' * 150}", 0.5, "an unfinished thought counts as it stands"),
    ("selective_thought", RIGHT, 1.0, "right without thinking"),
    ("selective_thought", "<think>it barks</think><answer>A dog</answer>", 0.0, "right, but thought about"),
    ("selective_thought", "<think>\n\n</think><answer>a cat</answer>", 0.0, "wrong without thinking"),
    ("selective_thought", "<answer>A dog</answer>", 0.0, "no thought is not an empty one"),
]


def earned_by(text: str, name: str, sample: AudioQASample = SAMPLE, max_thought_words: int = 100) -> float:
    return make_rewards([name], max_thought_words)[name](sample, parse_completion(text, 5, True))


@pytest.mark.parametrize(("name", "text", "earned", "reason"), TABLE, ids=[row[3] for row in TABLE])
def test_reward(name, text, earned, reason):
    assert earned_by(text, name) == pytest.approx(earned), reason


def test_every_reward_is_in_the_table():
    assert {row[0] for row in TABLE} == set(REWARDS)


@pytest.mark.parametrize(("words", "earned"), [(20, 1.0), (30, 0.5), (40, 0.0)])
def test_limit_of_the_thought_is_a_setting(words, earned):
    assert earned_by(f"<think>{'a ' * words}</think>", "length", max_thought_words=20) == earned


def test_sample_without_choices_is_compared_with_its_answer():
    assert earned_by(RIGHT, "accuracy", OPEN) == 1.0
    assert earned_by("<think>\n\n</think><answer>a cat</answer>", "accuracy", OPEN) == 0.0


def test_rewards_are_unweighted_and_in_the_order_of_the_settings():
    rewards = make_rewards(["format", "accuracy"], 100)
    scores = score_completion(SAMPLE, parse_completion(RIGHT, 5, True), rewards)
    assert list(scores.items()) == [("format", 1.0), ("accuracy", 1.0)]


def test_reward_sees_the_completion_and_what_was_parsed():
    completion = parse_completion("<think>it barks</think><answer>A dog", 9, False)
    assert (completion.tokens, completion.finished, completion.well_formed) == (9, False, False)
    assert (completion.think, completion.answer) == ("it barks", "A dog")


@pytest.mark.parametrize(
    ("names", "logged", "reason"),
    [
        (["/a/my.py:short", "format"], ["short", "format"], "the function's name alone"),
        (["/a/my.py:accuracy"], ["my.accuracy"], "accuracy is the project's own, named or not"),
        (["/a/my.py:f", "/a/other.py:f"], ["my.f", "other.f"], "two files"),
        (["/a/my.py:f", "/b/my.py:f"], ["a.my.f", "b.my.f"], "two folders"),
        (["/my.py:f", "/b/my.py:f"], ["my.f", "b.my.f"], "a path that ends another one is used whole"),
    ],
)
def test_names_in_logs_are_short_and_unlike(names, logged, reason):
    assert names_in_logs(names, REWARDS) == logged, reason
