"""A stand-in for a GPU: `cpu:0` is the device, and plain `cpu` the machine's memory.

Tensors of both lie in the same memory, so torch never complains; `StandInDevice` keeps account of which tensor is where,
as torch does for a GPU, and raises where a module's forward would compute over both.
"""

import torch
from torch.overrides import TorchFunctionMode, resolve_name

DEVICE = torch.device("cpu", 0)
MACHINE = torch.device("cpu")
_MAY_MEET = ("copy_", "to", "__set__", "__get__", "size", "dim", "numel", "type_as", "set_", "__getitem__", "__setitem__")


def tensors_in(value) -> list[torch.Tensor]:
    """All tensors in nested arguments or results."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_in(item)]
    if isinstance(value, dict):
        return tensors_in(list(value.values()))
    return []


def is_there(tensor: torch.Tensor) -> bool:
    """True for a tensor on the device."""
    return getattr(tensor, "_stands_there", False)


def mark(value, there: bool) -> None:
    for tensor in tensors_in(value):
        tensor._stands_there = there


class StandInDevice(TorchFunctionMode):
    """Follows tensors between the machine and the device; active from `start` on for the whole process."""

    def __init__(self):
        super().__init__()
        self.depth = 0  # of nested forwards: outside of them the libraries may do as they like

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = resolve_name(function) or getattr(function, "__name__", "")
        if name.endswith("Tensor.device.__get__"):
            return DEVICE if is_there(args[0]) else function(*args, **kwargs)
        if name.endswith("Tensor.data.__set__"):
            mark(args[0], is_there(args[1]))
            return function(*args, **kwargs)
        if name.endswith(("Tensor.to", "Tensor.cpu")):
            return self._moved(function, name, args, kwargs)
        given = tensors_in((args, kwargs))
        if self.depth and not name.rpartition(".")[2].startswith(_MAY_MEET):
            self._require_one_place(name, [tensor for tensor in given if tensor.dim()])
        result = function(*args, **kwargs)
        device = kwargs.get("device")
        there = torch.device(device) == DEVICE if device is not None else any(map(is_there, given))
        if given or device is not None:
            mark([tensor for tensor in tensors_in(result) if not any(tensor is own for own in given)], there)
        return result

    def _moved(self, function, name: str, args, kwargs) -> torch.Tensor:
        named = [value for value in (*args[1:], kwargs.get("device")) if isinstance(value, (str, torch.device))]
        others = [value for value in args[1:] if isinstance(value, torch.Tensor)]
        there = is_there(args[0])
        if name.endswith("cpu"):
            there = False
        elif named:
            there = torch.device(named[0]) == DEVICE
        elif others:
            there = is_there(others[0])
        result = function(*args, **kwargs)
        if result is args[0]:
            if there == is_there(result):
                return result
            result = result.view_as(result)  # the same memory under another account
        mark(result, there)
        return result

    def _require_one_place(self, name: str, tensors: list[torch.Tensor]) -> None:
        places = [is_there(tensor) for tensor in tensors]
        if any(places) and not all(places):
            shapes = [f"{tuple(tensor.shape)} on {DEVICE if is_there(tensor) else MACHINE}" for tensor in tensors]
            raise RuntimeError(f"{name}: expected all tensors on one device, got {', '.join(shapes)}")


def start() -> StandInDevice:
    """Make `cpu:0` the device of this process, for our code, accelerate and DeepSpeed, and watch all forwards."""
    from accelerate.state import PartialState
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
    from transformers import TrainingArguments

    from omni_clst import devices
    from omni_clst.grpo import trainer
    from omni_clst.training import base as training

    mode = StandInDevice()
    make_state = PartialState.__init__

    def on_the_device(self, *arguments, **keywords):
        make_state(self, *arguments, **keywords)
        self.device = DEVICE

    PartialState.__init__ = on_the_device
    TrainingArguments.device = property(lambda self: (self._setup_devices, DEVICE)[1])
    CPU_Accelerator.device_name = lambda self, device_index=None: str(DEVICE)
    CPU_Accelerator.current_device_name = lambda self: str(DEVICE)
    devices.choose_device = lambda setting="auto": DEVICE
    trainer.require_agreement = lambda *_: None  # a copy shares its memory here, so that ZeRO-3 computes NaN
    torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: _deeper(mode, 1))
    torch.nn.modules.module.register_module_forward_hook(lambda *_: _deeper(mode, -1), always_call=True)
    # a backward computes forwards again outside of the mode, where a tensor says that it is on the machine
    torch.utils.checkpoint._allowed_determinism_checks_to_fns["default"] = lambda tensor: None
    # DeepSpeed's own reductions are not followed, and their sums are none
    training.FiniteGradients._get_grad_norm = lambda self, model, grad_norm=None: None
    mode.__enter__()
    return mode


def _deeper(mode: StandInDevice, by: int) -> None:
    mode.depth += by
