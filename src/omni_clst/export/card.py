"""The model card of an exported folder, in Markdown: how to load it, how it was made, its curve, scores and licences."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from ..data.prompts import Prompt
from ..data.samples import EASY_TO_HARD
from ..data.table import make_table, with_interval
from ..files import read_json
from ..grpo.config import CLSTConfig
from ..model.families.family import Family
from ..training.config import SFTConfig
from .stages import Stage

POINTS = 12  # of a curve
CURVES = {
    "SFT": ("loss", "eval_loss"),
    "GRPO": ("reward", "accuracy", "think_rate", *(f"think_rate/{level}" for level in EASY_TO_HARD), "kl", "eval_accuracy"),
}
NOT_SHOWN = {
    "model",
    "train_file",
    "valid_file",
    "audio_root",
    "runs_dir",
    "run_name",
    "prompt",
    "system_prompt",
    "trainer",
}
USE = """\
Answers are in the form `<think>...</think><answer>...</answer>`; an empty thought is a decision of the model. Decode
greedily, with transformers or with vLLM:

```python
from transformers import {processor}, {thinker}
processor = {processor}.from_pretrained("{name}")
model = {thinker}.from_pretrained("{name}", dtype="auto")
```

```python
from vllm import LLM
llm = LLM("{name}", limit_mm_per_prompt={{"audio": 1, "image": 0, "video": 0}})
```

The whole class, `{whole}.from_pretrained("{name}", dtype="auto")`, loads it too; {speech}."""


@dataclass(frozen=True)
class Facts:
    """What a card says of a model: its name, base, stages, folders with its scores.json, licences of base and data."""

    name: str
    base: str
    stages: list[Stage]
    scored: list[Path]
    prompt: Prompt | None
    speaks: bool
    family: Family
    dtype: str
    licences: dict[str, str | None]


def write_card(facts: Facts) -> str:
    """The card of the last stage's model."""
    name, base, stages, licences = facts.name, facts.base, facts.stages, facts.licences
    speech = "it speaks" if facts.speaks else "it has no talker and answers in text"
    family = facts.family
    classes = {
        "processor": family.processor.__name__,
        "thinker": family.stock_thinker.__name__,
        "whole": family.whole.__name__,
    }
    parts = [
        _front_matter(base, licences["base"]),
        f"# {name}",
        _introduction(stages, base),
        f"## Use\n\n{USE.format(name=name, speech=speech, **classes)}",
        _prompt_section(facts.prompt),
        f"## Training\n\n{_stages_table(stages, base)}",
        *(f"### {stage.name}\n\n{_settings(stage)}\n\n{_curve(stage)}" for stage in stages),
        f"## Scores\n\n{_scores_table(facts.scored, facts.dtype)}",
        f"## Licences\n\n{_licences(base, licences)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(base: str, licence: str | None) -> str:
    fields = {
        "license": licence or "other",
        "base_model": base if _is_public(base) else None,
        "library_name": "transformers",
        "pipeline_tag": "audio-text-to-text",
        "tags": ["audio-question-answering", "chain-of-thought", "omni-clst"],
    }
    kept = {key: value for key, value in fields.items() if value is not None}
    return f"---\n{yaml.safe_dump(kept, sort_keys=False).strip()}\n---"


def _is_public(base: str) -> bool:
    return not Path(base).is_absolute()


def _shown(base: str) -> str:
    """A Hub id, or a folder's name: paths of this machine are nobody else's."""
    return base if _is_public(base) else Path(base).name


def _introduction(stages: list[Stage], base: str) -> str:
    route = ", then ".join(stage.name for stage in stages)
    return (
        f"`{_shown(base)}` after {route}, for questions about audio clips with given choices. It was trained to think only "
        "where a question needs it, after *Omni-CLST* ([arXiv 2509.12275](https://arxiv.org/abs/2509.12275))."
    )


def _prompt_section(prompt: Prompt | None) -> str:
    if prompt is None:
        return ""
    system = f"System turn:\n\n```\n{prompt.system}\n```\n\n" if prompt.system else "No system turn. "
    return f"## Prompt\n\n{system}User turn, after the clip:\n\n```\n{prompt.template}\n```"


def _stages_table(stages: list[Stage], base: str) -> str:
    header = ("stage", "started from", "data", "SHA-256", "steps", "commit", "cost")
    rows = []
    for stage in stages:
        steps = max((row["step"] for row in stage.log), default="-")
        started = f"`{_shown(base)}`" if stage is stages[0] else "the stage above"
        data = f"`{Path(stage.settings['train_file']).name}`"
        hashed = f"`{stage.data_sha256[:16]}`" if stage.data_sha256 else "-"
        commit = (stage.environment.get("commit") or "-")[:12]
        rows.append((stage.name, started, data, hashed, str(steps), commit, _cost(stage)))
    packages = stages[-1].environment.get("packages", {})
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("torch", "transformers", "trl", "peft") if packages.get(name)
    )
    return f"{make_table(header, rows, markdown=True)}\n\nWith {versions}, on {stages[-1].environment['devices'][0]}."


