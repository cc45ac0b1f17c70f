"""A run whose completions are of no use says so, with the number and the remedy."""

import pytest
from inference_runs import arguments
from tiny_world import make_base, write_mmau

import infer
from omni_clst.data.response_health import ENOUGH, SHARES, ResponseHealth, sign_of
from omni_clst.data.samples import AudioQASample

SAMPLE = AudioQASample("a", "a.wav", "which ?", ("dog", "cat"), "dog")
RIGHT = "<think>\n\n</think><answer>dog</answer>"


def health_of(bad: tuple[str, bool], share: float, asks_for_tags: bool = True) -> ResponseHealth:
    health = ResponseHealth("max_new_tokens")
    count = round(share * 100)
    for text, finished in [bad] * count + [(RIGHT if asks_for_tags else "dog", True)] * (100 - count):
        health.add(sign_of(SAMPLE, text, finished, asks_for_tags))
    return health


SIGNS = [
    (("<think>I hear", False), True, "are cut off: raise max_new_tokens"),
    (("a dog barks", True), True, "have no answer in their tags: the model may not know the form"),
    (("<answer>a bird</answer>", True), True, "answer with none of the choices: the prompt may not ask"),
    (("a bird", True), False, "answer with none of the choices: the prompt may not ask"),
    ((" \n", True), True, "are empty: is the checkpoint whole"),
]


@pytest.mark.parametrize(("bad", "asks_for_tags", "message"), SIGNS, ids=[sign[2].split(":")[0] for sign in SIGNS])
def test_sign_is_said_from_its_share_on_and_once(bad, asks_for_tags, message):
    share = next(limit for sign, limit in SHARES.items() if message.startswith(sign))
    assert health_of(bad, share - 0.01, asks_for_tags).new_warnings() == []
    health = health_of(bad, share, asks_for_tags)
    (line,) = health.new_warnings()
    assert line.startswith(f"warning: {round(share * 100)} of 100 completions {message}")
    assert health.new_warnings() == []


def test_a_few_completions_say_nothing():
    health = ResponseHealth("max_new_tokens")
    for _ in range(ENOUGH - 1):
        health.add(sign_of(SAMPLE, "", True, True))
    assert health.new_warnings() == []


def test_answer_in_form_and_among_the_choices_is_no_sign():
    assert health_of((RIGHT, True), 1.0).new_warnings() == []


def test_inference_says_that_its_answers_are_none_of_the_choices_while_it_runs(tmp_path, capsys):
    make_base(tmp_path / "base")
    write_mmau(tmp_path / "data", 40)
    infer.main(arguments(tmp_path, "out", max_new_tokens=1))  # one token of a random model
    lines = capsys.readouterr().out.splitlines()
    warning = next(number for number, line in enumerate(lines) if line.startswith("warning: "))
    assert "completions are cut off: raise max_new_tokens" in lines[warning]
    assert warning < next(number for number, line in enumerate(lines) if line.startswith("mmau-mini ("))
