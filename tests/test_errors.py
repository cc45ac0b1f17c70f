"""How an entry point ends."""

import io
import socket

import torch.distributed as dist

from omni_clst.errors import run_main


def test_process_group_is_left_before_the_interpreter_ends(monkeypatch):
    """Left over, its threads now and then abort a process whose run was finished."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen = []

    def main(argv: list[str]) -> None:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
        seen.append((argv, dist.is_initialized()))

    monkeypatch.setattr("sys.argv", ["x", "--key"])
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
    run_main(main)
    assert seen == [(["--key"], True)]
    assert not dist.is_initialized()
