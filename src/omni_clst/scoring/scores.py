"""Score predictions by three rules: a benchmark's official one, the strict one, which the accuracy reward shares, and the
extracted one, which also finds the one choice that a longer text names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain

from ..data.benchmark_rows import BenchmarkRows
from ..data.benchmarks.benchmark import Benchmark
from ..data.extraction import extracted_correct
from ..data.matching import strict_correct
from ..data.table import make_table, with_interval
from ..errors import InputError
from .predictions import Predictions
from .tally import Tally

Rule = Callable[[str | None, str | None, Iterable[str]], bool]  # (prediction, answer, choices)
MAX_NAME_LENGTH = 47  # of a group in the table


@dataclass
class Scores:
    """A benchmark's scores: predictions, unanswered rows, a tally by rule, and the verdicts on every row."""

    rows: BenchmarkRows
    predictions: Predictions
    missing: list[str]
    tallies: dict[str, Tally]
    verdicts: list[dict]
    origin: dict = field(default_factory=dict)  # how the answers were made (`origin.py`)
    embedder: str | None = None  # of the rule of the nearest choice

    def to_json(self) -> dict:
        return {
            "benchmark": self.rows.benchmark.name,
            "meta": self.rows.meta_path,
            "meta_sha256": self.rows.meta_sha256,
            "release": self.rows.release,
            "total": len(self.rows.scored),
            "answered": len(self.rows.scored) - len(self.missing),
            "missing": len(self.missing),
            "parse_failed": self.predictions.parse_failed,
            "cut_off": self.predictions.cut_off,
            "think_rate": self.predictions.think_rate,
            "mean_tokens": self.predictions.mean_tokens,
            "output_keys": self.predictions.keys,
            "origin": self.origin,
            **{rule: tally.to_json() for rule, tally in self.tallies.items()},
            **({"figures": self.figures} if self.figures else {}),
            **({"embedder": self.embedder} if self.embedder else {}),
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


def score(
    rows: BenchmarkRows,
    predictions: Predictions,
    allow_missing: bool = False,
    origin: dict | None = None,
    embedder: str | None = None,
) -> Scores:
    """Score predictions against every row of a benchmark; with `allow_missing` a row without one counts as wrong.

    With `embedder` (see `nearest.py`) also by the rule of the nearest choice.

    Raises `InputError` for predictions of unknown ids, without `allow_missing` for missing ones, and where all questions
    are open. Rows without a group's value are counted under "unknown".
    """
    if not rows.scored:
        raise InputError(f"{rows.benchmark.name}: all {len(rows.samples)} rows are open questions, which are not scored")
    outputs = predictions.outputs
    unknown = sorted(outputs.keys() - {sample.id for sample in rows.samples})
    if unknown:
        raise InputError(f"{len(unknown)} predictions have ids that the benchmark does not have: {first_ids(unknown)}")
    missing = [sample.id for sample in rows.scored if sample.id not in outputs]
    if missing and not allow_missing:
        raise InputError(
            f"{len(missing)} of {len(rows.scored)} rows have no prediction: {first_ids(missing)}; "
            "--allow_missing counts them as wrong"
        )
    rules, verdicts = rules_of(rows.benchmark), []
    if embedder is not None:
        from .nearest import nearest_rule

        texts = chain(outputs.values(), *(sample.choices for sample in rows.scored))
        rules |= {"nearest": nearest_rule(embedder, texts)}
    tallies = {name: Tally() for name in rules}
    for sample in rows.scored:
        output = outputs.get(sample.id)
        clip, groups = sample.audio_path or sample.id, rows.names_in_groups(sample)
        verdict = {name: rule(output, sample.answer, sample.choices) for name, rule in rules.items()}
        for name, is_correct in verdict.items():
            tallies[name].add(is_correct, groups, clip)
        verdicts.append({"id": sample.id, "clip": clip} | {name: int(is_correct) for name, is_correct in verdict.items()})
    return Scores(rows, predictions, missing, tallies, verdicts, origin or {}, embedder)


def first_ids(ids: list[str], count: int = 3) -> str:
    """The first ids, as `a, b, c, ...`."""
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
    cells = [["all", str(len(rows.scored)), *(with_interval(tally.accuracy, tally.interval, 2) for tally in tallies)]]
    for group in rows.groups:
        for name, cell in sorted(scores.tallies["strict"].by.get(group, {}).items()):
            by_rule = [tally.by[group][name] for tally in tallies]
            accuracies = [with_interval(one.accuracy, one.interval, 2) for one in by_rule]
            cells.append([f"{group}: {name}"[:MAX_NAME_LENGTH], str(cell.total), *accuracies])
    lines = [title, make_table(["", "questions", *(f"{rule} % [95 %]" for rule in scores.tallies)], cells)]
    if scores.embedder:
        lines.append(f"nearest: the choice that {scores.embedder} finds nearest to the answer")
    if scores.not_scored:
        lines.append(f"{scores.not_scored} more rows are not scored: they are open questions, which need a judge")
    lines += [f"{name}: {value:.2f}".removesuffix(".00") for name, value in scores.figures.items()]
    if predictions.repeated:
        lines.append(f"{predictions.repeated} predictions are repeated with the same answer and count once")
    differing = [verdict["id"] for verdict in scores.verdicts if len({verdict[rule] for rule in scores.tallies}) > 1]
    if differing:
        lines.append(f"the rules disagree on {len(differing)} rows: {first_ids(differing)}")
    if rows.release != "unknown release":
        lines += [f"published: {model} {value:.1f} ({release or rows.benchmark.name})"
                  for release, model, value in rows.benchmark.references]  # fmt: skip
    return "\n".join(lines)
