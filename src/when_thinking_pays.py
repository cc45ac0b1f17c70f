"""Find out when thinking pays: train the models of a grid on the embedded world, and draw the map.

Reads configs/demo/when_thinking_pays.yaml, its grid, and the stages' YAMLs beside it; writes tables and pictures to
`results`. One model after the other; a second start resumes. `--only_finished true` trains nothing: the tables and pictures
of what is there.

    python src/when_thinking_pays.py --config configs/demo/when_thinking_pays.yaml
"""

from pathlib import Path

from omni_clst.answering.config import InferConfig
from omni_clst.demo.config import DemoConfig, ThinkingConfig
from omni_clst.demo.thinking_grid import Cell, Grid, read_grid, split_way
from omni_clst.errors import InputError, run_main
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import grpo_keys
from omni_clst.method.config import CurriculumConfig, ThoughtDropoutConfig
from omni_clst.runs import describe_environment
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    config = load_config(ThinkingConfig, argv, about=__doc__)
    grid = read_grid(config.grid)
    require_known_settings(config.grid, grid)
    if config.recordings:
        grid = grid.with_recordings(config.recordings, config.unseen_speakers)
    elif config.only_finished:
        grid = grid.with_recorded_worlds()
    worlds, arms, ways = (grid.select(axis, getattr(config, axis)) for axis in ("worlds", "arms", "grpo"))
    from omni_clst.report.thinking_results import write_results

    environment = describe_environment()  # before results change the checkout
    folders: dict[str, dict[str, dict[str, Path]]] = {}
    for seed in config.seeds:
        for world in worlds:
            cell = Cell(grid, Path(config.out), world, seed, arms, ways)
            for model in cell.finished() if config.only_finished else cell.run():
                folders.setdefault(world, {}).setdefault(model.name, {})[seed] = model.folder
    if not folders:
        raise InputError(f"out {config.out}: no model of this grid is finished there")
    command = " ".join(["bash script/when_thinking_pays.sh", *argv[2:]])
    results, lines = Path(config.results), grid.lines()
    print(write_results(results, config.name, folders, grid.comparisons, lines, command, environment), flush=True)


def require_known_settings(file: str, grid: Grid) -> None:
    """Raise `InputError` for a setting that its stage does not have, which would be found after hours."""
    ways = {name: split_way(settings) for name, settings in grid.grpo.items()}
    demo, grpo = set(DemoConfig.model_fields), set(CLSTConfig.model_fields) | set(grpo_keys())
    stages = [
        ("worlds", grid.worlds, demo),
        ("recorded", grid.recorded, demo),
        ("arms", grid.arms, set(ThoughtDropoutConfig.model_fields)),
        ("grpo", {name: of_grpo for name, (of_grpo, _) in ways.items()}, grpo),
        ("grpo", {name: of_curriculum for name, (_, of_curriculum) in ways.items()}, set(CurriculumConfig.model_fields)),
        ("conditions", {str(settings): settings for settings in grid.conditions}, set(InferConfig.model_fields)),
    ]
    for axis, members, known in stages:
        for name, settings in members.items():
            if unknown := [key for key in settings if key not in known]:
                raise InputError(f"{file}: {axis}: {name}: unknown setting {unknown[0]!r}")


if __name__ == "__main__":
    run_main(main)
