"""Answer MMAU-mini and MMAR with a checkpoint and score the answers.

Reads a merged model, a full Omni folder, a Hub id or an adapter folder, and the benchmarks under `data_root`; writes
predictions, per-row verdicts and scores to CHECKPOINT/infer/<benchmark>/. A second start answers what is missing.

    python src/infer.py runs/sft_lora/merged --config configs/infer.yaml
"""

from omni_clst.config import InferConfig, load_config
from omni_clst.errors import run_main


def main(argv: list[str]) -> None:
    if argv and not argv[0].startswith("--"):
        argv = ["--model", *argv]  # infer.sh CHECKPOINT
    config = load_config(InferConfig, argv)

    from omni_clst.benchmark_run import answer_and_score, find_benchmarks, print_infer_plan
    from omni_clst.checkpoints import find_checkpoint
    from omni_clst.devices import choose_device
    from omni_clst.generation import Sampling
    from omni_clst.inference import load_engine
    from omni_clst.runs import join_processes, quiet_libraries

    quiet_libraries()
    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    benchmarks = find_benchmarks(config)
    if config.dry_run:
        print_infer_plan(config, checkpoint, benchmarks)
        return
    join_processes()
    sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p, config.top_k, config.seed)
    engine = load_engine(config, checkpoint, sampling, device)
    for benchmark in benchmarks:
        answer_and_score(config, checkpoint, engine, benchmark)


if __name__ == "__main__":
    run_main(main)
