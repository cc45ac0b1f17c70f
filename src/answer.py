"""Answer every sample of a file with a model, once (greedy) or k times (sampled): the difficulty passes.

Reads a sample file and a checkpoint; writes answers.jsonl to --answers_dir. A second start resumes.

    python src/answer.py runs/demo/base --samples runs/demo/data/train.jsonl --answers_dir runs/demo/answers/base
"""

from omni_clst.answering.config import AnswerConfig
from omni_clst.errors import run_main
from omni_clst.method.config import CurriculumConfig, ThoughtDropoutConfig
from omni_clst.settings import load_config

OTHER_STAGES = {"sft": ThoughtDropoutConfig, "clst": CurriculumConfig}  # subcommands of curriculum.py, which share a YAML


def main(argv: list[str]) -> None:
    config = load_config(AnswerConfig, argv, other_stages=OTHER_STAGES, about=__doc__, first_word="model")

    from omni_clst.answering.run import AnsweringRun
    from omni_clst.answering.sample_file import answer_samples, open_sample_file
    from omni_clst.devices import choose_device
    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.processes import join_processes, quiet_libraries

    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    quiet_libraries()
    join_processes()
    run = AnsweringRun(config, checkpoint, device)
    questions, folder = open_sample_file(run, config)
    answer_samples(run, config, questions, folder)


if __name__ == "__main__":
    run_main(main, resumes=True)
