"""Settings of the embedded default, and of the experiments on its world."""

from dataclasses import fields
from pathlib import Path

from pydantic import Field

from ..fields import FilePath, Lines, Seed, Settings, rule
from .knobs import Knobs

DEFAULTS = Knobs()


class DemoConfig(Settings):
    """The world and the base model to create."""

    out: FilePath = Field("runs/demo", description="where data/ and base/ go")
    seed: Seed = Field(0, description="of the world and of the base model")
    pretrain_steps: int | None = Field(
        None, gt=0, description="fewer steps are faster and give a worse base; none: the default number"
    )

    events: int = Field(DEFAULTS.events, ge=4, le=16, description="of the longest clips: how long a transcript gets")
    background: float = Field(
        DEFAULTS.background, ge=0, le=1, description="standard deviation of the noise; an event's peak is 0.5 to 1"
    )
    overlap: float = Field(DEFAULTS.overlap, ge=0, le=0.9, description="share of an event that the next one covers")
    false_events: float = Field(
        DEFAULTS.false_events, ge=0, le=1, description="probability that an event in a reference thought is another sound"
    )
    deep_share: float = Field(DEFAULTS.deep_share, ge=0, le=0.8, description="of the questions that need counting")
    perception_share: float = Field(
        DEFAULTS.perception_share, ge=0, le=0.8, description="of the questions about loudness, direction and voice"
    )
    recordings: FilePath | None = Field(
        None,
        description="real recordings in place of the synthesised sounds: a folder of <label>_*.wav, a folder per label, "
        "or a table with file and label",
    )
    unseen_speakers: list[str] = Field(
        [], description="speakers of the recordings that are in no training clip; the benchmark mmar is theirs"
    )

    @property
    def knobs(self) -> Knobs:
        """The knobs of the world."""
        return Knobs(**{field.name: getattr(self, field.name) for field in fields(Knobs)})

    @rule
    def _recordings_come_with_their_settings(self) -> Lines:
        if self.recordings and not Path(self.recordings).exists():
            yield f"recordings {self.recordings}: no such file or folder"
        if self.unseen_speakers and not self.recordings:
            yield "unseen_speakers: only recordings have speakers; name them with recordings"


class SeedsConfig(Settings):
    """What every experiment over seeds has."""

    seeds: list[str] = Field(["0", "1", "2"], description="of the world, the base model and everything after")
    results: FilePath = Field(
        "asset", description="the folder of the tables, of their figures as JSON, and of the pictures"
    )

    @rule
    def _seeds_are_whole_numbers(self) -> Lines:
        yield from (f"seeds {seed!r} is not a whole number" for seed in self.seeds if not seed.isdecimal())


class RecipesConfig(SeedsConfig):
    """The recipes and seeds to compare, and how much each trains."""

    recipes: list[str] = Field(["all"], description="names of folders in configs/recipes, or all")
    sft_steps: int = Field(220, gt=0, description="of stage 1, in recipes that have one")
    form_steps: int = Field(
        80, gt=0, description="of SFT in the other recipes: a released model answers in the form it is asked for, the tiny "
        "one has to be shown it"
    )  # fmt: skip
    grpo_steps: int = Field(90, gt=0, description="of stage 2")
    prompts_per_step: int = Field(8, gt=0, description="of stage 2, each with the recipe's number of completions")
    out: FilePath = Field("runs/recipes", description="the folder of all runs; a second start resumes")


class ThinkingConfig(SeedsConfig):
    """The part of the grid to run, and where."""

    grid: FilePath = Field(
        "configs/demo/grids/when_thinking_pays.yaml", description="the worlds, the arms and the ways of GRPO"
    )
    recordings: FilePath | None = Field(
        None, description="real recordings, as of src/demo.py: the grid's recorded worlds take the place of its worlds"
    )
    unseen_speakers: list[str] = Field([], description="speakers of the recordings that are in no training clip")
    worlds: list[str] = Field(["all"], description="names of the grid's worlds, or all")
    arms: list[str] = Field(["all"], description="names of the grid's arms, or all")
    grpo: list[str] = Field(["all"], description="names of the grid's ways of GRPO, or all; an empty list: SFT alone")
    out: FilePath = Field("runs/when_thinking_pays", description="the folder of all runs; a second start resumes")
    name: str = Field("when_thinking_pays", description="of the files in results")
    only_finished: bool = Field(False, description="true trains nothing: the tables and pictures of what is finished")
