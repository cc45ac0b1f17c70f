"""The map of when thinking pays: tables over worlds, models and seeds, every figure with its interval.

Each seed has a world, a base model and held-out questions of its own. A difference between two models is taken question by
question; its interval counts the questions of a clip together, and adds what the seeds differ by beyond the questions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, stdev, variance

from ..data.intervals import ClipSums, Interval, difference_interval
from ..data.table import make_table
from .scores import Answer, collect, is_standard, of_depth, percent, pool

Folders = dict[str, dict[str, dict[str, Path]]]  # world -> model -> seed -> the model's folder
DEPTHS = ("shallow", "deep", "perception")
BUDGETS = (14, 18, 22, 26, 32)  # tokens, the tags included: an answer with an empty thought has 12
TARGETS = (70, 75, 80, 85, 90)  # percent right
MOST_TOKENS = 64  # of an answer, as configs/demo/infer.yaml has it
FEWEST = 20  # questions of a kind


@dataclass(frozen=True)
class Difference:
    """In points of accuracy, with its 95 % interval; `of_seeds` are the differences of the single seeds."""

    mean: float
    interval: Interval
    of_seeds: tuple[float, ...]

    @property
    def is_clear(self) -> bool:
        """The interval is on one side of 0."""
        return self.interval[0] > 0 or self.interval[1] < 0

    def __str__(self) -> str:
        text = f"{self.mean:+.1f} [{self.interval[0]:+.1f}, {self.interval[1]:+.1f}]"
        return f"**{text}**" if self.is_clear else text


class Scored:
    """The answers of one model on all seeds, by (audio, thought): real or another clip, free or forced."""

    def __init__(self, folders: dict[str, Path]):
        pooled = {seed: pool(collect(folder)) for seed, folder in folders.items()}
        self.by_condition: dict[tuple[str, str], dict[str, list[Answer]]] = {}
        for seed, conditions in pooled.items():
            for condition, answers in conditions.items():
                key = ("real", "free") if is_standard(condition) else (condition.audio, condition.thought)
                self.by_condition.setdefault(key, {})[seed] = answers

    @cached_property
    def answers(self) -> dict[str, list[Answer]]:
        """By seed, in normal use."""
        return self.by_condition["real", "free"]

    def over_seeds(self, figure: Callable[[list[Answer]], float | None]) -> list[float]:
        """A figure of every seed that has one."""
        return [value for value in map(figure, self.answers.values()) if value is not None]


def accuracy(depth: str | None = None, budget: int | None = None) -> Callable[[list[Answer]], float | None]:
    """Percent right of a depth's questions; an answer of more than `budget` tokens was cut off, and is wrong."""
    return lambda answers: percent(
        [answer.verdicts["strict"] and (budget is None or answer.tokens <= budget) for answer in of_depth(answers, depth)]
    )


def think_rate(depth: str | None = None) -> Callable[[list[Answer]], float | None]:
    """Percent of the answers to a depth's questions that have a thought."""
    return lambda answers: percent([answer.has_thought for answer in of_depth(answers, depth)])


def tokens(answers: list[Answer]) -> float | None:
    """Tokens a question."""
    return mean(answer.tokens for answer in answers) if answers else None


def compare(
    before: dict[str, list[Answer]], after: dict[str, list[Answer]], keep: Callable[[Answer], bool] = lambda answer: True
) -> Difference | None:
    """How much better `after` is on the questions that `keep` takes, over the seeds that both have; None for none."""
    of_seeds = {seed: _changes(before[seed], after[seed], keep) for seed in before if seed in after}
    of_seeds = {seed: sums for seed, sums in of_seeds.items() if sums.count}
    if not of_seeds:
        return None
    means = [sums.mean for sums in of_seeds.values()]
    whole = ClipSums()
    for seed, sums in of_seeds.items():
        for clip, (total, count) in sums.by_clip.items():
            whole.by_clip[seed, clip] = [total, count]
        whole.total, whole.squares = whole.total + sums.total, whole.squares + sums.squares
        whole.count += sums.count
    excess: list[tuple[float, int]] = []
    if len(means) > 1:
        chance = mean(sums.deviations * sums.design_effect / sums.count**2 for sums in of_seeds.values())
        excess = [(max(variance(means) - chance, 0.0) / len(means), len(means) - 1)]
    return Difference(100 * whole.mean, difference_interval(whole, excess), tuple(round(100 * value, 2) for value in means))


