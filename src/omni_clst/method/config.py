"""Settings of thought dropout and of the curriculum."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..fields import (
    AnyFloat,
    AudioRoot,
    ExistingFile,
    FilePath,
    FunctionInFile,
    Lines,
    Seed,
    Settings,
    missing_file,
    rule,
)
from .levels import PARAMETERS, problems_of_mix
from .own_rules import problems_of_rule


class ContributionConfig(Settings):
    """The samples, and pass rates on silence to mark those that are solvable without audio."""

    samples: ExistingFile = Field(description="the sample file that was answered")
    audio_root: AudioRoot = None
    silence_answers_dir: FilePath | None = Field(
        None,
        description="folder with an answers.jsonl made with --audio silence; samples are marked with its pass rates",
    )
    max_silence_pass_rate: float = Field(
        1.0, ge=0, le=1, description="samples above it are left out, being solvable without audio; 1 leaves out none"
    )
    min_silence_pass_rate: float = Field(
        0.0, ge=0, le=1, description="samples below it are left out: above remain those that are solvable without audio"
    )

    @property
    def silence_limits(self) -> tuple[float, float]:
        return self.min_silence_pass_rate, self.max_silence_pass_rate

    @property
    def silence_answers_file(self) -> str | None:
        return None if self.silence_answers_dir is None else str(Path(self.silence_answers_dir) / "answers.jsonl")

    @rule
    def _silence_was_answered(self) -> Lines:
        for line in missing_file("silence_answers_dir", self.silence_answers_file):
            yield f"{line}; `src/answer.py --audio silence` makes it"

    @rule
    def _leaving_out_needs_answers(self) -> Lines:
        for name, neutral in (("max_silence_pass_rate", 1.0), ("min_silence_pass_rate", 0.0)):
            if self.silence_answers_dir is None and getattr(self, name) != neutral:
                yield f"{name} {getattr(self, name)} needs silence_answers_dir"

    @rule
    def _silence_limits_are_an_interval(self) -> Lines:
        if self.min_silence_pass_rate > self.max_silence_pass_rate:
            yield f"min_silence_pass_rate {self.min_silence_pass_rate} is above max_silence_pass_rate"


class ThoughtDropoutConfig(ContributionConfig):
    """Guided thought dropout: which training samples keep their reference thought (arXiv 2509.12275, section 3.1)."""

    answers_dir: FilePath | None = Field(
        None, description="folder with the base model's answers.jsonl; not needed for keep_all and drop_all"
    )
    output: FilePath = Field(description="the folder for train.jsonl and valid.jsonl")
    mode: Literal["guided", "random", "keep_all", "drop_all"] = Field(
        "guided",
        description="guided drops the thoughts of samples that the base answers right; random drops as many at random",
    )
    drop_from: float = Field(1.0, description="a thought is dropped at this pass rate of the base or above")
    valid_share: float = Field(0.02, ge=0, lt=1, description="share of the clips that goes to valid.jsonl")
    seed: Seed = Field(0, description="of the split and of mode random")

    @property
    def answers_file(self) -> str | None:
        """None without answers to the clips: a YAML that answer.py shares may name the folder of those on silence."""
        is_none = self.answers_dir in (None, self.silence_answers_dir)
        return None if is_none else str(Path(self.answers_dir or "") / "answers.jsonl")

    @rule
    def _base_has_answered(self) -> Lines:
        yield from missing_file("answers_dir", self.answers_file)
        if self.answers_file is None and self.mode in ("guided", "random"):
            yield f"mode {self.mode} needs answers_dir" + (" with answers to the clips" if self.answers_dir else "")


class CurriculumConfig(ContributionConfig):
    """The error-aware curriculum: which samples GRPO trains on, and in which order (arXiv 2509.12275, section 3.3)."""

    base_answers_dir: FilePath = Field(description="folder with the base model's answers.jsonl")
    answers_dir: FilePath = Field(description="folder with the SFT model's answers.jsonl")
    output: FilePath = Field(description="the training file (.jsonl); a table and a picture go beside it")
    size: int = Field(15000, gt=0, description="samples to draw; all of them where there are fewer")
    mix: dict[str, AnyFloat] = Field(
        {"easy": 0.2, "medium": 0.4, "hard": 0.4}, description="shares of the levels; they need not sum to 1"
    )
    right_from: float = Field(
        0.5, gt=0, le=1, description="a model is right at this pass rate or above; higher makes more samples hard"
    )
    level_rule: Annotated[str, FunctionInFile()] | None = Field(
        None, description="FILE.py:FUNCTION, a rule of your own for the level of a sample; none: the published rule"
    )
    min_sft_pass_rate: float = Field(
        0.0,
        description="with several answers a sample, 0.1 leaves out those never right: their groups have no difference",
    )
    max_sft_pass_rate: float = Field(1.0, description="with several answers a sample, 0.9 leaves out those always right")
    valid_size: int = Field(
        0, ge=0, description="samples held out for GRPO's evaluation; the other samples of their clips are not trained on"
    )
    valid_output: FilePath | None = Field(None, description="the file for the held-out samples (.jsonl)")
    seed: Seed = Field(0, description="of the draw")

    @property
    def base_answers_file(self) -> str:
        return str(Path(self.base_answers_dir) / "answers.jsonl")

    @property
    def answers_file(self) -> str:
        return str(Path(self.answers_dir) / "answers.jsonl")

    @property
    def _outputs(self) -> list[str]:
        return [self.output] if self.valid_output is None else [self.output, self.valid_output]

    @rule
    def _base_has_answered(self) -> Lines:
        for line in missing_file("base_answers_dir", self.base_answers_file):
            yield f"{line}; `bash script/build_sft.sh` makes it: the base answers the samples"

    @rule
    def _sft_model_has_answered(self) -> Lines:
        for line in missing_file("answers_dir", self.answers_file):
            yield f"{line}; `bash script/build_clst.sh` makes it: the SFT model answers the samples"
        if self.base_answers_dir == self.answers_dir:
            yield f"base_answers_dir and answers_dir are one folder, {self.answers_dir}; give one of each model"

    @rule
    def _outputs_are_files(self) -> Lines:
        yield from (f"output {path} does not end in .jsonl" for path in self._outputs if not path.endswith(".jsonl"))
        yield from (f"output {path} is a folder" for path in self._outputs if Path(path).is_dir())

    @rule
    def _files_differ(self) -> Lines:
        if len({self.samples, *self._outputs}) <= len(self._outputs):
            yield "samples, output and valid_output are not different files"

    @rule
    def _held_out_samples_have_a_file(self) -> Lines:
        if self.valid_size > 0 and self.valid_output is None:
            yield f"valid_size {self.valid_size} needs valid_output"

    @rule
    def _levels_have_shares(self) -> Lines:
        yield from problems_of_mix(self.mix)

    @rule
    def _level_rule_is_a_function(self) -> Lines:
        if self.level_rule is not None and not FunctionInFile.is_file(self.level_rule):
            yield f"level_rule {self.level_rule!r} is not FILE.py:FUNCTION"
        elif self.level_rule is not None:
            yield from problems_of_rule("level_rule", self.level_rule, PARAMETERS)

    @rule
    def _pass_rates_are_a_window(self) -> Lines:
        if not 0 <= self.min_sft_pass_rate <= self.max_sft_pass_rate <= 1:
            window = f"[{self.min_sft_pass_rate}, {self.max_sft_pass_rate}]"
            yield f"min_sft_pass_rate, max_sft_pass_rate: {window} is not an interval within [0, 1]"
