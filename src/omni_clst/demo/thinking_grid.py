"""The grid of the experiment "when does thinking pay?": worlds, ways to prepare SFT, ways of GRPO."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..files import read_yaml
from .pipeline import Overrides, World, is_scored

AXES = ("worlds", "recorded", "arms", "grpo")


@dataclass(frozen=True)
class Grid:
    """Names and settings of every axis; the file says which. `recorded` are worlds of the user's recordings."""

    worlds: dict[str, Overrides]
    recorded: dict[str, Overrides]
    arms: dict[str, Overrides]
    grpo: dict[str, Overrides]
    comparisons: list[tuple[str, str]]  # names of models: the first less the second
    conditions: list[Overrides]  # settings of infer.py under which every model answers once more

    def with_recordings(self, recordings: str, unseen_speakers: list[str]) -> "Grid":
        """The recorded worlds as the worlds, with these recordings."""
        place = {"recordings": recordings, "unseen_speakers": unseen_speakers}
        return replace(self, worlds={name: {**settings, **place} for name, settings in self.recorded.items()})

    def with_recorded_worlds(self) -> "Grid":
        """The recorded worlds beside the worlds, without recordings: to read what was trained on them."""
        return replace(self, worlds=self.worlds | self.recorded)

    def lines(self) -> dict[str, tuple[str, str]]:
        """The models of the picture, each with its arm and the style of its line: the base, every arm, and every arm with
        the first way of GRPO, which is dashed."""
        first = next(iter(self.grpo), None)
        reinforced = {model_name(arm, first): (arm, "--") for arm in self.arms if first}
        return {arm: (arm, "-") for arm in ("base", *self.arms)} | reinforced

    def select(self, axis: str, names: list[str]) -> dict[str, Overrides]:
        """The named settings of an axis; `all` takes it whole, an empty list nothing of it."""
        settings = getattr(self, axis)
        if names == ["all"]:
            return settings
        if unknown := [name for name in names if name not in settings]:
            raise InputError(f"{axis} {unknown[0]!r} is not one of {', '.join(settings)}, or all")
        return {name: settings[name] for name in names}


def read_grid(file: str) -> Grid:
    """Read a grid's YAML; raises `InputError` for an axis that is missing."""
    values = read_yaml(file)
    for axis in AXES:
        if not isinstance(values.get(axis), dict):
            raise InputError(f"{file}: {axis} is not a mapping of names to settings")
        for name, settings in values[axis].items():
            if not isinstance(name, str):
                raise InputError(f"{file}: {axis}: the name {name} is no text: write it in quotes")
            if not isinstance(settings, dict):
                raise InputError(f"{file}: {axis}: {name} is {settings!r}, not a mapping of settings")
    if unknown := set(values) - {*AXES, "comparisons", "conditions"}:
        raise InputError(f"{file}: unknown keys {', '.join(sorted(map(str, unknown)))}")
    pairs = [tuple(pair) for pair in values.get("comparisons", [])]
    grid = Grid(*(values[axis] for axis in AXES), pairs, values.get("conditions", []))
    names = {"base", *(model_name(arm, way) for arm in grid.arms for way in (None, *grid.grpo))}
    for pair in grid.comparisons:
        if len(pair) != 2 or set(pair) - names:
            raise InputError(f"{file}: comparisons: {list(pair)} are not two of {', '.join(sorted(names))}")
    return grid


def model_name(arm: str, way: str | None) -> str:
    """As tables name a model."""
    return f"{arm} + {way}" if way else arm


@dataclass(frozen=True)
class Model:
    """One trained model of the grid, by its place on every axis; GRPO of None is the SFT model."""

    world: str
    seed: str
    arm: str  # "base" for the base model
    grpo: str | None
    folder: Path

    @property
    def name(self) -> str:
        """As tables name it."""
        return model_name(self.arm, self.grpo)


@dataclass(frozen=True)
class Cell:
    """A world and a seed, with the arms and the ways of GRPO to run there."""

    grid: Grid
    out: Path
    world: str
    seed: str
    arms: dict[str, Overrides]
    grpo: dict[str, Overrides]

    @property
    def folder(self) -> Path:
        """Where everything of the cell is."""
        return self.out / self.world / f"seed{self.seed}"

    def models(self) -> list[Model]:
        """Every model of the cell with its place, trained or not."""
        base = Model(self.world, self.seed, "base", None, self.folder / "base")
        ways: list[str | None] = [None, *self.grpo]
        return [base, *(self._model(arm, way) for arm in self.arms for way in ways)]

    def finished(self) -> list[Model]:
        """The models that are trained and scored."""
        return [model for model in self.models() if is_scored(model.folder)]

    def run(self) -> Iterator[Model]:
        """Train and score every model, one after the other; what is finished does nothing."""
        self._take_base()
        world = World(self.folder, self.seed, self.grid.worlds[self.world])
        world.base()
        yield self.models()[0]
        for arm, dropout in self.arms.items():
            sft = world.supervised(arm, dropout)
            yield self._scored(world, self._model(arm, None))
            for way, settings_of_way in self.grpo.items():
                grpo, curriculum = split_way(settings_of_way)
                files = world.curriculum(arm, sft, curriculum, f"CLST_{way}" if curriculum else "CLST")
                world.reinforced(arm, f"grpo_{way}", sft, files, grpo)
                yield self._scored(world, self._model(arm, way))

    def _model(self, arm: str, way: str | None) -> Model:
        place = self.folder / arm / (f"grpo_{way}" if way else "sft/merged")
        return Model(self.world, self.seed, arm, way, place)

    def _scored(self, world: World, model: Model) -> Model:
        for condition in self.grid.conditions:
            world.infer(model.folder, condition)
        return model

    def _take_base(self) -> None:
        """Copy the base of a world that differs in nothing but the truth of the thoughts, which a base never sees."""
        base = self.folder / "base"
        for other, settings in self.grid.worlds.items():
            made = self.out / other / f"seed{self.seed}" / "base"
            if made.exists() and not base.exists() and _of_base(settings) == _of_base(self.grid.worlds[self.world]):
                shutil.copytree(made, base, ignore=shutil.ignore_patterns("infer"))


def split_way(settings: Overrides) -> tuple[dict, dict]:
    """The settings of a way of GRPO, and those of its curriculum (`curriculum:`), if it has one of its own."""
    curriculum = settings.get("curriculum", {})
    assert isinstance(curriculum, dict)
    return {key: value for key, value in settings.items() if key != "curriculum"}, curriculum


def _of_base(settings: Overrides) -> dict:
    return {key: value for key, value in settings.items() if key != "false_events"}
