"""Checkpoints: find and check them, load a thinker, add and merge LoRA, save in the full Omni layout.

The full Omni layout (`config.json` of type `qwen2_5_omni` holding `thinker_config`, weights named `thinker.*`) is what
the released folders have, what transformers loads as thinker or as whole model, and the only one that vLLM loads.
"""

import copy
import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    GenerationConfig,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
)
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from ..data.prompts import Prompt
from ..errors import InputError
from ..files import read_object, write_json
from ..processes import say
from .adapters import ADAPTER_CONFIG, merge_adapter, read_adapter
from .attention import FOLDED_FLEX
from .model_files import HUB_ID, PROCESSOR_FILES, base_files, processor_source, require_weights, speech_weights
from .thinker import OmniThinker

MARKER = "COMPLETE"  # written last: a training checkpoint without it was torn by a kill
PROMPT_FILE = "prompt.json"
CHOSEN_FILE = "chosen.json"  # in a finished run's folder: the checkpoint that it stands for
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and looks whole: `source` is a folder or a Hub id, `base` an adapter's base."""

    source: str
    base: str | None = None

    @property
    def is_adapter(self) -> bool:
        return self.base is not None

    @property
    def is_local(self) -> bool:
        return os.path.isdir(self.source)

    @property
    def full_model(self) -> str:
        """Where the processor and the unmerged weights come from."""
        return self.base or self.source


