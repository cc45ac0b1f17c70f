"""The order in which a run goes through its file: permutations that the seed decides."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_clst.data.samples import EASY_TO_HARD
from omni_clst.errors import InputError
from omni_clst.method.order import ORDERS, arrange

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
