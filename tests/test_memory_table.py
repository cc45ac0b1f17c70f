"""docs/hardware.md and the YAMLs state the memory of every training recipe as it is planned."""

import re
from pathlib import Path

import pytest

from omni_clst.errors import InputError
from omni_clst.files import read_yaml
from omni_clst.grpo.recipes import Recipe, models_of, shipped_recipes, trains
from omni_clst.grpo.vllm_rollout import require_share
from omni_clst.settings import REPOSITORY
from omni_clst.training.config import PlanConfig
from omni_clst.training.memory import CARD_SHARE, GIB, memory_of

CONFIGS = REPOSITORY / "configs"
PUBLISHED = [file for file in sorted((CONFIGS / "recipes").glob("*/*.yaml")) if trains(file)]
GPUS = (1, 4, 8)
BASES = {"Qwen/Qwen2-Audio-7B-Instruct": "Qwen2-Audio-7B"}  # of published recipes; the others start from the 7B
ROWS = [(file, model) for file in shipped_recipes() for model in models_of(file)]
ROWS += [(file, BASES.get(str(read_yaml(str(file))["model"]), "7B")) for file in PUBLISHED]


def gib(file: Path, model: str, gpus: int) -> float:
    request = PlanConfig(gpus=gpus, memory=80)
    return round(memory_of(*Recipe(file, model, request, {}).plan({}, gpus)).total / GIB, 1)


def row(file: Path, model: str) -> str:
    cells = [f"`{file.relative_to(CONFIGS).with_suffix('')}`, {model}", *(f"{gib(file, model, gpus):.1f}" for gpus in GPUS)]
    return f"| {' | '.join(cells)} |"


def test_hardware_page_has_the_memory_of_every_training_recipe():
    text = (REPOSITORY / "docs" / "hardware.md").read_text(encoding="utf-8")
    table = "\n".join(row(file, model) for file, model in ROWS)
    assert table in text, f"the table has to be:\n{table}"


STATED = [file for file in shipped_recipes() if re.search(r"\d GiB a GPU", file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("file", STATED, ids=lambda file: file.stem)
def test_memory_in_a_recipes_comment_is_the_planned_one(file):
    """As `# Memory: 7B on 4 GPUs 50.8 GiB a GPU`."""
    stated = re.findall(r"(3B|7B) on (\d+) GPUs? ([\d.]+) GiB a GPU", file.read_text(encoding="utf-8"))
    assert stated
    assert [float(value) for _, _, value in stated] == [gib(file, model, int(gpus)) for model, gpus, _ in stated]


@pytest.mark.parametrize("file", [f for f in shipped_recipes() if f.stem.endswith("gb")], ids=lambda file: file.stem)
def test_recipe_for_one_card_fits_it(file):
    card = int(re.search(r"(\d+)gb$", file.stem)[1])
    assert file in STATED
    assert all(gib(file, model, 1) < CARD_SHARE * card for model in models_of(file))


USABLE = 0.92  # of a card's name: 44.4 GiB of an L40S with 48 GB
WITH_VLLM = [file for file in shipped_recipes() if read_yaml(str(file)).get("engine") == "auto"]


def require_share_of(file: Path, model: str, card: float) -> None:
    config, work = Recipe(file, model, PlanConfig(gpus=1, memory=80), {}).plan({}, 1)
    require_share(config, work.size, 2, int(card * GIB))


@pytest.mark.parametrize("file", WITH_VLLM, ids=lambda file: file.stem)
def test_share_of_the_card_that_a_recipe_gives_vllm_has_room_for_its_weights(file):
    named = re.search(r"(\d+)gb$", file.stem)
    for model in models_of(file):
        require_share_of(file, model, USABLE * (int(named[1]) if named else 80))


@pytest.mark.parametrize(
    ("card", "words"),
    [(44.0, "of 44 GiB .*15.4 GiB.*: set it to 0.45 or more, or engine hf$"), (15.0, "of 15 GiB .*: set engine hf$")],
)
def test_share_that_is_too_small_for_vllms_weights_is_an_error_with_the_share_that_is_not(card, words):
    with pytest.raises(InputError, match=f"^gpu_memory_utilization 0.3 {words}"):
        require_share_of(CONFIGS / "clst_15k_lora.yaml", "7B", card)
