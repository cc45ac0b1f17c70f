"""The error-aware curriculum: what cannot teach is left out, numbers of samples by the mix, no clip in both files."""

import os
import subprocess
import sys

import pytest
from graded_samples import MIX, ids, levels_in, make_config, make_graded, make_sample, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_clst.data.samples import EASY_TO_HARD, AudioQASample
from omni_clst.errors import InputError
from omni_clst.method.curriculum import (
    draw_samples,
    hold_out,
    make_curriculum,
    put_in_order,
    quotas,
    share_out,
    why_left_out,
)
from omni_clst.method.levels import grade
from omni_clst.method.silence import note_silence
from omni_clst.settings import REPOSITORY

# what cannot teach


@pytest.mark.parametrize(
    ("answer", "sft", "window", "why", "reason"),
    [
        ("a", 0.0, (0.0, 1.0), None, "the default window leaves nothing out"),
        ("a", 1.0, (0.0, 1.0), None, "at neither end"),
        (None, 0.5, (0.0, 1.0), "no answer to compare with", "no reward can be given"),
        ("", 0.5, (0.0, 1.0), "no answer to compare with", "an empty answer is none"),
        ("a", 0.0, (0.1, 0.9), "SFT pass rate below 0.1", "never right: no difference in a group"),
        ("a", 1.0, (0.1, 0.9), "SFT pass rate above 0.9", "always right: neither"),
        ("a", 0.1, (0.1, 0.9), None, "the window holds its ends"),
        ("a", 0.9, (0.1, 0.9), None, "both of them"),
    ],
)
def test_uninformative_samples_are_left_out_with_their_reason(answer, sft, window, why, reason):
    sample = make_sample(0, extra={"base_pass_rate": 0.0, "sft_pass_rate": sft})
    assert why_left_out(AudioQASample(**vars(sample) | {"answer": answer}), *window, (0.0, 1.0)) == why, reason


WITHOUT_AUDIO = "solvable without audio: silence pass rate above 0.5"


@pytest.mark.parametrize(
    ("answer", "sft", "silence", "why", "reason"),
    [
        ("a", 0.5, 0.75, WITHOUT_AUDIO, "right three times out of four without audio"),
        ("a", 0.5, 0.5, None, "the limit itself stays"),
        ("a", 0.5, 0.0, None, "wrong without the clip"),
        ("a", 1.0, 1.0, WITHOUT_AUDIO, "checked before the SFT model's pass rate"),
        ("", 0.5, 1.0, "no answer to compare with", "without an answer nothing is right"),
    ],
)
def test_what_is_solvable_without_audio_is_left_out_above_the_limit(answer, sft, silence, why, reason):
    extra = {"base_pass_rate": 0.0, "sft_pass_rate": sft, "silence_pass_rate": silence}
    sample = AudioQASample(**vars(make_sample(0, extra=extra)) | {"answer": answer})
    assert why_left_out(sample, 0.1, 0.9, (0.0, 0.5)) == why, reason


def test_what_is_not_solvable_without_audio_is_left_out_below_the_limit():
    rates = (0.0, 0.25, 0.5, 1.0)
    extras = [{"base_pass_rate": 0.0, "sft_pass_rate": 0.5, "silence_pass_rate": rate} for rate in rates]
    reasons = [why_left_out(make_sample(0, extra=extra), 0.0, 1.0, (0.5, 1.0)) for extra in extras]
    assert reasons == ["not solvable without audio: silence pass rate below 0.5"] * 2 + [None] * 2


def test_limit_of_one_leaves_out_nothing_marked_or_not():
    extra = {"base_pass_rate": 0.0, "sft_pass_rate": 0.5}
    for sample in (make_sample(0, extra=extra), make_sample(0, extra=extra | {"silence_pass_rate": 1.0})):
        assert why_left_out(sample, 0.0, 1.0, (0.0, 1.0)) is None


def test_samples_not_answered_on_silence_are_counted():
    samples = [make_sample(number) for number in range(5)]
    with pytest.raises(InputError) as caught:
        note_silence(samples, {"s002": 1.0})
    assert str(caught.value) == "4 of 5 samples have no answer on silence: s000, s001, s003"


# shares


