"""Run the ablation of thought dropout and of the curriculum's order, on the embedded world.

Reads configs/demo/ablation.yaml and the stages' YAMLs beside it; runs every stage for every seed, arm and order under
`out`, writes ablation.md, ablation.json and ablation.png to `results`. A second start resumes.

    python src/ablation.py --config configs/demo/ablation.yaml
"""

import sys
from pathlib import Path

from omni_clst.demo.config import AblationConfig
from omni_clst.errors import run_main
from omni_clst.report.ablation import metrics_of, write_results
from omni_clst.runs import describe_environment
from omni_clst.settings import REPOSITORY, load_config


def main(argv: list[str]) -> None:
    config = load_config(AblationConfig, argv, about=__doc__)
    environment = describe_environment()  # before results change the checkout
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for seed in config.seeds:
        world = World(Path(config.out) / f"seed{seed}", seed)
        models = {"base": world.base()}
        for arm in config.arms:
            models[f"SFT {arm}"] = sft = world.supervised(arm)
            for order in config.orders:
                models[f"SFT {arm}, GRPO {order}"] = world.reinforced(arm, sft, order)
        for name, model in models.items():
            runs.setdefault(name, {})[seed] = metrics_of(model)
        command = " ".join(["bash script/ablation.sh", *argv[2:]])
        print(write_results(Path(config.results), runs, command, environment), flush=True)


class World:
    """One seed's world: its data, its base model, and the models trained from it."""

    def __init__(self, folder: Path, seed: str):
        self.folder = folder
        self.seed = seed
        self.source = ["--samples", str(folder / "data" / "source.jsonl"), "--audio_root", str(folder / "data")]
        run("demo", ["--out", str(folder), "--seed", seed])

    def base(self) -> Path:
        """Score the base, and make its answers to the training questions."""
        base = self.folder / "base"
        self._infer(base)
        run("answer", [*stage("build_sft"), "--model", base, *self.source, "--answers_dir", self.folder / "answers"])
        return base

    def supervised(self, arm: str) -> Path:
        """Run SFT on the thoughts that the arm keeps, score it, and make its answers and its curriculum."""
        folder = self.folder / arm
        data = folder / "sft_data"
        if not (folder / "sft" / "merged").exists():
            run("curriculum", ["sft", *stage("build_sft"), *self.source, "--answers_dir", self.folder / "answers",
                               "--output", data, "--mode", arm, "--seed", self.seed])  # fmt: skip
        trained = ["--model", self.folder / "base", "--train_file", data / "train.jsonl", "--valid_file",
                   data / "valid.jsonl", "--audio_root", self.folder / "data", "--runs_dir", folder,
                   "--run_name", "sft", "--seed", self.seed]  # fmt: skip
        run("sft", [*stage("sft_lora"), *trained])
        model = folder / "sft" / "merged"
        self._infer(model)
        if not (folder / "CLST.jsonl").exists():
            answered = [*stage("build_clst"), *self.source, "--answers_dir", folder / "answers"]
            run("answer", [*answered, "--model", model])
            run("curriculum", ["clst", *answered, "--base_answers_dir", self.folder / "answers", "--seed", self.seed,
                               "--valid_output", folder / "valid.jsonl", "--output", folder / "CLST.jsonl"])  # fmt: skip
        return model

    def reinforced(self, arm: str, sft: Path, order: str) -> Path:
        """Run GRPO on the arm's curriculum in this order, and score it."""
        folder = self.folder / arm
        run("grpo", [*stage("clst"), "--model", sft, "--train_file", folder / "CLST.jsonl", "--valid_file",
                     folder / "valid.jsonl", "--audio_root", self.folder / "data", "--runs_dir", folder,
                     "--run_name", f"grpo_{order}", "--order", order, "--seed", self.seed])  # fmt: skip
        model = folder / f"grpo_{order}"
        self._infer(model)
        return model

    def _infer(self, model: Path) -> None:
        run("infer", [str(model), *stage("infer"), "--data_root", self.folder / "data"])


def stage(name: str) -> list[str]:
    """The arguments that name a stage's YAML."""
    return ["--config", str(REPOSITORY / "configs" / "demo" / f"{name}.yaml")]


def run(entry: str, argv: list) -> None:
    """Run another entry point in this process, since loading the libraries again takes a minute per model."""
    words = [str(word) for word in argv]
    words += {"sft": ["--dataloader_num_workers", "0"], "answer": ["--num_workers", "0"]}.get(entry, [])
    words += {"grpo": ["--dataloader_num_workers", "0"], "infer": ["--num_workers", "0"]}.get(entry, [])
    if entry in ("answer", "sft", "infer", "grpo"):
        words += ["--device", "cpu"]
    print(f"== {entry} {' '.join(words)}", flush=True)
    __import__(entry).main(words)
    sys.stdout.flush()


if __name__ == "__main__":
    run_main(main)
