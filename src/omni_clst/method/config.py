"""Settings of thought dropout and of the curriculum."""

from dataclasses import dataclass, field
from pathlib import Path

from ..checks import between, existing_file, one_of, positive, seed_in_range
from ..settings import path_field
from .levels import problems_of_mix


@dataclass(kw_only=True)
class ContributionConfig:
    """Samples that a model answers right with silence are solvable without audio: marked, and left out on request."""

    silence_answers_dir: str | None = path_field(None)  # holds an answers.jsonl made with --audio silence; None: no marks
    max_silence_pass_rate: float = 1.0  # samples above it are left out; 1 leaves out none

    @property
    def silence_answers_file(self) -> str | None:
        return None if self.silence_answers_dir is None else str(Path(self.silence_answers_dir) / "answers.jsonl")


@dataclass(kw_only=True)
class ThoughtDropoutConfig(ContributionConfig):
    """Guided thought dropout: which training samples keep their reference thought (arXiv 2509.12275, section 3.1)."""

    samples: str = path_field()
    audio_root: str | None = path_field(None)
    answers_dir: str | None = path_field(None)  # holds the base's answers.jsonl; not needed for keep_all and drop_all
    output: str = path_field()  # train.jsonl and valid.jsonl go there
    mode: str = "guided"  # guided | random (the same share, drawn) | keep_all | drop_all
    drop_from: float = 1.0  # pass rate from which on a thought is dropped
    valid_share: float = 0.02  # of the clips
    seed: int = 0

    @property
    def answers_file(self) -> str | None:
        return None if self.answers_dir is None else str(Path(self.answers_dir) / "answers.jsonl")

    def problems(self) -> list[str]:
        found = existing_file("samples", self.samples) + existing_file("answers_dir", self.answers_file)
        found += one_of("mode", self.mode, ("guided", "random", "keep_all", "drop_all"))
        if self.answers_dir is None and self.mode in ("guided", "random"):
            found.append(f"mode {self.mode} needs answers_dir")
        found += seed_in_range(self)
        if not 0 <= self.valid_share < 1:
            found.append(f"valid_share {self.valid_share} is not in [0, 1)")
        return found + problems_of_contribution(self)


@dataclass(kw_only=True)
class CurriculumConfig(ContributionConfig):
    """The error-aware curriculum: which samples GRPO meets, and in which order (arXiv 2509.12275, section 3.3)."""

    samples: str = path_field()
    audio_root: str | None = path_field(None)
    base_answers_dir: str = path_field()  # holds the base's answers.jsonl
    answers_dir: str = path_field()  # holds the SFT model's
    output: str = path_field()  # the training file (.jsonl); table and picture go beside it
    size: int = 15000  # samples to draw; with fewer there, all are taken
    mix: dict[str, float] = field(default_factory=lambda: {"easy": 0.2, "medium": 0.4, "hard": 0.4})  # shares, any scale
    right_from: float = 0.5  # pass rate from which on a model is right; higher makes more samples hard
    min_sft_pass_rate: float = 0.0  # with k > 1 answers, 0.1 leaves out what is never right and gives no difference
    max_sft_pass_rate: float = 1.0  # and 0.9 what is always right
    valid_size: int = 0  # held out for GRPO's evaluation: each costs training the other samples of its clip
    valid_output: str | None = path_field(None)  # where the held-out samples go
    seed: int = 0

    @property
    def base_answers_file(self) -> str:
        return str(Path(self.base_answers_dir) / "answers.jsonl")

    @property
    def answers_file(self) -> str:
        return str(Path(self.answers_dir) / "answers.jsonl")

    def problems(self) -> list[str]:
        found = existing_file("samples", self.samples)
        for line in existing_file("base_answers_dir", self.base_answers_file):
            found.append(f"{line}; `bash script/build_sft.sh` makes it: the base answers the samples")
        for line in existing_file("answers_dir", self.answers_file):
            found.append(f"{line}; `bash script/build_clst.sh` makes it: the SFT model answers the samples")
        if self.base_answers_dir == self.answers_dir:
            found.append(f"base_answers_dir and answers_dir are one folder, {self.answers_dir}")
        outputs = [self.output] if self.valid_output is None else [self.output, self.valid_output]
        found += [f"output {path} does not end in .jsonl" for path in outputs if not path.endswith(".jsonl")]
        found += [f"output {path} is a folder" for path in outputs if Path(path).is_dir()]
        if len({self.samples, *outputs}) <= len(outputs):
            found.append("samples, output and valid_output are not different files")
        if self.valid_size > 0 and self.valid_output is None:
            found.append(f"valid_size {self.valid_size} needs valid_output")
        found += positive(self, "size") + between(self, "valid_size", 0) + seed_in_range(self) + problems_of_mix(self.mix)
        found += positive(self, "right_from") + between(self, "right_from", 0, 1)
        if not 0 <= self.min_sft_pass_rate <= self.max_sft_pass_rate <= 1:
            window = f"[{self.min_sft_pass_rate}, {self.max_sft_pass_rate}]"
            found.append(f"min_sft_pass_rate, max_sft_pass_rate: {window} is no window in [0, 1]")
        return found + problems_of_contribution(self)


def problems_of_contribution(config: ContributionConfig) -> list[str]:
    found = existing_file("silence_answers_dir", config.silence_answers_file)
    found = [f"{line}; `src/answer.py --audio silence` makes it" for line in found]
    found += between(config, "max_silence_pass_rate", 0, 1)
    if config.silence_answers_dir is None and config.max_silence_pass_rate < 1:
        found.append(f"max_silence_pass_rate {config.max_silence_pass_rate} needs silence_answers_dir")
    return found