@pytest.mark.parametrize(
    ("mix", "size", "places", "reason"),
    [
        (MIX, 15000, (3000, 6000, 6000), "the default"),
        ({"easy": 1, "medium": 2, "hard": 2}, 10, (2, 4, 4), "shares need not sum to 1"),
        ({"easy": 1, "medium": 1, "hard": 1}, 10, (4, 3, 3), "the place left over goes to the first of equal remainders"),
        ({"easy": 0.1, "medium": 0.2, "hard": 0.7}, 7, (1, 1, 5), "0.7, 1.4, 4.9: the largest remainders are rounded up"),
        ({"hard": 3.0}, 5, (0, 0, 5), "a level that is not named gets none"),
        (MIX, 0, (0, 0, 0), "nothing is nothing"),
    ],
)
def test_shares_become_whole_numbers_that_add_up(mix, size, places, reason):
    assert tuple(quotas(mix, size).values()) == places, reason


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"easy": 1, "hrad": 1}, "mix: 'hrad' is not one of easy, medium, hard"),
        ({"easy": -0.5, "hard": 1}, "mix: easy -0.5 is not a share"),
        ({"easy": float("nan")}, "mix: easy nan is not a share"),
        ({"easy": 0.0}, "mix: no level has a share"),
        ({}, "mix: no level has a share"),
        ({"unknown": 1, "easy": -1}, "mix: 'unknown' is not one of easy, medium, hard; mix: easy -1 is not a share"),
    ],
)
def test_bad_mix_is_named(mix, message):
    with pytest.raises(InputError) as caught:
        quotas(mix, 10)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("available", "mix", "taken", "reason"),
    [
        ((50, 50, 50), MIX, (4, 8, 8), "enough of each"),
        ((50, 50, 3), MIX, (4, 13, 3), "medium takes the 5 places of hard"),
        ((50, 10, 3), MIX, (7, 10, 3), "as far as it goes, then easy does"),
        ((50, 5, 50), MIX, (4, 5, 11), "hard takes those of medium"),
        ((0, 9, 50), MIX, (0, 9, 11), "of easy's 4 places medium takes 1 and hard 3"),
        ((2, 3, 4), MIX, (2, 3, 4), "fewer than asked for: all"),
        ((50, 3, 4), {"medium": 1, "hard": 1}, (0, 3, 4), "a level without a share fills no place"),
        ((50, 50, 50), {"easy": 0.001, "medium": 1, "hard": 1}, (0, 10, 10), "a share too small for a place"),
        ((50, 3, 4), {"easy": 0.001, "medium": 1, "hard": 1}, (13, 3, 4), "is still a share: it fills"),
    ],
)
def test_level_with_too_few_gives_its_places_to_medium_then_hard_then_easy(available, mix, taken, reason):
    counts = dict(zip(EASY_TO_HARD, available, strict=True))
    assert tuple(share_out(counts, mix, 20).values()) == taken, reason


COUNTS = st.fixed_dictionaries({level: st.integers(0, 40) for level in EASY_TO_HARD})
SHARES = st.dictionaries(st.sampled_from(EASY_TO_HARD), st.floats(0.01, 10) | st.just(0.0)).filter(
    lambda mix: any(mix.values())
)


@given(COUNTS, SHARES, st.integers(0, 150))
def test_as_many_are_taken_as_asked_for_or_as_there_are(available, mix, size):
    taken = share_out(available, mix, size)
    assert sum(taken.values()) == min(size, sum(count for level, count in available.items() if mix.get(level)))
    assert all(0 <= taken[level] <= available[level] for level in EASY_TO_HARD)


# drawing and ordering


def test_larger_draw_contains_the_smaller_one():
    graded = make_graded([level for level in EASY_TO_HARD for _ in range(20)])
    small, large = (set(ids(draw_samples(graded, size, MIX, seed=1))) for size in (10, 30))
    assert small < large


def test_seed_decides_which_samples_are_drawn():
    graded = make_graded([level for level in EASY_TO_HARD for _ in range(20)])
    drawn = [frozenset(ids(draw_samples(graded, 10, MIX, seed))) for seed in range(10)]
    assert len(set(drawn)) == 10
    assert drawn[3] == frozenset(ids(draw_samples(graded, 10, MIX, 3)))


def test_nothing_to_draw_is_an_error():
    with pytest.raises(InputError) as caught:
        draw_samples(make_graded(["easy", "easy"]), 5, {"hard": 1.0}, 0)
    assert str(caught.value) == "nothing to draw: none of 2 samples has a level of the mix {'hard': 1.0}; change mix"


def test_order_is_easy_medium_hard_and_by_falling_pass_rate_within():
    rates = [(0.0, 0.25), (0.5, 1.0), (0.25, 0.75), (1.0, 1.0), (0.0, 0.5), (0.25, 0.25), (0.75, 0.0)]
    samples = [make_sample(number) for number in range(7)]
    base, sft = ({f"s{n:03d}": pair[side] for n, pair in enumerate(rates)} for side in (0, 1))
    ordered = put_in_order(grade(samples, base, sft, 0.5), seed=0)
    # easy: 3 (mean 1), 1 (0.75), 6 (0.375); medium: 2 (0.5), 4 (0.25); hard: 5 (0.25), 0 (0.125)
    assert ids(ordered) == ["s003", "s001", "s006", "s002", "s004", "s005", "s000"]


