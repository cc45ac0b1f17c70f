"""Commands in processes of their own that start in a tenth of a second: forks of one that has imported the libraries.

`run` starts `python WORD...`. One server serves the session: it imports the libraries for the first command and does
nothing with them, so that each fork is like a process that has just imported them. Not like a real start are the hash
seed, which all forks share, and what is read by the interpreter and at an import. Launchers, imports and one run of
every kind are tested with real starts (`run(..., forked=False)`).

    python fork_server.py WORD...     runs a command through the server; this is what torchrun starts
"""

import gc
import importlib
import multiprocessing
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path

FORK = multiprocessing.get_context("fork")
ADDRESS = "OMNI_CLST_TEST_FORK_SERVER"  # an environment variable
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node"]
LIBRARIES = (
    "torch.distributed.launcher.api", "sft", "grpo", "infer", "omni_clst.devices", "omni_clst.grpo.run",
    "omni_clst.training.sft", "omni_clst.answering.run", "omni_clst.scoring.run", "deepspeed.ops.op_builder.all_ops",
    "deepspeed.runtime.zero.muon.original_muon", "deepspeed.runtime.superoffload.superoffload_stage3",
)  # fmt: skip


def start(folder: str) -> subprocess.Popen:
    """A server for this process and its children; it ends when its standard input is closed, also by our death."""
    os.environ[ADDRESS] = f"{folder}/socket"
    environment = {"OMP_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"} | os.environ
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    server.stdout.readline()  # it listens
    return server


def run(words: list, processes: int = 1, forked: bool = True, timeout: float = 600) -> subprocess.CompletedProcess:
    """Run `python WORD...` in this directory and environment, under torchrun if in several processes.

    Returns once every process has gone that it started and that has its output, as with a pipe in `subprocess.run`.
    """
    relay = ["--no_python", sys.executable, "-S", __file__] if forked else []
    words = [*map(str, [*TORCHRUN, processes, *relay] if processes > 1 else []), *map(str, words)]
    if not forked:
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=timeout)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        status = request(words, out.fileno(), err.fileno(), timeout)
        ends = time.monotonic() + timeout
        while others_with(out.fileno()):
            if time.monotonic() > ends:
                raise subprocess.TimeoutExpired(words, timeout)
            time.sleep(0.02)
        out.seek(0), err.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())


def others_with(descriptor: int) -> list[str]:
    """The other processes whose standard output is this file."""
    file, others = os.fstat(descriptor), []
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has ended, or is a thread of the kernel
            if int(process) != os.getpid() and os.path.samestat(os.stat(f"/proc/{process}/fd/1"), file):
                others.append(process)
    return others


def request(words: list[str], out: int, err: int, timeout: float | None) -> int:
    """Let the server run a command; its exit status, as subprocess tells it. If we die or give up, it is killed."""
    with Client(os.environ[ADDRESS]) as connection:
        connection.send((words, dict(os.environ), os.getcwd()))
        send_handle(connection, out, None)
        send_handle(connection, err, None)
        if not connection.poll(timeout):
            raise subprocess.TimeoutExpired(words, timeout)
        return connection.recv()


def serve() -> None:
    """Start a watcher for each request, until the standard input is closed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.environ[ADDRESS])
        listener.listen()
        print("listening", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection = Connection(listener.accept()[0].detach())
            if not gc.get_freeze_count():
                for name in LIBRARIES:
                    importlib.import_module(name)
                gc.freeze()  # a collection in a fork would copy all that it looks at
            FORK.Process(target=watch, args=(connection,)).start()
            connection.close()


def watch(connection: Connection) -> None:
    """Start the command and tell its status; kill it when whoever asked for it has gone."""
    words, environment, folder = connection.recv()
    outputs = [recv_handle(connection) for _ in range(2)]
    command = FORK.Process(target=become, args=(words, environment, folder, outputs))
    command.start()
    while command.is_alive():
        if connection.poll(0.02):
            return command.kill()
    return connection.send(command.exitcode)


def become(words: list[str], environment: dict[str, str], folder: str, outputs: list[int]) -> None:
    """Run `[-m MODULE | SCRIPT] WORD...` as the interpreter does."""
    for descriptor, place in zip(outputs, (1, 2), strict=True):
        os.dup2(descriptor, place)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "src"))
        serve()
    else:
        status = request(sys.argv[1:], 1, 2, None)
        if status < 0:
            os.kill(os.getpid(), -status)  # torchrun names the signal
            time.sleep(60)
        sys.exit(status)