def _cost(stage: Stage) -> str:
    cost = stage.cost
    return f"{cost['device_hours']:.3g} {cost['device'].upper()} hours" if cost else "-"


def _settings(stage: Stage) -> str:
    """The settings that are not at their defaults, without paths."""
    config_class = CLSTConfig if stage.is_grpo else SFTConfig
    defaults = {name: field.default for name, field in config_class.model_fields.items()}
    weighty = defaults.keys() - config_class.may_change_on_resume() - NOT_SHOWN  # those that the weights depend on
    changed = {key: value for key, value in stage.settings.items() if key in weighty and value != defaults[key]}
    changed |= stage.settings.get("trainer", {})
    listed = ", ".join(f"`{key}: {value}`" for key, value in changed.items())
    return f"Settings that are not the defaults: {listed or 'none'}."


def _curve(stage: Stage) -> str:
    """At most `POINTS` lines of the log, and every one with an evaluation; names that are in none are left out."""
    by_step: dict[int, dict] = {}
    for row in stage.log:
        by_step.setdefault(row["step"], {}).update(row)
    steps = sorted(step for step, row in by_step.items() if any(name in row for name in CURVES[stage.name]))
    every = -(-len(steps) // POINTS)
    kept = [step for number, step in enumerate(steps) if number % every == 0]
    kept = sorted(
        {*kept, *steps[-1:], *(step for step in steps if any(name.startswith("eval_") for name in by_step[step]))}
    )
    names = [name for name in CURVES[stage.name] if any(name in by_step[step] for step in kept)]
    rows = [[str(step), *(_figure(by_step[step].get(name)) for name in names)] for step in kept]
    return make_table(["step", *names], rows, markdown=True) if rows else "No log of its steps."


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _scores_table(scored: list[Path], dtype: str) -> str:
    """Accuracy by the official and the strict rule with 95 % intervals; a line for each benchmark and condition."""
    if not scored:
        return "Not scored yet: `bash script/infer.sh` scores it."
    header = ("benchmark", "release", "questions", "condition", "official %", "strict %", "think rate %", "tokens")
    rows, dtypes = [], set()
    for folder in scored:
        score = read_json(folder / "scores.json")
        origin = score.get("origin", {})
        dtypes.add(str(origin.get("dtype", "unknown")).removeprefix("torch."))
        condition = ", ".join((f"thought {origin.get('thought', 'free')}", f"audio {origin.get('audio', 'real')}"))
        limit = f", first {origin['limit']}" if origin.get("limit") else ""
        rules = [
            with_interval(score[rule]["accuracy"], score[rule]["interval"]) if rule in score else "-"
            for rule in ("official", "strict")
        ]
        think, tokens = (
            f"{score[key]:.1f}" if score.get(key) is not None else "-" for key in ("think_rate", "mean_tokens")
        )
        release = score.get("release") or "-"
        rows.append((f"{score['benchmark']}{limit}", release, str(score["total"]), condition, *rules, think, tokens))
    note = f"With 95 % intervals, of the run's checkpoint in {' and '.join(sorted(dtypes))}; these weights are in {dtype}."
    return f"{make_table(header, rows, markdown=True)}\n\n{note}"


def _licences(base: str, licences: dict[str, str | None]) -> str:
    unknown = f"that of the base `{_shown(base)}`, whose card was not at hand: look it up before you pass the weights on"
    weights = f"{licences['base']}, as the base `{_shown(base)}`" if licences["base"] else unknown
    data = licences["data"] or "not stated by who exported this model; the terms of each source apply"
    return f"* Weights: {weights}.\n* Training data: {data}."
