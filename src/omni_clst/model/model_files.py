"""Check that a model's folder is complete, whichever program wrote it: all weights, and the processor's files."""

import hashlib
import os
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from ..errors import InputError
from ..fields import HUB_ID
from ..files import read_object

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "spk_dict.pt",
)
RELEASED = "Qwen/Qwen2.5-Omni-7B"


def require_weights(folder: Path) -> None:
    """Raise `InputError` for weights that are missing, in another format, or truncated; reads only file headers."""
    files = sorted(folder.glob("*.safetensors"))
    if not files and any(folder.glob("pytorch_model*.bin")):
        raise InputError(
            f"{folder}: its weights are pytorch_model.bin, only *.safetensors is read; convert them with transformers' "
            "from_pretrained and save_pretrained"
        )
    if not files and (folder / "zero_to_fp32.py").exists():
        raise InputError(
            f"{folder}: DeepSpeed's shards instead of weights; run `python zero_to_fp32.py . . --safe_serialization` there"
        )
    if not files:
        raise InputError(f"{folder}: no weights (*.safetensors) in it")
    if (folder / INDEX).exists():
        shards = read_object(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict):
            raise InputError(f"{folder / INDEX}: no weight_map in it")
        missing = sorted(set(shards.values()) - {file.name for file in files})
        if missing:
            raise InputError(
                f"{folder}: {len(missing)} of {len(set(shards.values()))} shards are missing: {_first(missing)}"
            )
    elif not (folder / WEIGHTS).exists():
        raise InputError(f"{folder}: neither {WEIGHTS} nor {INDEX} in it, only {_first([file.name for file in files])}")
    for file in files:
        _require_readable(file)


def _require_readable(file: Path) -> None:
    """Raise `InputError` for a weights file that is shorter than its header states."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        with open(file, "rb") as content:
            if content.read(7) == b"version":
                raise InputError(f"{file}: a Git LFS pointer, not the weights; `git lfs pull` fetches them") from None
        raise InputError(f"{file}: incomplete ({error}); copy or download it again") from None


def missing_processor_files(folder: Path) -> list[str]:
    """The files that a folder lacks for the model's processor (tokenizer, features, chat template)."""
    has = {name for name in PROCESSOR_FILES if (folder / name).exists()}
    templates = [read_object(folder / name) for name in ("tokenizer_config.json", "processor_config.json") if name in has]
    missing = []
    if not has >= {"tokenizer_config.json"} or not (has & {"tokenizer.json"} or has >= {"vocab.json", "merges.txt"}):
        missing.append("tokenizer.json and tokenizer_config.json")
    if not has & {"preprocessor_config.json", "processor_config.json"}:
        missing.append("preprocessor_config.json")
    if not has & {"chat_template.json", "chat_template.jinja"} and not any("chat_template" in t for t in templates):
        missing.append("chat_template.jinja")
    return missing


def processor_source(source: str) -> str:
    """The folder or Hub id to load a model's processor from: itself, or the model that its config names as its origin.

    Raises `InputError` with the missing files and where to get them.
    """
    if not os.path.isdir(source):
        return source
    missing = missing_processor_files(Path(source))
    if not missing:
        return source
    origin = read_object(Path(source) / "config.json").get("_name_or_path")
    if isinstance(origin, str) and _has_processor(origin):
        return origin
    raise InputError(
        f"{source}: no {', no '.join(missing)} in it; copy them from the model that it was trained from, such as {RELEASED}"
    )


def _has_processor(origin: str) -> bool:
    """Whether a config's origin is a folder with the processor's files, or a Hub id, which is not checked."""
    return not missing_processor_files(Path(origin)) if os.path.isdir(origin) else HUB_ID.fullmatch(origin) is not None


def base_files(source: str, patterns: tuple[str, ...]) -> Path:
    """The folder with a base's files of these names; for a Hub id they are downloaded."""
    if os.path.isdir(source):
        return Path(source)
    return Path(snapshot_download(source, allow_patterns=list(patterns)))


def speech_weights(base: str, prefixes: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Tensors of a base whose names begin with `prefixes` (talker and vocoder); raises `InputError` if it has none."""
    folder = base_files(base, ("*.safetensors",))
    require_talker(str(folder), prefixes)
    weights = {}
    for path, names in _speech_names(folder, prefixes).items():
        with safe_open(path, framework="pt") as file:
            weights |= {name: file.get_tensor(name) for name in names}
    return weights


def _speech_names(folder: Path, prefixes: tuple[str, ...]) -> dict[Path, list[str]]:
    """The names of tensors that begin with `prefixes`, by file."""
    names = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names[path] = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
    return names


def require_talker(base: str, prefixes: tuple[str, ...]) -> None:
    """Raise `InputError` for a base without a talker, or a folder without its weights; a Hub id is not checked."""
    if not prefixes:
        raise InputError(f"keep_talker: the base of {base} has no talker; set keep_talker false")
    if os.path.isdir(base) and not any(_speech_names(Path(base), prefixes).values()):
        raise InputError(f"keep_talker: {base} has no talker weights; set keep_talker false")


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def weights_fingerprint(folder: Path) -> str:
    """A hash of a folder's weights without reading all of them: names, sizes, first and last megabyte."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("adapter_model.bin")]):
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(2**20)
            file.seek(max(0, size - 2**20))
            digest.update(f"{path.name} {size} ".encode() + head + file.read())
    return digest.hexdigest()
