"""Interrupt SFT and GRPO of a tiny model at random moments, start them again, and compare with an undisturbed run.

    python bench/interruptions.py --moments 20 --seed 0
    python bench/interruptions.py --moments 20 --seed 0 --signals SIGKILL

A moment is a call of a Python function, drawn from all those of a process's main thread from the start of the training to
the end; the signal is drawn, and in two processes of `src/launch.py` the process. SIGTERM and SIGUSR1 have to leave a
checkpoint of the last step that was logged; every signal the completions, losses and final weights of the undisturbed
run. Prints a line per interruption, then their number; ends with status 1 where a run differs.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]

import fork_server  # noqa: E402
import grpo_runs  # noqa: E402
import sft_runs  # noqa: E402
from tiny_world import make_base, write_train_file  # noqa: E402

from omni_clst.preemption import PREEMPTED_STATUS  # noqa: E402
from omni_clst.training.base import newest_checkpoint, step_of  # noqa: E402

DRIVER = REPOSITORY / "tests" / "driver.py"
LAUNCH = [REPOSITORY / "src" / "launch.py", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
RELAY = ["--no_python", sys.executable, "-S", REPOSITORY / "tests" / "fork_server.py"]


class Stage:
    """A stage in one or two processes: its undisturbed run, and what is compared with it."""

    def __init__(self, name: str, processes: int, world: Path):
        self.name, self.processes, self.world = name, processes, world
        self.tests = {"sft": sft_runs, "grpo": grpo_runs}[name]
        self.title = f"{name} x {processes}"
        self.start(self.title, f"count_calls:{world / self.title}", expected={0})
        self.calls = [int(Path(f"{world / self.title}.{rank}").read_text()) for rank in range(processes)]
        self.undisturbed = self.outcome(self.title)

    def arguments(self, run_name: str) -> list[str]:
        """Equal work for one process and two: a step is four samples in SFT, and two prompts in GRPO."""
        share = {"gradient_accumulation_steps": 2 // self.processes} if self.name == "sft" else {}
        if self.name == "grpo":
            share = {"per_device_train_batch_size": 4 // self.processes, "max_steps": 6}
        return self.tests.arguments(self.world, run_name, **share)

    def start(self, run_name: str, hook: str, expected: set[int]) -> subprocess.CompletedProcess:
        words = [DRIVER, self.name, f"spell+{hook}", *self.arguments(run_name)]
        done = fork_server.run([*LAUNCH, *RELAY, *words] if self.processes == 2 else words)
        if done.returncode not in expected:
            raise SystemExit(f"{run_name}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
        return done

    def outcome(self, run_name: str) -> dict:
        run_dir = self.world / "runs" / run_name
        weights = "merged/model.safetensors" if self.name == "sft" else "checkpoint-6/adapter_model.safetensors"
        return {
            "weights": (run_dir / weights).read_bytes(),
            "losses": self.tests.losses(run_dir),
            "completions": grpo_runs.completions(run_dir) if self.name == "grpo" else [],
        }

    def interrupt(self, name: str, rng: random.Random) -> str:
        """Send the signal `name` at a random moment, start again; returns what happened, in words."""
        rank = rng.randrange(self.processes)
        call = rng.randrange(1, self.calls[rank])
        run_name = f"{self.title} {name} {rank} {call}"
        ends = {128 + signal.SIGKILL, -signal.SIGKILL} if name == "SIGKILL" else {PREEMPTED_STATUS, 0}
        ended = self.start(run_name, f"signal_at_call:{name}:{call}:{rank}", ends)
        run_dir = self.world / "runs" / run_name
        logged = max(self.tests.losses(run_dir), default=0) if (run_dir / "metrics.jsonl").exists() else 0
        saved = step_of(newest_checkpoint(run_dir))
        problems = [f"{logged} steps logged, {saved} saved"] if name != "SIGKILL" and logged != saved else []
        if ended.stderr.count("Traceback"):
            problems.append(ended.stderr[-3000:])
        self.start(run_name, "none", {0})
        now = self.outcome(run_name)
        problems += [f"other {what}" for what, value in self.undisturbed.items() if now[what] != value]
        shutil.rmtree(run_dir)
        place = f"{self.title}, {name} to rank {rank} at call {call:,} of {self.calls[rank]:,}, after step {logged}"
        return f"{place}: went on from {saved}" + "".join(f"; DIFFERS: {problem}" for problem in problems)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=20, help="of each stage and number of processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", default=["sft", "grpo"])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--signals", nargs="+", default=["SIGTERM", "SIGUSR1"])
    options = parser.parse_args(arguments)
    began, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder)
        server = fork_server.start(folder)
        make_base(world / "base")
        write_train_file(world, 24)
        for name in options.stages:
            for processes in options.processes:
                stage = Stage(name, processes, world)
                rng = random.Random(f"{options.seed} {stage.title}")
                for _ in range(options.moments):
                    lines.append(stage.interrupt(rng.choice(options.signals), rng))
                    print(lines[-1], flush=True)
        server.communicate()
    bad = sum("DIFFERS" in line for line in lines)
    print(f"{len(lines)} interruptions, {bad} differ from the undisturbed run, {time.monotonic() - began:.0f} s")
    sys.exit(min(bad, 1))


if __name__ == "__main__":
    main(sys.argv[1:])
