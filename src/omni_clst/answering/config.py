"""Settings for answering a file of samples (the difficulty passes) or benchmarks (inference)."""

import re
from typing import Annotated, Literal

from pydantic import Field

from ..data.benchmarks.registry import BENCHMARKS
from ..fields import AudioRoot, ExistingFile, FilePath, GroupBy, Lines, MayChange, OneOf, Seed, rule
from ..model.config import DecodingName, EngineName, MemoryShare, ModelConfig

ALL = "all"  # benchmarks that have answers


class AnsweringConfig(ModelConfig):
    """How a model answers: prompt, audio source, decoding."""

    audio: Literal["real", "silence", "other"] = Field(
        "real", description="silence, or another sample's clip (other), instead of the clip: the accuracy without audio"
    )
    thought: Literal["free", "empty", "full"] = Field(
        "free",
        description="empty: every completion begins with an empty thought; full: no thought is empty; the difference in "
        "accuracy is what thinking is worth",
    )
    max_new_tokens: int = Field(256, gt=0, description="of thought and answer; an answer that is cut off is wrong")
    temperature: float = Field(0.0, ge=0, description="0: greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="sample from the fewest tokens that have this probability together")
    top_k: int = Field(0, ge=0, description="sample from this many most likely tokens; 0: all")
    batch_tokens: int = Field(
        32768,
        gt=0,
        description="of engine hf: prompts and new tokens answered together; keys and values of a 7B take 56 KiB a token",
    )
    engine: EngineName = "auto"
    decoding: DecodingName = "auto"
    gpu_memory_utilization: MayChange[MemoryShare] = 0.9
    tensor_parallel_size: int = Field(
        1, gt=0, description="of engine vllm: GPUs that share one model, in a launch of one process (NPROC_PER_NODE=1)"
    )
    num_workers: int = Field(2, ge=0, description="processes that decode audio ahead of the device")
    overwrite: bool = Field(False, description="true deletes existing answers and starts anew")
    seed: Seed = Field(0, description="of sampled completions")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0


class AnswerConfig(AnsweringConfig):
    """The samples to answer, for thought dropout and the curriculum (arXiv 2509.12275, sections 3.1 and 3.3)."""

    samples: ExistingFile = Field(description="the sample file to answer")
    audio_root: AudioRoot = None
    answers_dir: FilePath = Field(description="the folder for answers.jsonl")
    num_completions: int = Field(
        1, gt=0, description="k; 1 is greedy, above 1 the completions are sampled and pass rates have k + 1 values"
    )
    temperature: float = Field(1.0, gt=0, description="used where num_completions is above 1")

    @property
    def is_greedy(self) -> bool:
        return self.num_completions == 1


class AskConfig(AnsweringConfig):
    """Single questions: decoding and the engine; batches and workers do not matter."""


class InferConfig(AnsweringConfig):
    """The benchmarks to answer and score."""

    benchmarks: list[Annotated[str, OneOf((ALL, *BENCHMARKS))]] = Field(
        [ALL],
        description="all: those under data_root that have answers; one without answers is answered where it is named, "
        "and gives a submission file",
    )
    data_root: FilePath = Field("data", description="folder with MMAU/, MMAR/, ... as data/README.md describes them")
    samples: ExistingFile | None = Field(
        None, description="instead of benchmarks: a file of samples of your own, scored by the strict and extracted rules"
    )
    audio_root: AudioRoot = None
    name: str | None = Field(None, description="of samples: the folder of its results; none: the file's name")
    group_by: GroupBy = ["source"]
    output: FilePath | None = Field(None, description="none: CHECKPOINT/infer")
    dry_run: bool = Field(False, description="true validates everything, prints the plan and loads no weights")
    checkpoints: Literal["chosen", "all"] = Field(
        "chosen", description="all, with infer.sh and a run: every checkpoint, then the report with a table and a curve"
    )
    check_only: bool = Field(
        False, description="true validates the settings, says which benchmarks are there, and ends: status 3 without any"
    )
    limit: int | None = Field(None, gt=0, description="only the first rows, for a test; the folder's name then says so")

    @property
    def benchmark_names(self) -> list[str]:
        """The benchmarks to look for."""
        if ALL in self.benchmarks:
            return [name for name, benchmark in BENCHMARKS.items() if benchmark.has_answers]
        return self.benchmarks

    @rule
    def _names_a_benchmark(self) -> Lines:
        if not self.benchmarks and self.samples is None:
            yield "benchmarks is empty: name at least one"

    @rule
    def _checkpoints_have_folders_of_their_own(self) -> Lines:
        if self.checkpoints == "all" and self.output is not None:
            yield "output cannot be given with checkpoints all: each checkpoint's answers go to infer/ in its own folder"

    @rule
    def _name_is_a_folder(self) -> Lines:
        if self.name is not None and not re.fullmatch(r"[\w-][\w.-]*", self.name):
            yield f"name {self.name!r} is not a folder's name"
