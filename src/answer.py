"""A model answers every sample of a file, once (greedy) or k times (sampled): the difficulty passes.

Reads a sample file and a checkpoint; writes answers.jsonl into --answers_dir. A second start answers what is missing.

    python src/answer.py runs/demo/base --samples runs/demo/data/train.jsonl --answers_dir runs/demo/answers/base
"""

from omni_clst.config import AnswerConfig, ThoughtDropoutConfig, load_config
from omni_clst.errors import run_main


def main(argv: list[str]) -> None:
    if argv and not argv[0].startswith("--"):
        argv = ["--model", *argv]
    config = load_config(AnswerConfig, argv, shared_with=ThoughtDropoutConfig)

    from omni_clst.checkpoints import find_checkpoint
    from omni_clst.devices import choose_device
    from omni_clst.generation import Sampling
    from omni_clst.inference import answer_samples, load_engine
    from omni_clst.runs import join_processes, quiet_libraries
    from omni_clst.samples import read_samples

    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    quiet_libraries()
    samples = read_samples(config.samples, config.audio_root)
    join_processes()
    temperature = config.temperature if config.num_completions > 1 else 0.0
    engine = load_engine(config, checkpoint, Sampling(config.max_new_tokens, temperature, seed=config.seed), device)
    answer_samples(config, checkpoint, engine, samples)


if __name__ == "__main__":
    run_main(main)