def find_checkpoint(source: str) -> Checkpoint:
    """Check a folder or Hub id without loading weights; raises `InputError` that says what is wrong with it.

    The folder of a finished GRPO run stands for the checkpoint that the run chose.
    """
    folder = Path(source)
    if not folder.exists():
        if HUB_ID.fullmatch(source):
            return Checkpoint(source)
        raise InputError(f"{source}: no such checkpoint")
    if not folder.is_dir():
        raise InputError(f"{source}: a checkpoint is a folder, this is a file")
    if (folder / CHOSEN_FILE).exists():
        chosen = read_object(folder / CHOSEN_FILE).get("checkpoint")
        if not isinstance(chosen, str):
            raise InputError(f"{folder / CHOSEN_FILE}: names no checkpoint")
        return find_checkpoint(str(folder / chosen))
    if is_checkpoint_of_a_run(folder) and not is_complete(folder):
        raise InputError(f"{source}: torn checkpoint (no {MARKER} in it: the run died while it was written)")
    if (folder / ADAPTER_CONFIG).exists():
        base = _base_of(folder)
        read_adapter(folder)
        return Checkpoint(str(folder), base)
    if not (folder / "config.json").exists():
        adapters = sorted(path.parent.name for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
        below = f", but in {', '.join(adapters)} below it" if adapters else ""
        raise InputError(f"{source}: neither config.json nor {ADAPTER_CONFIG} in it{below}")
    read_object(folder / "config.json")  # a broken one is named by its line
    require_weights(folder)
    return Checkpoint(str(folder))


def is_checkpoint_of_a_run(folder: Path) -> bool:
    """True for a checkpoint in a run directory of ours, which carries the marker once it is whole; others know none."""
    folder = folder.resolve()
    is_run = all((folder.parent / name).exists() for name in ("config.yaml", "environment.json"))
    return is_run and re.fullmatch(r"checkpoint-\d+", folder.name) is not None


def _base_of(folder: Path) -> str:
    """An adapter's base: a Hub id, or a folder that a relative path names from here or from the adapter's folder."""
    file = folder / ADAPTER_CONFIG
    named = read_object(file).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise InputError(f"{folder}: the adapter names no base model; write it into {file} as base_model_name_or_path")
    places = [path for path in (Path(named), folder / named, folder.parent / named) if path.exists()]
    if not places and (os.path.isabs(named) or not HUB_ID.fullmatch(named)):
        raise InputError(
            f"{folder}: the adapter's base model {named} is not on this machine; "
            f"write its folder or Hub id into {file} as base_model_name_or_path"
        )
    base = find_checkpoint(os.path.normpath(places[0]) if places else named)
    if base.is_adapter:
        raise InputError(f"{folder}: the adapter's base model {named} is an adapter itself; merge that one first")
    return base.source


def is_complete(folder: Path) -> bool:
    """True if a training checkpoint was written to its end."""
    return (folder / MARKER).exists()


def mark_complete(folder: Path) -> None:
    """Flush a finished training checkpoint to disk and write its marker."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    (folder / MARKER).touch()


def complete_checkpoints(run_dir: Path | str) -> list[Path]:
    """The whole `checkpoint-<step>` folders of a run, by rising step; torn ones are left out."""
    found = [path for path in Path(run_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in found if is_complete(path)), key=lambda path: int(path.name.split("-")[1]))


def write_prompt(folder: Path, prompt: Prompt) -> None:
    """Note beside the weights which prompt they were trained with, so that inference asks the same way."""
    write_json(folder / PROMPT_FILE, dataclasses.asdict(prompt))


def read_prompt(checkpoint: Checkpoint) -> Prompt | None:
    """The prompt that a checkpoint was trained with; None for a model that did not come from here."""
    file = Path(checkpoint.source) / PROMPT_FILE
    if not file.exists():
        return None
    fields = read_object(file)
    if fields.keys() != {f.name for f in dataclasses.fields(Prompt)}:
        raise InputError(f"{file}: not a prompt of this project (its keys are {sorted(fields)}); rename or remove it")
    return Prompt(**fields)


def from_hub_or_folder(load: Callable, source: str):
    """Call a `from_pretrained`, turning what it raises for a missing model into an `InputError`."""
    try:
        return load(source)
    except (OSError, ImportError, ValueError, RuntimeError) as error:  # a value or a shape that does not fit is foreign too
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{source}: cannot be loaded, here or from the Hub ({reason})") from None


def load_config(source: str) -> Qwen2_5OmniConfig:
    """The full Omni configuration of a folder or Hub id, put around a thinker's own where it is a thinker alone.

    Raises `InputError` for a model of another kind and for quantised weights.
    """
    config = from_hub_or_folder(AutoConfig.from_pretrained, source)
    if isinstance(config, Qwen2_5OmniThinkerConfig):
        # a vocabulary for the talker that is not there: the default's text ids lie outside the default one
        config = Qwen2_5OmniConfig(
            thinker_config=_without_dtype(config.to_dict()), talker_config={"vocab_size": 152064}, enable_audio_output=False
        )
    if not isinstance(config, Qwen2_5OmniConfig):
        raise InputError(f"{source}: model type {config.model_type!r}, expected 'qwen2_5_omni' or 'qwen2_5_omni_thinker'")
    for part in (config, config.thinker_config):
        if quantised := getattr(part, "quantization_config", None):
            method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
            raise InputError(f"{source}: its weights are quantised ({method}); start from those that are not")
    return config


def _without_dtype(config: dict) -> dict:
    """A configuration without its parts' dtypes: what is saved has one, that of the whole model."""
    kept = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    return {key: _without_dtype(value) if isinstance(value, dict) else value for key, value in kept.items()}


def describe_origin(checkpoint: Checkpoint) -> str | None:
    """One line on a folder that holds less than a released one; None for one that is complete."""
    source = checkpoint.full_model
    if not os.path.isdir(source):
        return None
    words = []
    if read_object(Path(source) / "config.json").get("model_type") == "qwen2_5_omni_thinker":
        words.append("the thinker alone; what is trained from it is saved in the full Omni layout")
    if (processor := processor_source(source)) != source:
        words.append(f"tokenizer and processor are taken from {processor}")
    return f"{source}: {'; '.join(words)}" if words else None


def load_processor(checkpoint: Checkpoint) -> Qwen2_5OmniProcessor:
    """The processor of the checkpoint, an adapter's from its base; says where it comes from when not from there."""
    if line := describe_origin(checkpoint):
        say(line)
    return from_hub_or_folder(Qwen2_5OmniProcessor.from_pretrained, processor_source(checkpoint.full_model))


def load_thinker(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device | str = "cpu", attn_implementation: str = "sdpa"
) -> OmniThinker:
    """Load the thinker; an adapter is merged into its base. It carries no generation settings of the release."""
    load_config(checkpoint.full_model)
    if checkpoint.is_adapter and is_deepspeed_zero3_enabled():
        raise InputError(f"{checkpoint.source}: ZeRO-3 loads a model in parts, which no adapter goes into; merge it first")

    is_flex = attn_implementation == "flex_attention"  # of the language model alone: transformers has none for the towers

    def load(source: str):
        attention = "sdpa" if is_flex else attn_implementation
        return OmniThinker.from_pretrained(source, dtype=dtype, attn_implementation=attention, output_loading_info=True)

    model, report = from_hub_or_folder(load, checkpoint.full_model)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{checkpoint.full_model}: {len(missing)} weights are missing ({', '.join(missing[:3])}, ...)")
    if checkpoint.is_adapter:
        model = merge_adapter(model, read_adapter(Path(checkpoint.source)))
    if is_flex:
        model.config.text_config._attn_implementation = FOLDED_FLEX
    # generate() fills what a caller leaves open from here: a released repetition penalty would come in unseen
    model.generation_config = GenerationConfig()
    if is_deepspeed_zero3_enabled():  # its parts lie where they belong, and a move would take only the buffers along
        compute_buffers_anew(model)
        return model.eval()
    return model.to(device).eval()


def compute_buffers_anew(model: OmniThinker) -> None:
    """Give the buffers that no checkpoint holds (rotary frequencies, audio positions) the values of a plain load.

    ZeRO-3 makes every new tensor in the training dtype. In bfloat16 rotary frequencies are off by up to 0.4 %: after
    1,500 tokens that is another model than the one which is evaluated.
    """
    for module in model.modules():
        made = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        if made:
            module._buffers.update({name: buffer.to(torch.float32, copy=True) for name, buffer in made.items()})
            model._init_weights(module)


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The dtype of a setting; "auto" is bfloat16 where the device computes in it, float32 elsewhere.

    Cards before Ampere (T4, RTX 20xx) only emulate bfloat16, several times slower than float32.
    """
    if setting == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return DTYPES[setting]


def make_lora(model: OmniThinker, rank: int, alpha: float, targets: str, dropout: float = 0.0) -> LoraConfig:
    """LoRA (Hu et al. 2021) on the linear layers whose whole name matches `targets`; raises `InputError` if none does.

    The towers have layers of the same leaf names, hence the match on the path.
    """
    lora_layers(model, targets)
    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, task_type="CAUSAL_LM")


def add_lora(model: OmniThinker, base: str, lora: LoraConfig, float32: bool) -> PeftModel:
    """Freeze the thinker and add an adapter, which names `base` as what it belongs to.

    `float32` keeps the adapter in float32 over a bfloat16 model, which ZeRO-3 does not take.
    """
    peft_model = get_peft_model(model, lora, autocast_adapter_dtype=float32)
    peft_model.peft_config["default"].base_model_name_or_path = base
    return peft_model


def lora_layers(model: torch.nn.Module, targets: str) -> list[torch.nn.Linear]:
    """The linear layers whose whole name matches `targets`; raises `InputError` if there are none."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    matched = [module for name, module in linear.items() if re.fullmatch(targets, name)]
    if not matched:
        raise InputError(f"lora_targets {targets!r} matches none of the model's {len(linear)} linear layers")
    return matched


def save_omni(
    out: Path | str,
    state_dict: dict[str, torch.Tensor],
    config: Qwen2_5OmniConfig,
    base: str | None,
    keep_talker: bool = False,
) -> None:
    """Write a thinker's weights into folder `out` in the full Omni layout, beside the base's processor files.

    `config` is the whole model's. Without `keep_talker` the folder holds the thinker alone and says so
    (`enable_audio_output: false`); with it talker and token2wav are copied from the base.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(config)
    config.enable_audio_output = keep_talker
    config.architectures = ["Qwen2_5OmniModel"]  # the name that released folders carry and vLLM looks up
    config.dtype = next(iter(state_dict.values())).dtype
    config.save_pretrained(out)
    weights = {f"thinker.{name}": tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    if keep_talker:
        weights |= speech_weights(base)
    save_torch_state_dict(weights, out, max_shard_size="5GB", metadata={"format": "pt"})
    if base:
        source = base_files(processor_source(base), PROCESSOR_FILES)
        for name in PROCESSOR_FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, out / name)


def save_whole(out: Path | str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `out` and put it in `out`'s place once it is whole."""
    out = Path(out)
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    write(beside)
    mark_complete(beside)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(beside, out)
