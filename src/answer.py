"""A model answers every sample of a file, once (greedy) or k times (sampled): the difficulty passes.

Reads a sample file and a checkpoint; writes answers.jsonl into --answers_dir. A second start answers what is missing.

    python src/answer.py runs/demo/base --samples runs/demo/data/train.jsonl --answers_dir runs/demo/answers/base
"""

from omni_clst.config import AnswerConfig, CurriculumConfig, ThoughtDropoutConfig, load_config
from omni_clst.errors import run_main


def main(argv: list[str]) -> None:
    if argv and not argv[0].startswith("--"):
        argv = ["--model", *argv]
    config = load_config(AnswerConfig, argv, shared_with=(ThoughtDropoutConfig, CurriculumConfig))

    from omni_clst.checkpoints import find_checkpoint
    from omni_clst.devices import choose_device
    from omni_clst.runs import join_processes, quiet_libraries
    from omni_clst.sample_run import SampleRun

    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    quiet_libraries()
    join_processes()
    SampleRun(config, checkpoint, device).answer()


if __name__ == "__main__":
    run_main(main)
