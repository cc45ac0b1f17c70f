"""The grid of the experiment "when does thinking pay?": worlds, ways to prepare SFT, ways of GRPO."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import read_yaml
from .pipeline import Overrides, World

FORCED = ("empty", "full")  # thoughts that the models are made to begin with


@dataclass(frozen=True)
class Grid:
    """Names and settings of every axis; the file says which."""

    worlds: dict[str, Overrides]
    arms: dict[str, Overrides]
    grpo: dict[str, Overrides]
    all_worlds: dict[str, Overrides]  # also those that this part leaves out: their bases are taken where they fit

    def part(self, worlds: list[str], arms: list[str], grpo: list[str]) -> "Grid":
        """The named part of every axis; `all` takes an axis whole, an empty list nothing of it."""
        return Grid(
            _named("worlds", self.worlds, worlds),
            _named("arms", self.arms, arms),
            _named("grpo", self.grpo, grpo),
            self.all_worlds,
        )


def _named(axis: str, settings: dict[str, Overrides], names: list[str]) -> dict[str, Overrides]:
    if names == ["all"]:
        return settings
    if unknown := [name for name in names if name not in settings]:
        raise InputError(f"{axis} {unknown[0]!r} is not one of {', '.join(settings)}, or all")
    return {name: settings[name] for name in names}


def read_grid(file: str) -> Grid:
    """Read a grid's YAML; raises `InputError` for an axis that is missing or empty."""
    values = read_yaml(file)
    for axis in ("worlds", "arms", "grpo"):
        if not isinstance(values.get(axis), dict) or not values[axis]:
            raise InputError(f"{file}: {axis} is not a mapping of names to settings")
        for name, settings in values[axis].items():
            if not isinstance(settings, dict):
                raise InputError(f"{file}: {axis}: {name} is {settings!r}, not a mapping of settings")
    if unknown := set(values) - {"worlds", "arms", "grpo"}:
        raise InputError(f"{file}: unknown keys {', '.join(sorted(map(str, unknown)))}")
    return Grid(values["worlds"], values["arms"], values["grpo"], values["worlds"])


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
        return f"{self.arm}, GRPO {self.grpo.replace('_', ' ')}" if self.grpo else self.arm


def run_world(grid: Grid, out: Path, world_name: str, seed: str) -> Iterator[Model]:
    """Train and score every model of a world and seed, one after the other; what is finished does nothing."""
    folder = out / world_name / f"seed{seed}"
    settings = dict(grid.worlds[world_name])
    take_base(grid, out, world_name, seed)
    world = World(folder, seed, settings)
    yield Model(world_name, seed, "base", None, world.base())
    for arm, dropout in grid.arms.items():
        sft = world.supervised(arm, dropout)
        _force_thoughts(world, sft)
        yield Model(world_name, seed, arm, None, sft)
        for way, changed in grid.grpo.items():
            files = world.curriculum(arm, sft)
            trained = world.reinforced(arm, f"grpo_{way}", sft, files, changed)
            _force_thoughts(world, trained)
            yield Model(world_name, seed, arm, way, trained)


def _force_thoughts(world: World, model: Path) -> None:
    for thought in FORCED:
        world.infer(model, {"thought": thought})


def take_base(grid: Grid, out: Path, world_name: str, seed: str) -> None:
    """Copy the base of a world that differs in nothing but the truth of the thoughts, which the base never sees."""
    base = out / world_name / f"seed{seed}" / "base"
    for other, settings in grid.all_worlds.items():
        made = out / other / f"seed{seed}" / "base"
        if made.exists() and not base.exists() and _of_base(settings) == _of_base(grid.worlds[world_name]):
            shutil.copytree(made, base, ignore=shutil.ignore_patterns("infer"))


def _of_base(settings: Overrides) -> dict:
    return {key: value for key, value in settings.items() if key != "false_events"}
