"""Run the ablation of thought dropout and of the curriculum's order, on the embedded world.

Reads configs/demo/ablation.yaml and the stages' YAMLs beside it; runs every stage for every seed, arm and order under
`out`, writes ablation.md, ablation.json and ablation.png to `results`. A second start resumes.

    python src/ablation.py --config configs/demo/ablation.yaml
"""

from pathlib import Path

from omni_clst.demo.config import AblationConfig
from omni_clst.demo.pipeline import World
from omni_clst.errors import run_main
from omni_clst.report.ablation import metrics_of, write_results
from omni_clst.runs import describe_environment
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    config = load_config(AblationConfig, argv, about=__doc__)
    environment = describe_environment()  # before results change the checkout
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for seed in config.seeds:
        world = World(Path(config.out) / f"seed{seed}", seed)
        models = {"base": world.base()}
        for arm in config.arms:
            models[f"SFT {arm}"] = sft = world.supervised(arm, {"mode": arm})
            files = world.curriculum(arm, sft)
            for order in config.orders:
                grpo = world.reinforced(arm, f"grpo_{order}", sft, files, {"order": order})
                models[f"SFT {arm}, GRPO {order}"] = grpo
        for name, model in models.items():
            runs.setdefault(name, {})[seed] = metrics_of(model)
        command = " ".join(["bash script/ablation.sh", *argv[2:]])
        print(write_results(Path(config.results), runs, command, environment), flush=True)


if __name__ == "__main__":
    run_main(main)
