"""A sample's level: which of two models answer it right."""

import pytest
from graded_samples import make_sample

from omni_clst.errors import InputError
from omni_clst.method.levels import grade, level_of


@pytest.mark.parametrize(
    ("base", "sft", "right_from", "level", "reason"),
    [
        (1.0, 1.0, 0.5, "easy", "both are right"),
        (1.0, 0.0, 0.5, "easy", "the base is right: what SFT unlearnt is still easy"),
        (0.0, 1.0, 0.5, "medium", "only the SFT model is right"),
        (0.0, 0.0, 0.5, "hard", "both are wrong"),
        (0.5, 0.0, 0.5, "easy", "exactly at the threshold is right"),
        (0.49, 0.5, 0.5, "medium", "just below it is wrong"),
        (0.75, 1.0, 1.0, "medium", "a threshold of 1 asks for every answer"),
        (0.25, 0.0, 0.25, "easy", "a low one for few"),
    ],
)
def test_level_follows_which_models_are_right(base, sft, right_from, level, reason):
    assert level_of(make_sample(0), base, sft, right_from) == level, reason


def test_grading_notes_both_pass_rates_and_keeps_the_rest():
    sample = make_sample(0, extra={"depth": "deep"}, level="hard")
    (graded,) = grade([sample], {"s000": 0.75, "other": 0.0}, {"s000": 0.25}, 0.5)
    row = graded.to_row()
    assert (row["level"], row["base_pass_rate"], row["sft_pass_rate"], row["depth"]) == ("easy", 0.75, 0.25, "deep")
    assert (sample.level, sample.extra) == ("hard", {"depth": "deep"})


def test_samples_without_an_answer_are_counted_for_each_model():
    samples = [make_sample(number) for number in range(5)]
    with pytest.raises(InputError) as caught:
        grade(samples, {"s004": 1.0}, {f"s{number:03d}": 1.0 for number in range(4)}, 0.5)
    assert str(caught.value) == (
        "4 of 5 samples have no answer of the base: s000, s001, s002; 1 of 5 samples have no answer of the SFT model: s004"
    )
