"""Settings of a model that answers: a file of samples (the difficulty passes), or benchmarks (inference)."""

from dataclasses import dataclass, field

from ..checks import between, existing_file, one_of, positive, seed_in_range
from ..data.benchmarks.registry import BENCHMARKS
from ..model.config import ModelConfig, problems_of_model
from ..settings import model_field, path_field


@dataclass(kw_only=True)
class AnswerConfig(ModelConfig):
    """A model answers samples, for thought dropout and the curriculum (arXiv 2509.12275, sections 3.1 and 3.3)."""

    prompt: str = "auto"  # what the checkpoint was trained with, direct for a released model; or as in ModelConfig
    system_prompt: str | None = None  # None: what the checkpoint was trained with
    samples: str = path_field()  # the sample file to answer
    audio_root: str | None = path_field(None)
    answers_dir: str = path_field()  # answers.jsonl goes there
    audio: str = "real"  # real | silence | other (another sample's clip): what the wording alone gives
    num_completions: int = 1  # k; above 1 the completions are sampled and pass rates have k + 1 values
    temperature: float = 1.0  # used when num_completions is above 1
    max_new_tokens: int = 256
    batch_tokens: int = 32768  # prompts and new tokens answered together; keys and values of a 7B take 56 KiB a token
    seed: int = 0
    num_workers: int = 2
    overwrite: bool = False
    device: str = "auto"

    def problems(self) -> list[str]:
        found = problems_of_model(self) + existing_file("samples", self.samples)
        found += one_of("audio", self.audio, ("real", "silence", "other"))
        found += positive(self, "num_completions", "temperature", "max_new_tokens", "batch_tokens") + seed_in_range(self)
        found += between(self, "num_workers", 0)
        return found


@dataclass(kw_only=True)
class InferConfig(ModelConfig):
    """Answer benchmarks with a checkpoint and score them."""

    model: str = model_field()
    prompt: str = "auto"  # what the checkpoint was trained with, direct for a released model; or as in ModelConfig
    system_prompt: str | None = None  # None: what the checkpoint was trained with
    benchmarks: list[str] = field(default_factory=lambda: ["mmau-mini", "mmar"])  # also mmau-test (submission file)
    data_root: str = path_field("data")  # holds MMAU/ and MMAR/ as the README lays them out
    output: str | None = path_field(None)  # None: CHECKPOINT/infer
    overwrite: bool = False  # True drops answers that are there and starts anew
    dry_run: bool = False
    device: str = "auto"
    audio: str = "real"  # real | silence | other (another row's clip): what the wording alone gives
    thought: str = "free"  # free | empty (every answer begins with an empty thought): what the thought gives
    batch_tokens: int = 32768  # prompts and new tokens answered together; keys and values of a 7B take 56 KiB a token
    max_new_tokens: int = 256
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    seed: int = 0
    num_workers: int = 2  # processes that decode audio ahead of the device
    limit: int | None = None  # only the first rows, for a look; the scores then say so

    def problems(self) -> list[str]:
        found = problems_of_model(self)
        found += one_of("audio", self.audio, ("real", "silence", "other"))
        found += one_of("thought", self.thought, ("free", "empty"))
        for name in self.benchmarks:
            found += one_of("benchmarks", name, tuple(BENCHMARKS))
        found += positive(self, "batch_tokens", "max_new_tokens")
        found += positive(self, "top_p") + between(self, "top_p", 0, 1) + between(self, "top_k", 0)
        found += between(self, "temperature", 0) + between(self, "num_workers", 0) + seed_in_range(self)
        found += [] if self.benchmarks else ["benchmarks names none"]
        if self.limit is not None:
            found += positive(self, "limit")
        return found
