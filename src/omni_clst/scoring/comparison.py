"""Compare two models on the same questions: the paired difference with its interval, McNemar's test, and what flipped."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..data.intervals import (
    ClipSums,
    Interval,
    accuracy_interval,
    difference_interval,
    questions_needed,
    seed_variance,
)
from ..errors import InputError
from .sides import Side

WARNED_OF = ("prompt", "temperature", "top_p", "top_k", "max_new_tokens", "thought", "audio", "max_audio_seconds", "engine")


@dataclass(frozen=True)
class Model:
    """A model's answers to one benchmark, one side for every seed."""

    sides: tuple[Side, ...]

    @property
    def name(self) -> str:
        return ", ".join(side.name for side in self.sides)


@dataclass(frozen=True)
class Pairs:
    """Two models' verdicts on the same questions: `first` and `second` are [seed][question], each 0 or 1."""

    clips: list[str]
    first: list[list[int]]
    second: list[list[int]]

    def only(self, chosen: list[int]) -> "Pairs":
        """These questions alone."""
        part = [[[values[index] for index in chosen] for values in of_model] for of_model in (self.first, self.second)]
        return Pairs([self.clips[index] for index in chosen], *part)

    @cached_property
    def differences(self) -> list[float]:
        """By question, of the means over seeds."""
        return [after - before for before, after in zip(_means(self.first), _means(self.second), strict=True)]

    @cached_property
    def sums(self) -> ClipSums:
        return ClipSums(zip(self.clips, self.differences, strict=True))

    @property
    def seed_parts(self) -> list[tuple[float, int]]:
        return [seed_variance(values) for values in (self.first, self.second)]

    def accuracy(self, values: list[list[int]]) -> tuple[float, Interval]:
        """In percent, of `first` or `second`; the interval says what other questions would change, not other seeds."""
        sums = ClipSums(zip(self.clips, _means(values), strict=True))
        return 100 * sums.mean, accuracy_interval(sums)

    def to_json(self) -> dict:
        found: dict = {"questions": len(self.clips)}
        for key, values in (("first", self.first), ("second", self.second)):
            accuracy, interval = self.accuracy(values)
            found[key] = {"accuracy": accuracy, "interval": list(interval), "deviation": _deviation(values)}
        interval = difference_interval(self.sums, self.seed_parts)
        gained, lost = self.differences.count(1), self.differences.count(-1)
        found |= {"difference": 100 * self.sums.mean, "interval": list(interval), "gained": gained, "lost": lost}
        return found | {"mcnemar_p": mcnemar(gained, lost) if len(self.first) == 1 else None}

    def questions_for(self, gain: float) -> float:
        """Questions that a gain in points would need with a power of 80 %; inf where more seeds are needed instead."""
        return questions_needed(self.sums, gain / 100, sum(part for part, _ in self.seed_parts))


def _means(by_seed: list[list[int]]) -> list[float]:
    return [sum(values) / len(by_seed) for values in zip(*by_seed, strict=True)]


def _deviation(by_seed: list[list[int]]) -> float | None:
    """The standard deviation of the seeds' accuracies, in points; None for one seed."""
    from statistics import stdev

    return stdev(100 * sum(values) / len(values) for values in by_seed) if len(by_seed) > 1 else None


def mcnemar(gained: int, lost: int) -> float:
    """The p value of McNemar's exact test, two-sided: do as many questions flip one way as the other?"""
    from scipy.stats import binomtest  # takes a second

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


