"""Settings of preparation."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..data.benchmarks.registry import BENCHMARKS
from ..data.prompts import PromptSetting
from ..fields import FilePath, Lines, ModelSource, OneOf, Seed, Settings, rule
from .columns import EXAMPLE, OWN
from .layouts import SOURCES


class CheckConfig(Settings):
    """Checks of rows and clips, and the parts of a set."""

    columns: dict[str, str | list[str]] = Field(
        {},
        description=f'of source {OWN}: the columns of a table, as "{EXAMPLE}"; those not given are guessed',
    )
    first_choice: int | None = Field(
        None, ge=0, le=1, description=f"of source {OWN}: the number of the first choice, where answers are numbers"
    )
    min_audio_seconds: float = Field(0.2, ge=0, description="shorter clips are dropped")
    max_audio_seconds: float = Field(300.0, gt=0, description="longer clips are dropped here; training has its own limit")
    keep_overlap: bool = Field(False, description="true keeps samples that are in a benchmark, and still lists them")
    valid_share: float = Field(
        0.0, ge=0, lt=1, description="share of the rows for SFT's evaluation; build_sft.sh splits by itself where this is 0"
    )
    held_out: int = Field(0, ge=0, description="rows for GRPO's evaluation")
    model: ModelSource | None = Field(None, description="whose tokenizer counts prompt tokens; none: they are not counted")
    prompt: PromptSetting = Field("selective", description="the prompt whose tokens are counted")
    num_workers: int = Field(0, ge=0, description="processes that decode clips; 0: one per core")
    strict: bool = Field(False, description="true makes every finding about a clip an error, after the report is written")
    seed: Seed = Field(0, description="of the splits")


class PrepareAllConfig(CheckConfig):
    """Without the name of a source: all known sets below a folder, then one file of all training samples."""

    data_root: FilePath = Field("data", description="the folder of the sets, as data/README.md describes them")


class PrepareConfig(CheckConfig):
    """Convert a data set to samples, with an audit of every clip."""

    source: Annotated[str, OneOf((OWN, *SOURCES, *BENCHMARKS))] = Field(
        description="the data set's layout; also as first word"
    )
    input: FilePath | None = Field(None, description="a file, or a folder whose data files are all read")
    hub: str | None = Field(None, description="instead of input: a data set on the Hub")
    hub_config: str | None = Field(None, description="its configuration")
    hub_split: str = Field("train", description="its split")
    clips: FilePath | None = Field(None, description="the folder to look for clips in; none: the input's")
    output: FilePath = Field(description="the folder for samples, dropped rows and the audit")
    audio_root: FilePath = Field("data", description="clips below it are written relative to it")
    against: FilePath | None = Field(
        "data", description="folder with the benchmarks: samples that are in them are dropped; none: no comparison"
    )

    @rule
    def _has_one_input(self) -> Lines:
        if (self.input is None) == (self.hub is None):
            yield "one of input and hub has to be given"

    @rule
    def _table_is_of_the_users_own(self) -> Lines:
        if self.source != OWN and (self.columns or self.first_choice is not None):
            yield f"columns and first_choice are of source {OWN}; the columns of {self.source} are known"

    @rule
    def _output_is_another_folder(self) -> Lines:
        """Else the metadata file that was read would be written over."""
        given = Path(self.input or "")
        folder = given.parent if given.is_file() else given
        if self.source in BENCHMARKS and self.input is not None and folder.resolve() == Path(self.output).resolve():
            yield f"output {self.output} is the input's folder: give another one"

    @rule
    def _input_is_there(self) -> Lines:
        if self.input is not None and not Path(self.input).exists():
            yield f"input {self.input}: no such file or folder"

    @rule
    def _clips_are_there(self) -> Lines:
        if self.clips is not None and not Path(self.clips).is_dir():
            yield f"clips {self.clips}: no such folder"
