"""Run the stages on the embedded world, one seed after the other, all in this process.

Experiments over seeds are made of these steps. Each is an entry point with the YAML of its stage in configs/demo, where
`settings` override the YAML; a step that is finished does nothing, and one that was interrupted resumes.
"""

import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ..files import read_json, read_yaml, write_json
from ..settings import REPOSITORY

Overrides = Mapping[str, object]  # keys of a stage's settings; `config` names another YAML
NONE: Overrides = {}
SECONDS_FILE = "seconds.json"
WITHOUT_WORKERS = {"sft": "dataloader_num_workers", "grpo": "dataloader_num_workers", "answer": "num_workers",
                   "infer": "num_workers"}  # fmt: skip


class World:
    """One seed's world: its data, its base model, and the models trained from it, each in a folder named by the caller."""

    def __init__(self, folder: Path, seed: str, settings: Overrides = NONE):
        """Make the world and its base; `settings` are those of demo.py."""
        self.folder = folder
        self.seed = seed
        self.data = folder / "data"
        self.source = {"samples": self.data / "source.jsonl", "audio_root": self.data}
        run("demo", {"out": folder, "seed": seed} | dict(settings))

    def base(self) -> Path:
        """Score the base, and make its answers to the training questions."""
        base = self.folder / "base"
        self.infer(base)
        self.answer("base/answers", "build_sft", base, self.folder / "answers")
        return base

    def answer(self, step: str, stage: str, model: Path, answers_dir: Path, settings: Overrides = NONE) -> None:
        """A model answers the training questions as the stage's YAML says."""
        self._run(
            step, "answer", yaml_of(stage) | self.source | {"model": model, "answers_dir": answers_dir} | dict(settings)
        )

    def selected(self, folder: Path, settings: Overrides = NONE) -> dict[str, Path]:
        """Drop thoughts and select samples by `curriculum.py sft`; returns a trainer's files by their keys."""
        files = {"train_file": folder / "train.jsonl", "valid_file": folder / "valid.jsonl"}
        if not all(file.exists() for file in files.values()):
            answers = {"answers_dir": self.folder / "answers", "output": folder, "seed": self.seed}
            run("curriculum", yaml_of("build_sft") | self.source | answers | dict(settings), "sft")
        return files

    def supervised(self, name: str, dropout: Overrides = NONE, sft: Overrides = NONE) -> Path:
        """Run SFT from the base, and score it; `dropout` are settings of `curriculum.py sft`, such as `mode`."""
        folder = self.folder / name
        model = folder / "sft" / "merged"
        files = self.selected(folder / "sft_data", dropout) | {"audio_root": self.data}
        start = {"model": self.folder / "base", "runs_dir": folder, "run_name": "sft", "seed": self.seed}
        self._run(f"{name}/sft", "sft", yaml_of("sft_lora") | files | start | dict(sft))
        self.infer(model)
        return model

    def curriculum(self, name: str, model: Path, settings: Overrides = NONE, file: str = "CLST") -> dict[str, Path]:
        """Draw a curriculum by the answers of the base and of this model; returns GRPO's files by their keys."""
        folder = self.folder / name
        files = {"train_file": folder / f"{file}.jsonl", "valid_file": folder / f"{file}_valid.jsonl"}
        if not files["train_file"].exists():
            self.answer(f"{name}/answers", "build_clst", model, folder / "answers")
            answers = {"answers_dir": folder / "answers", "base_answers_dir": self.folder / "answers"}
            outputs = {"output": files["train_file"], "valid_output": files["valid_file"], "seed": self.seed}
            run("curriculum", yaml_of("build_clst") | self.source | answers | outputs | dict(settings), "clst")
        return files

    def reinforced(self, name: str, run_name: str, model: Path, files: dict[str, Path], settings: Overrides = NONE) -> Path:
        """Run GRPO from a model on the files of `curriculum`, and score it."""
        start = {"model": model, "runs_dir": self.folder / name, "run_name": run_name, "seed": self.seed}
        self._run(
            f"{name}/{run_name}", "grpo", yaml_of("clst") | files | {"audio_root": self.data} | start | dict(settings)
        )
        trained = self.folder / name / run_name
        self.infer(trained)
        return trained

    def infer(self, model: Path, settings: Overrides = NONE) -> None:
        """Answer and score the world's benchmarks."""
        run("infer", yaml_of("infer") | {"model": model, "data_root": self.data} | dict(settings))

    def seconds(self) -> dict[str, float]:
        """Seconds of every step that trains or answers, by its name; an interrupted one counts from its last start."""
        file = self.folder / SECONDS_FILE
        return read_json(file) if file.exists() else {}

    def _run(self, step: str, entry: str, settings: Overrides) -> None:
        """Run an entry point, and note the seconds of the start that finishes it."""
        start = time.monotonic()
        run(entry, settings)
        write_json(self.folder / SECONDS_FILE, {step: round(time.monotonic() - start, 1)} | self.seconds())


def yaml_of(stage: str) -> dict[str, object]:
    """The setting that names a stage's YAML."""
    return {"config": REPOSITORY / "configs" / "demo" / f"{stage}.yaml"}


def is_scored(model: Path) -> bool:
    """Whether a model has its scores on the world's benchmarks, which are scored one after the other."""
    benchmarks = read_yaml(str(yaml_of("infer")["config"]))["benchmarks"]
    assert isinstance(benchmarks, list)
    return (model / "infer" / benchmarks[-1] / "scores.json").exists()


def run(entry: str, settings: Overrides, subcommand: str | None = None) -> None:
    """Run another entry point of src/ in this process, since loading the libraries again takes a minute per model."""
    settings = dict(settings)
    if entry in WITHOUT_WORKERS:
        settings |= {WITHOUT_WORKERS[entry]: 0, "device": "cpu"}
    words = [f"--{key}={as_argument(value)}" for key, value in settings.items()]
    words = [subcommand, *words] if subcommand else words
    print(f"== {entry} {' '.join(words)}", flush=True)
    importlib.import_module(entry).main(words)
    sys.stdout.flush()


def as_argument(value: object) -> str:
    """A value as a command line has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {as_argument(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return ",".join(map(as_argument, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
