"""Settings of scoring and of comparisons."""

import warnings
from typing import Annotated, Literal

from pydantic import Field

from ..data.benchmarks.registry import BENCHMARKS
from ..fields import ExistingFile, FilePath, FunctionInFile, GroupBy, Lines, OneOf, Settings, rule
from ..method.own_rules import problems_of_rule

SCORED = sorted(name for name, benchmark in BENCHMARKS.items() if benchmark.has_answers)

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # --json is our flag; pydantic's method json is deprecated

    class AnsweredConfig(Settings):
        """The questions that a predictions file answers, and the form of the output."""

        benchmark: Annotated[str, OneOf(SCORED)] | None = Field(None, description="the benchmark that was answered")
        meta: ExistingFile | None = Field(None, description="the benchmark's metadata file")
        samples: ExistingFile | None = Field(
            None, description="instead of benchmark and meta: a file of samples in the project's format"
        )
        group_by: GroupBy = ["source"]
        json: bool = Field(False, description="true prints the JSON object instead of the table")
        allow_missing: bool = Field(
            False, description="true counts rows without a prediction as wrong; else they are an error"
        )

        @property
        def names_questions(self) -> bool:
            """True if the settings say which questions were answered."""
            return self.samples is not None or (self.benchmark is not None and self.meta is not None)

        @rule
        def _names_one_kind_of_questions(self) -> Lines:
            if self.samples is not None and (self.benchmark is not None or self.meta is not None):
                yield "samples cannot be given together with benchmark or meta"


class ScoreConfig(AnsweredConfig):
    """The predictions to score, and where the scores go."""

    predictions: ExistingFile | None = Field(None, description="a JSON array or JSON Lines, one row per answer")
    rubrics: ExistingFile | None = Field(
        None, description='of mmar, instead of predictions: a judge\'s {"id", "ratings": [0, 1, ...]}, one row per answer'
    )
    embedder: Annotated[str, FunctionInFile()] | None = Field(
        None, description="FILE.py:FUNCTION, texts -> vectors: scores also by the choice nearest to the answer (MMAU-Pro)"
    )
    output: FilePath | None = Field(None, description="write the JSON object here")
    verdicts: FilePath | None = Field(None, description="write one line per row here: id, clip, and 0|1 by every rule")

    @rule
    def _has_answers_or_ratings(self) -> Lines:
        if (self.predictions is None) == (self.rubrics is None):
            yield "one of predictions and rubrics has to be given"

    @rule
    def _embedder_is_a_function(self) -> Lines:
        if self.embedder is not None:
            yield from problems_of_rule("embedder", self.embedder, ("texts",))

    @rule
    def _names_what_was_answered(self) -> Lines:
        if not self.names_questions:
            yield "either benchmark and meta, or samples have to be given"


class CompareConfig(AnsweredConfig):
    """The models to compare, and how."""

    models: list[str] = Field(
        description="also as first words: folders of scored benchmarks, of runs or checkpoints, or predictions files; "
        "every other one is compared with the first"
    )
    seeds: int = Field(
        1, gt=0, description="this many of the models after one another are one model, trained with as many seeds"
    )
    gain: float | None = Field(
        None, description="in points: say how many questions this gain would need; none: the difference that was found"
    )
    flips: FilePath | None = Field(
        None, description="write the questions that one model has right and the other wrong here, as JSON Lines"
    )
    allow_different: bool = Field(
        False, description="true compares answers to different metadata files, on the ids that both have"
    )

    @rule
    def _has_two_models_of_as_many_seeds(self) -> Lines:
        count, seeds = len(self.models), self.seeds
        if count % seeds or count < 2 * seeds:
            yield f"models: {count} of {seeds} seeds each: at least two models are compared, with the same number of seeds"

    @rule
    def _gain_is_one(self) -> Lines:
        if self.gain == 0:
            yield "gain 0 is no gain"

    # last, since it hides the decorator of the same name
    rule: Literal["official", "strict", "extracted"] | None = Field(
        None, description="what counts as right; none: the official rule, the strict one where there is no official"
    )
