"""The recipes to plan without data: found in configs/, with the shapes of the released models and expected samples."""

import functools
from dataclasses import dataclass
from pathlib import Path

from ..answering.config import AnswerConfig
from ..errors import InputError
from ..method.config import CurriculumConfig, ThoughtDropoutConfig
from ..model.families.registry import family_of
from ..model.released import RELEASED, thinker_config_of
from ..settings import REPOSITORY, load_config, read_yaml
from ..training.config import PlanConfig, SFTConfig, TuningConfig
from ..training.model_size import ModelSize, measure_thinker
from ..training.trainer_settings import trainer_keys
from ..training.workload import (
    CLIP_SECONDS,
    TEXT_TOKENS,
    Workload,
    expected_workload,
    is_grpo,
)
from .config import CLSTConfig
from .settings import grpo_keys

SOURCE_SAMPLES = 40_000  # training questions of AVQA
CURRICULUM_SAMPLES = CurriculumConfig.model_fields["size"].default
STAGES = {"sft": ThoughtDropoutConfig, "clst": CurriculumConfig}  # that share a YAML with answer.py


@dataclass(frozen=True)
class Recipe:
    """A training recipe and a model, planned for GPUs; `settings` are given on the command line besides the YAML."""

    file: Path
    model: str
    request: PlanConfig
    settings: dict[str, str]

    def plan(self, changes: dict[str, object], gpus: int) -> tuple[TuningConfig, Workload]:
        """The checked config with changed settings, and its workload on this many GPUs; raises `InputError`."""
        config = load_recipe(self.file, self.settings | changes)
        family_of(thinker_config_of(self.model)).clips.require_taken(config.max_audio_seconds)
        size = measure(self.model, config.lora_targets, config.lora_rank)
        engine = getattr(config, "engine", "hf")
        engine = self.request.engine if engine == "auto" else engine
        samples = self.request.samples or (CURRICULUM_SAMPLES if is_grpo(config) else SOURCE_SAMPLES)
        return config, expected_workload(config, size, samples, gpus, engine)


def trains(file: Path) -> bool:
    """Whether a YAML is the recipe of a training."""
    return "train_file" in read_yaml(str(file))


def shipped_recipes() -> list[Path]:
    """The training recipes in configs/, stage 1 first."""
    files = [file for file in sorted((REPOSITORY / "configs").glob("*.yaml")) if trains(file)]
    return sorted(files, key=lambda file: config_class_of(file) is CLSTConfig)


def config_class_of(file: Path) -> type[TuningConfig]:
    """The stage that a training YAML belongs to, by the keys that only one of them has."""
    of_grpo = CLSTConfig.model_fields.keys() - SFTConfig.model_fields.keys()
    return CLSTConfig if read_yaml(str(file)).keys() & of_grpo else SFTConfig


def load_recipe(file: Path, settings: dict[str, object]) -> TuningConfig:
    """The recipe with other settings, without its data; raises `InputError`."""
    config_class = config_class_of(file)
    words = [f"--{key}={value}" for key, value in settings.items()]
    library_keys = grpo_keys if config_class is CLSTConfig else trainer_keys
    config = load_config(config_class, ["--config", str(file), *words], library_keys, needs_files=False)
    if config.deepspeed and not Path(config.deepspeed).is_file():
        raise InputError(f"deepspeed {config.deepspeed}: no such file")
    return config


@functools.cache
def measure(model: str, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Parameter counts of a released model or a folder."""
    return measure_thinker(thinker_config_of(model), lora_targets, lora_rank)


def recipes_of(request: PlanConfig, settings: dict[str, str]) -> list[Recipe]:
    """Every recipe with every model that is asked for."""
    if request.recipe is not None and not trains(Path(request.recipe)):
        raise InputError(f"{request.recipe}: not the recipe of a training (it has no train_file)")
    files = [Path(request.recipe)] if request.recipe else shipped_recipes()
    return [
        Recipe(file, model, request, settings)
        for file in files
        for model in ([request.model] if request.model else models_of(file))
    ]


def models_of(file: Path) -> list[str]:
    """The released models that a recipe is for: the one in its name, as in clst_3b_24gb, else all."""
    return [model for model in RELEASED if f"_{model.lower()}_" in file.stem] or list(RELEASED)


def answering_of(request: PlanConfig, stage: str, model: str) -> tuple[AnswerConfig, Workload]:
    """The answers to the source samples that build_<stage>.sh needs: their config and workload."""
    file = REPOSITORY / "configs" / f"build_{stage}.yaml"
    config = load_config(AnswerConfig, ["--config", str(file)], None, STAGES, needs_files=False)
    size = measure(model, None, 0)
    prompt = size.audio_rate * CLIP_SECONDS + TEXT_TOKENS
    return config, Workload(size, request.samples or SOURCE_SAMPLES, prompt, prompt, request.gpus, engine=request.engine)
