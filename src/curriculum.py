"""Make training data from models' answers.

`sft` drops the thoughts of samples that the base answers right: reads a sample file and the base's answers.jsonl, writes
train.jsonl and valid.jsonl to --output.

    python src/curriculum.py sft --samples source.jsonl --answers_dir runs/answers/base --output data/sft

`clst` draws and orders the curriculum for GRPO: reads a sample file and the answers.jsonl of the base and of the SFT model,
writes the training file --output, a table and a picture beside it (.txt, .png), and --valid_output for held-out samples.

    python src/curriculum.py clst --samples source.jsonl --base_answers_dir runs/answers/base \\
        --answers_dir runs/answers/sft_lora --output data/CLST_15k.jsonl

With --silence_answers_dir (from `answer.py --audio silence`) both mark samples with their pass rate without audio, and
leave out those above --max_silence_pass_rate or below --min_silence_pass_rate. With --check_only only the settings are
checked: the launchers do so before a model answers for hours.
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
from omni_clst.method.silence import in_words, note_silence, select_by_silence
from omni_clst.method.thought_dropout import describe, drop_thoughts, split_by_clip
from omni_clst.report.curriculum_report import describe_curriculum
from omni_clst.settings import Config, asks_for_help, load_config, print_help

OTHER_STAGES = {"answer": AnswerConfig}  # answer.py, which shares the YAML
STAGES = {"sft": ThoughtDropoutConfig, "clst": CurriculumConfig}  # the subcommands


def load(config_class: type[Config], argv: list[str], about: str | None) -> tuple[Config, bool]:
    """The settings, and whether they are only checked: with --check_only, before the model's answers are there."""
    words = [word for word in argv if word != "--check_only"]
    is_check = len(words) < len(argv)
    others = OTHER_STAGES | {name: stage for name, stage in STAGES.items() if stage is not config_class}
    return load_config(config_class, words, other_stages=others, about=about, needs_files=not is_check), is_check


def make_sft_data(argv: list[str]) -> None:
    """The `sft` subcommand: guided thought dropout, then a split with no clip in both parts."""
    config, is_check = load(ThoughtDropoutConfig, argv, make_sft_data.__doc__)
    if is_check:
        return
    output = require_writable(Path(config.output))
    all_samples = read_marked_samples(config)
    samples, left_out = select_by_silence(all_samples, config.silence_limits)
    pass_rates = read_pass_rates(config.answers_file) if config.answers_file else {}
    dropped = drop_thoughts(samples, pass_rates, config.mode, config.drop_from, config.seed)
    if left_out:
        print(f"{config.samples}: of {len(all_samples)} samples {in_words(left_out)}")
    for name, part in zip(("train", "valid"), split_by_clip(dropped, config.valid_share, config.seed), strict=True):
        write_samples(output / f"{name}.jsonl", part, config.audio_root)
        print(f"{output / f'{name}.jsonl'}: {describe(part, samples) if part else 'no samples'}")


def make_clst_data(argv: list[str]) -> None:
    """The `clst` subcommand: grade by both models' answers, draw, order; write a table and a picture of the result."""
    config, is_check = load(CurriculumConfig, argv, make_clst_data.__doc__)
    if is_check:
        return
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
    """The samples, each with its pass rate on silence if that was measured."""
    samples = read_samples(config.samples, config.audio_root)
    if config.silence_answers_file is None:
        return samples
    return note_silence(samples, read_pass_rates(config.silence_answers_file, "silence"))


SUBCOMMANDS = {"sft": make_sft_data, "clst": make_clst_data}


def main(argv: list[str]) -> None:
    if asks_for_help(argv[:1]):
        print_help(ThoughtDropoutConfig, other_stages=OTHER_STAGES, about=__doc__)
        print_help(CurriculumConfig, other_stages=OTHER_STAGES, about=make_clst_data.__doc__)
        return
    if not argv or argv[0] not in SUBCOMMANDS:
        raise InputError(f"the first word must be one of {', '.join(SUBCOMMANDS)}")
    SUBCOMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    run_main(main)
