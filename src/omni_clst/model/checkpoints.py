"""Find and check checkpoints, load a thinker, add and merge LoRA, save in the layout of the base's released folders.

That of Qwen2.5-Omni, the full Omni layout, is a `config.json` of type `qwen2_5_omni` with a `thinker_config`, and weights
named `thinker.*`. transformers loads it as thinker or as whole model, and it is the only one that vLLM loads.
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
from transformers import AutoConfig, GenerationConfig
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from ..data.prompts import Prompt
from ..errors import InputError
from ..fields import HUB_ID
from ..files import explaining_failed_writes, flush_to_disk, read_object, write_json
from ..processes import say
from .adapters import ADAPTER_CONFIG, merge_adapter, read_adapter
from .attention import FOLDED_FLEX
from .families.family import Family
from .families.registry import family_of, is_thinker_type
from .model_files import PROCESSOR_FILES, base_files, processor_source, require_weights, speech_weights
from .quantization import keep_trainable, nf4_loading
from .thinker import OmniThinker

MARKER = "COMPLETE"  # written last: a training checkpoint without it is incomplete, after a kill
PROMPT_FILE = "prompt.json"
CHOSEN_FILE = "chosen.json"  # in a finished run's folder: names the checkpoint to use for the run
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and checked: `source` is a folder or a Hub id, `base` an adapter's base."""

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
    """Check a folder or Hub id without loading weights; raises `InputError` with the reason and the remedy.

    For the folder of a finished GRPO run this is the checkpoint that the run chose.
    """
    folder = Path(source)
    if not folder.exists():
        if HUB_ID.fullmatch(source):
            return Checkpoint(source)
        raise InputError(f"{source}: no such checkpoint; give a folder or a Hub id")
    if not folder.is_dir():
        raise InputError(f"{source}: is a file; give the checkpoint's folder")
    if (folder / CHOSEN_FILE).exists():
        chosen = read_object(folder / CHOSEN_FILE).get("checkpoint")
        if not isinstance(chosen, str):
            raise InputError(f"{folder / CHOSEN_FILE}: names no checkpoint")
        return find_checkpoint(str(folder / chosen))
    if is_checkpoint_of_a_run(folder) and not is_complete(folder):
        raise InputError(
            f"{source}: incomplete checkpoint (no file {MARKER}: the run ended while writing it); give an earlier one"
        )
    if (folder / ADAPTER_CONFIG).exists():
        base = _base_of(folder)
        read_adapter(folder)
        return Checkpoint(str(folder), base)
    if not (folder / "config.json").exists():
        adapters = sorted(path.parent.name for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
        below = f", but in {', '.join(adapters)} below it" if adapters else ""
        raise InputError(f"{source}: neither config.json nor {ADAPTER_CONFIG} in it{below}")
    read_object(folder / "config.json")  # raises with the line for a broken one
    require_weights(folder)
    return Checkpoint(str(folder))


def is_checkpoint_of_a_run(folder: Path) -> bool:
    """True for a `checkpoint-<step>` in a run directory of this project, which has the marker once it is complete."""
    folder = folder.resolve()
    is_run = all((folder.parent / name).exists() for name in ("config.yaml", "environment.json"))
    return is_run and re.fullmatch(r"checkpoint-\d+", folder.name) is not None


def _base_of(folder: Path) -> str:
    """An adapter's base: a Hub id, or a folder, relative to the working directory or to the adapter's folder."""
    file = folder / ADAPTER_CONFIG
    name = read_object(file).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(f"{folder}: the adapter names no base model; write it into {file} as base_model_name_or_path")
    folders = [path for path in (Path(name), folder / name, folder.parent / name) if path.exists()]
    if not folders and (os.path.isabs(name) or not HUB_ID.fullmatch(name)):
        raise InputError(
            f"{folder}: the adapter's base model {name} is not on this machine; "
            f"write its folder or Hub id into {file} as base_model_name_or_path"
        )
    base = find_checkpoint(os.path.normpath(folders[0]) if folders else name)
    if base.is_adapter:
        raise InputError(f"{folder}: the adapter's base model {name} is an adapter itself; merge that one first")
    return base.source


def is_complete(folder: Path) -> bool:
    """True if a training checkpoint was written completely."""
    return (folder / MARKER).exists()


def mark_complete(folder: Path) -> None:
    """Flush a finished training checkpoint to disk and write its marker."""
    for path in [*sorted(folder.rglob("*")), folder]:
        flush_to_disk(path)
    (folder / MARKER).touch()
    flush_to_disk(folder)


def delete_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, its marker first: a kill in between leaves an incomplete one."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def checkpoints_of(run_dir: Path | str) -> list[Path]:
    """The `checkpoint-<step>` folders of a run, complete or not, by rising step."""
    folders = [path for path in Path(run_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(folders, key=lambda path: int(path.name.split("-")[1]))


def complete_checkpoints(run_dir: Path | str) -> list[Path]:
    """The complete `checkpoint-<step>` folders of a run, by rising step."""
    return list(filter(is_complete, checkpoints_of(run_dir)))


def write_prompt(folder: Path, prompt: Prompt) -> None:
    """Save the prompt that weights were trained with beside them, so that inference uses the same."""
    write_json(folder / PROMPT_FILE, dataclasses.asdict(prompt))


def read_prompt(checkpoint: Checkpoint) -> Prompt | None:
    """The prompt that a checkpoint was trained with; None for a model that was not trained here."""
    file = Path(checkpoint.source) / PROMPT_FILE
    if not file.exists():
        return None
    fields = read_object(file)
    if fields.keys() != {f.name for f in dataclasses.fields(Prompt)}:
        raise InputError(f"{file}: not a prompt of this project (its keys are {sorted(fields)}); rename or remove it")
    return Prompt(**fields)


def from_hub_or_folder(load: Callable, source: str):
    """Call a `from_pretrained`; what it raises for a missing or unsuitable model becomes an `InputError`."""
    try:
        return load(source)
    except (OSError, ImportError, ValueError, RuntimeError) as error:  # the last two: a value or a shape does not fit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{source}: cannot be loaded, here or from the Hub ({reason})") from None


def load_model_config(source: str):
    """The whole configuration of a folder or Hub id; around that of the thinker where it is a thinker alone.

    Raises `InputError` for a model that is none of the bases and for quantised weights.
    """
    config = from_hub_or_folder(AutoConfig.from_pretrained, source)
    try:
        family = family_of(config)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if not isinstance(config, family.config):
        config = family.whole_config(config)
    for part in (config, family.thinker_of(config)):
        if quantised := getattr(part, "quantization_config", None):
            method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
            raise InputError(f"{source}: its weights are quantised ({method}); start from weights that are not")
    return config


def load_thinker_config(source: str):
    """The thinker's configuration of a folder or Hub id; raises as `load_model_config`."""
    config = load_model_config(source)
    return family_of(config).thinker_of(config)


def load_family(checkpoint: Checkpoint) -> Family:
    """The base that a checkpoint is of, or was trained from."""
    return family_of(load_model_config(checkpoint.full_model))


def describe_origin(checkpoint: Checkpoint) -> str | None:
    """One line on what a folder lacks compared with a released one; None for one that is complete."""
    source = checkpoint.full_model
    if not os.path.isdir(source):
        return None
    words = []
    if is_thinker_type(read_object(Path(source) / "config.json").get("model_type")):
        words.append("the thinker alone; checkpoints trained from it are saved in the full Omni layout")
    if (processor := processor_source(source)) != source:
        words.append(f"tokenizer and processor are taken from {processor}")
    return f"{source}: {'; '.join(words)}" if words else None


def load_processor(checkpoint: Checkpoint):
    """The processor of the checkpoint (of an adapter: of its base); logs its source if that is another folder."""
    if line := describe_origin(checkpoint):
        say(line)
    processor = load_family(checkpoint).processor
    return from_hub_or_folder(processor.from_pretrained, processor_source(checkpoint.full_model))


def load_thinker(
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    attn_implementation: str = "sdpa",
    quantization: str = "none",
) -> OmniThinker:
    """Load the thinker, with an adapter merged into its base, and without the release's generation settings.

    With `quantization` nf4 the language model's linear layers are 4-bit, on `device` from the start, and cannot be merged.
    """
    thinker = load_family(checkpoint).thinker
    if checkpoint.is_adapter and is_deepspeed_zero3_enabled():
        raise InputError(f"{checkpoint.source}: under ZeRO-3 no adapter can be merged while loading; merge it first")

    is_flex = attn_implementation == "flex_attention"  # only in the language model: transformers has none for the towers

    is_quantised = quantization == "nf4"
    more = nf4_loading(dtype, device) if is_quantised else {}

    def load(source: str):
        attention = "sdpa" if is_flex else attn_implementation
        return thinker.from_pretrained(source, dtype=dtype, attn_implementation=attention, output_loading_info=True, **more)

    model, report = from_hub_or_folder(load, checkpoint.full_model)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{checkpoint.full_model}: {len(missing)} weights are missing ({', '.join(missing[:3])}, ...)")
    if checkpoint.is_adapter:
        model = merge_adapter(model, read_adapter(Path(checkpoint.source)))
    if is_flex:
        model.config.get_text_config()._attn_implementation = FOLDED_FLEX
    # generate() takes its defaults from here: the release's repetition penalty would apply unnoticed
    model.generation_config = GenerationConfig()
    if is_deepspeed_zero3_enabled():  # the parameters are placed already, a move would only move the buffers
        recompute_buffers(model)
        return model.eval()
    if is_quantised:
        return keep_trainable(model).eval()
    return model.to(device).eval()


def recompute_buffers(model: OmniThinker) -> None:
    """Recompute in float32 the buffers that no checkpoint contains (rotary frequencies, audio positions).

    ZeRO-3 creates every tensor in the training dtype. In bfloat16 rotary frequencies are off by up to 0.4 %, which over
    1,500 tokens makes the trained model another one than the evaluated model.
    """
    for module in model.modules():
        buffers = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        if buffers:
            module._buffers.update({name: buffer.to(torch.float32, copy=True) for name, buffer in buffers.items()})
            model._init_weights(module)


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The dtype of a setting; "auto" is bfloat16 where the device supports it in hardware, float32 elsewhere.

    Cards before Ampere (T4, RTX 20xx) only emulate bfloat16, several times slower than float32.
    """
    if setting == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return DTYPES[setting]


def save_omni(
    out: Path | str,
    state_dict: dict[str, torch.Tensor],
    config,
    base: str | None,
    keep_talker: bool = False,
) -> None:
    """Write a thinker's weights to folder `out` in the released layout, with the base's processor files.

    `config` is the whole model's. Without `keep_talker` the folder contains the thinker alone and its config says so
    (`enable_audio_output: false`); with it, talker and token2wav are copied from the base.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    config, family = copy.deepcopy(config), family_of(config)
    if family.has_parts:
        config.enable_audio_output = keep_talker
    config.architectures = [family.architecture]  # as in released folders; vLLM looks it up
    config.dtype = next(iter(state_dict.values())).dtype
    config.save_pretrained(out)
    released = family.released_weights(state_dict.items())
    weights = {name: _in_its_own_memory(tensor) for name, tensor in released}
    if keep_talker:
        weights |= speech_weights(base, family.speech)
    save_torch_state_dict(weights, out, max_shard_size="5GB", metadata={"format": "pt"})
    if base:
        source = base_files(processor_source(base), PROCESSOR_FILES)
        for name in PROCESSOR_FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, out / name)


def _in_its_own_memory(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU; a copy where it is a part of a larger one, as under ZeRO-3 in one process on a CPU."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def save_whole(out: Path | str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder beside `out`, and rename it to `out` once it is complete."""
    out = Path(out)
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with explaining_failed_writes(out):
            write(temporary)
            mark_complete(temporary)
    except InputError:
        shutil.rmtree(temporary, ignore_errors=True)  # the room that it took
        raise
    shutil.rmtree(out, ignore_errors=True)
    os.replace(temporary, out)
