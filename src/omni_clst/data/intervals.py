"""95 % intervals of accuracies and of paired differences, also where several questions share a clip.

Accuracy: Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001). Difference of two models on the same
questions: the interval of Agresti and Min (2005), which adds half a question to each of the four outcomes, so that models
that never differ get no interval of width 0.

Questions about one clip are not independent. Both intervals then count fewer questions: as many independent ones as have
the variance of the cluster-robust (sandwich) estimate over clips, which Miller (arXiv 2411.00640) recommends.
Wilson's interval with such an effective size holds its level where the usual one fails (Dean and Pagano 2015); the t
quantile for few clips is that of Korn and Graubard (1998). With one question a clip nothing changes.
"""

from collections.abc import Hashable, Iterable
from math import sqrt
from statistics import NormalDist

Interval = tuple[float, float]
Z = NormalDist().inv_cdf(0.975)  # two-sided, 95 %
Z_POWER = NormalDist().inv_cdf(0.8)


class ClipSums:
    """Values of questions, each between -1 and 1, summed by the clip that they are about."""

    def __init__(self, values: Iterable[tuple[Hashable, float]] = ()):
        self.total = self.squares = 0.0
        self.count = 0
        self.by_clip: dict[Hashable, list[float]] = {}  # clip -> [sum, count]
        for clip, value in values:
            self.add(clip, value)

    def add(self, clip: Hashable, value: float) -> None:
        """One more question about a clip."""
        self.total += value
        self.squares += value * value
        self.count += 1
        of_clip = self.by_clip.setdefault(clip, [0.0, 0])
        of_clip[0] += value
        of_clip[1] += 1

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def deviations(self) -> float:
        """The sum of squared deviations from the mean."""
        return max(self.squares - self.count * self.mean**2, 0.0)

    @property
    def design_effect(self) -> float:
        """By how much shared clips enlarge the mean's variance, at least 1; divides the number of questions."""
        clips = len(self.by_clip)
        if clips == self.count:
            return 1.0
        if clips == 1 or self.deviations < 1e-9:  # equal values say nothing: every clip counts once
            return self.count / clips
        between = sum((total - self.mean * count) ** 2 for total, count in self.by_clip.values()) * clips / (clips - 1)
        independent = self.deviations * self.count / (self.count - 1)
        return max(1.0, between / independent * (t_quantile(clips - 1) / Z) ** 2)


def accuracy_interval(sums: ClipSums) -> Interval:
    """The interval of an accuracy in percent; values are 1 for right and 0 for wrong, or their means over seeds."""
    size, share = sums.count / sums.design_effect, sums.mean
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    return round(100 * max(centre - half, 0.0), 6), round(100 * min(centre + half, 1.0), 6)  # no 3e-16


def difference_interval(sums: ClipSums, seeds: Iterable[tuple[float, int]] = ()) -> Interval:
    """The interval of a difference in points; values are differences on the same question.

    `seeds` are further parts of the variance, each with its degrees of freedom (`seed_variance`); the quantile is then t
    with Satterthwaite's degrees of freedom.
    """
    effect = sums.design_effect
    size = sums.count / effect + 2
    centre = sums.total / effect / size
    parts = [(((sums.squares / effect + 1) / size - centre**2) / size, float(max(len(sums.by_clip) - 1, 1))), *seeds]
    variance = sum(part for part, _ in parts)
    of_seeds = sum(part for part, _ in parts[1:])
    quantile = t_quantile(variance**2 / sum(part**2 / freedom for part, freedom in parts)) if of_seeds else Z
    half = quantile * sqrt(variance)
    return round(100 * max(centre - half, -1.0), 6), round(100 * min(centre + half, 1.0), 6)


def seed_variance(by_seed: list[list[float]]) -> tuple[float, int]:
    """What the choice of seeds adds to the variance of a model's mean, and its degrees of freedom; values[seed][question].

    The variance of the seeds' means, less what chance on single questions explains, which the variance over questions has
    counted already (two-way clustering: Cameron, Gelbach and Miller 2011). One seed adds 0: its part is not known.
    """
    seeds, questions = len(by_seed), len(by_seed[0])
    if seeds == 1:
        return 0.0, 1
    between = _variance([sum(values) / questions for values in by_seed])
    within = sum(_variance(values) for values in zip(*by_seed, strict=True)) / questions**2
    return max(between - within, 0.0) / seeds, seeds - 1


def questions_needed(sums: ClipSums, gain: float, of_seeds: float = 0.0) -> float:
    """Questions for a power of 80 % to find a gain, given the variance of the differences seen (Miller, section 5).

    `of_seeds` is the part of the variance that more questions do not lower; inf where it alone hides the gain.
    """
    variance = max(sums.squares / sums.count, abs(gain)) - gain**2  # a gain needs at least as many questions that flip
    tolerated = (gain / (Z + Z_POWER)) ** 2 - of_seeds
    return variance * sums.design_effect / tolerated if tolerated > 0 else float("inf")


def t_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5); below 3 degrees that of the whole number below."""
    if freedom < 3:
        return 4.3027 if freedom >= 2 else 12.7062
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def _variance(values: list[float] | tuple[float, ...]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
