"""Score predictions by three rules: a benchmark's official one, the strict one, which the accuracy reward shares, and the
extracted one, which also finds the one choice that a longer text names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..data.benchmark_rows import BenchmarkRows
from ..data.benchmarks.benchmark import Benchmark
from ..data.extraction import extracted_correct
from ..data.matching import strict_correct
from ..data.table import make_table
from ..errors import InputError
from .predictions import Predictions

Rule = Callable[[str | None, str | None, Iterable[str]], bool]  # (prediction, answer, choices)
MAX_NAME_LENGTH = 47  # of a group in the table


@dataclass
class Tally:
    """Numbers of right and of all answers, in total and by group and name."""

    correct: int = 0
    total: int = 0
    by: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def add(self, is_correct: bool, groups: dict[str, tuple[str, ...]]) -> None:
        self.correct += is_correct
        self.total += 1
        for group, name in ((group, name) for group, names in groups.items() for name in names):
            cell = self.by.setdefault(group, {}).setdefault(name, {"correct": 0, "total": 0})
            cell["correct"] += is_correct
            cell["total"] += 1

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100.0 * self.correct / self.total

    def to_json(self) -> dict:
        by = {group: dict(sorted(names.items())) for group, names in self.by.items()}
        return {"accuracy": self.accuracy, "by": by}


@dataclass
class Scores:
    """A benchmark's scores: predictions, unanswered rows, a tally by rule, and the verdicts on every row."""

    rows: BenchmarkRows
    predictions: Predictions
    missing: list[str]
    tallies: dict[str, Tally]
    verdicts: list[dict]

    def to_json(self) -> dict:
        return {
            "benchmark": self.rows.benchmark.name,
            "meta_sha256": self.rows.meta_sha256,
            "release": self.rows.release,
            "total": len(self.rows.scored),
            "answered": len(self.rows.scored) - len(self.missing),
            "missing": len(self.missing),
            "parse_failed": self.predictions.parse_failed,
            "output_keys": self.predictions.keys,
            **{rule: tally.to_json() for rule, tally in self.tallies.items()},
            **({"figures": self.figures} if self.figures else {}),
            **({"not_scored": self.not_scored} if self.not_scored else {}),
        }

    @property
    def not_scored(self) -> int:
        """Rows that no rule applies to, which are in no other figure."""
        return len(self.rows.samples) - len(self.rows.scored)

    @property
    def figures(self) -> dict[str, float]:
        """What the official script says besides the accuracy, if anything."""
        outputs, figures = self.predictions.outputs, self.rows.benchmark.figures
        answered = [(outputs.get(sample.id), sample.answer, sample.choices) for sample in self.rows.scored]
        return figures(answered) if figures else {}


def rules_of(benchmark: Benchmark) -> dict[str, Rule]:
    """The rules by name; a sample file has no official one."""
    official = {"official": benchmark.is_correct} if benchmark.is_correct else {}
    return official | {"strict": strict_correct, "extracted": extracted_correct}


def score(rows: BenchmarkRows, predictions: Predictions, allow_missing: bool = False) -> Scores:
    """Score predictions against every row of a benchmark; with `allow_missing` a row without one counts as wrong.

    Raises `InputError` for predictions of unknown ids and, without `allow_missing`, for missing ones. Rows without a
    group's value are counted under "unknown".
    """
    outputs = predictions.outputs
    unknown = sorted(outputs.keys() - {sample.id for sample in rows.samples})
    if unknown:
        raise InputError(f"{len(unknown)} predictions have ids that the benchmark does not have: {_first(unknown)}")
    missing = [sample.id for sample in rows.scored if sample.id not in outputs]
    if missing and not allow_missing:
        raise InputError(
            f"{len(missing)} of {len(rows.scored)} rows have no prediction: {_first(missing)}; "
            "--allow_missing counts them as wrong"
        )
    rules, verdicts = rules_of(rows.benchmark), []
    tallies = {name: Tally() for name in rules}
    for sample in rows.scored:
        output = outputs.get(sample.id)
        groups = rows.names_in_groups(sample)
        verdict = {name: rule(output, sample.answer, sample.choices) for name, rule in rules.items()}
        for name, is_correct in verdict.items():
            tallies[name].add(is_correct, groups)
        verdicts.append({"id": sample.id} | {name: int(is_correct) for name, is_correct in verdict.items()})
    return Scores(rows, predictions, missing, tallies, verdicts)


def _first(ids: list[str], count: int = 3) -> str:
    return ", ".join(ids[:count]) + (", ..." if len(ids) > count else "")


def format_table(scores: Scores) -> str:
    """Accuracy by every rule in total and by group, missing rows, rows on which the rules disagree, published results."""
    rows, predictions = scores.rows, scores.predictions
    odd_rows = {sample_id for sample_id, _ in rows.oddities}
    title = (
        f"{rows.benchmark.name} ({rows.release}, {rows.meta_sha256[:12]}): {len(rows.scored)} questions, "
        f"{len(scores.missing)} missing, {predictions.parse_failed} not parsed, {len(odd_rows)} odd rows; "
        f"answers read from {predictions.keys_in_words}"
    )
    tallies = scores.tallies.values()
    cells = [["all", str(len(rows.scored)), *(f"{tally.accuracy:.2f}" for tally in tallies)]]
    for group in rows.groups:
        for name, cell in sorted(scores.tallies["strict"].by.get(group, {}).items()):
            counts = [tally.by[group][name] for tally in tallies]
            accuracies = [f"{100 * count['correct'] / count['total']:.2f}" for count in counts]
            cells.append([f"{group}: {name}"[:MAX_NAME_LENGTH], str(cell["total"]), *accuracies])
    lines = [title, make_table(["", "questions", *(f"{rule} %" for rule in scores.tallies)], cells)]
    if scores.not_scored:
        lines.append(f"{scores.not_scored} more rows are not scored: they are open questions, which need a judge")
    lines += [f"{name}: {value:.2f}".removesuffix(".00") for name, value in scores.figures.items()]
    if predictions.repeated:
        lines.append(f"{predictions.repeated} predictions are repeated with the same answer and count once")
    differing = [verdict["id"] for verdict in scores.verdicts if len({verdict[rule] for rule in scores.tallies}) > 1]
    if differing:
        lines.append(f"the rules disagree on {len(differing)} rows: {_first(differing)}")
    if rows.release != "unknown release":
        lines += [f"published: {model} {value:.1f} ({release or rows.benchmark.name})"
                  for release, model, value in rows.benchmark.references]  # fmt: skip
    return "\n".join(lines)
