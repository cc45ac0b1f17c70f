"""Compare published recipes on the embedded world: the same base, the same number of questions in GRPO.

Reads configs/demo/recipes.yaml, the recipes in configs/recipes and the demo's YAMLs for sizes; runs every stage for every
seed and recipe under `out`, writes recipes.md, recipes.json and recipes.png to `results`. A second start resumes.

    python src/recipes.py --config configs/demo/recipes.yaml
"""

from pathlib import Path

from omni_clst.demo.config import RecipesConfig
from omni_clst.demo.pipeline import World
from omni_clst.demo.recipes import recipes_of
from omni_clst.errors import run_main
from omni_clst.report.seeds import METRICS, NOTE, metrics_of, write_results
from omni_clst.runs import describe_environment
from omni_clst.settings import load_config

TIME = "Minutes of training and of answers to training questions, until this model."


def main(argv: list[str]) -> None:
    config = load_config(RecipesConfig, argv, about=__doc__)
    recipes = recipes_of(config)
    environment = describe_environment()  # before results change the checkout
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for seed in config.seeds:
        world = World(Path(config.out) / f"seed{seed}", seed)
        runs.setdefault("base", {})[seed] = metrics_of(world.base()) | {"minutes": 0.0}
        for recipe in recipes:
            models = recipe.run(world)
            for (name, model), minutes in zip(models.items(), recipe.minutes(world).values(), strict=True):
                runs.setdefault(name, {})[seed] = metrics_of(model) | {"minutes": minutes}
            command = " ".join(["bash script/recipes.sh", *argv[2:]])
            more = {"metrics": (*METRICS, "minutes"), "note": f"{NOTE} {TIME}"}
            print(write_results(Path(config.results), runs, command, environment, "recipes", **more), flush=True)


if __name__ == "__main__":
    run_main(main)
