"""Make the embedded default: the synthesised world's files and its tiny pretrained base model.

Writes data/ and base/ under --out (default runs/demo); folders made with the same settings are kept.

    python src/demo.py --out runs/demo
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from omni_clst.demo.config import DemoConfig
from omni_clst.errors import run_main
from omni_clst.files import read_json, require_disk, require_writable, sha256_of_text, write_json
from omni_clst.settings import REPOSITORY, load_config

WORLD_CODE = ("demo/sounds.py", "demo/world.py", "demo/dataset.py")
BASE_CODE = ("demo/tiny.py", "demo/pretrain.py", "data/prompts.py")


def main(argv: list[str]) -> None:
    settings = load_config(DemoConfig, argv, about=__doc__)
    out = Path(settings.out)
    require_writable(out)
    require_disk(out, 10**9, "the demo")

    from omni_clst.demo.dataset import WorldConfig, write_world

    world = WorldConfig(seed=settings.seed)
    recipe = _recipe(world, WORLD_CODE)
    if not _is_made(out / "data" / "made.json", recipe):
        shutil.rmtree(out / "data", ignore_errors=True)
        print("synthesising the world's clips and questions", flush=True)
        write_world(out / "data", world)
        write_json(out / "data" / "made.json", recipe)

    from omni_clst.demo.pretrain import PretrainConfig, pretrain, save_base
    from omni_clst.model.checkpoints import save_whole
    from omni_clst.processes import quiet_libraries

    quiet_libraries()

    steps = {"steps": settings.pretrain_steps} if settings.pretrain_steps else {}
    config = PretrainConfig(seed=settings.seed, **steps)
    recipe = _recipe(config, WORLD_CODE + BASE_CODE)
    if not _is_made(out / "base" / "made.json", recipe):
        print(f"pretraining the base model: {config.steps} steps, about 3 minutes on two cores", flush=True)
        base = pretrain(config)

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
