"""Intervals hold their level in simulations, and equal published formulas on numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from omni_clst.data.intervals import (
    ClipSums,
    accuracy_interval,
    difference_interval,
    questions_needed,
    seed_variance,
    t_quantile,
)

QUESTIONS = 1000


def independent(values) -> ClipSums:
    return ClipSums(enumerate(values))


def clustered(total_and_count) -> ClipSums:
    """0 and 1 by clip, from numbers of right answers and of questions."""
    return ClipSums(
        (clip, float(number < right))
        for clip, (right, count) in enumerate(total_and_count)
        for number in range(count)
    )  # fmt: skip


def test_interval_of_independent_questions_is_wilsons():
    """Newcombe 1998, table I: 81 of 263 is 0.3080 with 0.2553 to 0.3662."""
    low, high = accuracy_interval(independent([1] * 81 + [0] * 182))
    assert (round(low, 2), round(high, 2)) == (25.53, 36.62)


@pytest.mark.parametrize("right", [0, 10])
def test_interval_of_all_or_none_is_inside_0_and_100_and_has_a_width(right):
    low, high = accuracy_interval(independent([1] * right + [0] * (10 - right)))
    assert (low, high) == pytest.approx((72.25, 100.0) if right else (0.0, 27.75), abs=0.01)
    assert 0.0 <= low < high <= 100.0


@pytest.mark.parametrize("share", [0.25, 0.5, 0.72, 0.95])
def test_interval_of_independent_questions_covers_95_percent(share):
    """Not drawn but summed: the chance of every number of right answers whose interval has the true share in it."""
    covered = 0.0
    for right in range(QUESTIONS + 1):
        low, high = accuracy_interval(independent([1] * right + [0] * (QUESTIONS - right)))
        covered += stats.binom.pmf(right, QUESTIONS, share) * (low <= 100 * share <= high)
    assert covered == pytest.approx(0.95, abs=0.01)


def draw_clips(rng, share: float, correlation: float, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers (draws, clips) of 1,000 questions about clips with 1 to 5 of them, and the questions of every clip."""
    sizes = np.resize([1, 2, 3, 4, 5], QUESTIONS // 3)
    strength = (1 - correlation) / correlation
    chance = rng.beta(share * strength, (1 - share) * strength, (draws, len(sizes)))
    return rng.binomial(sizes, chance), sizes


def test_interval_of_clustered_questions_covers_95_percent_and_one_that_ignores_clips_does_not():
    share, draws = 0.72, 2000
    right, sizes = draw_clips(np.random.default_rng(2), share, 0.4, draws)
    by_clip = [list(zip(row, sizes.tolist(), strict=True)) for row in right.tolist()]
    found = [accuracy_interval(clustered(clips)) for clips in by_clip]
    naive = [accuracy_interval(clustered((r, 1) for r in [1] * sum(row) + [0] * (int(sizes.sum()) - sum(row))))
             for row in right.tolist()]  # fmt: skip
    cover = lambda intervals: np.mean([low <= 100 * share <= high for low, high in intervals])  # noqa: E731
    assert cover(found) == pytest.approx(0.95, abs=0.01)
    assert cover(naive) < 0.90


@pytest.fixture(scope="module")
def expected_gain() -> float:
    """Of the two models below, whose chances are cut to 0 to 1."""
    rng = np.random.default_rng(0)
    ease, shared = rng.normal(0.65, 0.25, 2_000_000), rng.normal(0, 0.1, 2_000_000)
    return float(np.mean(np.clip(ease + 0.015 + shared, 0, 1) - np.clip(ease - 0.015 - shared, 0, 1)))


@pytest.mark.parametrize("seeds", [1, 3])
def test_interval_of_a_difference_covers_95_percent(seeds, expected_gain):
    """Two models, their questions in clips of three; with three seeds each, the seeds differ by 1.5 points."""
    rng = np.random.default_rng(3 + seeds)
    clips, of_clip, draws, gain, covered = 333, 3, 1000, 0.03, 0
    for _ in range(draws):
        ease = np.repeat(rng.normal(0.65, 0.25, clips), of_clip)
        shared = np.repeat(rng.normal(0, 0.1, clips), of_clip)  # a clip that suits one model
        sides = []
        for side in (-1, 1):
            of_seed = rng.normal(0, 0.015, (seeds, 1)) * (seeds > 1)
            sides.append(rng.random((seeds, clips * of_clip)) < ease + side * (gain / 2 + shared) + of_seed)
        difference = sides[1].mean(0) - sides[0].mean(0)
        parts = [seed_variance(values.astype(float).tolist()) for values in sides] if seeds > 1 else []
        low, high = difference_interval(ClipSums(zip(np.arange(clips).repeat(of_clip), difference, strict=True)), parts)
        covered += low <= 100 * expected_gain <= high
    assert covered / draws == pytest.approx(0.95, abs=0.015 if seeds == 1 else 0.025)


def test_interval_of_a_difference_is_that_of_agresti_and_min():
    """15 gained and 4 lost of 100: 0.5 more in each cell, (15.5 - 4.5) / 102, variance ((20) - 11^2 / 102) / 102^2."""
    low, high = difference_interval(independent([1] * 15 + [-1] * 4 + [0] * 81))
    half = 1.959964 * math.sqrt((20 - 11**2 / 102) / 102**2)
    assert (low, high) == pytest.approx((100 * (11 / 102 - half), 100 * (11 / 102 + half)), abs=1e-4)


def test_models_that_never_differ_have_an_interval_with_a_width():
    low, high = difference_interval(independent([0] * 50))
    assert low == -high
    assert 3 < high < 5


def test_clips_of_one_question_change_nothing_and_equal_answers_count_once_a_clip():
    values = [1, 0, 1, 1, 0, 1]
    assert independent(values).design_effect == 1.0
    assert ClipSums((number // 2, 1) for number in range(6)).design_effect == 2.0
    assert ClipSums((0, value) for value in values).design_effect == 6.0


def test_design_effect_is_the_ratio_of_the_sandwich_to_the_usual_variance():
    """Two clips of two, one right and one wrong: mean 1/2, residuals 1 and -1, (1 + 1) * 2 / 1 against 1 * 4 / 3."""
    sums = clustered([(2, 2), (0, 2)])
    assert sums.design_effect == pytest.approx(4 / (4 / 3) * (t_quantile(1) / 1.959964) ** 2)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5.5, 10, 30, 1000])
def test_quantile_of_t(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.002)


def test_seeds_that_agree_on_every_question_add_nothing_and_those_with_other_means_do():
    assert seed_variance([[1.0, 0.0, 1.0]] * 3) == (0.0, 2)
    assert seed_variance([[1.0, 0.0]]) == (0.0, 1)
    # means 1, 0: variance 1/2; within: 1/2 on each of four questions, over 16
    added, freedom = seed_variance([[1.0] * 4, [0.0] * 4])
    assert (added, freedom) == (pytest.approx((1 / 2 - 4 * (1 / 2) / 16) / 2), 1)


def test_questions_that_a_gain_needs():
    """11 % of the questions flip, 1.5 points: (1.96 + 0.8416)^2 * (0.11 - 0.015^2) / 0.015^2 = 3,829."""
    sums = independent([1] * 125 + [-1] * 95 + [0] * 1780)
    assert questions_needed(sums, 0.015) == pytest.approx(3829, abs=1)
    assert questions_needed(sums, 0.2) == pytest.approx(2.80158**2 * (0.2 - 0.04) / 0.04, abs=0.01)
    assert questions_needed(sums, 0.015, of_seeds=0.006**2) == math.inf


def test_power_at_the_needed_number_of_questions_is_80_percent():
    rng = np.random.default_rng(5)
    gained, lost = 0.08, 0.05
    needed = round(questions_needed(independent([1] * 80 + [-1] * 50 + [0] * 870), gained - lost))
    found = 0
    for up, down, same in rng.multinomial(needed, [gained, lost, 1 - gained - lost], 1000).tolist():
        low, _ = difference_interval(independent([1] * up + [-1] * down + [0] * same))
        found += low > 0
    assert found / 1000 == pytest.approx(0.8, abs=0.03)
