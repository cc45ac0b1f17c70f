"""How a policy's weights get to a vLLM server: through a folder that both see, or by NCCL from GPU to GPU."""

import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors.torch import save_file

from ..errors import InputError
from ..model.families.family import under_thinker
from ..processes import process_rank
from ..training.base import free_port
from .vllm_server import VLLMServer

Weights = Callable[[], Iterable[tuple[str, torch.Tensor]]]
FILE_BYTES = 2**31  # of weights in one file, and so of CPU memory


class FolderWeights:
    """Rank 0 writes safetensors files into `folder`, which the server reads and which is deleted then.

    All processes go through the weights, since under ZeRO-3 they are gathered one by one.
    """

    def __init__(self, server: VLLMServer, weights: Weights, dtype: torch.dtype, folder: Path):
        self.server = server
        self.weights = weights
        self.dtype = dtype
        self.folder = folder

    def send(self) -> None:
        if process_rank() != 0:
            for _ in self.weights():
                pass
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
        self.folder.mkdir(parents=True)
        try:
            self._write()
            self._load()
        finally:
            shutil.rmtree(self.folder)

    def _write(self) -> None:
        for number, part in enumerate(in_parts(under_thinker(self.weights()), self.dtype)):
            save_file(part, self.folder / f"{number:04d}.safetensors")

    def _load(self) -> None:
        names = sorted(file.name for file in self.folder.iterdir())
        if any(self.server.call_workers("load_policy", folder=str(self.folder), names=names)):
            raise InputError(
                f"vllm_server {self.server.address}: it does not see {self.folder}; put runs_dir on a disk that both see, "
                "or set vllm_weights nccl"
            )


class NCCLWeights:
    """vLLM's own weight transfer: rank 0 and the server's GPUs form a group, in which it broadcasts."""

    def __init__(self, server: VLLMServer, weights: Weights, dtype: torch.dtype, device: torch.device):
        self.server = server
        self.source = PolicySource(weights, dtype, device)
        self._transfer = None

    def send(self) -> None:
        if self._transfer is None:
            self._transfer = self._connect()
        self._transfer.send_weights()

    def _connect(self):
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        address = urlsplit(self.server.address)
        with socket.create_connection((address.hostname, address.port or 80)) as connection:
            reachable_at = connection.getsockname()[0]
        members = 1 + self.server.get("/get_world_size")["world_size"]
        group = NCCLTrainerInitInfo(reachable_at, int(free_port()), members, rank=process_rank())
        return WeightTransferTrainerFactory.trainer_init(group, client=self.server, source=self.source)


class PolicySource:
    """The policy's weights as vLLM's weight transfer takes them: what will come, and then each in turn."""

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device):
        self.weights = weights
        self.dtype = dtype
        self.device = device
        self._metadata: list | None = None

    def metadata(self) -> list:
        """Names, dtypes and shapes, found by going through the weights once."""
        from vllm.distributed.weight_transfer.base import ParamMeta

        if self._metadata is None:
            self._metadata = [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self]
        return self._metadata

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in under_thinker(self.weights()):
            # a copy: vLLM packs several before it sends them, and ZeRO-3 takes a gathered weight back
            yield name, tensor.to(self.device, self.dtype, copy=True)


def in_parts(weights: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype) -> Iterator[dict[str, torch.Tensor]]:
    """Copies in CPU memory, of about `FILE_BYTES` together."""
    part: dict[str, torch.Tensor] = {}
    for name, tensor in weights:
        part[name] = tensor.to("cpu", dtype, copy=True).contiguous()
        if sum(copy.nbytes for copy in part.values()) >= FILE_BYTES:
            yield part
            part = {}
    if part:
        yield part
