"""Run published recipes on the embedded world: a recipe's idea comes from its YAMLs, the sizes from the demo's.

A recipe is a folder of configs/recipes with a YAML a stage: build_sft and sft (stage 1), build_grpo or build_clst (the
samples of stage 2), grpo. Of a training's settings those in `IDEAS` are the recipe's, all others the demo's.
"""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import read_yaml
from ..settings import REPOSITORY
from .config import RecipesConfig
from .pipeline import Overrides, World, yaml_of

FOLDER = REPOSITORY / "configs" / "recipes"
IDEAS = {  # by stage: what makes a recipe
    "sft_lora": {"lr_scheduler_type", "warmup_steps"},
    "clst": {
        "rewards", "max_thought_words", "order", "overlap", "num_generations", "temperature", "top_k", "top_p", "beta",
        "loss_type", "dynamic_sampling", "lr_scheduler_type", "warmup_steps",
    },
}  # fmt: skip
PLACES = {"model", "train_file", "valid_file", "audio_root", "runs_dir", "run_name"}  # which the pipeline sets
PROMPTS = {  # the demo's short wording of a recipe's prompt
    "selective": "demo_selective",
    "answer_only.txt": "{question}\n{choices}\nreply <answer> :",
    "think_briefly.txt": "{question}\n{choices}\nthink :",
    "auto": "auto",
}
VALID_SHARE = 0.03  # of the clips, in every selection


@dataclass(frozen=True)
class Recipe:
    """The YAMLs of a recipe, and how much it trains here."""

    name: str
    config: RecipesConfig

    def file(self, stage: str) -> Path:
        """The YAML of a stage, which not every recipe has."""
        return FOLDER / self.name / f"{stage}.yaml"

    def values(self, stage: str) -> dict:
        """The settings in a stage's YAML."""
        return read_yaml(str(self.file(stage)))

    def run(self, world: World) -> dict[str, Path]:
        """Train and score its models, by their names in the table."""
        if self.file("sft").exists():
            start, title = world.supervised(self.name, self._selection("build_sft", world), self._sft()), "SFT"
        else:
            start, title = world.supervised(self.name, {"mode": self._mode_of_form()}, self._form()), "form"
        if self.file("build_clst").exists():
            sizes = {"size": self.config.prompts_per_step * self.config.grpo_steps}
            sizes["valid_size"] = demo_values("build_clst")["valid_size"]
            files = world.curriculum(self.name, start, {"config": self.file("build_clst"), **sizes})
        elif self.file("build_grpo").exists():
            files = world.selected(world.folder / self.name / "grpo_data", self._selection("build_grpo", world))
        else:
            everything = {"mode": "drop_all", "valid_share": VALID_SHARE}
            files = world.selected(world.folder / self.name / "grpo_data", everything)
        trained = world.reinforced(self.name, "grpo", start, files, self._grpo())
        return {f"{self.name}: {title}": start, f"{self.name}: GRPO": trained}

    def minutes(self, world: World) -> dict[str, float]:
        """Minutes until each of the models in `run`, answers to the training questions included."""
        seconds = world.seconds()
        shared = [step for step in ("base/answers", "base/silence") if self._needs(step)]
        first = sum(seconds[step] for step in (*shared, f"{self.name}/sft"))
        later = sum(seconds.get(f"{self.name}/{step}", 0.0) for step in ("answers", "grpo"))
        return {"first": first / 60, "last": (first + later) / 60}

    def _needs(self, step: str) -> bool:
        """Whether it needs the base's answers to the clips, or those on silence."""
        builds = [self.values(stage) for stage in ("build_sft", "build_grpo") if self.file(stage).exists()]
        if step == "base/silence":
            return any("silence_answers_dir" in values for values in builds)
        return any(values["mode"] in ("guided", "random") for values in builds)

    def _selection(self, stage: str, world: World) -> Overrides:
        """The settings of `curriculum.py sft` for a stage; the base answers on silence where they ask for it."""
        settings = {"config": self.file(stage), "valid_share": VALID_SHARE}
        if "silence_answers_dir" not in self.values(stage):
            return settings
        answers = world.folder / "silence"
        sizes = {key: value for key, value in demo_values("build_sft").items() if key in ("batch_tokens", "max_new_tokens")}
        world.answer("base/silence", "build_sft", world.folder / "base", answers, {"config": self.file(stage)} | sizes)
        return settings | {"silence_answers_dir": answers}

    def _sft(self) -> Overrides:
        return self._training("sft", "sft_lora", self.config.sft_steps)

    def _form(self) -> Overrides:
        """A short SFT in the form of the recipe's GRPO, from the demo's YAML."""
        prompt = self._prompt("grpo")
        return {"prompt": prompt, **steps_of(self.config.form_steps), "warmup_steps": 0.05}

    def _mode_of_form(self) -> str:
        return "drop_all" if "answer_format" in self.values("grpo")["rewards"] else "keep_all"

    def _grpo(self) -> Overrides:
        rows = self.config.prompts_per_step * self.values("grpo")["num_generations"]
        return {**self._training("grpo", "clst", self.config.grpo_steps), "per_device_train_batch_size": rows}

    def _training(self, stage: str, demo_stage: str, steps: int) -> Overrides:
        """The recipe's YAML with the demo's sizes."""
        sizes = {key: value for key, value in demo_values(demo_stage).items() if key not in IDEAS[demo_stage] | PLACES}
        words = {"prompt": self._prompt(stage), "system_prompt": ""}
        return {"config": self.file(stage), "deepspeed": None, **sizes, **words, **steps_of(steps)}

    def _prompt(self, stage: str) -> str:
        return PROMPTS[Path(self.values(stage).get("prompt", "auto")).name]


def demo_values(stage: str) -> dict:
    """The settings in the demo's YAML of a stage."""
    return read_yaml(str(yaml_of(stage)["config"]))


def steps_of(steps: int) -> Overrides:
    """A training of so many steps, evaluated and saved in the middle and at the end."""
    half = max(steps // 2, 1)
    return {"max_steps": steps, "eval_steps": half, "save_steps": half}


def recipes_of(config: RecipesConfig) -> list[Recipe]:
    """The recipes that the settings name; raises `InputError` for one that has no folder."""
    known = sorted(path.parent.name for path in FOLDER.glob("*/grpo.yaml"))
    names = known if config.recipes == ["all"] else config.recipes
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"recipes {unknown[0]!r} is not one of {', '.join(known)}, or all")
    return [Recipe(name, config) for name in names]
