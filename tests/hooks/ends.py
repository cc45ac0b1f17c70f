"""A process of the run ends, stops or finds no room, at some point."""

import os
import signal
import time
from pathlib import Path

from hooks import hook, is_last_rank


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(owner, name: str, count: int, before: bool) -> None:
    """Kill the process before or after call number `count` of the function `name` of a module or class."""
    function, calls = getattr(owner, name), [0]

    def wrapped(*arguments, **keywords):
        calls[0] += 1
        if before and calls[0] == count:
            die()
        result = function(*arguments, **keywords)
        if calls[0] == count:
            die()
        return result

    setattr(owner, name, wrapped)


def at_step_end(act) -> None:
    """Call `act(args, step)` at the end of every optimiser step of a trainer."""
    from omni_clst.training.metrics_log import MetricsLog

    MetricsLog.on_step_end = lambda self, args, state, control, **kwargs: act(args, state.global_step)


def at_step_begin_of_last_rank(step: int, act) -> None:
    from omni_clst.training.metrics_log import MetricsLog

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == step and args.process_index == args.world_size - 1:
            act()

    MetricsLog.on_step_begin = on_step_begin


@hook
def kill_before_marker(count: int) -> None:
    """Before a training marks its checkpoint number `count` as complete."""
    from omni_clst.training import base

    die_at_call(base, "mark_complete", count, before=True)


@hook
def kill_while_saving(count: int) -> None:
    """Inside the saving of a checkpoint: its weights are there, its optimiser is not."""
    from transformers import Trainer

    die_at_call(Trainer, "_save_optimizer_and_scheduler", count, before=True)


@hook
def kill_after_step(step: int) -> None:
    at_step_end(lambda args, done: die() if done == step else None)


@hook
def kill_last_rank(step: int) -> None:
    """After the step, the last process of the launch alone."""
    at_step_end(lambda args, done: die() if done == step and args.process_index == args.world_size - 1 else None)


@hook
def stop_last_rank(step: int) -> None:
    """Freeze the last process of the launch before a step."""
    at_step_begin_of_last_rank(step, lambda: os.kill(os.getpid(), signal.SIGSTOP))


@hook
def hang_last_rank(step: int) -> None:
    """Let the last process of the launch wait before a step for an hour."""
    at_step_begin_of_last_rank(step, lambda: time.sleep(3600))


@hook
def end_other_after_step(step: int, process: int) -> None:
    """End another process, and wait until it has gone."""

    def end_other(args, done: int) -> None:
        if done == step:
            os.kill(process, signal.SIGTERM)
            while Path(f"/proc/{process}").exists():
                time.sleep(0.05)

    at_step_end(end_other)


@hook
def kill_before_append(count: int) -> None:
    """Before answers are appended to their file."""
    from omni_clst.answering import folder

    die_at_call(folder, "append_jsonl", count, before=True)


@hook
def kill_after_append(count: int) -> None:
    from omni_clst.answering import folder

    die_at_call(folder, "append_jsonl", count, before=False)


@hook
def kill_in_audit(count: int) -> None:
    """After a preparation has noted some of its clips."""
    from omni_clst.preparation import clips

    die_at_call(clips, "append_jsonl", count, before=False)


@hook
def kill_in_comparisons(count: int) -> None:
    """After a preparation has noted some comparisons of clips."""
    from omni_clst.preparation import comparisons

    die_at_call(comparisons, "append_jsonl", count, before=False)


@hook
def kill_before_write(count: int) -> None:
    """Before a preparation writes one of its files."""
    from omni_clst.preparation import run

    die_at_call(run, "write_jsonl", count, before=True)


@hook
def kill_worker(count: int) -> None:
    """Whatever process encodes a sample, before its sample number `count`: a data worker where there is one."""
    from omni_clst.data.encoder import OmniEncoder

    die_at_call(OmniEncoder, "encode", count, before=True)


@hook
def out_of_memory(count: int) -> None:
    """Make the last process of the launch run out of memory in its rollout number `count`."""
    from omni_clst.model.engine import HFEngine

    generate, calls = HFEngine._generate_copies, [0]

    def failing(self, *arguments):
        import torch

        calls[0] += 1
        if is_last_rank() and calls[0] == count:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return generate(self, *arguments)

    HFEngine._generate_copies = failing


@hook
def fill_disk(moment: str, count: int) -> None:
    """Let no file grow from a moment in save number `count` on, as on a full disk; all other files are written.

    `moment` is weights, optimizer, rng, state or prompt.
    """
    import resource

    from transformers import Trainer, TrainerState

    from omni_clst.training import base as training

    owner, name = {
        "weights": (Trainer, "_save_checkpoint"),
        "optimizer": (Trainer, "_save_optimizer_and_scheduler"),
        "rng": (Trainer, "_save_rng_state"),
        "state": (TrainerState, "save_to_json"),
        "prompt": (training, "write_prompt"),
    }[moment]
    function, calls = getattr(owner, name), [0]

    def filling(*arguments, **keywords):
        calls[0] += 1
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if calls[0] == count:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            return function(*arguments, **keywords)
        except Exception:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # the error is printed to a file
            raise

    setattr(owner, name, filling)
