"""Run an entry point in a separate process with hooks: kill it at some point, or log what it computes.

    python tests/driver.py sft|grpo|infer|prepare HOOK[:VALUE...][+HOOK...] [entry point arguments]

For example `none`, `kill_after_step:3`, `spell+notify:SIGTERM:update:2:self`. Hooks are the functions with `@hook` in
tests/hooks/, and the values their parameters.
"""

import sys
from pathlib import Path

import hooks
import hooks.computing
import hooks.ends
import hooks.logs
import hooks.signals

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src")]

if __name__ == "__main__":
    entry, given, *arguments = sys.argv[1:]
    for text in given.split("+"):
        hooks.install(text)
    from omni_clst.errors import run_main

    sys.argv[1:] = arguments
    run_main(__import__(entry).main, resumes=True)
    for call in hooks.AT_END:
        call()
