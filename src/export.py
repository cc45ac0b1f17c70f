"""Export a run's model for others: a folder in the released layout with a model card, which transformers and vLLM load.

Reads a run of SFT or GRPO, or one of its checkpoints, merged or not; writes the folder, checks every weight's name and
shape, and writes README.md from the runs: base, data, settings, curve, scores, licences. --push uploads it to the Hub.

    python src/export.py runs/clst_15k exported/omni-clst-7b --data_licence cc-by-4.0
"""

import itertools

from omni_clst.errors import InputError, run_main
from omni_clst.export.config import ExportConfig
from omni_clst.settings import load_config

WORDS = ("run", "output")


def read_command(argv: list[str]) -> ExportConfig:
    """The settings, whose run and output may be the first words."""
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    if len(words) > len(WORDS):
        raise InputError(f"{words[len(WORDS)]}: only the run and the output come first, then --key value")
    named = [part for key, word in zip(WORDS, words, strict=False) for part in (f"--{key}", word)]
    return load_config(ExportConfig, [*named, *argv[len(words) :]], about=__doc__)


def main(argv: list[str]) -> None:
    config = read_command(argv)
    from pathlib import Path

    from omni_clst.export.push import push
    from omni_clst.export.run import export
    from omni_clst.processes import quiet_libraries, say

    quiet_libraries()
    for line in export(config):
        say(line)
    if config.push:
        say(f"uploaded: {push(Path(config.output), config.push, config.private)}")


if __name__ == "__main__":
    run_main(main)