def _cut_off(answer: Answer, budget: int) -> Answer:
    """The answer, wrong where it is longer than `budget` tokens."""
    return answer if answer.tokens <= budget else replace(answer, verdicts=dict.fromkeys(answer.verdicts, False))


def _is_of_depth(depth: str, answer: Answer) -> bool:
    return depth in ("all", answer.depth)


def _changes(before: list[Answer], after: list[Answer], keep: Callable[[Answer], bool]) -> ClipSums:
    was_right = {(answer.benchmark, answer.id): answer.verdicts["strict"] for answer in before}
    kept = [answer for answer in after if keep(answer) and (answer.benchmark, answer.id) in was_right]
    changes = [answer.verdicts["strict"] - was_right[answer.benchmark, answer.id] for answer in kept]
    return ClipSums(((answer.benchmark, answer.clip), change) for answer, change in zip(kept, changes, strict=True))


class ThinkingMap:
    """Every model of a grid, and the tables over them."""

    def __init__(self, folders: Folders):
        self.models = {
            world: {name: Scored(by_seed) for name, by_seed in models.items()} for world, models in folders.items()
        }

    def model_table(self) -> str:
        """A row for each world and model: accuracies, think rates, tokens."""
        header = ["world", "model", "seeds", "accuracy", *DEPTHS, *(f"thinks, {depth}" for depth in DEPTHS), "tokens"]
        rows = []
        for world, name, scored in self._all():
            figures = [accuracy(), *map(accuracy, DEPTHS), *map(think_rate, DEPTHS), tokens]
            cells = [_mean_and_deviation(scored.over_seeds(figure)) for figure in figures]
            rows.append([world, name, str(len(scored.answers)), *cells])
        return make_table(header, rows, markdown=True)

    def budget_table(self) -> str:
        """Accuracy where completions are cut off after a number of tokens."""
        header = ["world", "model", *(f"{budget} tokens" for budget in BUDGETS), "no limit"]
        rows = [
            [world, name, *(_mean_and_deviation(scored.over_seeds(accuracy(None, budget))) for budget in (*BUDGETS, None))]
            for world, name, scored in self._all()
        ]
        return make_table(header, rows, markdown=True)

    def tokens_table(self) -> str:
        """The smallest budget of tokens with which a model reaches an accuracy, over its seeds; "" where it never does."""
        header = ["world", "model", *(f"{target} %" for target in TARGETS)]
        rows = []
        for world, name, scored in self._all():
            reached = [mean(scored.over_seeds(accuracy(None, budget))) for budget in range(MOST_TOKENS + 1)]
            rows.append([world, name, *(_first_at_least(target, reached) for target in TARGETS)])
        return make_table(header, rows, markdown=True)

    def comparisons(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str, str, str], Difference]:
        """(world, after, before, depth or all) -> difference, for every world that has both models."""
        found = {}
        for world, models in self.models.items():
            for after, before in pairs:
                if after not in models or before not in models:
                    continue
                for depth in ("all", *DEPTHS):
                    keep = partial(_is_of_depth, depth)
                    difference = compare(models[before].answers, models[after].answers, keep)
                    if difference:
                        found[world, after, before, depth] = difference
        return found

    def within_budgets(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str, str, int], Difference]:
        """(world, after, before, budget) -> difference where completions are cut off after so many tokens."""
        found = {}
        for world, models in self.models.items():
            for after, before in pairs:
                for budget in BUDGETS if after in models and before in models else ():
                    cut = [
                        {seed: [_cut_off(answer, budget) for answer in answers] for seed, answers in by_seed.items()}
                        for by_seed in (models[before].answers, models[after].answers)
                    ]
                    if difference := compare(*cut):
                        found[world, after, before, budget] = difference
        return found

    def worth_of_thinking(self, name: str) -> dict[tuple[str, str], tuple[Difference, float]]:
        """(world, kind of question) -> gain of the forced thought over the forced empty one, and the think rate."""
        found = {}
        for world, models in self.models.items():
            conditions = models[name].by_condition if name in models else {}
            if ("real", "empty") not in conditions or ("real", "full") not in conditions:
                continue
            free = [answer for answers in models[name].answers.values() for answer in answers]
            for kind in sorted({answer.kind for answer in free if answer.kind}):
                asked = [answer.has_thought for answer in free if answer.kind == kind]
                gain = compare(
                    conditions["real", "empty"], conditions["real", "full"], lambda answer, kind=kind: answer.kind == kind
                )
                if gain and len(asked) >= FEWEST:
                    found[world, kind] = gain, 100.0 * mean(asked)
        return found

    def audio_table(self) -> str:
        """Accuracy with the clip, with silence and with another clip, for the models that were asked so; "" for none."""
        rows = []
        for world, name, scored in self._all():
            sources = [scored.by_condition.get((audio, "free"), {}) for audio in ("real", "silence", "other")]
            if all(sources):
                of_source = [[accuracy()(answers) or 0.0 for answers in by_seed.values()] for by_seed in sources]
                rows.append([world, name, *map(_mean_and_deviation, of_source)])
        return make_table(["world", "model", "the clip", "silence", "another clip"], rows, markdown=True) if rows else ""

    def benchmark_table(self) -> str:
        """Accuracy by benchmark: of recordings, seen and unseen speakers."""
        header = ["world", "model", "mmau-mini", "mmar"]
        rows = []
        for world, name, scored in self._all():
            cells = [
                _mean_and_deviation(
                    scored.over_seeds(
                        lambda answers, of=of: percent([a.verdicts["strict"] for a in answers if a.benchmark == of])
                    )
                )
                for of in header[2:]
            ]
            rows.append([world, name, *cells])
        return make_table(header, rows, markdown=True)

    def as_json(self) -> dict:
        """Accuracy, think rate and tokens of every world, model and seed."""
        figures = {"accuracy": accuracy(), "tokens": tokens}
        for depth in DEPTHS:
            figures |= {f"accuracy, {depth}": accuracy(depth), f"think rate, {depth}": think_rate(depth)}
        return {
            world: {
                name: {
                    seed: {figure: measure(answers) for figure, measure in figures.items()}
                    for seed, answers in scored.answers.items()
                }
                for name, scored in models.items()
            }
            for world, models in self.models.items()
        }

    def _all(self) -> Iterable[tuple[str, str, Scored]]:
        return ((world, name, scored) for world, models in self.models.items() for name, scored in models.items())


