"""Compare models on the same questions: accuracies, the paired difference with its 95 % interval, and what flipped.

Each model is a folder of a scored benchmark (CHECKPOINT/infer/mmar), a run or checkpoint (all benchmarks that both have),
or a predictions file with --benchmark and --meta, or --samples. Every other one is compared with the first. With --seeds 3
every three of them are one model trained with three seeds.

    python src/compare.py runs/sft_lora/merged runs/clst_15k --rule strict --flips flips.jsonl
    python src/compare.py runs/sft-1 runs/sft-2 runs/sft-3 runs/clst-1 runs/clst-2 runs/clst-3 --seeds 3
"""

import itertools
import json
import sys
from pathlib import Path

from omni_clst.errors import InputError, run_main
from omni_clst.files import require_writable, write_jsonl
from omni_clst.scoring.comparison import Comparison, Model, compare
from omni_clst.scoring.comparison_text import flip_rows, format_comparison
from omni_clst.scoring.config import CompareConfig
from omni_clst.scoring.sides import Side, find_sides
from omni_clst.settings import load_config


def read_command(argv: list[str]) -> CompareConfig:
    """The settings, whose models may be the first words."""
    models = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    if any("," in model for model in models):
        raise InputError(f"{next(model for model in models if ',' in model)}: a path with a comma cannot be compared")
    given = ["--models", ",".join(models)] if models else []
    return load_config(CompareConfig, [*given, *argv[len(models) :]], about=__doc__)


def in_models(sides: list[dict[str, Side]], seeds: int) -> list[dict[str, Model]]:
    """Models by benchmark: one for every `seeds` of the sides, with the benchmarks that all of these have."""
    if all(len(by_name) == 1 for by_name in sides):  # one benchmark each: the folders' names do not matter
        sides = [dict(zip([""], by_name.values(), strict=True)) for by_name in sides]
    models = []
    for start in range(0, len(sides), seeds):
        of_model = sides[start : start + seeds]
        shared = [name for name in of_model[0] if all(name in by_name for by_name in of_model)]
        models.append({name: Model(tuple(by_name[name] for by_name in of_model)) for name in shared})
    return models


def compare_all(config: CompareConfig) -> list[Comparison]:
    """Every model with the first, on every benchmark that both have."""
    first, *others = in_models([find_sides(name, config) for name in config.models], config.seeds)
    comparisons = []
    for place, other in enumerate(others, 1):
        shared = [name for name in first if name in other]
        second = config.models[place * config.seeds]
        if not shared:
            raise InputError(f"{config.models[0]} and {second}: no benchmark that both have been scored on")
        for name in sorted(first.keys() ^ other.keys()):
            print(f"left out: {name}, which only one of {config.models[0]} and {second} has", file=sys.stderr)
        for name in shared:
            settings = (config.rule, config.gain, config.allow_different)
            comparisons.append(compare(first[name], other[name], *settings))
    return comparisons


def main(argv: list[str]) -> None:
    config = read_command(argv)
    if config.flips:
        require_writable(Path(config.flips).parent)
    comparisons = compare_all(config)
    if config.flips:
        write_jsonl(config.flips, (row for comparison in comparisons for row in flip_rows(comparison)))
    if config.json:
        print(json.dumps([comparison.to_json() for comparison in comparisons], ensure_ascii=False))
    else:
        print("\n\n".join(map(format_comparison, comparisons)))


if __name__ == "__main__":
    run_main(main)
