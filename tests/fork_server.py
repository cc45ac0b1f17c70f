"""Commands in processes of their own that start in a tenth of a second: forks of one that has imported the libraries.

`run` starts `python WORD...`. One server serves the session: it imports the libraries for the first command and does
nothing with them, so that each fork is like a process that has just imported them. Not like a real start are the hash
seed, which all forks share, and what is read by the interpreter and at an import. Launchers, imports and one run of
every kind are tested with real starts (`run(..., forked=False)`).

    python fork_server.py WORD...     runs a command through the server; this is what torchrun starts
"""

import atexit
import contextlib
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path

ADDRESS = "OMNI_CLST_TEST_FORK_SERVER"  # an environment variable
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node"]
LIBRARIES = ("torch.distributed.launcher.api", "deepspeed", "sft", "grpo", "infer", "omni_clst.grpo.run",
             "omni_clst.training.sft", "omni_clst.answering.answer", "omni_clst.scoring.run")  # fmt: skip


def start(folder: str) -> subprocess.Popen:
    """A server for this process and its children; it ends when its standard input is closed, also by our death."""
    os.environ[ADDRESS] = f"{folder}/socket"
    environment = {"OMP_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"} | os.environ
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    server.stdout.readline()  # it listens
    return server


def run(words: list, processes: int = 1, forked: bool = True, timeout: float = 600) -> subprocess.CompletedProcess:
    """Run `python WORD...` in this directory and environment, under torchrun if in several processes."""
    relay = ["--no_python", sys.executable, "-S", __file__] if forked else []
    words = [*map(str, [*TORCHRUN, processes, *relay] if processes > 1 else []), *map(str, words)]
    if not forked:
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=timeout)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        status = request(words, out.fileno(), err.fileno(), timeout)
        out.seek(0), err.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())


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
    """Fork a watcher for each request, until the standard input is closed."""
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
            if os.fork() == 0:
                watch(connection)
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):  # watchers that have ended
                    pass


def watch(connection: Connection) -> None:
    """Fork the command and tell its status; kill it when whoever asked for it has gone."""
    words, environment, folder = connection.recv()
    out, err = recv_handle(connection), recv_handle(connection)
    command = os.fork()
    if command == 0:
        connection.close()
        for descriptor, place in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(descriptor, place)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        become(words)
    while (ended := os.waitpid(command, os.WNOHANG)) == (0, 0):
        if connection.poll(0.02):
            os.kill(command, signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError):
        connection.send(os.waitstatus_to_exitcode(ended[1]))
    os._exit(0)


def become(words: list[str]) -> None:
    """Run `[-m MODULE | SCRIPT] WORD...` as the interpreter does; at the end, the libraries are not taken apart."""
    status = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


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
