"""Make the embedded default: a world of sounds, synthesised or recorded, and its tiny pretrained base model.

Writes data/ and base/ under --out (default runs/demo); folders made with the same settings are kept.

    python src/demo.py --out runs/demo
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from omni_clst.demo.config import DemoConfig
from omni_clst.errors import run_main
from omni_clst.files import read_json, require_disk, require_writable, sha256_of_text, write_json
from omni_clst.settings import REPOSITORY, load_config

WORLD_CODE = tuple(f"demo/{name}.py" for name in ("knobs", "scene", "sounds", "recordings", "clips", "world", "dataset"))
BASE_CODE = ("demo/tiny.py", "demo/pretrain.py", "data/prompts.py")


def main(argv: list[str]) -> None:
    settings = load_config(DemoConfig, argv, about=__doc__)
    out = Path(settings.out)
    require_writable(out)
    require_disk(out, 10**9, "the demo")

    from omni_clst.demo.dataset import WorldConfig, recorded_sounds, synthesised_sounds, write_world
    from omni_clst.demo.recordings import describe_recordings, read_recordings

    origin: dict = {}
    sounds = synthesised_sounds()
    if settings.recordings:
        place = Path(settings.recordings)
        recordings = read_recordings(place)
        sounds = recorded_sounds(recordings, settings.unseen_speakers)
        origin = {"recordings": describe_recordings(place, recordings) | {"unseen_speakers": settings.unseen_speakers}}
        print(f"{len(recordings)} recordings of {len(sounds.source.words.sounds)} sounds", flush=True)

    world = WorldConfig(seed=settings.seed, knobs=settings.knobs)
    recipe = _recipe(world, WORLD_CODE) | origin
    if not _is_made(out / "data" / "made.json", recipe):
        shutil.rmtree(out / "data", ignore_errors=True)
        print("composing the world's clips and questions", flush=True)
        write_world(out / "data", world, sounds)
        write_json(out / "data" / "made.json", recipe)

    from omni_clst.demo.pretrain import PretrainConfig, pretrain, save_base
    from omni_clst.model.checkpoints import save_whole
    from omni_clst.processes import quiet_libraries

    quiet_libraries()

    steps = {"steps": settings.pretrain_steps} if settings.pretrain_steps else {}
    # the base's data has no reference thoughts about clips, so false ones make no other base
    config = PretrainConfig(seed=settings.seed, knobs=replace(settings.knobs, false_events=0.0), **steps)
    recipe = _recipe(config, WORLD_CODE + BASE_CODE) | origin
    if not _is_made(out / "base" / "made.json", recipe):
        print(f"pretraining the base model: {config.steps} steps, about 3 minutes on two cores", flush=True)
        base = pretrain(config, sounds.source)

        def write(folder: Path) -> None:
            save_base(folder, *base)
            write_json(folder / "made.json", recipe)

        save_whole(out / "base", write)
    print(f"the world is in {out / 'data'}, the base model in {out / 'base'}", flush=True)


def _recipe(config: object, code: tuple[str, ...]) -> dict:
    """The settings that a folder is made with, and a hash of the code that makes it."""
    sources = "".join((REPOSITORY / "src" / "omni_clst" / name).read_text(encoding="utf-8") for name in code)
    return json.loads(json.dumps(asdict(config))) | {"code_sha256": sha256_of_text(sources)}


def _is_made(file: Path, recipe: dict) -> bool:
    """True if `file` has this recipe, that is, its folder need not be made again."""
    return file.exists() and read_json(file) == recipe


if __name__ == "__main__":
    run_main(main)
