"""The error-aware curriculum: levels by which models fail, numbers of samples by the mix, no clip in both files."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import curriculum as entry
from omni_clst.data.layouts import read_samples
from omni_clst.data.samples import EASY_TO_HARD, AudioQASample
from omni_clst.errors import InputError
from omni_clst.method.config import CurriculumConfig
from omni_clst.method.curriculum import (
    draw_samples,
    hold_out,
    make_curriculum,
    put_in_order,
    quotas,
    share_out,
    why_left_out,
)
from omni_clst.method.levels import grade, level_of
from omni_clst.method.order import ORDERS, arrange
from omni_clst.method.silence import note_silence
from omni_clst.report.curriculum_picture import running_mean
from omni_clst.report.curriculum_report import describe_curriculum
from omni_clst.settings import REPOSITORY, load_config

MIX = {"easy": 0.2, "medium": 0.4, "hard": 0.4}
RATES_OF = {"easy": (1.0, 1.0), "medium": (0.0, 1.0), "hard": (0.0, 0.0)}


def make_sample(number: int, questions_per_clip: int = 1, **fields: object) -> AudioQASample:
    clip = f"/clips/{number // questions_per_clip}.wav"
    return AudioQASample(f"s{number:03d}", clip, "q", ("a", "b"), "a", **{"think": "t"} | fields)


def make_graded(levels: list[str], questions_per_clip: int = 1) -> list[AudioQASample]:
    """One sample a level named, with pass rates that give it."""
    samples = [make_sample(number, questions_per_clip) for number in range(len(levels))]
    rates = {sample.id: RATES_OF[level] for sample, level in zip(samples, levels, strict=True)}
    base, sft = ({key: pair[side] for key, pair in rates.items()} for side in (0, 1))
    return grade(samples, base, sft, 0.5)


def make_config(**changes: object) -> CurriculumConfig:
    paths = {"samples": "s", "base_answers_dir": "b", "answers_dir": "a", "output": "o.jsonl"}
    return CurriculumConfig(**paths | changes)


def ids(samples: list[AudioQASample]) -> list[str]:
    return [sample.id for sample in samples]


def levels_in(samples: list[AudioQASample]) -> dict[str, int]:
    return dict(Counter(sample.level for sample in samples))


# grading


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


def make_world(rows: list[tuple[float, float, int]]) -> tuple[list[AudioQASample], dict, dict]:
    """Samples, pass rates of the base and of the SFT model; the rows' last number is the clip."""
    samples = [
        AudioQASample(f"s{number:03d}", f"/clips/{clip}.wav", "q", ("a", "b"), "a")
        for number, (_, _, clip) in enumerate(rows)
    ]
    base, sft = ({f"s{number:03d}": row[side] for number, row in enumerate(rows)} for side in (0, 1))
    return samples, base, sft


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


# the order of a run


LEVEL_LISTS = st.lists(st.sampled_from(EASY_TO_HARD), max_size=50)


@given(LEVEL_LISTS, st.sampled_from(ORDERS), st.integers(0, 2**40), st.floats(0, 5))
def test_every_order_is_a_permutation_that_the_seed_decides(levels, order, seed, overlap):
    found = arrange(levels, order, seed, overlap)
    assert sorted(found) == list(range(len(levels)))
    assert found == arrange(levels, order, seed, overlap)


@given(LEVEL_LISTS, st.integers(0, 1000))
def test_levels_stay_in_order_when_shuffled_within(levels, seed):
    ordered = [EASY_TO_HARD.index(levels[place]) for place in arrange(levels, "shuffled_within_level", seed, 0.0)]
    assert ordered == sorted(ordered)


def test_order_of_the_file_is_the_file():
    assert arrange(["hard", "unknown", "easy"], "file", 7, 0.5) == [0, 1, 2]


def test_no_overlap_is_the_order_of_the_file():
    assert arrange(["unknown"] * 100, "overlapping", 7, 0.0) == list(range(100))


def mean_displacement(overlap: float) -> float:
    """How far a sample of a file of 3000 is moved, as a share of the file's length."""
    places = arrange(["unknown"] * 3000, "overlapping", 0, overlap)
    return sum(abs(new - old) for new, old in enumerate(places)) / 3000**2


def test_more_overlap_moves_samples_further_until_all_is_shuffled():
    """Two independent places in a file are a third of its length apart on average."""
    found = [mean_displacement(overlap) for overlap in (0.01, 0.1, 0.3, 100.0)]
    assert found == sorted(found)
    assert found[0] < 0.02
    assert abs(found[-1] - 1 / 3) < 0.02


