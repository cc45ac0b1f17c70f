"""Turn a model's answers into training data.

`sft` drops the thoughts of samples that the base answers right: reads a sample file and the base's answers.jsonl, writes
train.jsonl and valid.jsonl into --output.

    python src/curriculum.py sft --samples source.jsonl --answers_dir runs/answers/base --output data/sft
"""

from pathlib import Path

from omni_clst.config import AnswerConfig, ThoughtDropoutConfig, load_config
from omni_clst.difficulty import read_pass_rates
from omni_clst.errors import InputError, run_main
from omni_clst.files import require_writable
from omni_clst.samples import write_samples
from omni_clst.sources import read_samples
from omni_clst.thought_dropout import describe, drop_thoughts, split_by_clip


def make_sft_data(argv: list[str]) -> None:
    """The `sft` subcommand: guided thought dropout, then a split that puts no clip on both sides."""
    config = load_config(ThoughtDropoutConfig, argv, shared_with=AnswerConfig)
    output = require_writable(Path(config.output))
    samples = read_samples(config.samples, config.audio_root)
    pass_rates = read_pass_rates(config.answers_file) if config.answers_file else {}
    made = drop_thoughts(samples, pass_rates, config.mode, config.drop_from, config.seed)
    for name, part in zip(("train", "valid"), split_by_clip(made, config.valid_share, config.seed), strict=True):
        write_samples(output / f"{name}.jsonl", part, config.audio_root)
        print(f"{output / f'{name}.jsonl'}: {describe(part, samples) if part else 'no samples'}")


SUBCOMMANDS = {"sft": make_sft_data}


def main(argv: list[str]) -> None:
    if not argv or argv[0] not in SUBCOMMANDS:
        raise InputError(f"the first word must be one of {', '.join(SUBCOMMANDS)}")
    SUBCOMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    run_main(main)
