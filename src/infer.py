"""Answer benchmarks with a checkpoint and score the answers: all that are there, or those that are named.

Reads a merged model, a full Omni folder, a Hub id or an adapter folder, and the benchmarks under `data_root`; writes
predictions, per-row verdicts and scores to CHECKPOINT/infer/<benchmark>/. A second start resumes.

    python src/infer.py runs/sft_lora/merged --config configs/infer.yaml
"""

from omni_clst.answering.config import InferConfig
from omni_clst.data.benchmark_rows import find_benchmark
from omni_clst.data.benchmarks.registry import BENCHMARKS
from omni_clst.errors import InputError, run_main
from omni_clst.settings import load_config

NOTHING_THERE = 3  # exit status of --check_only


def main(argv: list[str]) -> None:
    config = load_config(InferConfig, argv, about=__doc__, first_word="model")

    if config.check_only:
        say_what_is_there(config)
        return
    if config.checkpoints == "all":
        list_checkpoints(config)
        return

    from omni_clst.answering.run import AnsweringRun
    from omni_clst.devices import choose_device
    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.processes import join_processes, quiet_libraries, say
    from omni_clst.scoring.run import answer_and_score, find_benchmarks, open_folders, print_infer_plan

    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    quiet_libraries()
    run = AnsweringRun(config, checkpoint, device)
    benchmarks = find_benchmarks(config, run.encoder)
    if config.dry_run:
        print_infer_plan(config, checkpoint, [questions for _, questions in benchmarks])
        for _, questions in benchmarks[:1]:
            say("\n".join(map(run.encoder.describe_prompt, questions.readable[:1])))
        return
    run.expect([questions for _, questions in benchmarks])
    join_processes()
    folders = open_folders(run, config, benchmarks)
    for (rows, questions), folder in zip(benchmarks, folders, strict=True):
        answer_and_score(run, config, rows, questions, folder)


def list_checkpoints(config: InferConfig) -> None:
    """Print the run's complete checkpoints, a line each, which infer.sh answers one after the other."""
    from omni_clst.model.checkpoints import complete_checkpoints

    checkpoints = complete_checkpoints(config.model)
    if not checkpoints:
        raise InputError(f"checkpoints all: {config.model} has no complete checkpoint-*; give the folder of a run")
    print("\n".join(map(str, checkpoints)), flush=True)


def say_what_is_there(config: InferConfig) -> None:
    """Print what would be answered; without anything the process ends with status 3."""
    there = [name for name in config.benchmark_names if find_benchmark(config.data_root, name)]
    if config.samples or there:
        print(f"inference after training: {config.samples or ', '.join(there)}", flush=True)
        return
    missing = f"none of {', '.join(config.benchmark_names)} is under {config.data_root}, see data/README.md"
    if len(config.benchmark_names) == 1:
        missing = BENCHMARKS[config.benchmark_names[0]].missing_line(config.data_root)
    print(f"note: no inference after training: {missing}; `-- --samples FILE` scores a file of samples", flush=True)
    raise SystemExit(NOTHING_THERE)


if __name__ == "__main__":
    run_main(main, resumes=True)
