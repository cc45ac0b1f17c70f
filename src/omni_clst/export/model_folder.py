"""Write a checkpoint's model in the released layout, and check that it has every weight of the class that loads it."""

from pathlib import Path

import torch
from safetensors import safe_open

from ..errors import InputError
from ..model.checkpoints import (
    DTYPES,
    find_checkpoint,
    load_model_config,
    load_thinker,
    read_prompt,
    save_omni,
    write_prompt,
)
from ..model.families.registry import family_of
from ..model.model_files import require_talker

SHOWN = 3  # names in an error


def write_model(source: Path, out: Path, dtype: str, speech_base: str | None) -> None:
    """Write the model of checkpoint `source` to folder `out`, an adapter merged, with the files to load it.

    Talker and token2wav come from `speech_base`; None: the thinker alone. Raises `InputError` where they are missing.
    """
    checkpoint = find_checkpoint(str(source))
    base = speech_base or checkpoint.full_model
    config = load_model_config(base)
    family = family_of(config)
    if speech_base is not None:
        require_talker(speech_base, family.speech)
    model = load_thinker(checkpoint, DTYPES[dtype])
    save_omni(out, model.state_dict(), config, base, keep_talker=speech_base is not None)
    for name in family.whole_needs:
        if not (out / name).exists():
            torch.save({}, out / name)
    if prompt := read_prompt(checkpoint):
        write_prompt(out, prompt)


def require_layout(folder: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a folder's weights; raises `InputError` where the class of its config has others."""
    expected, found = expected_weights(folder), weights_in(folder)
    wrong = {
        "missing": sorted(expected.keys() - found.keys()),
        "not of the model": sorted(found.keys() - expected.keys()),
        "of another shape": sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name]),
    }
    problems = [
        f"{len(names)} weights {what}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for what, names in wrong.items()
        if names
    ]
    if problems:
        raise InputError(f"{folder}: {'; '.join(problems)}; was the model trained from this base?")
    return found


def expected_weights(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that the whole model's class has with the folder's configuration."""
    config = load_model_config(str(folder))
    with torch.device("meta"):
        model = family_of(config).whole(config)
    tied = getattr(model, "all_tied_weights_keys", {})  # saved once, under the other name
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def weights_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights in a folder, from the headers of its files."""
    shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes
