"""Settings of preparation."""

from dataclasses import dataclass
from pathlib import Path

from ..checks import between, one_of, positive, seed_in_range
from ..data.benchmarks.registry import BENCHMARKS
from ..settings import model_field, path_field
from .layouts import SOURCES


@dataclass(kw_only=True)
class PrepareConfig:
    """Files that people have -> samples, with an audit of every clip."""

    source: str  # avqa | audsem | audiomcq | published | mmau-mini | mmau-test | mmar
    input: str | None = path_field(None)  # a file, or a folder whose data files are all read
    hub: str | None = None  # instead of input: a data set on the Hub
    hub_config: str | None = None
    hub_split: str = "train"
    clips: str | None = path_field(None)  # the folder to look for clips in; None: the input's
    output: str = path_field()
    audio_root: str = path_field("data")  # clips below it are written relative to it
    min_audio_seconds: float = 0.2
    max_audio_seconds: float = 300.0  # longer clips are dropped here; training crops or drops by a limit of its own
    against: str | None = path_field("data")  # holds MMAU/ and MMAR/: what is in them is dropped; None: not looked at
    keep_overlap: bool = False  # True keeps it, and still lists it
    valid_share: float = 0.0  # of the rows, for SFT; build_sft.sh splits by itself where this is 0
    held_out: int = 0  # rows for GRPO's evaluation
    model: str | None = model_field(None)  # whose tokenizer counts prompt tokens; None: they are not counted
    prompt: str = "selective"
    num_workers: int = 0  # 0: one a core
    strict: bool = False  # True makes every finding about a clip an error, after the report is written
    seed: int = 0

    def problems(self) -> list[str]:
        found = one_of("source", self.source, (*SOURCES, *BENCHMARKS))
        if (self.input is None) == (self.hub is None):
            found.append("one of input and hub has to be given")
        if self.input is not None and not Path(self.input).exists():
            found.append(f"input {self.input}: no such file or folder")
        if self.clips is not None and not Path(self.clips).is_dir():
            found.append(f"clips {self.clips}: no such folder")
        found += positive(self, "max_audio_seconds") + between(self, "min_audio_seconds", 0)
        found += between(self, "held_out", 0) + between(self, "num_workers", 0)
        found += seed_in_range(self)
        if not 0 <= self.valid_share < 1:
            found.append(f"valid_share {self.valid_share} is not in [0, 1)")
        return found
