"""Choose the device of a process; a GPU that exists but cannot be used is an error, never a silent CPU run."""

import os
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch

DEVICE_SETTINGS = ("auto", "cpu", "cuda")

_DEVICE_NODE = Path("/dev/nvidia0")


def choose_device(setting: str = "auto") -> "torch.device":
    """The device for this process: `cpu`, or the GPU of its `LOCAL_RANK` (0 where unset), from here on torch's current one.

    `auto` is a GPU if there is one, else the CPU; `cuda` requires a GPU. Raises `InputError` with the remedy for a GPU that
    torch cannot use (a driver older than the torch build, a CPU-only build), for `cuda` without a GPU, and for more
    processes than visible GPUs.
    """
    import torch

    if setting not in DEVICE_SETTINGS:
        raise InputError(f"device {setting!r} is not one of {', '.join(DEVICE_SETTINGS)}")
    if setting == "cpu":
        return torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warning here becomes the reason in the error below
        available = torch.cuda.is_available()
    if available:
        # cuDNN's attention, which torch prefers on Hopper and Blackwell, returns NaN gradients under an explicit mask
        # (pytorch issue 196678) and makes a new plan for every length, that is for every token of a rollout
        torch.backends.cuda.enable_cudnn_sdp(False)
        device = torch.device("cuda", _local_rank(torch.cuda.device_count()))
        # streams and CUDA graphs are made on the current GPU, wherever the tensors are
        torch.cuda.set_device(device)
        return device
    if gpu_is_present():
        raise InputError(
            f"this machine has a GPU that torch {torch.__version__} cannot use ({_reason()}): update the driver, "
            "install torch's own build for it (pytorch.org/get-started/locally), or run with --device cpu"
        )
    if setting == "cuda":
        raise InputError("device cuda: no GPU is visible on this machine; run with --device cpu")
    return torch.device("cpu")


def gpu_is_present() -> bool:
    """Whether the driver reports an NVIDIA GPU that CUDA_VISIBLE_DEVICES does not hide, usable by torch or not."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if _DEVICE_NODE.exists():
        return True
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _local_rank(gpus: int) -> int:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    if rank >= gpus:
        raise InputError(f"LOCAL_RANK is {rank}, but {gpus} GPUs are visible: set NPROC_PER_NODE to {gpus} or fewer")
    return rank


def _reason() -> str:
    """torch's reason why it cannot use the GPU."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0].partition(". ")[0]
    return f"it is built for CUDA {torch.version.cuda}"
