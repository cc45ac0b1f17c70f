"""A user's project: a folder of data and runs, with settings for all stages in its project.yaml.

With `--project FOLDER` the relative paths of the YAMLs in `configs/` count from that folder, not from the repository, so
that no checkout holds a user's files. FOLDER/project.yaml is optional. It overrides the stages' YAMLs, and the command
line overrides them:

    base: /models/Qwen2.5-Omni-3B       # takes the place of the released model in the YAMLs
    audio_root: /data/clips             # also data_root, prompt, system_prompt, max_audio_seconds
    sft_lora: {num_train_epochs: 3.0}   # settings of one stage, under the name of its YAML
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .fields import HUB_ID
from .files import read_yaml

FILE = "project.yaml"
OF_ALL_STAGES = ("audio_root", "data_root", "prompt", "system_prompt", "max_audio_seconds")
BASE = "base"


@dataclass(frozen=True)
class Project:
    """A project's folder and the content of its project.yaml."""

    folder: Path
    settings: dict

    def of_stage(self, config_file: str | None, fields: Collection[str], model: object) -> dict[str, object]:
        """The settings for a stage with these fields, whose YAML is `config_file` and names `model`."""
        values = {key: value for key, value in self.settings.items() if key in OF_ALL_STAGES and key in fields}
        if BASE in self.settings and "model" in fields and self._is_released(model):
            values["model"] = self._as_path(self.settings[BASE])
        section = self.settings.get(Path(config_file).stem) if config_file else None
        return values | (section or {})

    def _as_path(self, base: object) -> object:
        """A base that is a folder below the project, as `models/3B`, with that folder; anything else as it is."""
        return str(self.folder / base) if isinstance(base, str) and (self.folder / base).is_dir() else base

    def _is_released(self, model: object) -> bool:
        is_id = isinstance(model, str) and HUB_ID.fullmatch(model) is not None
        return is_id and not (self.folder / model).parent.is_dir()  # such as runs/base


def open_project(folder: str, configs: Path) -> Project:
    """The project in a folder; raises `InputError` for a folder that is none, and for unknown keys of its project.yaml."""
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise InputError(f"project {folder}: no such folder")
    file = path / FILE
    settings = read_yaml(str(file), may_be_empty=True) if file.exists() else {}
    stages = {config.stem for config in configs.rglob("*.yaml")}
    empty = {key for key, value in settings.items() if value is None and key in {*stages, BASE}}  # all commented out
    settings = {key: value for key, value in settings.items() if key not in empty}
    for key, value in settings.items():
        if key in stages and not isinstance(value, dict):
            raise InputError(f"{file}: {key} {value!r} is not settings of that stage (key: value)")
        if key not in stages and key not in (*OF_ALL_STAGES, BASE):
            close = difflib.get_close_matches(key, [*stages, *OF_ALL_STAGES, BASE], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"{', '.join((BASE, *OF_ALL_STAGES))}, or the name of a YAML"
            raise InputError(f"{file}: unknown key {key!r} ({hint})")
    return Project(path, settings)
