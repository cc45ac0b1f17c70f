"""Run stage 2: GRPO over a curriculum of audio questions, in the order of its file.

Reads the curriculum and the SFT model of the config; writes runs/<run_name>/ with checkpoints for infer.py, metrics.jsonl
and completions.jsonl. A second start resumes.

    python src/grpo.py --config configs/clst_15k.yaml --model runs/sft_lora/merged
"""

from pathlib import Path

from omni_clst.errors import run_main
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import grpo_keys
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    config = load_config(CLSTConfig, argv, grpo_keys, about=__doc__)
    from omni_clst.devices import choose_device
    from omni_clst.grpo.run import GRPORun
    from omni_clst.model.checkpoints import CHOSEN_FILE, find_checkpoint
    from omni_clst.model.vllm_engine import describe_engine
    from omni_clst.processes import process_rank, quiet_libraries, say
    from omni_clst.runs import notify_launcher, open_run
    from omni_clst.training.base import newest_checkpoint, write_chosen
    from omni_clst.training.plan import print_grpo_plan, require_disk_for

    quiet_libraries()
    run = GRPORun(config, find_checkpoint(config.model), choose_device(config.device))
    run.load_samples()  # reads every clip's header: an unreadable one ends the run here
    arguments = run.training_arguments()
    if config.dry_run:
        print_grpo_plan(run, arguments)
        say(run.encoder.describe_prompt(run.train[0]))
    is_finished = (config.run_dir / CHOSEN_FILE).exists() and not config.overwrite
    if not is_finished:
        require_disk_for(run)
    if config.dry_run:
        return

    if not is_finished:
        run.require_engine()
    engine = describe_engine(run.engine_name, config.vllm_server, run.decoding_of(arguments))
    with open_run(config, run.content, engine=engine) as run_dir:
        if is_finished:
            say(f"{run_dir} is finished: nothing to do (--overwrite starts anew)")
            notify_launcher(run_dir)
            return
        newest = newest_checkpoint(run_dir)
        trainer = run.build_trainer(arguments, newest)
        if newest:
            say(f"resuming from {newest}, {trainer.feed.cursor} samples into the curriculum")
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)

        chosen = Path(trainer.state.best_model_checkpoint or newest_checkpoint(run_dir))
        if process_rank() == 0:
            write_chosen(run_dir, chosen)
        say(f"training done; chosen checkpoint: {chosen}")
        notify_launcher(run_dir)


if __name__ == "__main__":
    run_main(main, resumes=True)
