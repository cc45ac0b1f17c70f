"""Serve a model with vLLM for the rollouts of GRPO runs on other GPUs, until it is interrupted.

Further keys are those of `vllm serve`, such as --port, --dtype or --tensor-parallel-size. A run takes the completions from
it with --vllm_server, and gives it its weights after every update.

    python src/serve_vllm.py runs/sft_lora/merged --port 8000
"""

import os

from omni_clst.errors import InputError, run_main


def main(argv: list[str]) -> None:
    if argv[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return
    if not argv or argv[0].startswith("-"):
        raise InputError("no checkpoint given: serve_vllm.sh CHECKPOINT [--key value ...], with the keys of `vllm serve`")
    import torch

    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.model.vllm_engine import require_vllm
    from omni_clst.model.vllm_serving import serving_command, serving_environment

    on_gpu = torch.cuda.is_available()
    require_vllm(on_gpu)
    model = find_checkpoint(argv[0]).full_model
    command = serving_command(model, on_gpu, argv[1:])
    os.execvpe(command[0], command, serving_environment(os.environ, on_gpu))


if __name__ == "__main__":
    run_main(main)