def test_overlap_shifts_the_shares_of_the_levels_over_the_run():
    levels = ["easy"] * 1000 + ["medium"] * 1000 + ["hard"] * 1000
    run = [levels[place] for place in arrange(levels, "overlapping", 0, 0.2)]
    thirds = [Counter(run[start : start + 1000]) for start in (0, 1000, 2000)]
    assert [third.most_common(1)[0][0] for third in thirds] == list(EASY_TO_HARD)
    assert all(third[level] > 0 for third, level in zip(thirds[:2], ("medium", "hard"), strict=True))
    assert thirds[0]["hard"] < thirds[1]["hard"] < thirds[2]["hard"]


def test_shuffled_orders_differ_by_seed():
    levels = ["easy"] * 20 + ["hard"] * 20
    for order in ORDERS[1:]:
        assert len({tuple(arrange(levels, order, seed, 0.2)) for seed in range(5)}) == 5, order


def test_order_by_level_needs_levels():
    with pytest.raises(InputError) as caught:
        arrange(["easy", "unknown", "unknown"], "shuffled_within_level", 0, 0.0)
    assert str(caught.value) == "order shuffled_within_level needs levels: 2 of 3 samples have none"


def test_unknown_order_is_named():
    with pytest.raises(InputError) as caught:
        arrange(["easy"], "random", 0, 0.0)
    assert str(caught.value) == ("order 'random' is not one of file, shuffled, shuffled_within_level, overlapping")


