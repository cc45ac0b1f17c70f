"""Settings of the report."""

from pydantic import Field

from ..fields import FilePath, Settings


class ReportConfig(Settings):
    """The folder to report on."""

    folder: FilePath = Field(description="scores and GRPO runs below it are reported; also as first word")
