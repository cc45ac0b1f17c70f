"""Plan the trainings for GPUs that need not be here: whether they fit, what to change where they do not, and hours.

Reads the recipes in configs/ and prints a table; needs no GPU, no data and no checkpoint. Counts in bfloat16, as GPUs
compute. With --config FILE it plans that one, and takes its keys too.

    python src/plan.py --gpus 4 --memory 40
    python src/plan.py --gpus 1 --memory 24 --config configs/clst_15k_lora.yaml --max_audio_seconds 30
"""

from omni_clst.errors import InputError, run_main
from omni_clst.settings import asks_for_help, load_config, parse_arguments
from omni_clst.training.config import PlanConfig


def read_request(argv: list[str]) -> tuple[PlanConfig, dict[str, str]]:
    """The settings of the plan, and with --config those of the recipe."""
    if asks_for_help(argv):
        load_config(PlanConfig, argv, about=__doc__)
    given, problems = parse_arguments(argv)
    if problems:
        raise InputError(problems[0])
    if "config" in given:
        given["recipe"] = given.pop("config")
    words = {key: values[-1] for key, values in given.items()}
    of_recipe = words.keys() - PlanConfig.model_fields.keys() if "recipe" in words else set()
    request = load_config(PlanConfig, [f"--{key}={value}" for key, value in words.items() if key not in of_recipe])
    return request, {key: words[key] for key in words if key in of_recipe}


def main(argv: list[str]) -> None:
    request, settings = read_request(argv)
    from omni_clst.grpo.plan_table import plan_lines
    from omni_clst.processes import quiet_libraries

    quiet_libraries()
    for line in plan_lines(request, settings):
        print(line)


if __name__ == "__main__":
    run_main(main)
