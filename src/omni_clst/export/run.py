"""Export a run's model: the folder, its check, its card."""

from pathlib import Path

from ..files import require_writable, write_text
from ..model.checkpoints import find_checkpoint, load_family, read_prompt, save_whole
from .card import Facts, write_card
from .config import ExportConfig
from .licence import CARD, licence_of
from .model_folder import require_layout, write_model
from .stages import Stage, stages_of


def export(config: ExportConfig) -> list[str]:
    """Write the folder of the config; returns lines that say what is in it."""
    source, out = Path(config.run), Path(config.output)
    stages = stages_of(source)
    base = config.base or stages[0].model
    speech_base = base if config.keep_talker else None
    scored = scores_of(stages[-1])
    licences = {"base": config.licence or licence_of(base), "data": config.data_licence}
    require_writable(out.parent)
    weights: dict[str, tuple[int, ...]] = {}

    def write(folder: Path) -> None:
        write_model(stages[-1].checkpoint, folder, config.dtype, speech_base)
        weights.update(require_layout(folder))
        prompt = read_prompt(find_checkpoint(str(stages[-1].checkpoint)))
        family = load_family(find_checkpoint(str(folder)))
        facts = Facts(config.name, base, stages, scored, prompt, config.keep_talker, family, config.dtype, licences)
        write_text(folder / CARD, write_card(facts))

    save_whole(out, write)
    return [*_lines(stages, scored, weights, licences), f"exported: {out}"]


def scores_of(stage: Stage) -> list[Path]:
    """The folders with the scores of a stage's model, of free thoughts about real clips first."""
    folders = [stage.checkpoint / "infer"]
    if stage.is_chosen:
        folders.append(stage.run_dir / "infer")
    files = {file.parent for folder in folders for file in folder.glob("*/scores.json")}
    return sorted(files, key=lambda folder: ("." in folder.name, folder.name))


def _lines(stages: list[Stage], scored: list[Path], weights: dict, licences: dict[str, str | None]) -> list[str]:
    route = " -> ".join([stages[0].model, *(f"{stage.name} {stage.checkpoint}" for stage in stages)])
    lines = [route, f"{len(weights)} weights, with the names and shapes of transformers' class of the whole model"]
    if not scored:
        lines.append(f"not scored: bash script/infer.sh {stages[-1].checkpoint}, then export again")
    lines += [f"the card has no licence of the {name}: --{key}" for name, key in _MISSING.items() if not licences[name]]
    return lines


_MISSING = {"base": "licence", "data": "data_licence"}
