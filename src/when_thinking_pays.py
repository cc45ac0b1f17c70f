"""Find out when thinking pays: train the models of a grid on the embedded world, and draw the map.

Reads configs/demo/when_thinking_pays.yaml, its grid, and the stages' YAMLs beside it; writes tables and pictures to
`results`. One model after the other; a second start resumes.

    python src/when_thinking_pays.py --config configs/demo/when_thinking_pays.yaml
"""

from pathlib import Path

from omni_clst.demo.config import ThinkingConfig
from omni_clst.demo.thinking_grid import Cell, read_grid
from omni_clst.errors import run_main
from omni_clst.runs import describe_environment
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    config = load_config(ThinkingConfig, argv, about=__doc__)
    grid = read_grid(config.grid)
    if config.recordings:
        grid = grid.with_recordings(config.recordings, config.unseen_speakers)
    worlds, arms, ways = (grid.select(axis, getattr(config, axis)) for axis in ("worlds", "arms", "grpo"))
    from omni_clst.report.thinking_results import write_results

    environment = describe_environment()  # before results change the checkout
    folders: dict[str, dict[str, dict[str, Path]]] = {}
    for seed in config.seeds:
        for world in worlds:
            for model in Cell(grid, Path(config.out), world, seed, arms, ways).run():
                folders.setdefault(world, {}).setdefault(model.name, {})[seed] = model.folder
    command = " ".join(["bash script/when_thinking_pays.sh", *argv[2:]])
    print(write_results(Path(config.results), config.name, folders, grid.comparisons, command, environment), flush=True)


if __name__ == "__main__":
    run_main(main)
