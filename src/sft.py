"""Run stage 1: supervised fine-tuning on samples whose thoughts were kept or dropped.

Reads the sample files of the config; writes runs/<run_name>/ with checkpoints, metrics and `merged/`, a model that
transformers and vLLM load. A second start resumes.

    python src/sft.py --config configs/sft_lora.yaml --model Qwen/Qwen2.5-Omni-7B
"""

from omni_clst.errors import run_main
from omni_clst.settings import load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.trainer_settings import trainer_keys


def main(argv: list[str]) -> None:
    config = load_config(SFTConfig, argv, trainer_keys, about=__doc__)

    from omni_clst.devices import choose_device
    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.processes import process_rank, quiet_libraries, say
    from omni_clst.runs import open_run
    from omni_clst.training.base import newest_checkpoint, step_of
    from omni_clst.training.plan import print_sft_plan, require_disk_for
    from omni_clst.training.sft import SFTRun, merge_checkpoint

    quiet_libraries()
    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    run = SFTRun(config, checkpoint, device)
    run.load_samples()
    if config.dry_run:
        print_sft_plan(run)
        say(run.encoder.describe_prompt(run.train[0]))
    merged = config.run_dir / "merged"
    is_finished = merged.exists() and not config.overwrite
    if not is_finished:
        require_disk_for(run)
    if config.dry_run:
        return

    arguments = run.training_arguments()
    with open_run(config, run.content) as run_dir:
        if is_finished:
            say(f"{merged} exists: nothing to do (--overwrite starts anew)")
            return
        newest = newest_checkpoint(run_dir)
        if newest:
            say(f"resuming from {newest}")
        trainer = run.build_trainer(arguments, step_of(newest))
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)

        chosen = trainer.state.best_model_checkpoint or newest_checkpoint(run_dir)
        say(f"training done; chosen checkpoint: {chosen}")
        if config.merge and process_rank() == 0:
            merge_checkpoint(find_checkpoint(str(chosen)), merged, run.compute_dtype, config.keep_talker)
            say(f"merged model: {merged}")


if __name__ == "__main__":
    run_main(main, resumes=True)