def test_rates_that_differ_by_rounding_are_ties():
    """0.1 + 0.2 is not 0.3 in floats: with equal means, the seed decides who is first."""
    samples = [make_sample(0), make_sample(1)]
    graded = grade(samples, {"s000": 0.1, "s001": 0.3}, {"s000": 0.2, "s001": 0.0}, 0.5)
    assert {ids(put_in_order(graded, seed))[0] for seed in range(20)} == {"s000", "s001"}


def test_ties_are_mixed_by_the_seed():
    graded = make_graded(["medium"] * 30)
    orders = [ids(put_in_order(graded, seed)) for seed in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    assert all(sorted(order) == ids(graded) and order != ids(graded) for order in orders)


# holding out


def test_held_out_clips_are_not_trained_on():
    """4 clips of 3 questions, 2 held out: of one clip, as both its places are open, or of two."""
    graded = make_graded(["easy", "medium", "hard"] * 4, questions_per_clip=3)
    held_out, rest = hold_out(graded, 2, 4, {"medium": 1, "hard": 1}, seed=0)
    assert levels_in(held_out) == {"medium": 1, "hard": 1}
    assert len({sample.audio_path for sample in held_out}) == 1
    assert len(rest) == 9
    assert not {sample.audio_path for sample in held_out} & {sample.audio_path for sample in rest}


def test_scarce_level_is_found_in_both_files():
    """12 for both files by MIX: 2 hard there where 5 are wanted, so 2 easy, 8 medium, 2 hard; half of each is held out."""
    graded = make_graded(["easy"] * 20 + ["medium"] * 20 + ["hard"] * 2)
    held_out, rest = hold_out(graded, 6, 6, MIX, seed=0)
    assert levels_in(held_out) == {"easy": 1, "medium": 4, "hard": 1}
    assert levels_in(rest)["hard"] == 1


def test_nothing_is_held_out_by_default():
    graded = make_graded(["easy", "hard"])
    assert hold_out(graded, 0, 2, MIX, 0) == ([], graded)


def test_holding_out_everything_is_an_error():
    with pytest.raises(InputError) as caught:
        hold_out(make_graded(["easy"] * 3), 3, 5, MIX, 0)
    assert str(caught.value) == "valid_size 3 leaves nothing to train on: there are 3 samples"


# the whole


PASS_RATES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
WORLDS = st.lists(st.tuples(PASS_RATES, PASS_RATES, st.integers(0, 15)), min_size=12, max_size=60)


@settings(deadline=None)
@given(WORLDS, st.integers(1, 70), st.integers(0, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_curriculum_adds_up_splits_by_clip_and_ignores_the_input_order(rows, size, valid_size, seed, random):
    samples, base, sft = make_world(rows)
    config = make_config(size=size, valid_size=valid_size, seed=seed, max_sft_pass_rate=0.75)
    try:
        made = make_curriculum(samples, base, sft, config)
    except InputError as error:
        assert str(error).startswith(("nothing to draw", f"valid_size {valid_size} leaves nothing"))
        return
    assert len(made.held_out) == valid_size
    assert len(made.chosen) == min(size, len(made.available))
    assert ids(made.graded) == ids(samples)
    chosen, held_out, available = (set(ids(part)) for part in (made.chosen, made.held_out, made.available))
    assert chosen <= available
    assert len(chosen) == len(made.chosen)
    assert not available & held_out
    assert not (available | held_out) & set(made.left_out)
    clips = {sample.audio_path for sample in made.held_out}
    assert not clips & {sample.audio_path for sample in made.available}
    assert set(made.left_out) == {key for key, rate in sft.items() if rate == 1.0}
    for part in (made.chosen, made.held_out):
        places = [EASY_TO_HARD.index(sample.level) for sample in part]
        assert places == sorted(places)

    shuffled = list(samples)
    random.shuffle(shuffled)
    again = make_curriculum(shuffled, base, sft, config)
    assert (again.chosen, again.held_out) == (made.chosen, made.held_out)


def test_nothing_depends_on_the_hash_seed():
    """Sets and dicts of texts are visited in another order in every process; the draw must not be."""
    code = (
        "from graded_samples import MIX, ids, make_graded\n"
        "from omni_clst.method.curriculum import draw_samples, hold_out, put_in_order\n"
        "from omni_clst.method.order import ORDERS, arrange\n"
        "graded = make_graded(['easy', 'medium', 'hard'] * 20, 4)\n"
        "held_out, rest = hold_out(graded, 6, 20, MIX, 0)\n"
        "print(ids(held_out), ids(put_in_order(draw_samples(rest, 20, MIX, 0), 0)))\n"
        "print([arrange(['easy', 'hard'] * 9, order, 0, 0.3) for order in ORDERS])\n"
    )
    path = os.pathsep.join(str(REPOSITORY / name) for name in ("src", "tests"))
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(printed) == 1
