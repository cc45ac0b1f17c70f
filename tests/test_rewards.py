"""Rewards: one case per rule, each with its reason."""

import pytest

from omni_clst.data.samples import AudioQASample
from omni_clst.method.rewards import REWARDS, score_completion

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


@pytest.mark.parametrize(("name", "text", "earned", "reason"), TABLE, ids=[row[3] for row in TABLE])
def test_reward(name, text, earned, reason):
    assert REWARDS[name](SAMPLE, text) == pytest.approx(earned), reason


def test_every_reward_is_in_the_table():
    assert {row[0] for row in TABLE} == set(REWARDS)


def test_sample_without_choices_is_compared_with_its_answer():
    assert REWARDS["accuracy"](OPEN, RIGHT) == 1.0
    assert REWARDS["accuracy"](OPEN, "<think>\n\n</think><answer>a cat</answer>") == 0.0


def test_rewards_are_unweighted_and_in_the_order_of_the_settings():
    assert list(score_completion(SAMPLE, RIGHT, ["format", "accuracy"]).items()) == [("format", 1.0), ("accuracy", 1.0)]
