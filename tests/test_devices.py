"""`choose_device`: the chosen device, and an error for a GPU that cannot be used."""

import re
from pathlib import Path

import pytest
import torch

from omni_clst import devices
from omni_clst.devices import choose_device, gpu_is_present
from omni_clst.errors import InputError


@pytest.fixture(autouse=True)
def machine_without_gpu(monkeypatch, tmp_path):
    """No GPU for torch, none for the driver, and no word of one in the environment."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_DEVICE_NODE", tmp_path / "nvidia0")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def fake_nvidia_smi(folder: Path, script: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def broken_torch(monkeypatch) -> None:
    """torch as it is with a driver that is too old."""

    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")

    monkeypatch.setattr(torch.cuda, "init", init)


REMEDY = (
    "this machine has a GPU that torch .* cannot use "
    r"\(The NVIDIA driver on your system is too old \(found version 11040\)\): update the driver, "
    r"install torch's own build for it \(pytorch.org/get-started/locally\), or run with --device cpu"
)


def test_cpu_is_taken_when_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_without_a_gpu_is_the_cpu():
    assert choose_device() == torch.device("cpu")


def gpus(monkeypatch, count: int) -> list[torch.device]:
    """So many usable GPUs; returns the list to which each current one will be added."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


@pytest.mark.parametrize("setting", ["auto", "cuda"])
def test_each_process_takes_the_gpu_of_its_local_rank(monkeypatch, setting):
    """Also for what is made without a tensor: a stream or a CUDA graph of another GPU would capture nothing."""
    current = gpus(monkeypatch, 4)
    assert choose_device(setting) == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device(setting) == torch.device("cuda", 3)
    assert current == [torch.device("cuda", 0), torch.device("cuda", 3)]


def test_gpu_never_attends_with_cudnn(monkeypatch):
    """Its gradients are NaN for some masks and lengths, and it plans anew for every length."""
    gpus(monkeypatch, 1)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        choose_device()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="^LOCAL_RANK is 2, but 2 GPUs are visible: set NPROC_PER_NODE to 2 or fewer$"):
        choose_device()


def test_cuda_without_a_gpu_is_an_error():
    message = "device cuda: no GPU is visible on this machine; run with --device cpu"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        choose_device("cuda")


def test_unknown_setting_is_an_error():
    with pytest.raises(InputError, match="^device 'gpu' is not one of auto, cpu, cuda$"):
        choose_device("gpu")


@pytest.mark.parametrize("setting", ["auto", "cuda"])
def test_gpu_that_torch_cannot_use_is_an_error_with_the_remedy(monkeypatch, machine_without_gpu, setting):
    broken_torch(monkeypatch)
    fake_nvidia_smi(machine_without_gpu, 'echo "GPU 0: Some card (UUID: GPU-1)"')
    with pytest.raises(InputError, match=f"^{REMEDY}$"):
        choose_device(setting)


def test_device_node_alone_shows_a_gpu(monkeypatch, machine_without_gpu):
    broken_torch(monkeypatch)
    (machine_without_gpu / "nvidia0").touch()
    with pytest.raises(InputError, match=f"^{REMEDY}$"):
        choose_device()


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpu_is_no_gpu(monkeypatch, machine_without_gpu, hidden):
    fake_nvidia_smi(machine_without_gpu, 'echo "GPU 0: Some card (UUID: GPU-1)"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert choose_device() == torch.device("cpu")


@pytest.mark.parametrize("script", ['echo "No devices were found"', 'echo "NVIDIA-SMI has failed"; exit 9'])
def test_nvidia_smi_without_a_gpu_is_no_gpu(machine_without_gpu, script):
    fake_nvidia_smi(machine_without_gpu, script)
    assert not gpu_is_present()