def comparison_table(differences: dict[tuple[str, str, str, str], Difference]) -> str:
    """A row for each world and pair of models: a column for each depth, and the share of deep questions at which both
    models are equally right, by their differences on shallow and on deep ones."""
    rows = []
    for world, after, before in dict.fromkeys(key[:3] for key in differences):
        by_depth = {depth: differences.get((world, after, before, depth)) for depth in ("all", *DEPTHS)}
        rows.append([world, after, before, *(str(found or "") for found in by_depth.values()), _break_even(by_depth)])
    return make_table(["world", "model", "less that of", "all", *DEPTHS, "equal at a deep share of"], rows, markdown=True)


def _break_even(by_depth: dict[str, Difference | None]) -> str:
    shallow, deep = by_depth["shallow"], by_depth["deep"]
    if not shallow or not deep or shallow.mean * deep.mean >= 0:
        return ""
    return f"{100 * shallow.mean / (shallow.mean - deep.mean):.0f} %"


def budget_table(differences: dict[tuple[str, str, str, int], Difference]) -> str:
    """A row for each world and pair of models, a column for each budget of tokens."""
    rows = [
        [world, after, before, *(str(differences.get((world, after, before, budget), "")) for budget in BUDGETS)]
        for world, after, before in dict.fromkeys(key[:3] for key in differences)
    ]
    header = ["world", "model", "less that of", *(f"{budget} tokens" for budget in BUDGETS)]
    return make_table(header, rows, markdown=True)


def worth_table(worth: dict[tuple[str, str], tuple[Difference, float]]) -> str:
    """A row for each world and kind of question."""
    rows = [[world, kind, str(gain), f"{rate:.0f}"] for (world, kind), (gain, rate) in worth.items()]
    return make_table(["world", "kind of question", "gain of a thought", "think rate"], rows, markdown=True)


def _first_at_least(target: float, values: list[float]) -> str:
    return next((str(place) for place, value in enumerate(values) if value >= target), "")


def _mean_and_deviation(values: list[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
