"""Find the stages that made a checkpoint: its run, the run whose model that started from, and so on to the base."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InputError
from ..files import read_json, read_jsonl, read_yaml, sha256_of_file
from ..model.checkpoints import CHOSEN_FILE, MARKER, complete_checkpoints
from ..training.cost import COST_FILE

MERGED = "merged"


@dataclass(frozen=True)
class Stage:
    """A training run, and the folder of it whose model the next stage started from, or that is exported."""

    run_dir: Path
    checkpoint: Path

    @cached_property
    def settings(self) -> dict:
        return read_yaml(str(self.run_dir / "config.yaml"))

    @cached_property
    def environment(self) -> dict:
        return read_json(self.run_dir / "environment.json")

    @property
    def is_grpo(self) -> bool:
        return "num_generations" in self.settings

    @property
    def name(self) -> str:
        return "GRPO" if self.is_grpo else "SFT"

    @property
    def model(self) -> str:
        """What it started from."""
        return self.settings["model"]

    @property
    def is_chosen(self) -> bool:
        """Whether the checkpoint is the one that the run's folder stands for."""
        chosen = _chosen_in(self.run_dir)
        return chosen is not None and chosen.resolve() == self.checkpoint.resolve()

    @property
    def cost(self) -> dict | None:
        """What it cost; None of a run from before that was recorded."""
        file = self.run_dir / COST_FILE
        return read_json(file) if file.exists() else None

    @property
    def log(self) -> list[dict]:
        """The lines of metrics.jsonl."""
        file = self.run_dir / "metrics.jsonl"
        return [row for _, row in read_jsonl(file)] if file.exists() else []

    @property
    def data_sha256(self) -> str | None:
        """The hash of the training file when the run began; of the file as it is now where the run has none."""
        recorded = self.environment.get("train_sha256")
        file = Path(self.settings["train_file"])
        return recorded or (sha256_of_file(file) if file.is_file() else None)


def stages_of(source: Path) -> list[Stage]:
    """The stages that made the model of a run or checkpoint, the first one first; raises `InputError` for others."""
    stages = [_stage_of(source)]
    while _run_of(Path(stages[0].model)) is not None:
        stages.insert(0, _stage_of(Path(stages[0].model)))
    return stages


def _stage_of(source: Path) -> Stage:
    run_dir = _run_of(source)
    if run_dir is None:
        raise InputError(f"{source}: neither a run of SFT or GRPO nor a checkpoint of one (no config.yaml of a run)")
    return Stage(run_dir, _checkpoint_of(run_dir) if source.resolve() == run_dir.resolve() else source)


def _run_of(folder: Path) -> Path | None:
    """The run that a folder is, or is a checkpoint of."""
    for run_dir in (folder, folder.parent):
        if (run_dir / "config.yaml").is_file() and (run_dir / "environment.json").is_file():
            return run_dir
    return None


def _checkpoint_of(run_dir: Path) -> Path:
    """A finished run's model; raises `InputError` for a run that is not finished."""
    chosen = _chosen_in(run_dir)
    if chosen is not None:
        return chosen
    newest = complete_checkpoints(run_dir)[-1:]
    hint = f"; or export {newest[0]}" if newest else ""
    raise InputError(f"{run_dir}: neither {CHOSEN_FILE} nor {MERGED}: the run is not finished, start it again{hint}")


def _chosen_in(run_dir: Path) -> Path | None:
    """The checkpoint that GRPO chose, or the merged model of SFT; None before a run is finished."""
    if (run_dir / CHOSEN_FILE).exists():
        return run_dir / read_json(run_dir / CHOSEN_FILE)["checkpoint"]
    return run_dir / MERGED if (run_dir / MERGED / MARKER).exists() else None
