"""Settings of the embedded default, and of the ablation on its world.

An arm is one way to prepare the thoughts for SFT; GRPO follows in several orders.
"""

from typing import Annotated, Literal

from pydantic import Field

from ..fields import FilePath, Lines, OneOf, Seed, Settings, rule
from ..method.order import ORDERS

Arm = Literal["keep_all", "random", "guided", "drop_all"]


class DemoConfig(Settings):
    """The world and the base model to create."""

    out: FilePath = Field("runs/demo", description="where data/ and base/ go")
    seed: Seed = Field(0, description="of the world and of the base model")
    pretrain_steps: int | None = Field(
        None, gt=0, description="fewer steps are faster and give a worse base; none: the default number"
    )


class AblationConfig(Settings):
    """The arms, orders and seeds to compare."""

    seeds: list[str] = Field(["0", "1", "2"], description="of the world, the base model and everything after")
    arms: list[Arm] = Field(["keep_all", "random", "guided"], description="modes of thought dropout before SFT")
    orders: list[Annotated[str, OneOf(ORDERS)]] = Field(["shuffled", "file"], description="of the curriculum in GRPO")
    out: FilePath = Field("runs/ablation", description="the folder of all runs; a second start resumes")
    results: FilePath = Field("asset", description="the folder for ablation.md, ablation.json and ablation.png")

    @rule
    def _seeds_are_whole_numbers(self) -> Lines:
        yield from (f"seeds {seed!r} is not a whole number" for seed in self.seeds if not seed.isdecimal())