def test_nothing_depends_on_the_hash_seed():
    """Sets and dicts of texts are visited in another order in every process; the draw must not be."""
    code = (
        "from test_curriculum import *\n"
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


# what is said about it


def test_running_mean_reaches_to_both_sides_and_less_at_the_ends():
    assert running_mean([1.0, 0.0, 0.5, 0.0], 1) == [0.5, 0.5, 1 / 6, 0.25]
    assert running_mean([1.0, 0.0], 0) == [1.0, 0.0]


def test_table_accounts_for_every_sample():
    """10 clips of 2 questions: 8 easy (2 of them unlearnt by SFT), 8 medium, 4 hard, one hard without an answer."""
    samples = [make_sample(number, 2, think=None if number == 19 else "t") for number in range(20)]
    samples[16] = AudioQASample(**vars(samples[16]) | {"answer": None})
    base = {sample.id: float(number < 8) for number, sample in enumerate(samples)}
    sft = {sample.id: float(2 <= number < 16) for number, sample in enumerate(samples)}
    config = make_config(size=10)
    made = make_curriculum(samples, base, sft, config)
    # places 2, 4, 4; 3 hard ones are left: medium takes the open place. Two of the easy ones are drawn.
    assert levels_in(made.chosen) == {"easy": 2, "medium": 5, "hard": 3}
    easy_right = 50.0 * sum(sample.extra["sft_pass_rate"] for sample in made.chosen[:2])
    all_right = 10.0 * (5 + sum(sample.extra["sft_pass_rate"] for sample in made.chosen[:2]))
    assert describe_curriculum(made, config).splitlines() == [
        "20 samples answered by both models (right: pass rate of at least 0.5)",
        "",
        "             SFT right   SFT wrong",
        "base right  6 (30.0 %)  2 (10.0 %)",
        "base wrong  8 (40.0 %)  4 (20.0 %)",
        "",
        "level   samples  left out  held out  beside them  available  chosen    share  base right  SFT right  with thought",
        f"easy          8         0         0            0          8       2   20.0 %     100.0 %  {easy_right:7.1f} %"
        "       100.0 %",
        "medium        8         0         0            0          8       5   50.0 %       0.0 %    100.0 %       100.0 %",
        "hard          4         1         0            0          3       3   30.0 %       0.0 %      0.0 %        66.7 %",
        f"all          20         1         0            0         19      10  100.0 %      20.0 %  {all_right:7.1f} %"
        "        90.0 %",
        "",
        "left out: 1 (no answer to compare with)",
        "too few of their level: 1 hard; filled by 1 medium",
    ]


def test_table_says_what_is_held_out_and_what_is_missing():
    samples, base, sft = make_world([(1.0, 1.0, number // 2) for number in range(8)])
    config = make_config(size=20, valid_size=1)
    made = make_curriculum(samples, base, sft, config)
    text = describe_curriculum(made, config).splitlines()
    assert text[7].split()[:7] == ["easy", "8", "0", "1", "1", "6", "6"]
    assert text[-3:] == [
        "too few of their level: 8 medium, 8 hard; filled by 2 easy",
        "fewer than the 20 asked for: all 6 available of the levels in the mix",
        "held out: 1 samples of 1 clips, none of which is trained on",
    ]


# the command


@pytest.fixture
def world(tmp_path):
    """30 samples, 2 a clip, and both models' answers: 12 easy, 10 medium, 8 hard.

    On silence every third one (4 easy, 4 medium, 2 hard) is right half of the time, the others never.
    """
    rows = [
        {"id": f"q{n:02d}", "audio_path": f"clips/{n // 2}.wav", "question": "what ?", "choices": ["a", "b"],
         "answer": "a", "think": "because", "source": "test"}
        for n in range(30)
    ]  # fmt: skip
    write_rows(tmp_path / "source.jsonl", rows)
    for model, right in (("base", range(12)), ("sft", range(22))):
        answers = [{"id": f"q{n:02d}", "correct": [int(n in right)]} for n in range(30)]
        write_rows(tmp_path / model / "answers.jsonl", answers)
    write_rows(tmp_path / "silence" / "answers.jsonl", [
        {"id": f"q{n:02d}", "correct": [int(n % 3 == 0), 0], "audio": "silence"} for n in range(30)
    ])  # fmt: skip
    (tmp_path / "dir.jsonl").mkdir()
    return tmp_path


def write_rows(path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(world, **changes: object) -> None:
    arguments = {
        "samples": world / "source.jsonl",
        "base_answers_dir": world / "base",
        "answers_dir": world / "sft",
        "output": world / "out" / "CLST.jsonl",
        "size": 10,
    }
    values = {key: value for key, value in (arguments | changes).items() if value is not None}
    entry.main(["clst", *(word for key, value in values.items() for word in (f"--{key}", str(value)))])


def test_command_writes_the_file_its_table_and_its_picture(world, capsys):
    run(world, audio_root=world, valid_size=5, valid_output=world / "out" / "valid.jsonl")
    output = world / "out" / "CLST.jsonl"
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["level"] for row in rows] == ["easy"] * 2 + ["medium"] * 4 + ["hard"] * 4
    assert {(row["level"], row["base_pass_rate"], row["sft_pass_rate"]) for row in rows} == {
        ("easy", 1.0, 1.0),
        ("medium", 0.0, 1.0),
        ("hard", 0.0, 0.0),
    }
    assert all(row["audio_path"].startswith("clips/") and row["think"] == "because" for row in rows)
    valid = read_samples(world / "out" / "valid.jsonl", world)
    assert levels_in(valid) == {"easy": 1, "medium": 2, "hard": 2}
    assert not {sample.audio_path for sample in valid} & {sample.audio_path for sample in read_samples(output, world)}
    table = (world / "out" / "CLST.txt").read_text()
    assert capsys.readouterr().out == f"{table}\n{output}: 10 samples, easy to hard\n"
    assert Image.open(world / "out" / "CLST.png").size > (1000, 400)
    assert sorted(path.name for path in (world / "out").iterdir()) == [
        "CLST.jsonl", "CLST.png", "CLST.txt", "valid.jsonl"
    ]  # fmt: skip


def test_command_writes_the_same_bytes_again(world):
    run(world)
    before = (world / "out" / "CLST.jsonl").read_bytes()
    lines = (world / "source.jsonl").read_text().splitlines()
    (world / "source.jsonl").write_text("\n".join(reversed(lines)))
    run(world)
    assert (world / "out" / "CLST.jsonl").read_bytes() == before


def test_mix_on_the_command_line_takes_the_place_of_the_default(world):
    run(world, mix="hard: 1, medium: 1")
    assert levels_in(read_samples(world / "out" / "CLST.jsonl")) == {"medium": 5, "hard": 5}


def test_every_sample_is_marked_with_its_pass_rate_on_silence(world):
    run(world, size=30, silence_answers_dir=world / "silence")
    rates = {sample.id: sample.extra["silence_pass_rate"] for sample in read_samples(world / "out" / "CLST.jsonl")}
    assert rates == {f"q{n:02d}": 0.5 * (n % 3 == 0) for n in range(30)}


def test_nothing_is_marked_without_answers_on_silence(world):
    run(world)
    assert not any("silence_pass_rate" in sample.extra for sample in read_samples(world / "out" / "CLST.jsonl"))


def test_what_is_solvable_without_audio_is_left_out_and_counted(world, capsys):
    run(world, size=30, silence_answers_dir=world / "silence", max_silence_pass_rate=0.4)
    chosen = read_samples(world / "out" / "CLST.jsonl")
    assert {sample.id for sample in chosen} == {f"q{n:02d}" for n in range(30) if n % 3}
    assert levels_in(chosen) == {"easy": 8, "medium": 6, "hard": 6}
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:7] for line in table[7:11]] == [
        ["easy", "12", "4", "0", "0", "8", "8"],
        ["medium", "10", "4", "0", "0", "6", "6"],
        ["hard", "8", "2", "0", "0", "6", "6"],
        ["all", "30", "10", "0", "0", "20", "20"],
    ]
    assert "left out: 10 (solvable without audio: silence pass rate above 0.4)" in table


BAD = [
    ({"base_answers_dir": "{w}/gone"},
     "base_answers_dir {w}/gone/answers.jsonl: no such file; "
     "`bash script/build_sft.sh` makes it: the base answers the samples"),
    ({"answers_dir": "{w}/gone"},
     "answers_dir {w}/gone/answers.jsonl: no such file; "
     "`bash script/build_clst.sh` makes it: the SFT model answers the samples"),
    ({"answers_dir": "{w}/base"}, "base_answers_dir and answers_dir are one folder, {w}/base; give one of each model"),
    ({"samples": "{w}/gone.jsonl"}, "samples {w}/gone.jsonl: no such file"),
    ({"output": None}, "output is not set (--output VALUE, or in the YAML)"),
    ({"output": "{w}/out/CLST.txt"}, "output {w}/out/CLST.txt does not end in .jsonl"),
    ({"output": "{w}/source.jsonl"}, "samples, output and valid_output are not different files"),
    ({"output": "{w}/base/answers.jsonl/x.jsonl"}, "{w}/base/answers.jsonl: cannot write there (File exists)"),
    ({"output": "{w}/dir.jsonl"}, "output {w}/dir.jsonl is a folder"),
    ({"valid_size": 3}, "valid_size 3 needs valid_output"),
    ({"valid_size": 3, "valid_output": "{w}/source.jsonl/v.jsonl"}, "{w}/source.jsonl: cannot write there (File exists)"),
    ({"valid_size": -1}, "valid_size -1 is not at least 0"),
    ({"valid_size": 3, "valid_output": "{w}/out/CLST.jsonl"}, "samples, output and valid_output are not different files"),
    ({"valid_size": 30, "valid_output": "{w}/v.jsonl"}, "valid_size 30 leaves nothing to train on: there are 30 samples"),
    ({"size": 0}, "size 0 is not positive"),
    ({"right_from": 0}, "right_from 0.0 is not positive"),
    ({"right_from": 2}, "right_from 2.0 is not between 0 and 1"),
    ({"min_sft_pass_rate": 0.9, "max_sft_pass_rate": 0.1},
     "min_sft_pass_rate, max_sft_pass_rate: [0.9, 0.1] is not an interval within [0, 1]"),
    ({"min_sft_pass_rate": 0.5, "max_sft_pass_rate": 0.6},
     "nothing to draw: none of 0 samples has a level of the mix {{'easy': 0.2, 'medium': 0.4, 'hard': 0.4}}; change mix"),
    ({"max_silence_pass_rate": 0.5}, "max_silence_pass_rate 0.5 needs silence_answers_dir"),
    ({"max_silence_pass_rate": 1.5}, "max_silence_pass_rate 1.5 is not between 0 and 1"),
    ({"max_silence_pass_rate": -0.5, "silence_answers_dir": "{w}/silence"},
     "max_silence_pass_rate -0.5 is not between 0 and 1"),
    ({"max_silence_pass_rate": "nan"}, "max_silence_pass_rate nan is not between 0 and 1"),
    ({"min_silence_pass_rate": 0.5}, "min_silence_pass_rate 0.5 needs silence_answers_dir"),
    ({"min_silence_pass_rate": 0.5, "max_silence_pass_rate": 0.4, "silence_answers_dir": "{w}/silence"},
     "min_silence_pass_rate 0.5 is above max_silence_pass_rate"),
    ({"silence_answers_dir": "{w}/gone"},
     "silence_answers_dir {w}/gone/answers.jsonl: no such file; `src/answer.py --audio silence` makes it"),
    ({"silence_answers_dir": "{w}/base"}, "{w}/base/answers.jsonl:1: audio 'real' is not 'silence'"),
    ({"answers_dir": "{w}/silence"}, "{w}/silence/answers.jsonl:1: audio 'silence' is not 'real'"),
    ({"mix": "hrad: 1"}, "mix: 'hrad' is not one of easy, medium, hard"),
    ({"mix": "easy: -1, hard: 2"}, "mix: easy -1.0 is not a share"),
    ({"mix": "easy: 0"}, "mix: no level has a share"),
    ({"mix": "easy"}, "command line: mix 'easy' is not names with numbers (a: 0.5, b: 1)"),
    ({"mix": "easy: [1"}, "command line: mix 'easy: [1' is not names with numbers (a: 0.5, b: 1)"),
    ({"mox": "easy: 1"}, "command line: unknown key 'mox' (did you mean 'mix'?)"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[row[1][:50] for row in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(world, changes, message):
    before = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    changes = {key: value.format(w=world) if isinstance(value, str) else value for key, value in changes.items()}
    with pytest.raises(InputError) as caught:
        run(world, **changes)
    assert str(caught.value) == message.format(w=world)
    assert {path: path.read_bytes() for path in world.rglob("*") if path.is_file()} == before


def test_sample_that_a_model_did_not_answer_is_named(world):
    lines = (world / "sft" / "answers.jsonl").read_text().splitlines()
    (world / "sft" / "answers.jsonl").write_text("\n".join(lines[2:]))
    with pytest.raises(InputError, match="^2 of 30 samples have no answer of the SFT model: q00, q01$"):
        run(world)
    assert not list(world.rglob("CLST*"))


def test_all_problems_of_the_settings_are_reported_together(world):
    with pytest.raises(InputError) as caught:
        run(world, size=-1, mix="hrad: 1", valid_size=2)
    assert str(caught.value).splitlines() == [
        "3 problems in the settings:",
        "  size -1 is not positive",
        "  valid_size 2 needs valid_output",
        "  mix: 'hrad' is not one of easy, medium, hard",
    ]


# settings that are mappings


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ("easy: 0.5, hard: 1", {"easy": 0.5, "hard": 1.0}, "as on a command line"),
        ("{easy: 0.5, hard: 1}", {"easy": 0.5, "hard": 1.0}, "braces as in a YAML"),
        (" easy: 1e-1 ", {"easy": 0.1}, "a text that is a number"),
        ("easy:1", None, "no space behind the colon: one name without a number"),
        ("easy: yes", None, "a boolean is not a number"),
        ("easy: ", None, "nothing neither"),
        ("easy: [1]", None, "nor a list"),
        ("0.2,0.4,0.4", None, "nor numbers without names"),
    ],
)
def test_mapping_on_the_command_line(world, text, expected, reason):
    argv = ["--samples", str(world / "source.jsonl"), "--base_answers_dir", str(world / "base"),
            "--answers_dir", str(world / "sft"), "--output", "x.jsonl", "--mix", text]  # fmt: skip
    if expected is None:
        with pytest.raises(InputError) as caught:
            load_config(CurriculumConfig, argv)
        assert str(caught.value) == f"command line: mix {text!r} is not names with numbers (a: 0.5, b: 1)", reason
    else:
        assert load_config(CurriculumConfig, argv).mix == expected, reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [("mix: {hard: 1}", {"hard": 1.0}), ("mix:\n  easy: 1e-1\n  hard: 2", {"easy": 0.1, "hard": 2.0})],
)
def test_mapping_in_a_yaml(world, line, expected):
    file = world / "c.yaml"
    file.write_text(f"samples: {world}/source.jsonl\nbase_answers_dir: {world}/base\nanswers_dir: {world}/sft\n"
                    f"output: x.jsonl\n{line}\n")  # fmt: skip
    assert load_config(CurriculumConfig, ["--config", str(file)]).mix == expected


@pytest.mark.parametrize("value", ["[1, 2]", "3", "{easy: true}", "{easy: null}"])
def test_what_is_no_mapping_in_a_yaml_is_named(world, value):
    file = world / "c.yaml"
    file.write_text(f"mix: {value}\n")
    with pytest.raises(InputError, match=r"c\.yaml: mix .* is not names with numbers"):
        load_config(CurriculumConfig, ["--config", str(file)])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("build_sft.sh", ["--mode", "guidd"]),
        ("build_clst.sh", ["--right_from", "2"]),
    ],
)
def test_mistake_in_the_settings_of_the_data_is_found_before_a_model_answers(tmp_path, script, words):
    command = ["bash", str(REPOSITORY / "script" / script), "--model", "nowhere", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert words[0][2:] in result.stderr and "nowhere" not in result.stderr
