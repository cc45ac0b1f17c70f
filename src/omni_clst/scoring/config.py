"""Settings of scoring."""

import warnings
from typing import Annotated

from pydantic import Field

from ..data.benchmarks.registry import BENCHMARKS
from ..fields import ExistingFile, FilePath, GroupBy, Lines, OneOf, Settings, rule

SCORED = sorted(name for name, benchmark in BENCHMARKS.items() if benchmark.has_answers)

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # --json is our flag; pydantic's method json is deprecated

    class ScoreConfig(Settings):
        """A benchmark, the predictions to score, and where the scores go."""

        benchmark: Annotated[str, OneOf(SCORED)] | None = Field(None, description="the benchmark that was answered")
        meta: ExistingFile | None = Field(None, description="the benchmark's metadata file")
        samples: ExistingFile | None = Field(
            None, description="instead of benchmark and meta: a file of samples in the project's format"
        )
        group_by: GroupBy = ["source"]
        predictions: ExistingFile | None = Field(None, description="a JSON array or JSON Lines, one row per answer")
        rubrics: ExistingFile | None = Field(
            None,
            description='of mmar, instead of predictions: a judge\'s {"id", "ratings": [0, 1, ...]}, one row per answer',
        )
        output: FilePath | None = Field(None, description="write the JSON object here")
        verdicts: FilePath | None = Field(None, description="write one line per row here: id, official 0|1, strict 0|1")
        json: bool = Field(False, description="true prints the JSON object instead of the table")
        allow_missing: bool = Field(
            False, description="true counts rows without a prediction as wrong; else they are an error"
        )

        @rule
        def _has_answers_or_ratings(self) -> Lines:
            if (self.predictions is None) == (self.rubrics is None):
                yield "one of predictions and rubrics has to be given"

        @rule
        def _names_what_was_answered(self) -> Lines:
            if self.samples is None and (self.benchmark is None or self.meta is None):
                yield "either benchmark and meta, or samples have to be given"
            if self.samples is not None and (self.benchmark is not None or self.meta is not None):
                yield "samples cannot be given together with benchmark or meta"
