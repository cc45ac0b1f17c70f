"""A stand-in for CUDA graphs on a CPU: what is captured is written down, undone, and computed again at every replay.

As in a graph, a replay repeats the operations on the same tensors with the same numbers, whatever Python would do; and
operations that wait for the device, or that copy from the CPU, end a capture with an error.
"""

from contextlib import nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode

REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "lift_fresh", "_unique2", "uniform_")


class Tape:
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self):
        self.calls = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, results in self.calls:
            for old, new in zip(results, tensors_of(function(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():  # neither a view nor written in place
                    old.copy_(new)


class Capture(TorchDispatchMode):
    """Stands in for `torch.cuda.graph`: writes operations down on a tape, and computes nothing in the end."""

    def __init__(self, tape: Tape, capture_error_mode: str):
        super().__init__()
        self.tape, self.mode = tape, capture_error_mode
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.new: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in tensors_of(args[1:2]))
        if name in REFUSED or by_mask:  # a mask's number of true values decides the result's shape
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}\nmore lines")
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                storage = value.untyped_storage()
                if storage.data_ptr() not in self.new:
                    self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = function(*args, **kwargs)
        results = tensors_of(result)
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors_of([*args, *kwargs.values()])}
        self.new |= {tensor.untyped_storage().data_ptr() for tensor in results} - given
        self.tape.calls.append((function, args, kwargs, results))  # which keeps all tensors
        return result

    def __exit__(self, *error):
        super().__exit__(*error)
        for storage, before in self.before.values():
            storage.copy_(before)


def tensors_of(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors_of(part)] if isinstance(value, (list, tuple)) else []


class Stream:
    def wait_stream(self, other: "Stream") -> None: ...


def stand_in_for_graphs(monkeypatch) -> list[Tape]:
    """Put the stand-ins in place; returns the tapes that will be made."""
    tapes: list[Tape] = []

    def make_tape() -> Tape:
        tapes.append(Tape())
        return tapes[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", make_tape)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return tapes