@dataclass(frozen=True)
class Comparison:
    """Two models on one benchmark by one rule, on the questions that all their sides have."""

    first: Model
    second: Model
    rule: str
    ids: list[str]
    pairs: Pairs
    groups: dict[str, dict[str, list[int]]]  # group -> name -> indices into `ids`
    warnings: list[str]
    gain: float | None  # in points: that of the settings

    @property
    def benchmark(self) -> str:
        return self.first.sides[0].rows.benchmark.name

    @property
    def left_out(self) -> int:
        """Questions that not all sides have."""
        sides = (*self.first.sides, *self.second.sides)
        return len({sample.id for side in sides for sample in side.rows.scored}) - len(self.ids)

    def flipped(self, way: int) -> list[str]:
        """The ids of the questions that the second model gained (1) or lost (-1), with every seed."""
        return [key for key, difference in zip(self.ids, self.pairs.differences, strict=True) if difference == way]

    @property
    def wanted_gain(self) -> float:
        """In points: that of the settings, else the difference that was found."""
        return self.gain if self.gain is not None else round(100 * self.pairs.sums.mean, 9)  # no 3e-16

    def to_json(self) -> dict:
        total = self.pairs.to_json()
        needed = self.pairs.questions_for(self.wanted_gain) if self.wanted_gain else float("inf")
        for key, model in (("first", self.first), ("second", self.second)):
            total[key]["sides"] = [side.to_json() for side in model.sides]
        return {
            "benchmark": self.benchmark,
            "meta_sha256": self.first.sides[0].rows.meta_sha256,
            "rule": self.rule,
            **total,
            "left_out": self.left_out,
            "gained_ids": self.flipped(1),
            "lost_ids": self.flipped(-1),
            "gain": self.wanted_gain,
            "questions_needed": None if needed == float("inf") else round(needed),
            "warnings": self.warnings,
            "by": {
                group: {name: self.pairs.only(chosen).to_json() for name, chosen in sorted(names.items())}
                for group, names in self.groups.items()
            },
        }


def compare(
    first: Model, second: Model, rule: str | None, gain: float | None = None, allow_different: bool = False
) -> Comparison:
    """Compare two models; without a rule by the official one, or the strict one where there is no official.

    Raises `InputError` for sides of different metadata files, unless `allow_different`, and for a rule that the benchmark
    does not have.
    """
    sides = (*first.sides, *second.sides)
    rows = sides[0].rows
    _require_same_questions(sides, allow_different)
    rule = rule or ("official" if all("official" in side.scores.tallies for side in sides) else "strict")
    if any(rule not in side.scores.tallies for side in sides):
        raise InputError(f"rule {rule}: {rows.benchmark.name} has no official rule; give --rule strict or extracted")
    shared = set.intersection(*({sample.id for sample in side.rows.scored} for side in sides))
    samples = [sample for sample in rows.scored if sample.id in shared]
    if not samples:
        raise InputError(f"{sides[0].name} and {sides[-1].name}: no question with the same id")
    ids = [sample.id for sample in samples]
    verdicts = [[side.verdicts(rule, ids) for side in model.sides] for model in (first, second)]
    groups: dict[str, dict[str, list[int]]] = {}
    for index, sample in enumerate(samples):
        for group, names in rows.names_in_groups(sample).items():
            for name in names:
                groups.setdefault(group, {}).setdefault(name, []).append(index)
    pairs = Pairs([sample.audio_path or sample.id for sample in samples], *verdicts)
    return Comparison(first, second, rule, ids, pairs, groups, list(_differences(sides)), gain)


def _require_same_questions(sides: tuple[Side, ...], allow_different: bool) -> None:
    for side in sides[1:]:
        one, other = sides[0].rows, side.rows
        if one.meta_sha256 != other.meta_sha256 and not allow_different:
            raise InputError(
                f"{sides[0].name} answered {one.benchmark.name} of {one.release} ({one.meta_sha256[:12]}), {side.name} "
                f"{other.benchmark.name} of {other.release} ({other.meta_sha256[:12]}); --allow_different compares them"
            )


def _differences(sides: tuple[Side, ...]) -> Iterator[str]:
    """What differs between the sides beside the model, one line each, and whose origin is not known."""
    known = [side for side in sides if side.scores.origin.get("prompt")]
    for key in WARNED_OF:
        values = {side.name: _value(side.scores.origin, key) for side in known}
        if len(set(values.values())) > 1:
            yield f"{key} differs: " + ", ".join(f"{value} ({name})" for name, value in values.items())
    unknown = [side.name for side in sides if side not in known]
    if unknown:
        yield f"prompt, decoding and engine are not known: {', '.join(unknown)}"


def _value(origin: dict, key: str) -> str:
    if key == "prompt":
        return f"{origin['prompt']['name']} {origin['prompt']['sha256'][:8]}"
    return str({**origin, **origin["decoding"]}[key])
