"""Runs an entry point in a process of its own, with a death or a look inside built in.

    python tests/driver.py sft|infer HOOK [entry point arguments]

HOOK: none | kill_before_marker:N | kill_while_saving:N | kill_after_step:N | kill_before_append:N | kill_after_append:N |
dump_weights:FOLDER
"""

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src")]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def call_then(function, count: int, before: bool):
    """`function`, with a death before or after its call number `count`."""
    calls = [0]

    def wrapped(*arguments, **keywords):
        calls[0] += 1
        if before and calls[0] == count:
            die()
        result = function(*arguments, **keywords)
        if calls[0] == count:
            die()
        return result

    return wrapped


def install(hook: str) -> None:
    name, _, value = hook.partition(":")
    if name == "none":
        return
    from omni_clst import inference, training

    if name == "kill_before_marker":
        training.mark_complete = call_then(training.mark_complete, int(value), before=True)
    elif name == "kill_while_saving":
        from transformers import Trainer

        Trainer._save_optimizer_and_scheduler = call_then(Trainer._save_optimizer_and_scheduler, int(value), before=True)
    elif name == "kill_after_step":

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == int(value):
                die()

        training.MetricsLog.on_step_end = on_step_end
    elif name in ("kill_before_append", "kill_after_append"):
        append = call_then(inference.append_jsonl, int(value), before=name == "kill_before_append")
        inference.append_jsonl = append
    elif name == "dump_weights":

        def on_train_end(self, args, state, control, model=None, **kwargs):
            import torch

            learnt = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
            torch.save(learnt, Path(value) / f"rank{os.environ.get('RANK', '0')}.pt")

        training.MetricsLog.on_train_end = on_train_end
    else:
        raise ValueError(hook)


if __name__ == "__main__":
    entry, hook, *arguments = sys.argv[1:]
    install(hook)
    from omni_clst.errors import run_main

    sys.argv[1:] = arguments
    run_main(__import__(entry).main)
