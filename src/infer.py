"""Answer MMAU-mini and MMAR with a checkpoint and score the answers.

Reads a merged model, a full Omni folder, a Hub id or an adapter folder, and the benchmarks under `data_root`; writes
predictions, per-row verdicts and scores to CHECKPOINT/infer/<benchmark>/. A second start answers what is missing.

    python src/infer.py runs/sft_lora/merged --config configs/infer.yaml
"""

from omni_clst.answering.config import InferConfig
from omni_clst.errors import run_main
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    config = load_config(InferConfig, argv, about=__doc__, first_word="model")

    from omni_clst.answering.answer import make_encoder
    from omni_clst.devices import choose_device
    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.processes import join_processes, quiet_libraries
    from omni_clst.scoring.run import BenchmarkRun, find_benchmarks, print_infer_plan

    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    quiet_libraries()
    encoder = make_encoder(config, checkpoint, config.thought)
    benchmarks = find_benchmarks(config, encoder)
    if config.dry_run:
        print_infer_plan(config, checkpoint, benchmarks)
        return
    join_processes()
    BenchmarkRun(config, checkpoint, encoder, benchmarks, device).answer_and_score()


if __name__ == "__main__":
    run_main(main)
