"""Turn models' answers into training data.

`sft` drops the thoughts of samples that the base answers right: reads a sample file and the base's answers.jsonl, writes
train.jsonl and valid.jsonl into --output.

    python src/curriculum.py sft --samples source.jsonl --answers_dir runs/answers/base --output data/sft

`clst` draws and orders the curriculum for GRPO: reads a sample file and the answers.jsonl of the base and of the SFT model,
writes the training file --output, what became of the samples beside it (.txt, .png), and --valid_output if one is held out.

    python src/curriculum.py clst --samples source.jsonl --base_answers_dir runs/answers/base \\
        --answers_dir runs/answers/sft_lora --output data/CLST_15k.jsonl

With --silence_answers_dir (from `answer.py --audio silence`) both mark what is right without audio, and leave it out
above --max_silence_pass_rate.
"""

from pathlib import Path

from omni_clst.answering.config import AnswerConfig
from omni_clst.answering.pass_rates import read_pass_rates
from omni_clst.data.layouts import read_samples
from omni_clst.data.samples import AudioQASample, write_samples
from omni_clst.errors import InputError, run_main
from omni_clst.files import require_writable, write_text
from omni_clst.method.config import ContributionConfig, CurriculumConfig, ThoughtDropoutConfig
from omni_clst.method.curriculum import make_curriculum
from omni_clst.method.silence import leave_out_solvable_without_audio, note_silence, reason_of_silence
from omni_clst.method.thought_dropout import describe, drop_thoughts, split_by_clip
from omni_clst.report.curriculum_report import describe_curriculum
from omni_clst.settings import asks_for_help, load_config, print_help

STAGES_BESIDE = {"answer": AnswerConfig}  # answer.py, which shares the YAML


def make_sft_data(argv: list[str]) -> None:
    """The `sft` subcommand: guided thought dropout, then a split that puts no clip on both sides."""
    config = load_config(ThoughtDropoutConfig, argv, stages_beside=STAGES_BESIDE, about=make_sft_data.__doc__)
    output = require_writable(Path(config.output))
    everything = read_marked_samples(config)
    samples = leave_out_solvable_without_audio(everything, config.max_silence_pass_rate)
    pass_rates = read_pass_rates(config.answers_file) if config.answers_file else {}
    made = drop_thoughts(samples, pass_rates, config.mode, config.drop_from, config.seed)
    if len(samples) < len(everything):
        count = f"{len(everything) - len(samples)} of {len(everything)} samples"
        print(f"{config.samples}: {count} left out ({reason_of_silence(config.max_silence_pass_rate)})")
    for name, part in zip(("train", "valid"), split_by_clip(made, config.valid_share, config.seed), strict=True):
        write_samples(output / f"{name}.jsonl", part, config.audio_root)
        print(f"{output / f'{name}.jsonl'}: {describe(part, samples) if part else 'no samples'}")


def make_clst_data(argv: list[str]) -> None:
    """The `clst` subcommand: grade by both models' answers, draw, order; a table and a picture of what came of it."""
    config = load_config(CurriculumConfig, argv, stages_beside=STAGES_BESIDE, about=make_clst_data.__doc__)
    from omni_clst.report.curriculum_picture import plot_curriculum

    output = Path(config.output)
    for path in (config.output, config.valid_output) if config.valid_size else (config.output,):
        require_writable(Path(path).parent)
    samples = read_marked_samples(config)
    base_pass_rates, sft_pass_rates = read_pass_rates(config.base_answers_file), read_pass_rates(config.answers_file)
    curriculum = make_curriculum(samples, base_pass_rates, sft_pass_rates, config)
    if config.valid_size:
        write_samples(config.valid_output, curriculum.held_out, config.audio_root)
    write_samples(output, curriculum.chosen, config.audio_root)
    text = describe_curriculum(curriculum, config)
    write_text(output.with_suffix(".txt"), text + "\n")
    plot_curriculum(curriculum, output.with_suffix(".png"))
    print(f"{text}\n\n{output}: {len(curriculum.chosen)} samples, easy to hard")


def read_marked_samples(config: ContributionConfig) -> list[AudioQASample]:
    """The samples, each with its pass rate on silence where that was measured."""
    samples = read_samples(config.samples, config.audio_root)
    if config.silence_answers_file is None:
        return samples
    return note_silence(samples, read_pass_rates(config.silence_answers_file, "silence"))


SUBCOMMANDS = {"sft": make_sft_data, "clst": make_clst_data}


def main(argv: list[str]) -> None:
    if asks_for_help(argv[:1]):
        print_help(ThoughtDropoutConfig, stages_beside=STAGES_BESIDE, about=__doc__)
        print_help(CurriculumConfig, stages_beside=STAGES_BESIDE, about=make_clst_data.__doc__)
        return
    if not argv or argv[0] not in SUBCOMMANDS:
        raise InputError(f"the first word must be one of {', '.join(SUBCOMMANDS)}")
    SUBCOMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    run_main(main)
