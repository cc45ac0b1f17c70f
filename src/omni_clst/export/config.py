"""Settings of the export."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..fields import HUB_ID, FilePath, Lines, ModelSource, Settings, rule


class ExportConfig(Settings):
    """The run to export, and what its folder contains."""

    run: FilePath = Field(description="a run of SFT or GRPO, or one of its checkpoints; also as first word")
    output: FilePath = Field(description="the folder to write; also as second word")
    keep_talker: bool = Field(
        False, description="true adds talker and token2wav of the base (about 4 GB for 7B): the whole model, which speaks"
    )
    base: ModelSource | None = Field(
        None,
        description="the base's Hub id or folder, for the card, talker and token2wav; none: the model that the first stage "
        "started from",
    )
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        "bfloat16", description="of the thinker's weights, as released; talker and token2wav stay as they are"
    )
    licence: str | None = Field(None, description="of the weights, such as apache-2.0; none: what the base's card says")
    data_licence: str | None = Field(None, description="of the training data, for the card; none: not stated there")
    push: str | None = Field(None, description="OWNER/NAME on the Hub to upload the folder to; none: nothing is uploaded")
    private: bool = Field(True, description="of push: whether a repository that is made is private")
    overwrite: bool = Field(False, description="true replaces the output folder")

    @rule
    def _repository_is_named(self) -> Lines:
        if self.push is not None and not HUB_ID.fullmatch(self.push):
            yield f"push {self.push!r} is not OWNER/NAME"

    @rule
    def _output_is_free(self) -> Lines:
        if Path(self.output).exists() and not self.overwrite:
            yield f"output {self.output} exists; give another folder, or overwrite true to replace it"

    @property
    def name(self) -> str:
        """The model's name in its card, with which it is loaded."""
        return self.push or Path(self.output).name
