"""All tensors of a computation are on the device, checked with a stand-in for a GPU (`stand_in_device.py`)."""

from pathlib import Path

import fork_server
import pytest
import torch
from grpo_runs import arguments as grpo_arguments
from inference_runs import arguments as infer_arguments
from sft_runs import arguments as sft_arguments
from stand_in_device import DEVICE, MACHINE, StandInDevice, is_there
from tiny_world import make_base, write_mmau, write_train_file, write_zero_settings

DRIVER = Path(__file__).with_name("driver.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("second device")
    make_base(folder / "base")
    write_train_file(folder, 16)
    write_mmau(folder / "data", 6)
    write_zero_settings(folder, 3)
    return folder


def test_stand_in_distinguishes_tensors_of_the_device():
    layer = torch.nn.Linear(2, 2)
    with StandInDevice() as mode:
        here, there = torch.ones(2), torch.ones(2, device="cpu:0")
        assert (here.device, there.device, (2 * there)[:1].device) == (MACHINE, DEVICE, DEVICE)
        assert not is_there(there.cpu())
        assert here.to(there.device).device == DEVICE
        layer.to(DEVICE)
        assert layer.weight.device == DEVICE
        mode.depth = 1
        assert layer(there).device == DEVICE
        with pytest.raises(RuntimeError, match=r"expected all tensors on one device, got \(2,\) on cpu"):
            layer(here)
        with pytest.raises(RuntimeError, match="expected all tensors on one device"):
            here + there


RUNS = {  # (entry, processes, settings)
    "full GRPO under ZeRO-3": ("grpo", 2, {"tuning": "full", "deepspeed": "{w}/zero3.json", "dtype": "bfloat16",
                                           "per_device_train_batch_size": 2, "gradient_checkpointing": "true"}),
    "LoRA GRPO": ("grpo", 1, {"dynamic_sampling": "true", "completions_per_forward": 2, "audio_cache_gib": 1,
                              "valid_file": "{w}/train.jsonl", "eval_steps": 2}),
    "SFT under ZeRO-3": ("sft", 2, {"deepspeed": "{w}/zero3.json", "dtype": "bfloat16", "merge": "false"}),
    "SFT": ("sft", 1, {"valid_file": "{w}/train.jsonl"}),
    "inference": ("infer", 1, {}),
}  # fmt: skip
ARGUMENTS = {"grpo": grpo_arguments, "sft": sft_arguments, "infer": infer_arguments}
END = {"grpo": "training done", "sft": "training done", "infer": "written: "}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_run_computes_on_its_device_alone(world, name):
    entry, processes, settings = RUNS[name]
    changes = {key: str(value).format(w=world) for key, value in settings.items()}
    changes |= {} if entry == "infer" else {"max_steps": 2, "save_steps": 2}
    command = [DRIVER, entry, "spell+stand_in_device", *ARGUMENTS[entry](world, name, **changes)]
    result = fork_server.run(command, processes)
    assert result.returncode == 0, result.stderr[-3000:]
    assert END[entry] in result.stdout
